"""torch.nn's weights load as they are, and peft wraps our models."""

import copy

import pytest
import torch

import seqloom
from seqloom.mixers.attention import Attention
from seqloom.model.backbone import Backbone
from seqloom.model.head import NextToken


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_transformer_encoder_of_torch_loads_and_answers_alike(first, last, bias, activation) -> None:
    layer = torch.nn.TransformerEncoderLayer(
        16, 4, 40, dropout=0.0, activation=activation, batch_first=True, norm_first=first, bias=bias
    )
    norm = torch.nn.LayerNorm(16, bias=bias) if last else None
    theirs = torch.nn.TransformerEncoder(layer, 3, norm, enable_nested_tensor=False)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    ours = Backbone(
        pattern=(Attention(heads=4, causal=False, rotary=None, bias=bias),) * 3,
        channel=activation,
        expand=2.5,
        norm="layer",
        placement="pre" if first else "post",
        last=last,
        eps=1e-5,
        bias=bias,
    ).build(16)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter)  # what is not loaded would show
    given = theirs.state_dict()
    kept = copy.deepcopy(given)
    ours.load_state_dict(given)
    assert set(given) == set(kept)  # what was handed in is left as it was
    x = torch.randn(2, 9, 16)
    torch.testing.assert_close(ours(x)[0], theirs(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("bias", "lacking", "ours"),
    [
        (True, "layers.1.linear1.bias", r"blocks\.1\.channel\.enter\.bias"),
        (True, "layers.1.self_attn.out_proj.bias", r"blocks\.1\.mixer\.out\.bias"),
        (False, "layers.1.norm1.weight", r"blocks\.1\.mixer_norm\.weight"),
    ],
)
def test_a_key_that_an_encoder_of_torch_lacks_is_named(bias, lacking, ours) -> None:
    layer = torch.nn.TransformerEncoderLayer(16, 4, 40, batch_first=True, bias=bias)
    given = torch.nn.TransformerEncoder(layer, 3, enable_nested_tensor=False).state_dict()
    del given[lacking]
    backbone = Backbone(
        pattern=(Attention(heads=4, causal=False, rotary=None, bias=bias),) * 3,
        channel="relu",
        expand=2.5,
        norm="layer",
        placement="post",
        bias=bias,
    ).build(16)
    with pytest.raises(RuntimeError, match=ours):
        backbone.load_state_dict(given)


@pytest.mark.parametrize("method", ["LoraConfig", "AdaLoraConfig"])
@pytest.mark.parametrize("name", ["gpt", "mamba2", "gru_transformer"])
@pytest.mark.filterwarnings("ignore")
def test_peft_wraps_our_models_and_trains_few_parameters(name, method) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    model = seqloom.build(name, vocabulary=11, width=16)
    tokens = torch.randint(11, (2, 9), generator=torch.Generator().manual_seed(0))
    expected = model(tokens)[0].detach()
    more = {"total_step": 10} if method == "AdaLoraConfig" else {}
    config = getattr(peft, method)(target_modules=["enter", "leave"], **more)
    wrapped = peft.get_peft_model(model, config)
    torch.testing.assert_close(wrapped(tokens)[0], expected, rtol=0, atol=1e-5)
    names = {key for key, parameter in wrapped.named_parameters() if parameter.requires_grad}
    assert names and all("lora_" in key for key in names)
    optimizer = torch.optim.SGD([p for p in wrapped.parameters() if p.requires_grad], lr=0.5)
    before = None
    for _ in range(5):
        optimizer.zero_grad()
        logits = wrapped(tokens)[0]
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        before = before if before is not None else loss.item()
        loss.backward()
        optimizer.step()
    assert loss.item() < before
    if method == "LoraConfig":
        merged = wrapped.merge_and_unload()
        torch.testing.assert_close(merged(tokens)[0], wrapped(tokens)[0], rtol=0, atol=1e-5)
        assert merged.generate(tokens[:, :3], max_new_tokens=4).shape == (2, 7)


@pytest.mark.parametrize("targets", ["all-linear", ["embedding"], ["embedding", "project", "enter"]])
@pytest.mark.parametrize(("name", "tied"), [("lstm", False), ("mamba2", False), ("transformer", False), ("gpt", True)])
@pytest.mark.filterwarnings("ignore")
def test_adapted_equals_merged_and_every_adapter_is_trained(name, tied, targets) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    spec = seqloom.build(name, vocabulary=11, width=16).spec
    spec = spec.replace(head=NextToken(vocabulary=11, tied=tied, bias=True))
    tokens = torch.randint(11, (1, 9), generator=torch.Generator().manual_seed(0))
    config = peft.LoraConfig(target_modules=targets, init_lora_weights=False)
    wrapped = peft.get_peft_model(spec.build(), config).eval()

    def answer(model):
        return model(tokens, memory=model.encode(tokens) if name == "transformer" else None)[0]

    def continued(model):
        return model.generate(tokens, 8, memory=model.encode(tokens) if name == "transformer" else None)

    answer(wrapped).square().sum().backward()
    adapters = {key: p for key, p in wrapped.named_parameters() if "lora_" in key}
    assert adapters and all(p.grad is not None and bool(p.grad.any()) for p in adapters.values())
    if not tied and targets != ["embedding"]:
        assert any("head.project" in key for key in adapters)
    adapted, generated = answer(wrapped).detach(), continued(wrapped)
    assert not torch.allclose(adapted, answer(spec.build().eval()))
    merged = wrapped.merge_and_unload()
    # products of rank 8 are summed in another order
    torch.testing.assert_close(answer(merged), adapted, rtol=1e-4, atol=1e-4)
    assert torch.equal(continued(merged), generated)
