"""Penn Treebank, words: a two-layer LSTM with tied vectors, to a perplexity on the official test part.

Data: ptb.train.txt, ptb.valid.txt, ptb.test.txt (Mikolov et al. 2010), 10,000 words, each line's end one of them.
Settings are customary ones, of which none was tried on the test part; the weights kept were best on validation.

    seqloom train recipes/ptb_lstm.py --out runs/ptb_lstm
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.language import Language
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.lstm import LSTMStack

FOLDER = (data_dir() or Path("data")) / "ptb"

experiments = [
    Experiment(
        task=Language(
            data=str(FOLDER / "ptb.train.txt"),
            validation_data=str(FOLDER / "ptb.valid.txt"),
            test=str(FOLDER / "ptb.test.txt"),
            tokens="words",
            length=70,
            context=35,
            shift=True,
            token_dropout=0.2,
        ),
        model=LSTMStack(width=400, layers=2, channel="none", dropout=0.4),
        budget=Budget(epochs=12),
        optimizer=Optimizer(batch_size=20, learning_rate=4e-3, weight_decay=0.05, warmup=0.05, final=0.02),
    )
]
