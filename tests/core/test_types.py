"""The place of each step: ids, resets and positions, the same however the stream is cut."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seqloom.core.types import Place, fresh_place, locate, reorder, reversal


@st.composite
def streams(draw) -> torch.Tensor:
    """A row of documents with padding anywhere; ids never return."""
    row: list[int] = []
    for id in draw(st.permutations([1, 2, 3, 4])):
        for _ in range(draw(st.integers(0, 3))):
            row += [id] * draw(st.integers(0, 3)) + [0] * draw(st.integers(0, 2))
    return torch.tensor([row, list(row)], dtype=torch.int64)


def plainly(row: list[int]) -> list[tuple[int, bool]]:
    """Position and start of each step, by the definition; padding excepted."""
    last, position, out = 0, 0, []
    for id in row:
        if id == 0:
            out.append((-1, False))
            continue
        start = last not in (0, id)
        position = 0 if id != last else position + 1
        last = id
        out.append((position, start))
    return out


@given(streams())
@settings(max_examples=60, deadline=None)
def test_places_follow_the_definition(segment: torch.Tensor) -> None:
    where, place = locate(segment, fresh_place(2), 2, segment.shape[1])
    for t, (position, start) in enumerate(plainly(segment[0].tolist())):
        if position >= 0:
            assert (where.position[0, t].item(), where.start[0, t].item()) == (position, start)
    real = [id for id in segment[0].tolist() if id]
    assert place.id[0].item() == (real[-1] if real else 0)


@given(streams(), st.data())
@settings(max_examples=60, deadline=None)
def test_cutting_the_stream_changes_no_place(segment: torch.Tensor, data) -> None:
    length = segment.shape[1]
    whole, end = locate(segment, fresh_place(2), 2, length)
    cut = data.draw(st.integers(0, length))
    first, place = locate(segment[:, :cut], fresh_place(2), 2, cut)
    second, place = locate(segment[:, cut:], place, 2, length - cut)
    for name in ("start", "position"):
        joined = torch.cat([getattr(first, name), getattr(second, name)], dim=1)
        assert torch.equal(joined[whole.real], getattr(whole, name)[whole.real])
    assert torch.equal(place.id, end.id) and torch.equal(place.position, end.position)


@given(streams())
@settings(max_examples=60, deadline=None)
def test_the_layout_is_what_it_says(segment: torch.Tensor) -> None:
    where, _ = locate(segment, fresh_place(2), 2, segment.shape[1])
    row = segment[0].tolist()
    stripped = list(row)
    while stripped and stripped[-1] == 0:
        stripped.pop()
    one = len(set(stripped)) <= 1 and 0 not in stripped
    expected = "mixed" if not one else "plain" if len(stripped) == len(row) else "tail"
    assert where.layout == expected


@given(streams())
@settings(max_examples=30, deadline=None)
def test_reversal_turns_real_steps_and_is_its_own_inverse(segment: torch.Tensor) -> None:
    real = segment != 0
    order = reversal(real)
    x = torch.arange(segment.numel(), dtype=torch.float64).view(2, -1, 1)
    turned = reorder(x, order)
    n_real = int(real[0].sum())
    assert turned[0, :n_real, 0].tolist() == x[0, real[0], 0].flip(0).tolist()
    assert torch.equal(reorder(turned, order.argsort(dim=1)), x)


def test_without_segments_a_stream_goes_on() -> None:
    where, place = locate(None, Place(torch.tensor([0, 5]), torch.tensor([0, 7])), 2, 3)
    assert where.id.tolist() == [[1, 1, 1], [5, 5, 5]]
    assert where.position.tolist() == [[0, 1, 2], [7, 8, 9]]
    assert place.position.tolist() == [3, 10] and where.layout == "plain"
