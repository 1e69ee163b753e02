"""MovieLens-100k: the next film of each user among all 1,682, by a causal Transformer.

Data: u.data (Harper and Konstan 2015), 100,000 ratings of 943 users, whatever the stars. Sorted by time; half
of them bear the same second as the one before and keep the file's order. Each user's last film is for test, the last
but one for validation; films that the user had are left out of the ranking. Metric: NDCG@10, with HR@10 beside it.
Few settings were tried, all on validation; the weights kept were best there.

    seqloom train recipes/movielens100k_transformer.py --out runs/movielens100k_transformer
"""

from pathlib import Path

from seqloom.core.runtime import data_dir
from seqloom.tasks.recommend import Recommend
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.transformer import Transformer

FOLDER = (data_dir() or Path("data")) / "movielens_100k"

experiments = [
    Experiment(
        task=Recommend(
            data=str(FOLDER / "u.data"), delimiter="tab", user=0, item=1, time=3, max_length=200, dropout=0.3
        ),
        model=Transformer(width=64, layers=2, heads=2, dropout=0.2),
        budget=Budget(epochs=30),
        optimizer=Optimizer(batch_size=16, learning_rate=4e-3),
    )
]
