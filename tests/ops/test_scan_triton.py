"""The Triton kernels of the scan, run by Triton's interpreter, equal the reference."""

import importlib.util
import os
import subprocess
import sys

import pytest

CODE = """
import torch
from seqloom.ops import scan

def results(function, a, b, h0):
    given = [None if t is None else t.detach().requires_grad_() for t in (a, b, h0)]
    h = function(*given)
    loss = (h * torch.linspace(1, 2, h.shape[-1])).sin().sum()
    return [h, *torch.autograd.grad(loss, [t for t in given if t is not None])]

assert scan.explain(*[torch.zeros(1, 1, 1)] * 2)["triton"] == []
for batch, length, width in ((1, 1, 1), (2, 2, 3), (2, 63, 33), (1, 65, 5), (2, 150, 40)):
    for with_state in (False, True):
        g = torch.Generator().manual_seed(length)
        a = torch.rand(batch, length, width, generator=g).double()
        b = torch.randn(batch, length, width, generator=g).double()
        h0 = torch.randn(batch, width, generator=g).double() if with_state else None
        for x, y in zip(results(scan.kernels["triton"], a, b, h0), results(scan.reference, a, b, h0), strict=True):
            torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-10)
print("equal")
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")
def test_the_triton_kernels_equal_the_reference_in_the_interpreter() -> None:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True)
    assert done.stdout.strip() == "equal", done.stderr


def test_without_triton_or_cuda_the_reasons_are_told() -> None:
    import torch

    from seqloom.ops import scan

    reasons = scan.explain(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1))["triton"]
    assert "It runs on CUDA, not on 'cpu'." in reasons
