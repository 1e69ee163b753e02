"""Comparisons: interrupted, gone on with, overwritten, they tell the same, and nothing twice."""

import math
from pathlib import Path

import pytest

from seqloom.core.spec import resolve
from seqloom.lab.compare import compare, identity
from seqloom.lab.comparison import Comparison
from seqloom.lab.trained import load
from seqloom.measure.ledger import Ledger
from seqloom.tasks.task import Task
from seqloom.train.experiment import Budget
from seqloom.train.progress import Board


def small(**changes) -> Comparison:
    options = {
        "tasks": (resolve(Task, "digits"),),
        "models": ("gru", "transformer"),
        "budget": Budget(steps=6),
        "seeds": 2,
        "parameters": 5000,
        "with_bench": False,
    }
    return Comparison(**{**options, **changes})


def told(out: Path) -> dict:
    """Every row but those of times and bytes, by what it is of."""
    rows = Ledger(out / "ledger.jsonl").rows()
    assert len({identity(row) for row in rows}) == len(rows), "a row stands twice"
    return {identity(row): row.value for row in rows if row.unit not in ("s", "B")}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "run"
    found = compare(small(), out)
    assert found["verdict"] and (out / "report.html").exists()
    assert {(row["model"], row["family"]) for row in found["rows"]} == {
        ("gru", "recurrent"),
        ("transformer", "attention"),
    }
    return out


def test_going_on_with_a_finished_comparison_changes_nothing(whole) -> None:
    before = told(whole)
    compare(small(), whole, resume=True)
    assert told(whole) == before


def test_an_interrupted_comparison_goes_on_to_the_same_end(whole, tmp_path) -> None:
    class Impatient(Board):
        """Stops the work after some events, as a user does with Ctrl-C."""

        events = 0

        def add(self, title):
            def count(event):
                self.events += 1
                if self.events == 5:
                    raise KeyboardInterrupt

            return count

    with pytest.raises(KeyboardInterrupt):
        compare(small(), tmp_path / "run", board=Impatient())
    assert any((tmp_path / "run").glob("digits/*/checkpoints/latest")), "nothing was saved"
    compare(small(), tmp_path / "run", resume=True)
    assert told(tmp_path / "run") == told(whole)


def test_a_comparison_can_be_overwritten_and_is_else_refused(tmp_path) -> None:
    quick = small(seeds=1, budget=Budget(steps=2))
    compare(quick, tmp_path / "run")
    with pytest.raises(ValueError, match="--overwrite"):
        compare(quick, tmp_path / "run")
    with pytest.raises(ValueError, match="seeds"):
        compare(small(seeds=2, budget=Budget(steps=2)), tmp_path / "run", resume=True)
    compare(quick, tmp_path / "run", overwrite=True)
    assert len(told(tmp_path / "run"))


def test_each_training_is_a_run_that_scores_what_the_comparison_says(tmp_path) -> None:
    found = compare(small(seeds=1, seed=5), tmp_path / "run")
    for row in found["rows"]:
        again = load(tmp_path / "run" / "digits" / f"{row['model']}-5").scores("test")
        assert again["metrics"]["accuracy"] == pytest.approx(row["metrics"]["accuracy"]["value"], abs=1e-12)


def test_gradient_flow_is_told_before_and_after_training_of_every_task(whole) -> None:
    rows = Ledger(whole / "ledger.jsonl").select("gradient_norm")
    assert {(row.labels["model"], row.labels["when"]) for row in rows} == {
        (model, when) for model in ("gru", "transformer") for when in ("initial", "trained")
    }


def test_a_model_that_diverges_is_reported_and_the_others_go_on(tmp_path) -> None:
    wild = small(settings={"learning_rate": 1e30, "clip": None}, models=("elman", "gru"), seeds=1)
    try:
        found = compare(wild, tmp_path / "run")
        assert any("not finite" in notice for notice in found["notices"])
    except RuntimeError as error:
        assert "no training came to its end" in str(error)
    assert (tmp_path / "run" / "report.html").exists()


def test_models_that_see_the_future_have_no_speed_on_next_tokens_and_it_is_said(tmp_path) -> None:
    terms = small(models=("bilstm", "bert"), seeds=1, parameters=9000, with_bench=True)
    found = compare(terms, tmp_path / "run")
    assert any("no speed of bilstm, bert" in notice for notice in found["notices"]) and len(found["rows"]) == 2
    assert (tmp_path / "run" / "report.html").exists()


def test_tasks_of_one_kind_are_named_by_what_differs() -> None:
    tasks = tuple(resolve(Task, {"name": "recall", "pairs": pairs}) for pairs in (4, 6))
    assert list(small(tasks=tasks).named()) == ["recall-pairs4", "recall-pairs6"]
    assert list(small().named()) == ["digits"]
    with pytest.raises(ValueError, match="named twice"):
        small(tasks=tasks[:1] * 2).named()


def test_a_budget_in_seconds_is_shared_out() -> None:
    comparison = small(
        budget=Budget(seconds=100.0), with_bench=True, tasks=tuple(resolve(Task, n) for n in ("digits", "recall"))
    )
    parts = [comparison.training_budget(task).seconds or 0 for task in comparison.tasks]
    assert sum(parts) * 2 * 2 == pytest.approx(85.0)
    assert parts[1] / parts[0] == pytest.approx(comparison.tasks[1].share / comparison.tasks[0].share)


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"seeds": 0}, "seeds = 0"), ({"models": ("gru", "gru")}, "named twice"), ({"models": ()}, "at least one")],
)
def test_wrong_terms_are_refused(changes, says) -> None:
    with pytest.raises(ValueError, match=says):
        small(**changes)


def test_identity_ignores_how_long_it_took(whole) -> None:
    row = Ledger(whole / "ledger.jsonl").select("validation")[0]
    assert math.isfinite(row.labels["train_s"]) and "train_s" not in dict(identity(row)[2])
