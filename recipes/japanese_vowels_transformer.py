"""Japanese vowels: who speaks? A Transformer.

Data: 640 utterances of a vowel pair by nine men, 12 cepstral coefficients, 7 to 29 steps (Kudo et al. 1999); the
archive's split: 270 to learn from, 370 to test on. A tenth of the first validates. Settings were chosen on a split of
the training file alone (validation 0.3, seeds 0 and 1), never on test.

    seqloom train recipes/japanese_vowels_transformer.py --out runs/japanese_vowels_transformer
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.classify import Classify
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.transformer import Transformer

FOLDER = (data_dir() or Path("data")) / "ucr"

experiments = [
    Experiment(
        task=Classify(
            data=str(FOLDER / "JapaneseVowels_TRAIN.ts"),
            test=str(FOLDER / "JapaneseVowels_TEST.ts"),
        ),
        model=Transformer(width=64, layers=2, dropout=0.1),
        budget=Budget(epochs=40),
        optimizer=Optimizer(batch_size=16, learning_rate=2e-3),
    )
]
