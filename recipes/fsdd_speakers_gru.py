"""Spoken digits (FSDD) by a speaker who was never heard: GRUs in both directions on log-mel features, six times.

Data: 3,000 recordings of ten digits by six speakers, `{digit}_{speaker}_{n}.wav` at 8 kHz. Each speaker in turn is
the test split; the others' recordings are split by seed, a tenth for validation. The figure is the mean of the six
accuracies. Settings are those of fsdd_gru.py; most of them were chosen with lucas for validation, who is one of the
six test speakers here.

    seqloom train recipes/fsdd_speakers_gru.py --out runs/fsdd_speakers_gru
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.classify import Classify
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.gru import GRUStack

FOLDER = (data_dir() or Path("data")) / "fsdd" / "recordings"

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")

experiments = [
    Experiment(
        task=Classify(data=str(FOLDER), pattern="{label}_{speaker}_{n}", test_where=f"speaker={speaker}"),
        model=GRUStack(width=96, layers=2, dropout=0.1),
        budget=Budget(epochs=10),
        optimizer=Optimizer(batch_size=32, learning_rate=3e-3),
    )
    for speaker in SPEAKERS
]
