"""BERT as Hugging Face's transformers writes it."""

from collections.abc import Iterable, Mapping
from typing import Any

from seqloom.hub.form import Form, Rule, count, expect, layers, one_of, same
from seqloom.mixers.attention import Attention
from seqloom.model.backbone import Backbone
from seqloom.model.block import Channel
from seqloom.model.frontend import Tokens
from seqloom.model.head import Hidden, NextToken
from seqloom.model.model import ModelSpec

_ACTIVATIONS: dict[str, Channel] = {"gelu": "gelu", "gelu_new": "gelu_tanh", "relu": "relu"}
_NAMES = {ours: theirs for theirs, ours in _ACTIVATIONS.items()}


class BERT(Form):
    """BertModel, BertForMaskedLM and BertForPreTraining, of which the second sentence's head is only kept."""

    model_type = "bert"

    def spec(self, config: Mapping[str, Any], names: Iterable[str]) -> ModelSpec:
        expect(config, position_embedding_type="absolute", is_decoder=False, add_cross_attention=False)
        activation = one_of(config, "hidden_act", "gelu", _ACTIVATIONS)
        names = set(names)
        width, vocabulary = count(config, "hidden_size"), count(config, "vocab_size")
        eps, dropout = config.get("layer_norm_eps", 1e-12), config.get("hidden_dropout_prob", 0.1)
        masked = any(name.startswith("cls.predictions.") for name in names)
        if masked and (activation != "gelu" or not config.get("tie_word_embeddings", True)):
            raise ValueError("only heads for masked tokens with GELU and the token table tied can be loaded")
        attention = Attention(
            heads=count(config, "num_attention_heads"),
            causal=False,
            rotary=None,
            bias=True,
            dropout=config.get("attention_probs_dropout_prob", 0.1),
        )
        return ModelSpec(
            frontend=Tokens(
                vocabulary=vocabulary,
                positions="learned",
                max_length=count(config, "max_position_embeddings"),
                kinds=count(config, "type_vocab_size", 2),
                norm=True,
                eps=eps,
                dropout=dropout,
            ),
            backbone=Backbone(
                pattern=(attention,) * layers(config, "num_hidden_layers", names),
                channel=_ACTIVATIONS[activation],
                expand=count(config, "intermediate_size") / width,
                dropout=dropout,
                norm="layer",
                placement="post",
                eps=eps,
                bias=True,
            ),
            head=NextToken(vocabulary=vocabulary, tied=True, bias=True, transform=True, eps=eps)
            if masked
            else Hidden(pooler=any("pooler.dense" in name for name in names)),
            width=width,
        )

    def config(self, spec: ModelSpec) -> dict[str, Any]:
        frontend, backbone = spec.frontend, spec.backbone
        first: Any = backbone.pattern[0]
        return {
            "architectures": ["BertModel" if spec.head.kind == "hidden" else "BertForMaskedLM"],
            "model_type": self.model_type,
            "hidden_act": _NAMES[backbone.channel],
            "hidden_size": spec.width,
            "num_hidden_layers": len(backbone.pattern),
            "num_attention_heads": first.heads,
            "intermediate_size": round(backbone.expand * spec.width),
            "max_position_embeddings": frontend.max_length,  # type: ignore[union-attr]
            "type_vocab_size": frontend.kinds,  # type: ignore[union-attr]
            "vocab_size": frontend.vocabulary,  # type: ignore[union-attr]
            "layer_norm_eps": backbone.eps,
            "hidden_dropout_prob": backbone.dropout,
            "attention_probs_dropout_prob": first.dropout,
            "tie_word_embeddings": True,
        }

    def rules(self, spec: ModelSpec) -> list[Rule]:
        rules = [
            same("frontend.embedding.weight", "embeddings.word_embeddings.weight"),
            same("frontend.positions.table", "embeddings.position_embeddings.weight"),
            same("frontend.kinds", "embeddings.token_type_embeddings.weight"),
        ]
        pairs = {"frontend.norm": ("embeddings.LayerNorm",)}
        for i in range(len(spec.backbone.pattern)):
            ours, theirs = f"backbone.blocks.{i}", f"encoder.layer.{i}"
            attention = f"{theirs}.attention"
            pairs |= {
                f"{ours}.mixer.enter": tuple(f"{attention}.self.{part}" for part in ("query", "key", "value")),
                f"{ours}.mixer.out": (f"{attention}.output.dense",),
                f"{ours}.mixer_norm": (f"{attention}.output.LayerNorm",),
                f"{ours}.channel.enter": (f"{theirs}.intermediate.dense",),
                f"{ours}.channel.leave": (f"{theirs}.output.dense",),
                f"{ours}.channel_norm": (f"{theirs}.output.LayerNorm",),
            }
        if spec.head.kind == "next_token":
            rules.append(same("head.bias", "cls.predictions.bias"))
            pairs["head.transform"] = ("cls.predictions.transform.dense",)
            pairs["head.norm"] = ("cls.predictions.transform.LayerNorm",)
        elif spec.head.kind == "hidden" and spec.head.pooler:
            pairs["head.pooler"] = ("pooler.dense",)
        for name, others in pairs.items():
            rules += [
                Rule((f"{name}.{part}",), tuple(f"{other}.{part}" for other in others)) for part in ("weight", "bias")
            ]
        return rules

    def renamed(self, names: Iterable[str]) -> dict[str, str]:
        # TensorFlow's names of the norms' parts, and a buffer of old files
        return {
            name: name.removeprefix("bert.")
            .replace("LayerNorm.gamma", "LayerNorm.weight")
            .replace("LayerNorm.beta", "LayerNorm.bias")
            for name in names
            if not name.endswith("embeddings.position_ids")
        }

    def unused(self, spec: ModelSpec) -> set[str]:
        parts = ("pooler.dense", "cls.seq_relationship", "cls.predictions.decoder")
        return {f"{name}.{part}" for name in parts for part in ("weight", "bias")}

    def prefixed(self, name: str, spec: ModelSpec) -> str:
        return name if spec.head.kind == "hidden" or name.startswith("cls.") else f"bert.{name}"
