"""SST-2: sentences of film reviews, good or bad."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Stanford Sentiment Treebank, sentences in English, 2 classes",
    licence="free for research (no licence is stated)",
    citation=(
        "socher2013",
        "Socher, R. and others",
        "Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank",
        "2013",
        "EMNLP",
    ),
    folder="sst2",
    files=(
        "train.tsv",
        "dev.tsv",
        "test.tsv",
    ),
    downloads=(
        Download(
            url="https://raw.githubusercontent.com/clairett/pytorch-sentiment-classification/master/data/SST2/train.tsv",
            to="train.tsv",
            most_bytes=5000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/clairett/pytorch-sentiment-classification/master/data/SST2/dev.tsv",
            to="dev.tsv",
            most_bytes=5000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/clairett/pytorch-sentiment-classification/master/data/SST2/test.tsv",
            to="test.tsv",
            most_bytes=5000000,
        ),
    ),
    tasks={
        "classify": {
            "data": "./train.tsv",
            "validation_data": "./dev.tsv",
            "test": "./test.tsv",
            "text": 0,
            "label": 1,
        },
    },
)
