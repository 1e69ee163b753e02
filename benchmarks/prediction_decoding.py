"""Predicted against measured: the time of one more token after a context, on one process.

    python benchmarks/prediction_decoding.py [--models gru,transformer] [--parameters 1000000] [--keep]

For each model, size, number of rows and context the prediction is made as `seqloom plan --decode` makes it, from three
quarters of the context and less, and then tokens are decoded after the whole of it, on one thread. The last line of
output is one JSON document: the mean, median and worst relative errors. `--keep` writes the cases to the ledger from
which `seqloom plan --decode` tells how far it is off.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from seqloom.core import runtime
from seqloom.core.spec import resolve
from seqloom.lab.planner_decoding import decoding, token_s
from seqloom.lab.predictions import LEDGER, Case, keep, named
from seqloom.lab.scale import suited
from seqloom.measure.ledger import now
from seqloom.measure.machine import describe
from seqloom.parallel.cluster import Cluster
from seqloom.parallel.plan import Plan
from seqloom.zoo.architecture import Architecture

MODELS = "elman,lstm,gru,mingru,mamba2,griffin,transformer,hybrid"
SIZES = ((1, 1024), (8, 1024), (1, 4096))  # rows, tokens that stand before
PARAMETERS = "1000000,10000000"
VOCABULARY, TOKENS = 256, 64
HERE = Cluster(
    name="this", devices=1, memory_bytes=1e15, flops_per_s=1.0, bytes_per_s=1.0, step_s=1.0, link_s=1.0,
    link_bytes_per_s=1.0,
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--parameters", default=PARAMETERS)
    parser.add_argument(
        "--keep", nargs="?", const=LEDGER, type=Path, help="write the cases to the ledger, or to a file"
    )
    given = parser.parse_args()
    runtime.keep_memory()  # as the command line does
    runtime.set_threads(1)
    machine, cases = named(describe(runtime.device())), []
    for name in given.models.split(","):
        for parameters in map(int, given.parameters.split(",")):
            architecture = resolve(Architecture, {"name": name})
            spec, _ = suited(architecture, Plan(), parameters, VOCABULARY)
            model = spec.build(0)
            for rows, context in SIZES:
                (told,) = decoding(spec, rows, context, HERE, measured=True)
                assert told.step_s is not None
                case = Case(
                    what="decoding", model=name, family=architecture.family, parameters=parameters, batch=rows,
                    length=context, plan="data=1", predicted_s=told.step_s,
                    measured_s=token_s(model, rows, context, TOKENS), machine=machine, time=now(),
                )  # fmt: skip
                cases.append(case)
                print(
                    f"{name} {parameters:,} {rows} rows after {context}: {1e3 * case.measured_s:.2f} ms, "
                    f"{case.predicted_s / case.measured_s - 1:+.0%}", file=sys.stderr, flush=True,
                )  # fmt: skip
    errors = np.abs([case.predicted_s / case.measured_s - 1 for case in cases])
    summary = {
        "cases": len(cases), "mean_error": float(errors.mean()), "median_error": float(np.median(errors)),
        "worst_error": float(errors.max()),
    }  # fmt: skip
    print(json.dumps(summary), flush=True)
    if given.keep is not None:
        keep(cases, given.keep)


if __name__ == "__main__":
    main()
