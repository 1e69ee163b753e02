"""What the report says in running words: recall, method, environment, data; made from the run and its rows."""

from collections.abc import Mapping
from typing import Any

from seqloom.lab import wording, words
from seqloom.lab.evidence import ABSENT, Entry, apart
from seqloom.lab.report_figures import Table
from seqloom.lab.verdict import RULE, TaskVerdict, Verdict

MOST_REJECTS = 200  # listed on the page; the raw data hold all that the run kept
ROWS = ("rows_in", "rows_used", "rows_rejected")
Run = Mapping[str, Any]


def kicker(run: Run, verdict: Verdict) -> str:
    """Return the line above the headline: data, machine, budget, seeds."""
    parts = [task.title for task in verdict.tasks] if len(verdict.tasks) == 1 else [t.name for t in verdict.tasks]
    if len(verdict.tasks) == 1:
        facts = run["tasks"][verdict.tasks[0].name].get("facts", {})
        used = facts.get("rows_used")
        parts += [f"{words.count(used)} rows used"] if isinstance(used, int | float) else []
    cores = run.get("machine", {}).get("cores")
    parts += [f"{cores}-core CPU"] if cores else []
    if run.get("budget"):
        parts.append(f"budget {run['budget']}")
    seeds = run.get("seeds")
    if isinstance(seeds, int):
        parts.append("1 seed" if seeds == 1 else f"{seeds} seeds")
    return " · ".join(str(part) for part in parts)


def chips(run: Run, rows: list[Any]) -> list[str]:
    """Return which kinds of numbers the report holds; a row that says why one is missing is none of them."""
    rows = [row for row in rows if row.what not in ABSENT]
    kinds = {kind: sum(row.kind == kind for row in rows) for kind in ("measured", "predicted", "extrapolated")}
    found = ["every number measured"] if kinds["measured"] == len(rows) else [f"{kinds['measured']} numbers measured"]
    looks = {"predicted": "dashed", "extrapolated": "dotted"}
    return found + [f"{kinds[kind]} {kind}, {look}" for kind, look in looks.items() if kinds[kind]]


def recall(run: Run, verdict: Verdict) -> list[tuple[str, list[str]]]:
    """Return, for each recall task, its name and what it shows of attention against recurrence."""
    found: list[tuple[str, list[str]]] = []
    for task in verdict.tasks:
        spec = run["tasks"][task.name].get("spec", {})
        if str(spec.get("name", task.name)).split(".")[-1] == "recall":
            given = {key: value for key, value in spec.items() if value is not None}
            found.append((task.name, _recall(task, {**run["tasks"][task.name].get("facts", {}), **given})))
    return found


def _recall(task: TaskVerdict, spec: Mapping[str, Any]) -> list[str]:
    attention, recurrent = task.best_of.get("attention"), task.best_of.get("recurrent")
    if attention is None or recurrent is None:
        lacking = "attention" if attention is None else "recurrent"
        return [f"No {lacking} model was tested on this task, so it shows nothing of the two families."]
    named = (("pairs", "pairs to remember"), ("length", "steps"), ("vocabulary", "symbols"))
    setting = words.listing([f"{spec[key]:,} {name}" for key, name in named if isinstance(spec.get(key), int)])
    said = [
        f"{'With ' + setting + ', the' if setting else 'The'} best attention model ({attention.title}) reached "
        f"{words.metric(task.metric)} {wording.score(attention)}; the best recurrent model ({recurrent.title}) "
        f"reached {wording.score(recurrent)}{_at_parameters(attention, recurrent)}."
    ]
    if attention.above_floor is False and recurrent.above_floor is False:
        said.append("Neither clearly beats the floor: the task was not learned at this budget, and shows nothing yet.")
        return said
    if not apart(attention.quality, recurrent.quality):
        said.append("Their intervals overlap: no difference is shown at this budget. More pairs make the task harder.")
        return said
    ahead = task.better == "higher"
    assert attention.quality and recurrent.quality
    if (attention.quality.value > recurrent.quality.value) == ahead:
        said.append("Their intervals do not overlap: attention is shown better here.")
        if spec.get("variant", "recall") == "recall":
            said.append(
                "This is the textbook case: attention can look back at every pair, while a recurrent model has to "
                "carry all pairs in a state of fixed size (Arora et al. 2023)."
            )
    else:
        said.append("Their intervals do not overlap: recurrence is shown better here.")
    hybrid = task.best_of.get("hybrid")
    if hybrid is not None:
        verb = "is told apart from" if apart(hybrid.quality, attention.quality) else "shows no difference from"
        said.append(f"The {hybrid.title} reached {wording.score(hybrid)} and {verb} the best attention model.")
    weak = [e.title for e in task.entries if e.above_floor is False]
    if weak:
        said.append(f"Not clearly above the floor: {words.listing(weak)}.")
    return said


def _at_parameters(a: Entry, b: Entry) -> str:
    if a.parameters is None or b.parameters is None:
        return ""
    one, two = a.parameters.value, b.parameters.value
    gap = abs(one - two) / max(one, two, 1)
    equal = "at equal parameters" if gap <= 0.05 else f"at parameters {gap * 100:.0f} % apart"
    return f", {equal} ({words.short_count(one)} and {words.short_count(two)})"


def method(run: Run, verdict: Verdict) -> list[str]:
    """Return how the numbers were made, and the rule of the verdict."""
    said = [str(line) for line in run.get("method", [])]
    counts = [e.parameters.value for t in verdict.tasks for e in t.entries if e.parameters]
    if counts:
        ranges = []
        for task in verdict.tasks:
            mine = [e.parameters.value for e in task.entries if e.parameters]
            if mine:
                ranges.append(f"{task.name} {words.short_count(min(mine))} to {words.short_count(max(mine))}")
        said.append(f"Parameters of the candidates, smallest to largest: {'; '.join(ranges)}.")
    seeds, budget = run.get("seeds"), run.get("budget")
    if seeds or budget:
        said.append(
            f"Budget: {budget or 'not recorded'}; seeds: {seeds or 'not recorded'}, the first of them "
            f"{run.get('seed', 'not recorded')}. Every model and seed of a task has the same budget, so that a "
            "budget in seconds makes each comparison one at equal time."
        )
    said += [
        "The candidates of a task see the same examples in the same order and train in turns, slice by slice, so that "
        "a slow minute of the machine falls on all of them. Training time counts a model's own slices only.",
        "Scores are on test examples that no training step and no choice of weights has seen. Their 95 % intervals are "
        "bootstrapped over seeds and examples; timings are medians with bootstrapped 95 % intervals. Of time to "
        "quality with several seeds, the median and the range over seeds stand.",
        "Time to quality is the training time until a model is within 1 % of its own best validation score: it "
        "compares speeds of learning only between models of like quality, which is how the verdict uses it.",
        "A model is shown better than another where their intervals do not overlap. Among models that none is shown "
        "better than, the best score is preferred, or one whose score lies within its interval and that got there in a "
        f"shown shorter time. {RULE}",
        "Measured numbers are drawn solid, predicted ones dashed, extrapolated ones dotted.",
    ]
    return said


def environment(run: Run) -> list[Table]:
    """Return the machine with its measured ceilings, the versions and the run's own settings."""
    machine = run.get("machine", {})
    readers = {
        "memory_bytes": ("memory", words.size),
        "flops_per_s": ("matrix rate, measured", lambda v: f"{words.significant(v / 1e9, 3)} GFLOP/s"),
        "bytes_per_s": ("memory rate, measured", lambda v: f"{words.size(v)}/s"),
        "call_overhead_s": ("overhead of a call, measured", words.seconds),
    }
    rows: list[list[str]] = []
    for key, value in machine.items():
        name, read = readers.get(key, (key.replace("_", " "), plain))
        rows.append([name, read(value) if isinstance(value, int | float) or key not in readers else plain(value)])
    versions = [[str(k), str(v)] for k, v in run.get("versions", {}).items()]
    settings = [[key, str(run[key])] for key in ("created", "budget", "seeds", "seed") if key in run]
    return [
        Table(["machine", ""], rows),
        Table(["version of", ""], versions),
        Table(["run", ""], settings),
    ]


def floors(run: Run) -> Table:
    """Return the trivial score of each task and what reaches it."""
    rows = [
        [
            name,
            words.metric(task["metric"]),
            task["better"] + " is better",
            words.scored(task["metric"], task["floor"]) if isinstance(task.get("floor"), int | float) else "not known",
            str(task.get("floor_of", "")),
        ]
        for name, task in run["tasks"].items()
    ]
    return Table(["task", "metric", "", "floor", "reached by"], rows)


def data_facts(run: Run) -> list[dict[str, Any]]:
    """Return, for each task, its title, facts, classes and rejected rows."""
    return [_facts(name, task) for name, task in run["tasks"].items()]


def _facts(name: str, task: Mapping[str, Any]) -> dict[str, Any]:
    facts = dict(task.get("facts", {}))
    listed = task.get("rejects") or facts.pop("rejects", None) or []
    rejects = [
        [plain(r.get("line", r.get("file", ""))), words.clip(str(r.get("reason", "")))]
        for r in listed
        if isinstance(r, Mapping)
    ]
    labels = [words.clip(str(label)) for label in task.get("labels", [])]
    spec = {k: v for k, v in task.get("spec", {}).items() if v is not None and k != "name"}
    known = [v for k in ROWS if isinstance(v := facts.get(k), int | float)]
    balance = ""
    if len(known) == len(ROWS):
        rows_in, used, rejected = known
        sum_words = f"{words.count(rows_in)} rows in = {words.count(used)} used + {words.count(rejected)} rejected"
        balance = sum_words if rows_in == used + rejected else f"{sum_words}: this does not add up"
    return {
        "name": name,
        "title": str(task.get("title", name)),
        "balance": balance,
        "facts": Table(
            ["fact", ""],
            [[str(k).replace("_", " "), plain(v)] for k, v in list(facts.items())[:60] if not (balance and k in ROWS)],
        ),
        "spec": Table(["setting", ""], [[str(k).replace("_", " "), plain(v)] for k, v in spec.items()]),
        "labels": labels[:60],
        "more_labels": max(0, len(labels) - 60),
        "rejects": Table(["line", "reason"], rejects[:MOST_REJECTS]),
        "more_rejects": max(0, len(rejects) - MOST_REJECTS),
    }


def plain(value: Any) -> str:
    """Return a JSON value as words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value.is_integer() else words.significant(value, 4)
    if isinstance(value, Mapping):
        return "; ".join(f"{k}: {plain(v)}" for k, v in list(value.items())[:40])
    if isinstance(value, list | tuple):
        shown = ", ".join(plain(v) for v in value[:40])
        return shown + (f" and {len(value) - 40} more" if len(value) > 40 else "")
    return words.clip(str(value))
