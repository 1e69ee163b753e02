"""Scoring: what evaluate keeps, leaves alone and gives back."""

import math

import numpy as np
import pytest
import torch

from seqloom.core.types import IGNORED
from seqloom.data.batches import Packed
from seqloom.data.pairs import Pairs
from seqloom.measure.scores import Scores
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.model.model import Model
from seqloom.tasks.task import as_one, evaluate, joined, respond, sample_rows
from seqloom.zoo.architecture import Architecture
from seqloom.zoo.gpt import GPT
from seqloom.zoo.gru import GRUStack
from seqloom.zoo.seq2seq import Seq2Seq
from seqloom.zoo.transformer import Transformer

LENGTHS = [3, 9, 1, 5, 5, 2, 8]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # small matrices: a second thread costs more than it gives


@pytest.fixture
def model() -> Model:
    return (
        GRUStack(width=8, layers=1, dropout=0.5).model(Tokens(vocabulary=11), NextToken(vocabulary=11), True).build(0)
    )


@pytest.fixture
def examples() -> Packed:
    generator = np.random.default_rng(0)
    sequences = [generator.integers(0, 11, size=n) for n in LENGTHS]
    return Packed.of(sequences, [np.roll(s, -1) for s in sequences])


def test_scores_stand_in_the_order_of_the_examples(model: Model, examples: Packed) -> None:
    scores = evaluate(model, examples, batch_size=3)
    assert scores.parts["bits_per_token"][:, 1].tolist() == LENGTHS
    alone = [evaluate(model, examples.select(np.array([i]))).value("bits_per_token") for i in range(len(LENGTHS))]
    each = scores.parts["bits_per_token"][:, 0] / scores.parts["bits_per_token"][:, 1]
    assert each == pytest.approx(alone, rel=1e-5)  # float32, summed over batches of other shapes


def test_batch_size_changes_no_score(model: Model, examples: Packed) -> None:
    values = [evaluate(model, examples, batch_size=n).value("bits_per_token") for n in (1, 2, 7, 100)]
    assert values == pytest.approx([values[0]] * 4, rel=1e-5)


def test_twice_gives_the_same_and_draws_nothing(model: Model, examples: Packed) -> None:
    before = torch.get_rng_state()
    first, second = evaluate(model, examples), evaluate(model, examples)
    assert torch.equal(before, torch.get_rng_state())
    for metric in first.metrics:
        assert np.array_equal(first.parts[metric], second.parts[metric])


def test_the_mode_of_every_module_is_put_back(model: Model, examples: Packed) -> None:
    model.train()
    model.head.eval()
    modes = [module.training for module in model.modules()]
    evaluate(model, examples)
    assert [module.training for module in model.modules()] == modes
    with pytest.raises(IndexError):
        evaluate(model, Packed.of([np.array([99])], [np.array([0])]))
    assert [module.training for module in model.modules()] == modes


def test_no_gradient_is_kept(model: Model, examples: Packed) -> None:
    evaluate(model, examples)
    assert torch.is_grad_enabled() and all(parameter.grad is None for parameter in model.parameters())


def test_a_limit_scores_the_same_spread_rows_each_time(model: Model, examples: Packed) -> None:
    assert sample_rows(10, 4).tolist() == [0, 2, 5, 7]
    assert sample_rows(3, 4).tolist() == sample_rows(3, None).tolist() == [0, 1, 2]
    scores = evaluate(model, examples, limit=3)
    assert scores.parts["accuracy"][:, 1].tolist() == [LENGTHS[i] for i in sample_rows(7, 3)]
    with pytest.raises(ValueError, match="limit is 0"):
        evaluate(model, examples, limit=0)


def over(values: np.ndarray) -> Scores:
    return Scores({"m": np.stack([values, np.ones(len(values))], axis=1)})


def test_a_sum_is_exact_whatever_the_order() -> None:
    values = np.array([1e16, 1.0, -1e16, 1.0])
    for order in ([0, 1, 2, 3], [0, 2, 1, 3], [3, 1, 0, 2]):
        assert over(values[order]).value("m") == 0.5


def test_what_is_not_finite_shows() -> None:
    assert math.isnan(over(np.array([np.inf, -np.inf])).value("m"))
    assert over(np.array([np.inf, 1.0])).value("m") == math.inf


def test_a_metric_of_nothing_or_of_another_name_is_refused() -> None:
    scores = Scores({"accuracy": np.zeros((2, 2))})
    with pytest.raises(ValueError, match="no target was scored"):
        scores.value("accuracy")
    with pytest.raises(ValueError, match="no metric 'mse' among accuracy"):
        scores.value("mse")


def test_a_model_that_answers_nan_is_not_hidden(model: Model, examples: Packed) -> None:
    with torch.no_grad():
        model.head.project.weight.fill_(math.nan)
    assert math.isnan(evaluate(model, examples).value("bits_per_token"))


SOURCES, TARGETS = [[1, 2, 3, 4], [5], [6, 7]], [[8, 1], [2, 3, 4], [5]]
BEGIN, END = 9, 10


@pytest.fixture
def pairs() -> Pairs:
    sides = ((np.concatenate(rows), np.cumsum([0, *map(len, rows)])) for rows in (SOURCES, TARGETS))
    return Pairs(*sides, BEGIN, END)


def read_by(architecture: Architecture) -> Model:
    tokens = Tokens(vocabulary=11)
    return architecture.model(tokens, NextToken(vocabulary=11, tied=True), True, tokens).build(0).eval()


def test_source_and_inputs_are_joined_without_padding_between(pairs: Pairs) -> None:
    whole, segment, at = joined(pairs.batch(np.arange(3)))
    assert whole.tolist() == [[1, 2, 3, 4, 10, 9, 8, 1], [5, 10, 9, 2, 3, 4, 0, 0], [6, 7, 10, 9, 5, 0, 0, 0]]
    assert torch.equal(segment, (whole != 0).long())
    assert [at[i, : len(target) + 1].tolist() for i, target in enumerate(TARGETS)] == [[5, 6, 7], [2, 3, 4, 5], [3, 4]]


@pytest.mark.parametrize("architecture", [GRUStack(width=16), Transformer(width=16, heads=2), GPT(width=16, heads=2)])
def test_without_an_encoder_a_source_is_read_in_front(architecture: Architecture, pairs: Pairs) -> None:
    decoder = architecture.model(Tokens(vocabulary=11), NextToken(vocabulary=11, tied=True), True).build(0).eval()
    output = respond(decoder, pairs.batch(np.arange(3)))
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        alone = decoder(torch.tensor([[*source, END, BEGIN, *target]]))[0][0, len(source) + 1 :]
        assert torch.allclose(output[row, : len(alone)], alone, atol=1e-5)  # float32, other shapes


@pytest.mark.parametrize("architecture", [Seq2Seq(width=16), Transformer(width=16, heads=2)])
def test_an_encoder_reads_the_source(architecture: Architecture, pairs: Pairs) -> None:
    model = read_by(architecture)
    assert model.encoder is not None and model.source_frontend is None  # one table for both
    output = respond(model, pairs.batch(np.arange(3)))
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        memory = model.encode(torch.tensor([[*source, END]]))
        alone = model(torch.tensor([[BEGIN, *target]]), memory=memory)[0][0]
        assert torch.allclose(output[row, : len(alone)], alone, atol=1e-5)  # float32, other shapes


def test_one_document_has_the_targets_of_its_inputs(pairs: Pairs) -> None:
    batch = as_one(pairs.batch(np.arange(3)))
    assert batch.source is None
    for row, (source, target) in enumerate(zip(SOURCES, TARGETS, strict=True)):
        wanted = [*[IGNORED] * (len(source) + 1), *target, END]
        assert batch.target[row].tolist() == wanted + [IGNORED] * (batch.target.shape[1] - len(wanted))


def test_scores_with_a_source_are_those_of_each_pair_alone(pairs: Pairs) -> None:
    for architecture in (GRUStack(width=16), Seq2Seq(width=16)):
        model = read_by(architecture)
        scores = evaluate(model, pairs, batch_size=2)
        assert scores.parts["bits_per_token"][:, 1].tolist() == [len(target) + 1 for target in TARGETS]
        alone = [evaluate(model, pairs.select(np.array([i]))).value("bits_per_token") for i in range(3)]
        each = scores.parts["bits_per_token"][:, 0] / scores.parts["bits_per_token"][:, 1]
        assert each == pytest.approx(alone, rel=1e-5)  # float32, other shapes
