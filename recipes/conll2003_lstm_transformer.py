"""CoNLL-2003, names in English news: words, characters, BiLSTM, attention and a random field, no pretrained vectors.

Data: eng.train, eng.testa, eng.testb (Tjong Kim Sang and De Meulder 2003), to an entity F1 on testb as conlleval and
seqeval count it. Sentences of eng.train that are also in testa or testb are left out, and of testa those in testb.
Settings are chosen on testa alone, by short runs; the weights kept are those that were best on it. Runs of
two epochs at width 128 gave .85 there, attention alone .79.

    seqloom train recipes/conll2003_lstm_transformer.py --out runs/conll2003_lstm_transformer
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.tag import Tag
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.lstm_transformer import LSTMTransformer

FOLDER = (data_dir() or Path("data")) / "conll2003"

experiments = [
    Experiment(
        task=Tag(
            data=str(FOLDER / "eng.train"),
            validation_data=str(FOLDER / "eng.testa"),
            test=str(FOLDER / "eng.testb"),
        ),
        model=LSTMTransformer(width=192, layers=2, dropout=0.4),
        budget=Budget(epochs=25),
        optimizer=Optimizer(batch_size=32, learning_rate=3e-3),
        validation_examples=None,
    )
]
