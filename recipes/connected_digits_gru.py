"""Connected digits, joined from FSDD: three to six digits are said, in recordings that were never heard. GRUs and CTC.

Data: utterances of 3 to 6 recordings of one speaker with pauses of up to 0.2 s. Test: 200 utterances of the official
split's test recordings (n = 0 to 4) of all six speakers. Validation: 200 of a tenth of the others, by seed; training:
2,000 of the rest. No recording is in two parts. Transcripts are words, spelt in characters. Settings are those of
connected_unseen_gru.py, where the test speaker is one who was never heard; none was tried on this test.

The figure asked for, WER <= 5 % with "speakers unseen apart", is held against this test; speakers who were never heard
are reported apart, by the other recipe.

    seqloom train recipes/connected_digits_gru.py --out runs/connected_digits_gru
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
            test_where="n=0-4",
        ),
        model=GRUStack(width=128, layers=2, dropout=0.1),
        budget=Budget(epochs=8),
        optimizer=Optimizer(batch_size=16, learning_rate=3e-3),
    )
]
