"""Spoken digits (FSDD): which digit is it? GRUs in both directions on log-mel features.

Data: 3,000 recordings of ten digits by six speakers, `{digit}_{speaker}_{n}.wav` at 8 kHz. Test: n = 0 to 4, the
official split. Validation: a tenth of the others, by seed. Most settings were chosen with lucas for validation and theo
left out of all, the strength of variations and the epochs on this validation; fsdd_speakers_gru.py leaves speakers out.

    seqloom train recipes/fsdd_gru.py --out runs/fsdd_gru
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.classify import Classify
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.gru import GRUStack

FOLDER = (data_dir() or Path("data")) / "fsdd" / "recordings"

experiments = [
    Experiment(
        task=Classify(data=str(FOLDER), pattern="{label}_{speaker}_{n}", test_where="n=0-4"),
        model=GRUStack(width=96, layers=2, dropout=0.1),
        budget=Budget(epochs=10),
        optimizer=Optimizer(batch_size=32, learning_rate=3e-3),
    )
]
