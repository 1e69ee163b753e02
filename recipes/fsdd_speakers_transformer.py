"""Spoken digits (FSDD) by a speaker who was never heard: a Transformer on log-mel features, six times.

Data: 3,000 recordings of ten digits by six speakers, `{digit}_{speaker}_{n}.wav` at 8 kHz. Each speaker in turn is
the test split; the others' recordings are split by seed, a tenth for validation. The figure is the mean of the six
accuracies. Settings are those of fsdd_transformer.py; most of them were chosen with lucas for validation, who is
one of the six test speakers here.

    seqloom train recipes/fsdd_speakers_transformer.py --out runs/fsdd_speakers_transformer
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.classify import Classify
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.transformer import Transformer

FOLDER = (data_dir() or Path("data")) / "fsdd" / "recordings"

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")

experiments = [
    Experiment(
        task=Classify(data=str(FOLDER), pattern="{label}_{speaker}_{n}", test_where=f"speaker={speaker}"),
        model=Transformer(width=96, layers=4, dropout=0.1),
        budget=Budget(epochs=12),
        optimizer=Optimizer(batch_size=32, learning_rate=2e-3),
    )
    for speaker in SPEAKERS
]
