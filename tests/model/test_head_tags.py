"""The head of tags: its random field against enumeration, its tags against the scheme, its scores against seqeval."""

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor

from seqloom.core.types import IGNORED
from seqloom.mixers.gru import GRU
from seqloom.model.backbone import Backbone
from seqloom.model.crf import best_path, log_partition, path_score
from seqloom.model.frontend import Words
from seqloom.model.head import Tags
from seqloom.model.head_tags import TagsHead
from seqloom.model.model import ModelSpec
from seqloom.zoo.architecture import count_parameters

NAMES = ("O", *(f"{part}-{label}" for label in ("LOC", "PER") for part in "BIES"))
REAL = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]).bool()


def field(classes: int, scale: float = 1.0, length: int = 4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = ((4, length, classes), (classes, classes), (classes,), (classes,))
    return tuple(  # type: ignore[return-value]
        (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).requires_grad_() for shape in shapes
    )


def every_path(row: int, classes: int) -> Tensor:
    length = int(REAL[row].sum())
    return torch.tensor([path + (0,) * (4 - length) for path in itertools.product(range(classes), repeat=length)])


def score_by_hand(given: tuple[Tensor, ...], row: int, path: list[int]) -> float:
    step, move, first, last = (part.detach() for part in given)
    length = int(REAL[row].sum())
    score = float(first[path[0]] + last[path[length - 1]])
    score += sum(float(step[row, t, path[t]]) for t in range(length))
    return score + sum(float(move[path[t - 1], path[t]]) for t in range(1, length))


@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_partition_and_best_path_are_those_of_all_paths(scale: float) -> None:
    given = field(3, scale)
    total, best = log_partition(*given, REAL), best_path(*given, REAL)
    for row in range(3):
        paths = every_path(row, 3)
        scores = torch.tensor([score_by_hand(given, row, path) for path in paths.tolist()], dtype=torch.float64)
        assert total[row].item() == pytest.approx(scores.logsumexp(0).item(), rel=1e-12)
        assert best[row].tolist() == paths[scores.argmax()].tolist()
        copied = (given[0][row : row + 1].expand(len(paths), -1, -1), *given[1:], REAL[row].expand(len(paths), -1))
        assert torch.allclose(path_score(*copied, paths), scores, rtol=1e-12)
    assert total[3] == 0 and not best[3].any()


def test_the_gradient_of_the_partition_is_right() -> None:
    assert torch.autograd.gradcheck(lambda *given: log_partition(*given, REAL), field(3))


def test_the_gradient_is_finite_where_moves_are_forbidden_and_scores_far_apart() -> None:
    step, move, first, last = (part.detach().clone() for part in field(3, 100.0))
    move[0, 1] = move[2, 0] = first[1] = last[2] = -1e4
    given = [part.requires_grad_() for part in (step, move, first, last)]
    log_partition(*given, REAL).sum().backward()
    assert all(torch.isfinite(part.grad).all() for part in given if part.grad is not None)
    assert given[1].grad is not None and given[1].grad[0, 1] == 0


def test_a_row_of_no_steps_and_a_batch_of_no_steps_are_nothing() -> None:
    given = field(3, length=0)
    none = torch.zeros(4, 0, dtype=torch.bool)
    assert log_partition(*given, none).tolist() == [0.0] * 4 and best_path(*given, none).shape == (4, 0)
    assert path_score(*given, none, torch.zeros(4, 0, dtype=torch.int64)).tolist() == [0.0] * 4


def head(crf: bool = True, seed: int = 0) -> TagsHead:
    torch.manual_seed(seed)
    module = Tags(tags=NAMES, crf=crf).build(5)
    for weight in (module.move, module.first, module.last):
        torch.nn.init.normal_(weight)
    return module


def well_formed(names: list[str]) -> bool:
    text = " ".join(names) + " O"
    inside = ""
    for name in text.split():
        if inside and name not in (f"I-{inside}", f"E-{inside}") or not inside and name[0] in "IE":
            return False
        inside = name[2:] if name[0] in "BI" else ""
    return True


@pytest.mark.parametrize("crf", [True, False])
def test_whatever_the_scores_the_tags_are_well_formed_and_the_best_of_those(crf: bool) -> None:
    module = head(crf)
    output = torch.randn(5, 4, len(NAMES))
    found = module.decode(output)
    legal = [p for p in itertools.product(range(len(NAMES)), repeat=4) if well_formed([NAMES[i] for i in p])]
    for row, path in enumerate(found.tolist()):
        assert well_formed([NAMES[i] for i in path])
        scores = [score(module, output[row], other) for other in legal]
        assert score(module, output[row], path) == pytest.approx(max(scores), abs=1e-5)


def score(module: TagsHead, output: Tensor, path: tuple[int, ...] | list[int]) -> float:
    steps, (move, first, last) = output.tolist(), (w.tolist() for w in (module.move, module.first, module.last))
    total = sum(steps[t][tag] for t, tag in enumerate(path))
    if not module.crf:
        return total
    return total + first[path[0]] + last[path[-1]] + sum(move[a][b] for a, b in itertools.pairwise(path))


def test_the_loss_is_the_surprise_among_well_formed_sequences_by_target() -> None:
    module = head()
    output, target = torch.randn(1, 3, len(NAMES)), torch.tensor([[1, 3, 0]])
    legal = [p for p in itertools.product(range(len(NAMES)), repeat=3) if well_formed([NAMES[i] for i in p])]
    scores = torch.tensor([score(module, output[0], path) for path in legal])
    expected = scores.logsumexp(0).item() - score(module, output[0], [1, 3, 0])
    assert module.loss(output, target).item() == pytest.approx(expected / 3, rel=1e-5)


@pytest.mark.parametrize("crf", [True, False])
def test_padding_left_inside_or_right_changes_neither_loss_nor_tags(crf: bool) -> None:
    module = head(crf)
    output, target = torch.randn(2, 3, len(NAMES)), torch.tensor([[1, 3, 0], [0, 4, 8]])
    places = torch.tensor([1, 3, 4])
    wide, asked = torch.randn(2, 6, len(NAMES)), torch.full((2, 6), IGNORED)
    wide[:, places], asked[:, places] = output, target
    assert module.loss(wide, asked).item() == pytest.approx(module.loss(output, target).item(), rel=1e-5)
    segment = (asked != IGNORED).long()
    assert torch.equal(module.decode(wide, segment)[:, places], module.decode(output))
    assert not module.decode(wide, segment)[segment == 0].any()
    for name, (top, bottom) in module.scores(wide, asked).items():
        same_top, same_bottom = module.scores(output, target)[name]
        assert torch.allclose(top, same_top, atol=1e-5) and torch.equal(bottom, same_bottom)


@pytest.mark.parametrize("crf", [True, False])
def test_entity_scores_are_those_of_seqeval_in_both_of_its_modes(crf: bool) -> None:
    from seqeval.metrics import accuracy_score, f1_score, precision_score, recall_score
    from seqeval.scheme import IOBES

    generator = np.random.default_rng(0)
    module = head(crf)
    target = torch.full((40, 9), IGNORED)
    gold: list[list[str]] = []
    for row in range(40):
        names = ["O"]
        while len(names) < 2 or not well_formed(names):
            names = [NAMES[i] for i in generator.integers(0, len(NAMES), size=generator.integers(1, 4))]
        names = (names * 3)[: 9 if row % 2 else len(names)]
        names = names if well_formed(names) else names[: len(names) // 3 * 3] or ["O"]
        names = names if well_formed(names) else ["O"]
        gold.append(names)
        target[row, : len(names)] = torch.tensor([NAMES.index(name) for name in names])
    output = torch.randn(40, 9, len(NAMES)) + 2 * torch.nn.functional.one_hot(target.clamp(min=0), len(NAMES))
    paths = module.decode(output, (target != IGNORED).long()).tolist()
    found = [[NAMES[i] for i in path[: len(names)]] for path, names in zip(paths, gold, strict=True)]
    sums = {
        name: [part.sum().item() for part in parts] for name, parts in module.scores(output.detach(), target).items()
    }
    ours = {name: top / bottom for name, (top, bottom) in sums.items()}
    for mode in ({}, {"mode": "strict", "scheme": IOBES}):
        assert ours["f1"] == pytest.approx(f1_score(gold, found, **mode))
        assert ours["precision"] == pytest.approx(precision_score(gold, found, **mode))
        assert ours["recall"] == pytest.approx(recall_score(gold, found, **mode))
    assert ours["accuracy"] == pytest.approx(accuracy_score(gold, found))
    assert 0.2 < ours["f1"] < 0.99 and 0 < ours["token_f1"] < 1


@pytest.mark.parametrize("tags", [("O",), ("B-X", "I-X", "E-X", "S-X", "O"), ("O", "B-X"), ("O", "B-X", "I-X", "E-X")])
def test_tags_that_are_not_whole_are_refused(tags: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="O first"):
        Tags(tags=tags)


def test_words_hear_their_characters_and_padding_is_zero() -> None:
    torch.manual_seed(0)
    frontend = Words(vocabulary=9, features=(3,), characters=7, letters=6).build(8).eval()
    inputs = torch.tensor([[[1, 2, 3, 4, 0, 0], [1, 2, 3, 5, 0, 0], [8, 0, 6, 6, 6, 6]]])
    x, _ = frontend(inputs, None)
    assert x.shape == (1, 3, 8) and not torch.allclose(x[0, 0], x[0, 1])
    again, _ = frontend(torch.nn.functional.pad(inputs, (0, 2)), torch.tensor([[1, 0, 1]]))
    assert torch.allclose(again[0, ::2], x[0, ::2], atol=1e-6)  # how many columns are empty changes nothing
    assert not again[0, 1].any()


def test_the_cost_of_words_and_tags_is_what_a_counter_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    frontend = Words(vocabulary=9, features=(3, 2), characters=7, letters=5, dropout=0.5)
    backbone = Backbone(pattern=(GRU(),))
    model = ModelSpec(frontend=frontend, backbone=backbone, head=Tags(tags=NAMES), width=16).build()
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        output, _ = model(torch.zeros(2, 6, 8, dtype=torch.int64))
    assert output.shape == (2, 6, len(NAMES)) and counter.get_total_flops() == model.cost(2, 6).flops
    tables = (9 * 100, 3 * 10, 2 * 10, 7 * 25)
    assert count_parameters(model.spec) - count_parameters(model.spec, embeddings=False) == sum(tables)
