"""MovieLens 100k: who rated which film, when."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="100,000 ratings of 1,682 films by 943 users, with times",
    licence="research, with citation; not to be redistributed",
    citation=(
        "harper2015",
        "Harper, F. M. and Konstan, J. A.",
        "The MovieLens Datasets: History and Context",
        "2015",
        "ACM TiiS 5(4)",
    ),
    folder="movielens_100k",
    files=("u.data",),
    downloads=(
        Download(
            url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
            sha256="50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
            to={"ml-100k/u.data": "u.data", "ml-100k/u.item": "u.item", "ml-100k/README": "README"},
            most_bytes=20000000,
        ),
    ),
    tasks={
        "recommend": {"data": "./u.data", "user": 0, "item": 1, "time": 3, "delimiter": "tab"},
    },
    sha256={
        "u.data": "06416e597f82b7342361e41163890c81036900f418ad91315590814211dca490",
        "u.item": "553841ebc7de3a0fd0d6b62a204ea30c1e651aacfb2814c7a6584ac52f2c5701",
    },
)
