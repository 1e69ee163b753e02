"""Experiments are values: validated, equal by value, the same through JSON; budgets say what they mean."""

import numpy as np
import pytest

from seqloom.core.spec import resolve
from seqloom.data.batches import Arrays
from seqloom.train.experiment import Budget, Experiment, Optimizer, known_steps


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("60s", "seconds", 60),
        ("1.5 min", "seconds", 90),
        ("5m", "seconds", 300),
        ("2h", "seconds", 7200),
        ("100 steps", "steps", 100),
        ("1 step", "steps", 1),
        ("1e3steps", "steps", 1000),
        ("3 epochs", "epochs", 3),
        (" .5 Epochs ", "epochs", 0.5),
    ],
)
def test_a_budget_is_read_from_text_and_back(text, field, value):
    budget = Budget.parse(text)
    assert getattr(budget, field) == value
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize("text", ["0s", "-5m", "5", "m", "", "5 parsecs", "1.5 steps", "1e999s", "nan s", "5m 3s"])
def test_a_wrong_budget_is_named_with_the_rule(text):
    with pytest.raises(ValueError, match="budget '"):
        Budget.parse(text)


@pytest.mark.parametrize("fields", [{}, {"steps": 3, "seconds": 2}, {"steps": 0}, {"seconds": -1}, {"epochs": 1e400}])
def test_a_budget_is_exactly_one_amount_above_zero(fields):
    with pytest.raises(ValueError, match="Budget"):
        resolve(Budget, fields)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("learning_rate", 0),
        ("learning_rate", float("nan")),
        ("batch_size", 0),
        ("accumulate", -1),
        ("accumulate", 33),
        ("clip", 0),
        ("warmup", 1),
        ("betas", (0.9, 1.0)),
        ("patience", 0),
    ],
)
def test_a_setting_outside_its_rule_is_refused(field, value):
    with pytest.raises(ValueError, match=field):
        Optimizer.of({field: value})


def test_later_settings_win_and_a_misspelt_one_gets_the_nearest():
    assert Optimizer.of({"batch_size": 16, "clip": 2.0}, {"batch_size": 64}) == Optimizer(batch_size=64, clip=2.0)
    with pytest.raises(ValueError, match="Did you mean 'learning_rate'"):
        Optimizer.of({"learning_rat": 1})


def test_an_experiment_goes_to_json_and_back_and_its_digest_names_it(make):
    experiment = make()
    again = Experiment.from_json(experiment.to_json())
    assert again == experiment and again.digest() == experiment.digest()
    assert make(seed=1).digest() != experiment.digest()


def test_an_unknown_model_gets_the_nearest(make):
    with pytest.raises(ValueError, match="Did you mean 'transformer'"):
        make(model="transfomer")


def test_epochs_count_the_last_smaller_batch():
    train = Arrays(np.zeros((50, 3, 1), np.float32), np.zeros(50, np.int64))
    assert known_steps(Budget(epochs=2), train, batch_size=8) == 14
    assert known_steps(Budget(epochs=0.01), train, batch_size=8) == 1
    assert known_steps(Budget(steps=5), train, batch_size=8) == 5
    assert known_steps(Budget(seconds=5), train, batch_size=8) is None


def test_parameters_bring_the_model_to_size(make, opened):
    spec = make(parameters=5000).model_spec(opened)
    assert abs(spec.build(0).n_parameters - 5000) < 100
