"""3AM: captions and sentences, English and Chinese."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Captions and sentences, English to Chinese, line by line",
    licence="MIT",
    citation=(
        "ma2024",
        "Ma, X. and others",
        "3AM: An Ambiguity-Aware Multi-Modal Machine Translation Dataset",
        "2024",
        "arXiv:2404.18413",
    ),
    folder="en_zh_3am",
    files=(
        "train.en",
        "train.zh",
        "val.en",
        "val.zh",
        "test.en",
        "test.zh",
    ),
    downloads=(
        Download(
            url="https://raw.githubusercontent.com/MaxyLee/3AM/HEAD/data/train.en", to="train.en", most_bytes=20000000
        ),
        Download(
            url="https://raw.githubusercontent.com/MaxyLee/3AM/HEAD/data/train.zh", to="train.zh", most_bytes=20000000
        ),
        Download(
            url="https://raw.githubusercontent.com/MaxyLee/3AM/HEAD/data/val.en", to="val.en", most_bytes=20000000
        ),
        Download(
            url="https://raw.githubusercontent.com/MaxyLee/3AM/HEAD/data/val.zh", to="val.zh", most_bytes=20000000
        ),
        Download(
            url="https://raw.githubusercontent.com/MaxyLee/3AM/HEAD/data/test.en", to="test.en", most_bytes=20000000
        ),
        Download(
            url="https://raw.githubusercontent.com/MaxyLee/3AM/HEAD/data/test.zh", to="test.zh", most_bytes=20000000
        ),
    ),
    tasks={
        "translate": {
            "source": "./train.en",
            "target": "./train.zh",
            "validation_source": "./val.en",
            "validation_target": "./val.zh",
            "test_source": "./test.en",
            "test_target": "./test.zh",
        },
    },
)
