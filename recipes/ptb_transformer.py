"""Penn Treebank, words: a small Transformer with tied vectors, to a perplexity on the official test part.

Data: ptb.train.txt, ptb.valid.txt, ptb.test.txt (Mikolov et al. 2010), 10,000 words, each line's end one of them.
Settings are customary ones, of which none was tried on the test part; the weights kept were best on validation.

    seqloom train recipes/ptb_transformer.py --out runs/ptb_transformer
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.language import Language
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.transformer import Transformer

FOLDER = (data_dir() or Path("data")) / "ptb"

experiments = [
    Experiment(
        task=Language(
            data=str(FOLDER / "ptb.train.txt"),
            validation_data=str(FOLDER / "ptb.valid.txt"),
            test=str(FOLDER / "ptb.test.txt"),
            tokens="words",
            length=96,
            context=48,
            shift=True,
            token_dropout=0.2,
        ),
        model=Transformer(width=320, layers=4, heads=5, dropout=0.3),
        budget=Budget(epochs=10),
        optimizer=Optimizer(batch_size=16, learning_rate=2e-3, weight_decay=0.1, warmup=0.1, final=0.02),
    )
]
