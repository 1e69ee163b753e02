"""MNIST by patches: 16 steps of 7 x 7 pixels. A Transformer with rotary positions.

Data: 70,000 pictures of 28 x 28 pixels (LeCun et al. 1998), 60,000 to learn from, a tenth of which validates, and
10,000 to test on. Training moves each picture by up to 2 pixels, anew each epoch. Settings were chosen on short runs by
the validation split, never on test.

    seqloom train recipes/mnist_patches_transformer.py --out runs/mnist_patches_transformer
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.classify import Classify
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.transformer import Transformer

FOLDER = (data_dir() or Path("data")) / "mnist"

experiments = [
    Experiment(
        task=Classify(
            data=str(FOLDER / "train-images-idx3-ubyte.gz"),
            test=str(FOLDER / "t10k-images-idx3-ubyte.gz"),
            view="patches",
            patch=7,
            shift=2,
        ),
        model=Transformer(width=96, layers=3, dropout=0.1),
        budget=Budget(epochs=6),
        optimizer=Optimizer(batch_size=64, learning_rate=2e-3),
    )
]
