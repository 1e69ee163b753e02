"""Multi30k, English to German: GRUs in both directions read, GRUs with additive attention write.

Data: train, val and test_2016_flickr of the folder multi30k (Elliott et al. 2016), line-parallel as given; BPE of
6,000 tokens shared by both languages. Metric: sacreBLEU (13a, cased) on test 2016, beams of 4. Sizes follow from the
budget, 40 minutes of two CPU cores; rates and dropout are customary and were not searched.
The weights kept are those with the lowest loss a token on the validation split.

    seqloom train recipes/multi30k_seq2seq.py --out runs/multi30k_seq2seq
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.translate import Translate
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.seq2seq import Seq2Seq

FOLDER = (data_dir() or Path("data")) / "multi30k"

experiments = [
    Experiment(
        task=Translate(
            source=str(FOLDER / "train.en"),
            target=str(FOLDER / "train.de"),
            validation_source=str(FOLDER / "val.en"),
            validation_target=str(FOLDER / "val.de"),
            test_source=str(FOLDER / "test_2016_flickr.en"),
            test_target=str(FOLDER / "test_2016_flickr.de"),
            vocabulary=6000,
        ),
        model=Seq2Seq(width=256, layers=2, dropout=0.3),
        budget=Budget(epochs=16),
        optimizer=Optimizer(batch_size=64, learning_rate=1e-3, weight_decay=0.05, warmup=0.1, final=0.02),
    )
]
