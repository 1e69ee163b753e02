"""Multi30k: captions of pictures, English and German."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Captions, English to German, line by line",
    licence="captions: CC BY-NC-SA 4.0; those of Flickr30k: research and education",
    citation=(
        "elliott2016",
        "Elliott, D. and others",
        "Multi30K: Multilingual English-German Image Descriptions",
        "2016",
        "arXiv:1605.00459",
    ),
    folder="multi30k",
    files=(
        "train.en",
        "train.de",
        "val.en",
        "val.de",
        "test_2016_flickr.en",
        "test_2016_flickr.de",
        "test_2017_flickr.en",
        "test_2017_flickr.de",
    ),
    downloads=(
        Download(
            url="https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/train.en.gz",
            to="train.en",
            most_bytes=10000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/train.de.gz",
            to="train.de",
            most_bytes=10000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/val.en.gz",
            to="val.en",
            most_bytes=10000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/val.de.gz",
            to="val.de",
            most_bytes=10000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/test_2016_flickr.en.gz",
            to="test_2016_flickr.en",
            most_bytes=10000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/test_2016_flickr.de.gz",
            to="test_2016_flickr.de",
            most_bytes=10000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/test_2017_flickr.en.gz",
            to="test_2017_flickr.en",
            most_bytes=10000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/test_2017_flickr.de.gz",
            to="test_2017_flickr.de",
            most_bytes=10000000,
        ),
    ),
    tasks={
        "translate": {
            "source": "./train.en",
            "target": "./train.de",
            "validation_source": "./val.en",
            "validation_target": "./val.de",
            "test_source": "./test_2016_flickr.en",
            "test_target": "./test_2016_flickr.de",
        },
    },
)
