"""Recall over pairs: how much a state of fixed size must hold, before looking back wins; a study as Python values.

Two models of one size, three numbers of pairs, one vocabulary and two seeds, so that the pairs alone differ. Each value
says all of its run: its digest names it, and `to_json` keeps it. To run them:

    from recipes.recall_over_pairs import experiments
    for experiment in experiments:
        print(experiment.digest(), Training(experiment).finish().metrics)

with Training from seqloom.train.loop. The same study as one comparison, with a report:

    seqloom compare recall --pairs 4,6,8 --vocabulary 32 --models gru,transformer --parameters 100000 \\
        --budget "1500 steps" --seeds 2
"""

from seqloom.tasks.recall import Recall
from seqloom.train.experiment import Budget, Experiment, Optimizer
from seqloom.zoo.architecture import Architecture
from seqloom.zoo.gru import GRUStack
from seqloom.zoo.transformer import Transformer

PAIRS = (4, 6, 8)
MODELS: tuple[Architecture, ...] = (GRUStack(expand=1.0), Transformer(expand=1.0))
SEEDS = (0, 1)

experiments = [
    Experiment(
        task=Recall(pairs=pairs, vocabulary=4 * max(PAIRS)),
        model=model,
        budget=Budget(steps=1500),
        optimizer=Optimizer(batch_size=32, learning_rate=3e-3),
        parameters=100_000,
        seed=seed,
    )
    for pairs in PAIRS
    for model in MODELS
    for seed in SEEDS
]
