"""IMDb: film reviews, good or bad."""

import gzip
import json
from pathlib import Path

from seqloom.data.fetch import Download, Members
from seqloom.data.named import Named


def _arrange(members: Members, folder: Path) -> None:
    """Write a line of JSON for each review: its number, 1 for good and 0 for bad, the stars, and the text."""
    with (
        gzip.open(folder / "train.jsonl.gz", "wt", encoding="utf-8", newline="\n") as train,
        gzip.open(folder / "test.jsonl.gz", "wt", encoding="utf-8", newline="\n") as test,
    ):
        files = {"train": train, "test": test}
        for name, content in members:
            parts = name.split("/")  # aclImdb/train/pos/0_9.txt
            if len(parts) == 4 and parts[1] in files and parts[2] in ("pos", "neg") and parts[3].endswith(".txt"):
                number, stars = parts[3].removesuffix(".txt").split("_")
                row = {
                    "id": int(number),
                    "label": int(parts[2] == "pos"),
                    "rating": int(stars),
                    "text": content.read().decode(),
                }
                files[parts[1]].write(json.dumps(row, ensure_ascii=False) + "\n")


source = Named(
    title="IMDb film reviews in English, 2 classes",
    licence="free for research, with citation (no licence is stated)",
    citation=(
        "maas2011",
        "Maas, A. and others",
        "Learning Word Vectors for Sentiment Analysis",
        "2011",
        "ACL",
    ),
    folder="imdb",
    files=(
        "train.jsonl.gz",
        "test.jsonl.gz",
    ),
    downloads=(
        Download(
            url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
            sha256="c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe",
            arrange=_arrange,
        ),
    ),
    tasks={
        "classify": {"data": "./train.jsonl.gz", "test": "./test.jsonl.gz"},
    },
)
