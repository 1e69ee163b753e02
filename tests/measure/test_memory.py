"""Live-tensor peaks against peaks counted by hand."""

import gc
from collections.abc import Callable

import pytest
import torch

from seqloom.measure.memory import available_bytes, peak_live_bytes, peak_rss_bytes, rss_bytes, total_bytes

N = 1000
MB = 4 * N  # one float32 vector of N


def freed() -> None:
    for _ in range(5):
        torch.zeros(N)


def held() -> list[torch.Tensor]:
    return [torch.zeros(N) for _ in range(5)]


def views() -> None:
    x = torch.zeros(N)
    y, z = x[10:], x.view(2, -1).t()
    del x
    w = torch.zeros(N)  # the views hold the storage
    del y, z, w
    torch.zeros(N)


def in_place() -> None:
    x = torch.zeros(N)
    x.add_(1).mul_(2).relu_()


def temporaries() -> torch.Tensor:
    return ((torch.zeros(N) + 1) * 2).exp()  # two at a time


def resized() -> None:
    x = torch.zeros(N)
    x.resize_(3 * N)


@pytest.mark.parametrize(
    ("call", "expected"),
    [(freed, MB), (held, 5 * MB), (views, 2 * MB), (in_place, MB), (temporaries, 2 * MB), (resized, 3 * MB)],
)
def test_peaks_of_what_a_call_makes(call: Callable[[], object], expected: int) -> None:
    peak = peak_live_bytes(call)
    assert (peak.made_bytes, peak.total_bytes, peak.before_bytes) == (expected, expected, 0)


def test_tensors_from_before_count_once_and_from_the_start() -> None:
    x = torch.zeros(N)

    def call() -> None:
        a = torch.zeros(3 * N)
        del a  # the peak: it and x, though x is only met later
        (x[: N // 2] + x[N // 2 :]).sum()

    peak = peak_live_bytes(call)
    assert peak.before_bytes == MB
    assert peak.made_bytes == 3 * MB
    assert peak.total_bytes == 4 * MB


def test_freeing_a_tensor_from_before_makes_room() -> None:
    holder = [torch.zeros(4 * N)]

    def call() -> None:
        holder[0].sum()
        holder.clear()
        torch.zeros(4 * N)

    assert peak_live_bytes(call).total_bytes == 4 * MB + 4


def test_what_autograd_saves_counts_until_the_backward_pass_lets_go() -> None:
    w = torch.rand(N, requires_grad=True)

    def call() -> None:
        x = w
        for _ in range(4):
            x = x.exp()  # saves its result
        x.backward(torch.ones(N))

    # the second step back: four saved results (the last also has a name), the gradient handed in, which the caller
    # holds, and the gradients before and after this step
    peak = peak_live_bytes(call)
    assert peak.before_bytes == MB
    assert peak.made_bytes == 7 * MB
    with torch.no_grad():
        # nothing saved: a result and the one before it
        assert peak_live_bytes(lambda: w.exp().exp().exp().exp()).made_bytes == 2 * MB


def test_parameters_and_optimizer_state_are_told_apart_from_activations() -> None:
    layer = torch.nn.Linear(100, 100, bias=False)
    optimizer = torch.optim.SGD(layer.parameters(), momentum=0.9, foreach=False)
    x = torch.rand(7, 100)

    def call() -> None:
        optimizer.zero_grad()
        layer(x).sum().backward()
        optimizer.step()

    call()
    peak = peak_live_bytes(call)
    weight = 4 * 100 * 100
    # the gradient of the last call is gone before anything touches it
    assert peak.before_bytes == 2 * weight + 4 * 7 * 100
    assert weight < peak.made_bytes < 2 * weight


def test_it_leaves_results_and_garbage_collection_as_they_were() -> None:
    kept: list[torch.Tensor] = []
    peak_live_bytes(lambda: kept.append(torch.arange(5) * 2))
    assert kept[0].tolist() == [0, 2, 4, 6, 8]
    assert gc.isenabled()


def test_the_process_holds_no_more_than_it_ever_did() -> None:
    now, peak, total, left = rss_bytes(), peak_rss_bytes(), total_bytes(), available_bytes()
    assert peak > 10_000_000
    if now is not None and total is not None and left is not None:
        assert now <= peak * 1.01  # the two are read one after the other
        assert 0 < left < total
