"""Every "yes" of the support table is held: the step of a named model under the plan equals that of one process."""

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ranks import on_ranks
from test_strategies import ROWS, batch, count, part

from seqloom.core.registry import catalog
from seqloom.core.spec import resolve
from seqloom.model.frontend import Tokens
from seqloom.model.head import Labels, NextToken
from seqloom.model.model import ModelSpec
from seqloom.parallel.layout import Layout, why_not
from seqloom.parallel.plan import Plan
from seqloom.zoo.architecture import Architecture

ROOT = Path(__file__).parents[2]
PLANS = [
    Plan(data=2),
    Plan(tensor=2),
    Plan(pipeline=2, parts=2),
    Plan(pipeline=2, parts=2, cuts="time"),
    Plan(pipeline=2, parts=2, schedule="1f1b"),
    Plan(sequence=2),
]


def described(name: str, task: str) -> ModelSpec | None:
    architecture: Any = resolve(Architecture, name)
    causal = task == "next tokens"
    if architecture.needs == ("future" if causal else "source"):
        return None
    tokens = Tokens(vocabulary=11)
    head = NextToken(vocabulary=11) if causal else Labels(classes=3)
    source = tokens if architecture.needs == "source" else None
    return architecture.replace(width=32, dropout=0.0).model(tokens, head, causal, source)


def one_step(spec: ModelSpec, plans: list[Plan]) -> list[tuple[float, dict[str, torch.Tensor]]]:
    """Return loss and gradients of a step in float64, under each plan that suits the model."""
    found = []
    for plan in plans:
        model = spec.build(0).double()
        if why_not(plan, model):
            continue
        layout = Layout(plan, model)
        whole = batch(0, spec.head.kind == "labels", spec.encoder is not None)
        mine = part(whole, layout.share(np.arange(ROWS)).tolist())
        loss = layout.gradients([mine], [count(mine)])
        found.append((float(loss), layout.whole(lambda parameter: parameter.grad)))
    return found


CASES = [(name, task) for name in catalog("zoo") for task in ("next tokens", "labels") if described(name, task)]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), CASES, ids=[f"{name}-{task}" for name, task in CASES])
def test_a_step_under_every_plan_that_suits_equals_one_process(name: str, task: str) -> None:
    spec = described(name, task)
    assert spec is not None
    ((expected,),) = on_ranks(1, one_step, spec, [Plan()])
    for found in on_ranks(2, one_step, spec, PLANS):
        assert found
        for loss, gradients in found:
            assert loss == pytest.approx(expected[0], rel=1e-10)
            assert list(gradients) == list(expected[1])
            for key, gradient in expected[1].items():
                torch.testing.assert_close(gradients[key], gradient, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("script", "function", "name"),
    [
        ("parallel.py", "page", "parallel_table.md"),
        ("span.py", "page", "span_table.md"),
        ("span.py", "picture", "span.svg"),
        ("predictions.py", "page", "results/predictions_table.md"),
    ],
)
def test_the_page_is_what_strategies_costs_and_the_ledger_say(script: str, function: str, name: str) -> None:
    written = runpy.run_path(str(ROOT / "docs" / script))[function]()
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == written, f"run python docs/{script}"
