"""Amazon Beauty: the next purchase of each user among all 12,101 items, by one layer of GRUs.

Data: Beauty.txt, `user item item ...` (the 5-core of McAuley et al. 2015 as S3-Rec has it, arXiv 2008.07873): 22,363
users. Each user's last item is for test, the last but one for validation; items that the user had are left out of the
ranking. Metric: NDCG@10, with HR@10 beside it. Few settings were
tried, all on validation users; the weights kept are those that were best on 4,096 of them.

    seqloom train recipes/beauty_gru.py --out runs/beauty_gru
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.recommend import Recommend
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.gru import GRUStack

FOLDER = (data_dir() or Path("data")) / "seqrec"

experiments = [
    Experiment(
        task=Recommend(data=str(FOLDER / "Beauty.txt")),
        model=GRUStack(width=64, layers=1, channel="none", dropout=0.2),
        budget=Budget(epochs=10),
        optimizer=Optimizer(batch_size=64, learning_rate=5e-3),
        validation_examples=4096,
    )
]
