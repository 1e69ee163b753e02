"""FSDD: spoken digits, six speakers."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Spoken digits in English, 8 kHz, 3,000 recordings",
    licence="CC BY-SA 4.0",
    citation=(
        "jackson2018",
        "Jackson, Z. and others",
        "Free Spoken Digit Dataset v1.0.8",
        "2018",
        "doi:10.5281/zenodo.1342401",
    ),
    folder="fsdd",
    files=("recordings",),
    downloads=(
        Download(
            url="https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz",
            to={"*/recordings/*.wav": "recordings/"},
        ),
    ),
    tasks={
        "classify": {"data": "./recordings", "pattern": "{label}_{speaker}_{n}", "test_where": "n=0-4"},
    },
)
