"""JapaneseVowels: nine men's vowels, 12 cepstral coefficients, 7 to 29 steps."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Nine men's vowels, 12 cepstral coefficients, 7 to 29 steps",
    licence="free for research (no licence is stated)",
    citation=(
        "kudo1999",
        "Kudo, M. and others",
        "Multidimensional Curve Classification Using Passing-Through Regions",
        "1999",
        "Pattern Recognition Letters 20",
    ),
    folder="ucr",
    files=(
        "JapaneseVowels_TRAIN.ts",
        "JapaneseVowels_TEST.ts",
    ),
    downloads=(
        Download(
            url="https://www.timeseriesclassification.com/aeon-toolkit/JapaneseVowels.zip",
            to={
                "*JapaneseVowels_TRAIN.ts": "JapaneseVowels_TRAIN.ts",
                "*JapaneseVowels_TEST.ts": "JapaneseVowels_TEST.ts",
            },
            most_bytes=20000000,
        ),
    ),
    tasks={
        "classify": {"data": "./JapaneseVowels_TRAIN.ts", "test": "./JapaneseVowels_TEST.ts"},
    },
)
