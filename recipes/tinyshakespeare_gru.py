"""Tiny Shakespeare, byte by byte: bits a byte on the last tenth of the text, which is the custom's validation part.

Data: input.txt (Karpathy 2015), 1.1 MB, all ASCII: a byte is a character, and 1.55 nats are 2.236 bits. The first 89 %
are for training, the next 1 % chooses the weights, and the last 10 % are scored: custom trains on all that stands
before them, and the play cut in two there makes its nearest part count (docs/results/tasks.md).

    seqloom train recipes/tinyshakespeare_gru.py --out runs/tinyshakespeare_gru
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.language import Language
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.gru import GRUStack

experiments = [
    Experiment(
        task=Language(
            data=str((data_dir() or Path("data")) / "tinyshakespeare" / "input.txt"),
            test_share=0.1,
            validation=0.01,
            length=256,
            context=128,
            shift=True,
            token_dropout=0.1,
        ),
        model=GRUStack(width=384, layers=2, dropout=0.35),
        budget=Budget(epochs=12),
        optimizer=Optimizer(batch_size=32, learning_rate=3e-3, weight_decay=0.1),
    )
]
