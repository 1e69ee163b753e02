"""Beginning from a run's weights: all but the head's are taken, and weights that do not fit are named."""

from pathlib import Path

import pytest
import torch

from seqloom.mixers.gru import GRU
from seqloom.model.backbone import Backbone
from seqloom.model.frontend import Tokens
from seqloom.model.head import Labels, NextToken
from seqloom.model.model import Model, ModelSpec
from seqloom.train.begin import best, fingerprint, put

RUN = Path("runs/x")


def model(seed: int, width: int = 8, classes: int | None = None) -> Model:
    head = Labels(classes=classes) if classes else NextToken(vocabulary=20)
    backbone = Backbone(pattern=(GRU(),))
    return ModelSpec(frontend=Tokens(vocabulary=20), backbone=backbone, head=head, width=width).build(seed)


def test_all_weights_are_taken_or_all_but_the_head_s() -> None:
    source, like, other = model(0), model(1), model(1, classes=3)
    head = other.get_parameter("head.project.weight").clone()
    put(like, source.state_dict(), RUN)
    put(other, source.state_dict(), RUN, head=False)
    assert all(torch.equal(tensor, source.state_dict()[name]) for name, tensor in like.state_dict().items())
    assert torch.equal(other.get_parameter("head.project.weight"), head)
    trunk = [name for name in other.state_dict() if not name.startswith("head.")]
    assert len(trunk) > 5 and all(torch.equal(other.state_dict()[name], source.state_dict()[name]) for name in trunk)
    assert fingerprint(other.state_dict()) == fingerprint(source.state_dict())


def test_weights_that_do_not_fit_are_named_and_nothing_is_taken() -> None:
    into = model(1)
    before = fingerprint(into.state_dict())
    weights = {name: tensor for name, tensor in model(0).state_dict().items() if name != "frontend.embedding.weight"}
    with pytest.raises(ValueError, match=r"'runs/x' .* it lacks frontend\.embedding\.weight$"):
        put(into, weights, RUN)
    with pytest.raises(ValueError, match=r"it has, and the model has not, backbone\.strange$"):
        put(into, {**model(0).state_dict(), "backbone.strange": torch.zeros(1)}, RUN)
    with pytest.raises(ValueError, match=r"shape frontend\.embedding\.weight \(20, 16\), not \(20, 8\), .* more"):
        put(into, model(0, width=16).state_dict(), RUN)
    assert fingerprint(into.state_dict()) == before


def test_a_fingerprint_is_of_names_shapes_and_bits_but_for_the_head() -> None:
    weights = model(0).state_dict()
    known = fingerprint(weights)
    assert fingerprint(dict(reversed(weights.items()))) == known == fingerprint(model(0).state_dict())
    assert fingerprint({**weights, "head.project.weight": torch.zeros(1)}) == known
    for changed in (
        {"backbone.a": torch.zeros(1)},
        {"frontend.embedding.weight": weights["frontend.embedding.weight"].T},
    ):
        assert fingerprint({**weights, **changed}) != known
    nudged = weights["frontend.embedding.weight"].clone()
    nudged[0, 0] = nudged[0, 0].nextafter(torch.tensor(1.0))
    assert fingerprint({**weights, "frontend.embedding.weight": nudged}) != known


def test_a_run_without_a_checkpoint_is_named_with_the_way_on(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no checkpoint yet; go on with it: seqloom train --resume --out"):
        best(tmp_path)
