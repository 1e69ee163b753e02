"""Which plan a command line asks for."""

from pathlib import Path
from typing import Any

from seqloom.core import runtime


def plan_of(text: str | None, workers: int | None, run: Path | None, recipe: bool = False) -> Any:
    """Return the plan that is asked for: in words, by a number of processes, or by a run to go on with; None: no plan.

    Raises:
        ValueError: the words name no plan, or it is for another number of processes.
    """
    from seqloom.train.directory import RUN, read_record

    count = workers if workers is not None else runtime.worker().workers
    goes_on = run is not None and (run / RUN).exists()
    if text is None and workers is None and (recipe or (count == 1 and not goes_on)):
        return None
    from seqloom.core.spec import resolve
    from seqloom.parallel.plan import Plan

    if text is not None:
        plan = Plan.parse(text)
    elif workers is None and goes_on and run is not None:
        plan = resolve(Plan, read_record(run).get("plan", {}))
        if plan.processes == 1 < count:
            plan = resolve(Plan, {"data": count})
    else:
        plan = resolve(Plan, {"data": count})
    reasons = plan.why_not(plan.processes if workers is None else workers)
    if reasons:
        raise ValueError("; ".join(reasons))
    return plan
