"""seqloom.nn is torch.nn: same state_dict, outputs, states and gradients."""

import itertools

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence

from seqloom import nn

KINDS = ["RNN", "LSTM", "GRU"]


def pair(kind: str, **options):
    torch.manual_seed(0)
    ours = getattr(nn, kind)(5, 7, dtype=torch.float64, **options)
    theirs = getattr(torch.nn, kind)(5, 7, dtype=torch.float64, **options)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def flat(output) -> list[torch.Tensor]:
    y, state = output
    data = y.data if hasattr(y, "batch_sizes") else y
    return [data, *(state if isinstance(state, tuple) else (state,))]


def agree(ours, theirs, given, *state) -> None:
    mine, other = flat(ours(given, *state)), flat(theirs(given, *state))
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    grads = [
        torch.autograd.grad(sum(t.sin().sum() for t in out), module.parameters())
        for out, module in ((mine, ours), (other, theirs))
    ]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("layers", "both", "first", "bias"), list(itertools.product((1, 2), *[(False, True)] * 3)))
def test_dense_input_gives_what_torch_gives(kind, layers, both, first, bias) -> None:
    ours, theirs = pair(kind, num_layers=layers, bidirectional=both, batch_first=first, bias=bias)
    x = torch.randn(3, 4, 5, dtype=torch.float64)
    agree(ours, theirs, x)
    h = torch.randn(layers * (1 + both), 3 if first else 4, 7, dtype=torch.float64)
    agree(ours, theirs, x, (h, h.cos()) if kind == "LSTM" else h)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("lengths", [[6, 4, 1], [2, 6, 3]])
def test_packed_input_gives_what_torch_gives(kind, both, lengths) -> None:
    ours, theirs = pair(kind, num_layers=2, bidirectional=both)
    x = torch.randn(6, 3, 5, dtype=torch.float64)
    packed = pack_padded_sequence(x, torch.tensor(lengths), enforce_sorted=lengths == sorted(lengths, reverse=True))
    agree(ours, theirs, packed)
    h = torch.randn(4 if both else 2, 3, 7, dtype=torch.float64)
    agree(ours, theirs, packed, (h, h.cos()) if kind == "LSTM" else h)
    assert torch.equal(ours(packed)[0].batch_sizes, packed.batch_sizes)


@pytest.mark.parametrize("kind", KINDS)
def test_one_sequence_without_a_batch_is_accepted(kind) -> None:
    ours, theirs = pair(kind)
    agree(ours, theirs, torch.randn(4, 5, dtype=torch.float64))


def test_relu_is_a_nonlinearity() -> None:
    agree(*pair("RNN", nonlinearity="relu"), torch.randn(4, 2, 5, dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
def test_float32_agrees_to_rounding(kind) -> None:
    torch.manual_seed(0)
    ours = getattr(nn, kind)(16, 32, num_layers=2, batch_first=True)
    theirs = getattr(torch.nn, kind)(16, 32, num_layers=2, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(4, 50, 16)
    # 50 float32 steps of 32-term sums: some 1e-6
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=0, atol=1e-5)


def test_dropout_acts_between_layers_in_training_only() -> None:
    torch.manual_seed(0)
    layer = nn.GRU(5, 7, num_layers=2, dropout=0.5)
    x = torch.randn(4, 2, 5)
    assert not torch.equal(layer(x)[0], layer(x)[0])
    layer.eval()
    assert torch.equal(layer(x)[0], layer(x)[0])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: nn.LSTM(5, 7, proj_size=3), "proj_size=3"),
        (lambda: nn.GRU(0, 7), "input_size=0"),
        (lambda: nn.GRU(5, 7, dropout=1.5), "dropout=1.5"),
        (lambda: nn.RNN(5, 7, nonlinearity="sine"), "nonlinearity='sine'"),
        (lambda: nn.GRU(5, 7)(torch.zeros(3, 2, 4)), r"\(3, 2, 4\)"),
        (lambda: nn.LSTM(5, 7)(torch.zeros(3, 2, 5), torch.zeros(1, 2, 7)), r"expected the pair \(h, c\)"),
    ],
)
def test_a_wrong_argument_is_named(make, says) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("kind", KINDS)
def test_compiled_layers_train_on_any_batch_and_length(kind) -> None:
    ours, _ = pair(kind, num_layers=2, bidirectional=True)
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True, dynamic=True)
    for shape in ((7, 3, 5), (9, 2, 5)):
        x = torch.randn(shape, dtype=torch.float64)
        results = [layer(x)[0] for layer in (compiled, ours)]
        torch.testing.assert_close(*results)
        for a, b in zip(*(torch.autograd.grad(y.sin().sum(), ours.parameters()) for y in results), strict=True):
            torch.testing.assert_close(a, b)


def test_an_exported_layer_holds_one_op_for_each_layer_and_direction() -> None:
    ours, _ = pair("GRU", num_layers=2, bidirectional=True)
    sizes = {0: torch.export.Dim("T", min=1), 1: torch.export.Dim("B", min=1)}
    program = torch.export.export(ours, (torch.randn(7, 3, 5, dtype=torch.float64),), dynamic_shapes=(sizes,))
    assert sum("recurrence" in str(node.target) for node in program.graph.nodes) == 4
    x = torch.randn(4, 11, 5, dtype=torch.float64)
    torch.testing.assert_close(program.module()(x)[0], ours(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_and_autocast_give_bfloat16(kind) -> None:
    torch.manual_seed(0)
    layer = getattr(nn, kind)(5, 7)
    x = torch.randn(6, 2, 5)
    expected = layer(x)[0]
    narrow = getattr(nn, kind)(5, 7, dtype=torch.bfloat16)
    narrow.load_state_dict(layer.state_dict())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = layer(x)
    for y, *state in (flat(cast), flat(narrow(x.bfloat16()))):
        assert y.dtype == torch.bfloat16 and all(s.dtype == torch.bfloat16 for s in state)
        # bfloat16 has eight bits: weights, inputs and outputs are each rounded to 0.4 %
        torch.testing.assert_close(y.float(), expected, rtol=0, atol=0.03)
        y.float().sum().backward()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: nn.GRU(5, 7)(torch.zeros(5)), r"\(5,\); GRU takes"),
        (lambda: nn.GRU(5, 7)(torch.zeros(3, 2, 5).double()), "convert one"),
        (lambda: nn.GRU(5, 7)(torch.zeros(3, 2, 5), torch.zeros(1, 2, 7).double()), "hx is torch.float64"),
        (lambda: nn.GRU(5, 7)(torch.zeros(3, 2, 5), torch.zeros(1, 7)), r"expected one tensor h of shape \(1, 2, 7\)"),
        (lambda: nn.LSTM(5, 7)(torch.zeros(3, 5), (torch.zeros(1, 7),)), r"the pair \(h, c\) of shape \(1, 7\)"),
        (lambda: nn.GRU(5, 7)(pack_padded_sequence(torch.zeros(3, 2, 4), [3, 1])), "input_size=5"),
        (
            lambda: nn.GRU(5, 7)(pack_padded_sequence(torch.zeros(3, 2, 5), [3, 1]), torch.zeros(1, 3, 7)),
            "expected one",
        ),
    ],
)
def test_a_wrong_input_is_named(call, says) -> None:
    with pytest.raises(ValueError, match=says):
        call()


def test_what_torch_code_asks_of_a_layer_is_there() -> None:
    ours, theirs = pair("LSTM", num_layers=2, bidirectional=True)
    ours.flatten_parameters()
    assert ours.proj_size == theirs.proj_size == 0
    assert [[tuple(w.shape) for w in layer] for layer in ours.all_weights] == [
        [tuple(w.shape) for w in layer] for layer in theirs.all_weights
    ]
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert "num_layers=2" in repr(ours) and "bidirectional=True" in repr(ours)
