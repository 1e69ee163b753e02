"""3AM, English to Chinese: an encoder and a decoder of three blocks each.

Data: train, val and test of the folder en_zh_3am (Ma et al. 2024), line-parallel. Left out of training: the 99 pairs
whose English stands in test too, 95 of them equal in both languages, and 9 repetitions; of validation: 4 pairs, 3 of
them equal. Three pairs of training share their English with validation and not their Chinese, and stay.
BPE of 6,000 tokens shared by both languages. Metric: sacreBLEU with its tokenizer zh, characters, beams of 4. Sizes
follow from the budget, 40 minutes of two CPU cores; rates and dropout are customary and were not searched.
The weights kept are those with the lowest loss a token on the validation split.

    seqloom train recipes/en_zh_transformer.py --out runs/en_zh_transformer
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.translate import Translate
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.transformer import Transformer

FOLDER = (data_dir() or Path("data")) / "en_zh_3am"

experiments = [
    Experiment(
        task=Translate(
            source=str(FOLDER / "train.en"),
            target=str(FOLDER / "train.zh"),
            validation_source=str(FOLDER / "val.en"),
            validation_target=str(FOLDER / "val.zh"),
            test_source=str(FOLDER / "test.en"),
            test_target=str(FOLDER / "test.zh"),
            vocabulary=6000,
        ),
        model=Transformer(width=256, layers=3, heads=4, dropout=0.25),
        budget=Budget(epochs=11),
        optimizer=Optimizer(batch_size=32, learning_rate=1e-3, weight_decay=0.05, warmup=0.1, final=0.02),
    )
]
