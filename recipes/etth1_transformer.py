"""ETTh1, the next 96 hours of seven series, by attention between patches of a day.

Data: ETTh1.csv (Zhou et al. 2021, arXiv 2012.07436), hourly, 8,640 / 2,880 / 2,880 steps for training, validation
and test, standardised on training; one model for all series, each an example of its own, forecast from all patches side
by side (PatchTST: Nie et al. 2023, arXiv 2211.14730). Metric: mean squared error over all 96 steps and seven series, in
standardised units, as in the literature. The setting with the best validation error of about eleven tried (of
windows, patches, pooling, normalisation, width, depth and dropout, not crossed); the test error of another one was seen
before, and is not this recipe's.

    seqloom train recipes/etth1_transformer.py --out runs/etth1_transformer
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.forecast import Forecast
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.transformer import Transformer

DATA = (data_dir() or Path("data")) / "ett" / "ETTh1.csv"

experiments = [
    Experiment(
        task=Forecast(
            data=str(DATA),
            time=("date",),
            horizon=96,
            length=504,
            patch=24,
            pool="flatten",
            head_dropout=0.3,
            normalise="last",
            split=(8640, 2880, 2880),
        ),
        model=Transformer(width=32, layers=2, heads=4, dropout=0.3),
        budget=Budget(steps=900),
        optimizer=Optimizer(batch_size=64, learning_rate=1e-3),
        validation_examples=2048,
    )
]
