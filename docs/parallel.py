"""Write parallel_table.md: which named models each axis of a plan suits, and why not, asked of the strategies.

python docs/parallel.py
"""

from pathlib import Path

import torch

from seqloom.core.registry import catalog
from seqloom.core.spec import resolve
from seqloom.model.frontend import Tokens
from seqloom.model.head import Labels, NextToken
from seqloom.parallel.layout import why_not
from seqloom.parallel.plan import Plan
from seqloom.zoo.architecture import Architecture

HERE = Path(__file__).parent
PLANS = {
    "data": Plan(data=2),
    "tensor": Plan(tensor=2),
    "pipeline, rows": Plan(pipeline=2),
    "pipeline, time": Plan(pipeline=2, cuts="time"),
    "sequence": Plan(sequence=2),
}
TASKS = {"next tokens": (NextToken(vocabulary=64), True), "labels": (Labels(classes=4), False)}
SHORT = {"the future": "sees the future", "does not divide": "does not divide", "without a block": "too few blocks"}


def cell(architecture: Architecture, task: str, plan: Plan) -> str:
    head, causal = TASKS[task]
    frontend = Tokens(vocabulary=64)
    source = frontend if architecture.needs == "source" else None
    with torch.device("meta"):
        model = architecture.replace(width=64).model(frontend, head, causal, source).build(0)
    reasons = why_not(plan, model)
    return "yes" if not reasons else next(short for said, short in SHORT.items() if said in reasons[0])


def page() -> str:
    lines = ["| model | task | " + " | ".join(PLANS) + " |", "|---|---|" + "---|" * len(PLANS)]
    for name in catalog("zoo"):
        architecture = resolve(Architecture, name)
        for task, (_, causal) in TASKS.items():
            if causal and architecture.needs == "future":
                continue
            if task == "labels" and architecture.needs == "source":
                continue
            cells = [cell(architecture, task, plan) for plan in PLANS.values()]
            lines.append(f"| `{name}` | {task} | " + " | ".join(cells) + " |")
    return "<!-- written by docs/parallel.py -->\n\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    (HERE / "parallel_table.md").write_text(page(), encoding="utf-8")
