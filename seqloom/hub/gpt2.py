"""GPT-2 as Hugging Face's transformers writes it."""

from collections.abc import Iterable, Mapping
from typing import Any

from seqloom.hub.form import Form, Rule, count, expect, layers, one_of, same
from seqloom.mixers.attention import Attention
from seqloom.model.backbone import Backbone
from seqloom.model.block import Channel
from seqloom.model.frontend import Tokens
from seqloom.model.head import Hidden, NextToken
from seqloom.model.model import ModelSpec

_ACTIVATIONS: dict[str, Channel] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}
_NAMES = {"gelu_tanh": "gelu_new", "gelu": "gelu", "relu": "relu"}


class GPT2(Form):
    """GPT2Model and GPT2LMHeadModel; linear maps stand transposed."""

    model_type = "gpt2"

    def spec(self, config: Mapping[str, Any], names: Iterable[str]) -> ModelSpec:
        expect(
            config,
            scale_attn_weights=True,
            scale_attn_by_inverse_layer_idx=False,
            reorder_and_upcast_attn=False,
            add_cross_attention=False,
        )
        activation = one_of(config, "activation_function", "gelu_new", _ACTIVATIONS)
        width, vocabulary = count(config, "n_embd"), count(config, "vocab_size")
        inner = 4 * width if config.get("n_inner") is None else count(config, "n_inner")
        headless = config.get("architectures") == ["GPT2Model"]
        head = NextToken(vocabulary=vocabulary, tied=config.get("tie_word_embeddings", True))
        attention = Attention(
            heads=count(config, "n_head"), rotary=None, bias=True, dropout=config.get("attn_pdrop", 0.1)
        )
        return ModelSpec(
            frontend=Tokens(
                vocabulary=vocabulary,
                positions="learned",
                max_length=count(config, "n_positions"),
                dropout=config.get("embd_pdrop", 0.1),
            ),
            backbone=Backbone(
                pattern=(attention,) * layers(config, "n_layer", names),
                channel=_ACTIVATIONS[activation],
                expand=inner / width,
                dropout=config.get("resid_pdrop", 0.1),
                norm="layer",
                eps=config.get("layer_norm_epsilon", 1e-5),
                bias=True,
            ),
            head=Hidden() if headless else head,
            width=width,
        )

    def config(self, spec: ModelSpec) -> dict[str, Any]:
        frontend, backbone = spec.frontend, spec.backbone
        first: Any = backbone.pattern[0]
        return {
            "architectures": ["GPT2Model" if spec.head.kind == "hidden" else "GPT2LMHeadModel"],
            "model_type": self.model_type,
            "activation_function": _NAMES[backbone.channel],
            "n_embd": spec.width,
            "n_layer": len(backbone.pattern),
            "n_head": first.heads,
            "n_inner": round(backbone.expand * spec.width),
            "n_positions": frontend.max_length,  # type: ignore[union-attr]
            "vocab_size": frontend.vocabulary,  # type: ignore[union-attr]
            "layer_norm_epsilon": backbone.eps,
            "embd_pdrop": frontend.dropout,  # type: ignore[union-attr]
            "resid_pdrop": backbone.dropout,
            "attn_pdrop": first.dropout,
            "tie_word_embeddings": spec.head.kind != "next_token" or spec.head.tied,
            "bos_token_id": None,
            "eos_token_id": None,
        }

    def rules(self, spec: ModelSpec) -> list[Rule]:
        rules = [
            same("frontend.embedding.weight", "wte.weight"),
            same("frontend.positions.table", "wpe.weight"),
            same("backbone.norm.weight", "ln_f.weight"),
            same("backbone.norm.bias", "ln_f.bias"),
        ]
        for i in range(len(spec.backbone.pattern)):
            pairs = {
                "mixer_norm": "ln_1",
                "mixer.enter": "attn.c_attn",
                "mixer.out": "attn.c_proj",
                "channel_norm": "ln_2",
                "channel.enter": "mlp.c_fc",
                "channel.leave": "mlp.c_proj",
            }
            for ours, theirs in pairs.items():
                for part in ("weight", "bias"):
                    names = (f"backbone.blocks.{i}.{ours}.{part}",), (f"h.{i}.{theirs}.{part}",)
                    rules.append(Rule(*names, transposed=part == "weight" and "norm" not in ours))
        if spec.head.kind == "next_token" and not spec.head.tied:
            rules.append(same("head.project.weight", "lm_head.weight"))
        return rules

    def renamed(self, names: Iterable[str]) -> dict[str, str]:
        # masks that old files hold as buffers
        return {
            name: name.removeprefix("transformer.")
            for name in names
            if not name.endswith((".attn.bias", ".attn.masked_bias"))
        }

    def unused(self, spec: ModelSpec) -> set[str]:
        return {"lm_head.weight"}  # the table again, where tied

    def prefixed(self, name: str, spec: ModelSpec) -> str:
        return name if spec.head.kind == "hidden" or name.startswith("lm_head.") else f"transformer.{name}"
