"""TrecQA: which sentence answers a question?"""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Answer-sentence selection in English, pairs of question and sentence",
    licence="free for research (no licence is stated)",
    citation=(
        "wang2007",
        "Wang, M. and others",
        "What is the Jeopardy Model? A Quasi-Synchronous Grammar for QA",
        "2007",
        "EMNLP",
    ),
    folder="trecqa",
    files=(
        "train.csv",
        "dev.csv",
        "test.csv",
    ),
    downloads=(
        Download(
            url="https://raw.githubusercontent.com/brmson/dataset-sts/master/data/anssel/wang/train.csv",
            to="train.csv",
            most_bytes=20000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/brmson/dataset-sts/master/data/anssel/wang/dev.csv",
            to="dev.csv",
            most_bytes=20000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/brmson/dataset-sts/master/data/anssel/wang/test.csv",
            to="test.csv",
            most_bytes=20000000,
        ),
    ),
    tasks={
        "answer": {
            "data": "./train.csv",
            "dev": "./dev.csv",
            "test": "./test.csv",
            "question": "qtext",
            "candidate": "atext",
        },
    },
)
