"""A sweep in the report: the score over the one number in which tasks of a name differ, and nothing otherwise."""

from typing import Any

from invented import make_run, scored

from seqloom.lab.report import render
from seqloom.lab.report_sections import model_styles
from seqloom.lab.report_sweep import figures, sweeps
from seqloom.lab.verdict import verdict

MODELS = {"gru": "recurrent", "lstm": "recurrent", "transformer": "attention", "hybrid": "hybrid"}
LOSS = {"gru": 0.09, "lstm": 0.11, "transformer": 0.0, "hybrid": 0.02}  # of accuracy for each pair beyond two


def recall(**fields: Any) -> dict[str, Any]:
    return {"spec": {"name": "recall", "variant": "recall", "length": None, "examples": 1000, **fields}}


def swept(pairs: tuple[int, ...] = (8, 4, 6)) -> tuple[dict[str, Any], list[Any]]:
    """Return an invented comparison over pairs, the tasks out of order; the LSTM failed at 8 pairs."""
    run = make_run({f"recall-pairs{n}": recall(pairs=n) for n in pairs}, MODELS)
    rows: list[Any] = []
    for n in pairs:
        for model, loss in LOSS.items():
            if (n, model) != (8, "lstm"):
                rows += scored(f"recall-pairs{n}", model, 0.98 - loss * (n - 2), 0.03, time=10 * n)
    return run, rows


def test_a_sweep_is_tasks_of_a_name_that_differ_in_one_number():
    (found,) = sweeps(swept()[0])
    assert (found.task, found.field, found.values) == ("recall", "pairs", (4, 6, 8))
    assert found.tasks == ("recall-pairs4", "recall-pairs6", "recall-pairs8") and found.title == "recall"


def test_two_swept_numbers_give_a_figure_over_each_at_every_value_of_the_other():
    tasks = {f"recall-pairs{p}-length{t}": recall(pairs=p, length=t) for p in (4, 6) for t in (24, 32)}
    found = {(sweep.field, sweep.title) for sweep in sweeps(make_run(tasks))}
    assert found == {
        ("pairs", "recall, length 24"),
        ("pairs", "recall, length 32"),
        ("length", "recall, pairs 4"),
        ("length", "recall, pairs 6"),
    }


def test_nothing_is_swept_where_tasks_differ_otherwise():
    for other in (
        {"recall-a": recall(pairs=4), "recall-b": recall(pairs=6, length=32)},  # in two numbers
        {"recall-a": recall(pairs=4), "recall-b": recall(pairs=4, variant="copy")},  # in a word
        {"recall-a": recall(pairs=4), "digits": {"spec": {"name": "digits", "pairs": 6}}},  # in the name
        {"recall": recall(pairs=4)},
        {"a": {}, "b": {}},  # a run without specs
        {"recall-a": recall(pairs=None), "recall-b": recall(pairs=6)},  # one number is not told
        {"recall-a": recall(pairs=True), "recall-b": recall(pairs=False)},
    ):
        run = make_run(other)
        assert not sweeps(run)
        assert "sweep-0" not in render(run, [])


def test_the_figure_has_a_line_a_model_and_every_number_in_its_table():
    run, rows = swept()
    ((name, (figure,)),) = figures(run, verdict(run, rows), model_styles(run)).items()
    assert name == "recall" and figure.title == "recall: accuracy over pairs"
    assert figure.table.head == ["pairs", "GRU", "LSTM", "Transformer", "Hybrid", "floor"]
    assert [line[0] for line in figure.table.rows] == ["4", "6", "8"]
    assert figure.table.rows[0][1].startswith(".800 (.770") and figure.table.rows[2][2].startswith("not measured")
    assert figure.wide.count('class="line"') >= 4 and figure.wide.count('class="bar"') == 4


def test_a_sweep_of_recall_stands_in_the_section_on_recall():
    page = render(*swept())
    section = page[page.index('<section id="recall"') : page.index('<section id="method"')]
    assert "recall: accuracy over pairs" in section and page.count('id="sweep-0-t"') == 1


def test_a_sweep_of_another_task_stands_with_the_results():
    tasks = {f"language-length{n}": {"spec": {"name": "language", "length": n}} for n in (128, 256)}
    page = render(make_run(tasks), scored("language-length128", "gru", 0.5, 0.1))
    section = page[page.index('<section id="results"') : page.index('<section id="curves"')]
    assert "language: accuracy over length" in section
