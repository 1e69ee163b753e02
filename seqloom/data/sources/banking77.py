"""banking77: what does a customer of a bank ask for?"""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Customer-service questions in English, 77 intents",
    licence="CC BY 4.0",
    citation=(
        "casanueva2020",
        "Casanueva, I. and others",
        "Efficient Intent Detection with Dual Sentence Encoders",
        "2020",
        "arXiv:2003.04807",
    ),
    folder="banking77",
    files=(
        "train.csv",
        "test.csv",
    ),
    downloads=(
        Download(
            url="https://raw.githubusercontent.com/PolyAI-LDN/task-specific-datasets/master/banking_data/train.csv",
            to="train.csv",
            most_bytes=5000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/PolyAI-LDN/task-specific-datasets/master/banking_data/test.csv",
            to="test.csv",
            most_bytes=5000000,
        ),
    ),
    tasks={
        "classify": {"data": "./train.csv", "test": "./test.csv", "label": "category"},
        "converse": {"data": "./train.csv", "test": "./test.csv", "intent": "category"},
    },
)
