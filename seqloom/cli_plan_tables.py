"""What the verbs on plans show to people."""

from typing import Any

from seqloom.cli_output import number, table

_SHOWN = 12  # plans of a table


def decoded(rows: list[dict[str, Any]], basis: str) -> str:
    """Return what a token takes, by replicas."""
    header = ["replicas", "a token", "from", "to", "tokens a second", "memory", "limit"]
    lines = [
        [
            str(row["processes"]), *(number(row[name], "s") for name in ("step_s", "low", "high")),
            number(row["tokens_per_s"]), number(row["memory_bytes"], "bytes"),
            "; ".join(row["why_not"]) or row["limit"],
        ]
        for row in rows
    ]  # fmt: skip
    return f"Predicted, {basis}; not measured. Rows are shared out over replicas.\n{table(header, lines)}"


def predictions(rows: list[dict[str, Any]], basis: str) -> str:
    """Return the plans that can be, in words, and how many cannot."""
    header = ["plan", "processes", "step", "from", "to", "memory", "bubble", "calls", "sent", "at the door", "limit"]
    lines = [
        [
            row["plan"], str(row["processes"]), number(row["step_s"], "s"), number(row["low"], "s"),
            number(row["high"], "s"), number(row["memory_bytes"], "bytes"), f"{row['bubble']:.0%}",
            *(("", "") if row["messages"] is None else (number(row["messages"]), number(row["sent_bytes"], "bytes"))),
            number(row["message_s"], "s"), row["limit"],
        ]
        for row in rows
        if not row["why_not"]
    ]  # fmt: skip
    refused = [row for row in rows if row["why_not"]]
    told = [f"Predicted, {basis}; not measured.", table(header, lines[:_SHOWN])]
    if any(row["messages"] is None for row in rows if not row["why_not"]):
        told.append("Calls and bytes are counted, and memory; where there are none, memory is estimated.")
    if len(lines) > _SHOWN:
        told.append(f"... and {len(lines) - _SHOWN} slower ones, all in --json")
    if refused:
        first, plans = refused[0], "plan" if len(refused) == 1 else "plans"
        told.append(f"{len(refused)} {plans} cannot be, e.g. {first['plan']}: {first['why_not'][0]}")
    return "\n".join(told)


def scaled(cases: list[dict[str, Any]]) -> str:
    """Return what plans reached beside what was expected, where the time went, and what is not there and why."""
    found = [case for case in cases if "speedup" in case]
    named = [[str(case["model"]), str(case["plan"])] for case in found]
    header = ["model", "plan", "step", "one process", "speed-up", "predicted", "ceiling", "of ceiling", "efficiency"]
    reached = [
        [
            *name, number(case["step_s"], "s"), number(case["one_process_s"], "s"), _within(case, "speedup"),
            _within(case, "predicted_speedup"), f"{case['ceiling']:.2f}", f"{case['of_ceiling']:.0%}",
            f"{case['efficiency']:.0%}",
        ]
        for name, case in zip(named, found, strict=True)
    ]  # fmt: skip
    told = ["model", "plan", "compute", "at the door", "data", "bubble", "messages", "sent"]
    split = [
        [
            *name, *(f"{case[share]:.1%}" for share in ("compute_share", "door_share", "data_share")),
            f"{case['predicted_bubble_share']:.0%}" if "predicted_bubble_share" in case else "",
            number(case["messages"]), number(case["sent_bytes"], "bytes"),
        ]
        for name, case in zip(named, found, strict=True)
    ]  # fmt: skip
    lines = [table(header, reached)]
    if found:
        ideal = f"Ideal: {found[0]['ideal']:g}. Measured, but for what is predicted, with the planner's band."
        bubble = "Shares of a step: measured, a bubble inside of what is at the door; what it should be is predicted."
        lines += [ideal, "", table(told, split), bubble]
    for case in cases:
        for key, what in (("skipped", "not measured"), ("not_predicted", "not predicted")):
            lines += [f"{case['model']} under {case['plan']}, {what}: {case[key]}"] if key in case else []
    return "\n".join(lines)


def _within(case: dict[str, Any], name: str) -> str:
    """Return a figure with its interval; nothing where there is none."""
    if name not in case:
        return ""
    low, high = case[f"{name}_interval"]
    return f"{case[name]:.2f} ({low:.2f} – {high:.2f})"
