"""CMRC 2018: questions on Chinese texts, answered by a stretch of the text."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Reading comprehension in Chinese, SQuAD's format",
    licence="CC BY-SA 4.0",
    citation=(
        "cui2019",
        "Cui, Y. and others",
        "A Span-Extraction Dataset for Chinese Machine Reading Comprehension",
        "2019",
        "arXiv:1810.07366",
    ),
    folder="cmrc2018",
    files=(
        "squad-style-data_cmrc2018_dev.json",
        "squad-style-data_cmrc2018_trial.json",
    ),
    downloads=(
        Download(
            url="https://raw.githubusercontent.com/ymcui/cmrc2018/master/squad-style-data/cmrc2018_dev.json",
            to="squad-style-data_cmrc2018_dev.json",
            most_bytes=20000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/ymcui/cmrc2018/master/squad-style-data/cmrc2018_trial.json",
            to="squad-style-data_cmrc2018_trial.json",
            most_bytes=20000000,
        ),
    ),
    tasks={
        "answer": {
            "data": "./squad-style-data_cmrc2018_dev.json",
            "test": "./squad-style-data_cmrc2018_trial.json",
            "allow_rejects": True,  # two questions of the trial file are blank
        },
    },
)
