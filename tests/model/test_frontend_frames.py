"""Frames become vectors one by one: no frame sees another, padding is zero whatever it holds."""

import torch

from seqloom.model.frontend import Values
from seqloom.model.frontend_frames import Frames
from seqloom.model.head import Labels
from seqloom.model.model import ModelSpec
from seqloom.zoo.architecture import count_parameters
from seqloom.zoo.cnn_lstm import CNNLSTM

SPEC = Frames(height=9, width=12, colors=3, filters=(4, 6))


def clips(seed: int = 0) -> torch.Tensor:
    return torch.randn(3, 5, SPEC.channels, generator=torch.Generator().manual_seed(seed))


def test_a_vector_depends_on_its_frame_alone_and_tells_where_things_are() -> None:
    frontend, x = SPEC.build(16), clips()
    whole, _ = frontend(x, None)
    assert whole.shape == (3, 5, 16)
    one, _ = frontend(x[1:2, 3:4], None)
    assert torch.allclose(whole[1, 3], one[0, 0], atol=1e-6)  # other shapes of products round otherwise
    turned = x.reshape(3, 5, 9, 12, 3).flip(3).reshape(3, 5, -1)
    assert not torch.allclose(frontend(turned, None)[0], whole, atol=1e-3)


def test_padding_is_zero_whatever_it_holds() -> None:
    frontend, x = SPEC.build(16), clips()
    segment = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 1]])
    poisoned = x.masked_fill((segment == 0)[..., None], torch.nan)
    found, same = frontend(poisoned, segment)
    assert same is segment and (found[segment == 0] == 0).all() and not found.isnan().any()
    assert torch.allclose(found[segment != 0], frontend(x, None)[0][segment != 0], atol=1e-6)
    frontend(poisoned.requires_grad_(), segment)[0].sum().backward()
    assert all(not p.grad.isnan().any() for p in frontend.parameters() if p.grad is not None)


def test_cost_counts_every_product() -> None:
    frontend = SPEC.build(16)
    # 9 x 12 -> 5 x 6 -> 3 x 3 places
    products = 5 * 6 * (3 * 9) * 4 + 3 * 3 * (4 * 9) * 6 + (3 * 3 * 6) * 16
    assert frontend.cost(2, 7).flops == 2 * 2 * 7 * products
    spec = CNNLSTM(width=16).model(SPEC, Labels(classes=3), causal=False)
    assert spec.build().n_parameters == count_parameters(spec)
    assert ModelSpec.from_json(spec.to_json()) == spec
    plain = CNNLSTM(width=16).model(Values(channels=SPEC.channels), Labels(classes=3), causal=False).build()
    assert (
        spec.build().cost(1, 5).flops - frontend.cost(1, 5).flops
        == plain.cost(1, 5).flops - plain.frontend.cost(1, 5).flops
    )


def test_frames_of_any_size_leave_at_most_eight_by_eight_places() -> None:
    for side, filters in ((8, (8,)), (12, (8,)), (28, (8, 16)), (64, (8, 16, 32)), (224, (8, 16, 32, 64, 64))):
        assert Frames.of(side, side, 1).filters == filters
