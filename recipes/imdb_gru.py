"""IMDb film reviews: positive or negative? A GRU.

Data: 25,000 reviews to learn from and 25,000 to test on (Maas et al. 2011); the 123 texts that stand in both are left
out of training, a tenth of the rest validates. Metric: accuracy. Of a review longer than 400 tokens the middle is left
out: its begin and its end say most. Settings were chosen on the validation split, though runs of earlier ones had been
scored on test too: one layer, strong dropout and weight decay, and few epochs, because 22,000 reviews are learnt by
heart in five.

    seqloom train recipes/imdb_gru.py --out runs/imdb_gru
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.classify import Classify
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.gru import GRUStack

FOLDER = (data_dir() or Path("data")) / "imdb"

experiments = [
    Experiment(
        task=Classify(
            data=str(FOLDER / "train.jsonl.gz"),
            test=str(FOLDER / "test.jsonl.gz"),
            cut="middle",
        ),
        model=GRUStack(layers=1, dropout=0.3),
        budget=Budget(epochs=3),
        optimizer=Optimizer(batch_size=64, learning_rate=3e-3, weight_decay=0.1),
        parameters=100_000,
    )
]
