"""BasicMotions: four motions by accelerometer and gyroscope, 6 channels, 100 steps."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Four motions by accelerometer and gyroscope, 6 channels, 100 steps",
    licence="free for research (no licence is stated)",
    citation=(
        "bagnall2018",
        "Bagnall, A. and others",
        "The UEA Multivariate Time Series Classification Archive",
        "2018",
        "arXiv:1811.00075",
    ),
    folder="ucr",
    files=(
        "BasicMotions_TRAIN.ts",
        "BasicMotions_TEST.ts",
    ),
    downloads=(
        Download(
            url="https://www.timeseriesclassification.com/aeon-toolkit/BasicMotions.zip",
            to={"*BasicMotions_TRAIN.ts": "BasicMotions_TRAIN.ts", "*BasicMotions_TEST.ts": "BasicMotions_TEST.ts"},
            most_bytes=20000000,
        ),
    ),
    tasks={
        "classify": {"data": "./BasicMotions_TRAIN.ts", "test": "./BasicMotions_TEST.ts"},
    },
)
