"""MNIST by rows: 28 steps of 28 pixels. GRUs in both directions.

Data: 70,000 pictures of 28 x 28 pixels (LeCun et al. 1998), 60,000 to learn from, a tenth of which validates, and
10,000 to test on. Training moves each picture by up to 2 pixels, anew each epoch. Settings were chosen on short runs by
the validation split, never on test.

    seqloom train recipes/mnist_rows_gru.py --out runs/mnist_rows_gru
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.classify import Classify
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.gru import GRUStack

FOLDER = (data_dir() or Path("data")) / "mnist"

experiments = [
    Experiment(
        task=Classify(
            data=str(FOLDER / "train-images-idx3-ubyte.gz"),
            test=str(FOLDER / "t10k-images-idx3-ubyte.gz"),
            view="rows",
            shift=2,
        ),
        model=GRUStack(width=96, layers=2, dropout=0.1),
        budget=Budget(epochs=2),
        optimizer=Optimizer(batch_size=64, learning_rate=2e-3),
    )
]
