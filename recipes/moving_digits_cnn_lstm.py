"""Moving digits: in which of 8 directions does a digit of MNIST move, in 16 frames? Convolutions, then LSTMs.

Data: made of MNIST (LeCun et al. 1998), frames of 42 x 42 pixels; 10,000 clips an epoch, drawn anew, of nine tenths of
its training digits; 1,000 clips of the others validate, 2,000 of its test digits test. Settings were chosen on short
runs by the validation split, never on test.

    seqloom train recipes/moving_digits_cnn_lstm.py --out runs/moving_digits_cnn_lstm
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.moving import MovingDigits
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.cnn_lstm import CNNLSTM

FOLDER = (data_dir() or Path("data")) / "mnist"

experiments = [
    Experiment(
        task=MovingDigits(
            data=str(FOLDER / "train-images-idx3-ubyte.gz"),
            test=str(FOLDER / "t10k-images-idx3-ubyte.gz"),
        ),
        model=CNNLSTM(width=64, layers=2),
        budget=Budget(steps=1000),
        optimizer=Optimizer(batch_size=32, learning_rate=2e-3),
    )
]
