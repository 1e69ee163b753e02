"""Financial PhraseBank: is a sentence good, bad or no news for investors? A Transformer encoder.

Data: the 2,264 sentences on which all annotators agree (Malo et al. 2014), `sentence@label` in Latin-1, no header.
There is no official split: it is stratified by class, 80 / 10 / 10, by seed 0, equal sentences kept together. Metric:
accuracy. Settings are the defaults, but for the length of texts and 20 epochs.

    seqloom train recipes/financial_phrasebank_transformer.py --out runs/financial_phrasebank_transformer
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.classify import Classify
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.transformer import Transformer

FOLDER = (data_dir() or Path("data")) / "financial_phrasebank"

experiments = [
    Experiment(
        task=Classify(
            data=str(FOLDER / "Sentences_AllAgree.txt"),
            text=0,
            label=1,
            delimiter="@",
            encoding="latin-1",
            max_length=100,
        ),
        model=Transformer(dropout=0.2),
        budget=Budget(epochs=20),
        optimizer=Optimizer(batch_size=32, learning_rate=3e-3),
        parameters=100_000,
    )
]
