"""Attention that goes on with a past: one document, without a mask; other types, and several documents, with one."""

import pytest
import torch

from seqloom.core.types import FRESH, fresh_place, locate
from seqloom.mixers.attention import Attention

WIDTH = 16


@pytest.mark.parametrize("kind", ["plain", "shared", "window", "alibi"])
def test_a_stretch_that_goes_on_equals_the_whole(kind: str) -> None:
    settings = {
        "plain": {},
        "shared": {"kv_heads": 1},
        "window": {"window": 3},
        "alibi": {"alibi": True, "rotary": None},
    }
    torch.manual_seed(0)
    mixer = Attention(heads=2, **settings[kind]).build(WIDTH).double()  # type: ignore[arg-type]
    x = torch.randn(2, 11, WIDTH, dtype=torch.float64)
    where, place = locate(None, fresh_place(2), 2, 4)
    first, state = mixer(x[:, :4], FRESH, where)
    later, _ = locate(None, place, 2, 7)
    second, _ = mixer(x[:, 4:], state, later)
    whole = mixer(x, FRESH, locate(None, fresh_place(2), 2, 11)[0])[0]
    torch.testing.assert_close(torch.cat((first, second), dim=1), whole)


@pytest.mark.parametrize("kv_heads", [None, 1], ids=["own-keys", "shared-keys"])
@pytest.mark.parametrize("trains", [True, False], ids=["with-gradient", "without"])
def test_a_past_in_bfloat16_is_gone_on_with_in_float32(kv_heads: int | None, trains: bool) -> None:
    torch.manual_seed(0)
    mixer = Attention(heads=2, kv_heads=kv_heads).build(WIDTH)
    x = torch.randn(2, 11, WIDTH)
    with torch.set_grad_enabled(trains):
        where, place = locate(None, fresh_place(2), 2, 4)
        with torch.autocast("cpu", torch.bfloat16):
            _, state = mixer(x[:, :4], FRESH, where)
        y, _ = mixer(x[:, 4:], state, locate(None, place, 2, 7)[0])
        whole = mixer(x, FRESH, locate(None, fresh_place(2), 2, 11)[0])[0][:, 4:]
    torch.testing.assert_close(y, whole, rtol=0, atol=3e-2)  # bfloat16 has three digits
