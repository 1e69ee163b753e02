"""Basic motions: what does the wearer of the watch do? GRUs in both directions.

Data: 80 recordings of a smart watch, 6 channels, 100 steps, 4 activities (UEA archive); the archive's split: 40 to
learn from, 40 to test on. A tenth of the first validates. Settings were chosen on a split of the training file alone
(validation 0.3, seeds 0 and 1), never on test.

    seqloom train recipes/basic_motions_gru.py --out runs/basic_motions_gru
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.classify import Classify
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.gru import GRUStack

FOLDER = (data_dir() or Path("data")) / "ucr"

experiments = [
    Experiment(
        task=Classify(
            data=str(FOLDER / "BasicMotions_TRAIN.ts"),
            test=str(FOLDER / "BasicMotions_TEST.ts"),
        ),
        model=GRUStack(width=64, layers=2, dropout=0.1),
        budget=Budget(epochs=60),
        optimizer=Optimizer(batch_size=16, learning_rate=2e-3),
    )
]
