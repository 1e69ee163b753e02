"""banking77: the intents of customers' questions by GRUs in both directions, and the known questions nearest to each.

Data: train.csv and test.csv (Casanueva et al. 2020, arXiv 2003.04807), 77 intents, all of them learnt (held_out=0).
Metric: accuracy; recall@k tells how often a known question of the same intent is among the k nearest. A tenth of the
training rows, seeded and every intent alike, chooses the weights; the settings are the task's own but for the epochs,
which were first tried in a run that was scored on test too.

    seqloom train recipes/banking77_gru.py --out runs/banking77_gru
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.converse import Converse
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.gru import GRUStack

FOLDER = (data_dir() or Path("data")) / "banking77"

experiments = [
    Experiment(
        task=Converse(data=str(FOLDER / "train.csv"), test=str(FOLDER / "test.csv"), intent="category", held_out=0.0),
        model=GRUStack(dropout=0.2),
        budget=Budget(epochs=20),
        optimizer=Optimizer(batch_size=32, learning_rate=3e-3),
        parameters=100_000,
    )
]
