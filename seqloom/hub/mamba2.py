"""Mamba-2 as Hugging Face's transformers writes it."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from seqloom.hub.form import Form, Rule, count, expect, layers, same
from seqloom.mixers.ssd import SSD
from seqloom.model.backbone import Backbone
from seqloom.model.frontend import Tokens
from seqloom.model.head import Hidden, NextToken
from seqloom.model.model import ModelSpec


class Mamba2(Form):
    """Mamba2Model and Mamba2ForCausalLM; one projection and one convolution there are several here."""

    model_type = "mamba2"

    def spec(self, config: Mapping[str, Any], names: Iterable[str]) -> ModelSpec:
        expect(config, hidden_act="silu", use_conv_bias=True)
        width, heads = count(config, "hidden_size"), count(config, "num_heads")
        expand = config.get("expand", 2)
        inner = heads * count(config, "head_dim")
        if inner != round(expand * width):
            raise ValueError(
                f"config.json has num_heads * head_dim = {inner}, but expand * hidden_size = {expand * width}"
            )
        smallest, largest = _limits(config.get("time_step_limit", [0.0, math.inf]))
        eps = config.get("layer_norm_epsilon", 1e-5)
        mixer = SSD(
            expand=expand,
            heads=heads,
            groups=count(config, "n_groups", 1),
            state_size=count(config, "state_size"),
            kernel=count(config, "conv_kernel", 4),
            bias=config.get("use_bias", False),
            eps=eps,
            smallest=smallest,
            largest=largest,
        )
        vocabulary = count(config, "vocab_size")
        tied = config.get("tie_word_embeddings", False)
        headless = config.get("architectures") == ["Mamba2Model"]
        return ModelSpec(
            frontend=Tokens(vocabulary=vocabulary),
            backbone=Backbone(pattern=(mixer,) * layers(config, "num_hidden_layers", names), channel="none", eps=eps),
            head=Hidden() if headless else NextToken(vocabulary=vocabulary, tied=tied),
            width=width,
        )

    def config(self, spec: ModelSpec) -> dict[str, Any]:
        first: Any = spec.backbone.pattern[0]
        inner = round(first.expand * spec.width)
        return {
            "architectures": ["Mamba2Model" if spec.head.kind == "hidden" else "Mamba2ForCausalLM"],
            "model_type": self.model_type,
            "hidden_act": "silu",
            "hidden_size": spec.width,
            "num_hidden_layers": len(spec.backbone.pattern),
            "num_heads": first.heads,
            "head_dim": inner // first.heads,
            "expand": int(first.expand) if first.expand == int(first.expand) else first.expand,
            "n_groups": first.groups,
            "state_size": first.state_size,
            "conv_kernel": first.kernel,
            "use_conv_bias": True,
            "use_bias": first.bias,
            "layer_norm_epsilon": first.eps,
            "time_step_limit": [first.smallest, _written(first.largest)],
            "vocab_size": spec.frontend.vocabulary,  # type: ignore[union-attr]
            "tie_word_embeddings": spec.head.kind == "next_token" and spec.head.tied,
        }

    def rules(self, spec: ModelSpec) -> list[Rule]:
        rules = [
            same("frontend.embedding.weight", "backbone.embeddings.weight"),
            same("backbone.norm.weight", "backbone.norm_f.weight"),
        ]
        biased = spec.backbone.pattern and getattr(spec.backbone.pattern[0], "bias", False)
        for i in range(len(spec.backbone.pattern)):
            ours, theirs = f"backbone.blocks.{i}.mixer", f"backbone.layers.{i}.mixer"
            rules += [
                same(f"backbone.blocks.{i}.mixer_norm.weight", f"backbone.layers.{i}.norm.weight"),
                same(f"{ours}.step_bias", f"{theirs}.dt_bias"),
                same(f"{ours}.log_a", f"{theirs}.A_log"),
                same(f"{ours}.skip", f"{theirs}.D"),
                same(f"{ours}.norm", f"{theirs}.norm.weight"),
                Rule((f"{ours}.conv_weight", f"{ours}.key_conv_weight"), (f"{theirs}.conv1d.weight",), depthwise=True),
                Rule((f"{ours}.conv_bias", f"{ours}.key_conv_bias"), (f"{theirs}.conv1d.bias",)),
            ]
            for part in ("weight", "bias") if biased else ("weight",):
                names = tuple(f"{ours}.{name}.{part}" for name in ("enter", "keys", "step"))
                rules.append(Rule(names, (f"{theirs}.in_proj.{part}",)))
                rules.append(same(f"{ours}.out.{part}", f"{theirs}.out_proj.{part}"))
        if spec.head.kind == "next_token" and not spec.head.tied:
            rules.append(same("head.project.weight", "lm_head.weight"))
        return rules

    def renamed(self, names: Iterable[str]) -> dict[str, str]:
        return {name: name if name.startswith(("backbone.", "lm_head.")) else f"backbone.{name}" for name in names}

    def unused(self, spec: ModelSpec) -> set[str]:
        return {"lm_head.weight"}  # the table again, where tied

    def prefixed(self, name: str, spec: ModelSpec) -> str:
        return name.removeprefix("backbone.") if spec.head.kind == "hidden" else name


def _limits(given: Any) -> tuple[float, float]:
    # transformers writes infinity as {"__float__": "Infinity"}, older files as a bare Infinity
    try:
        smallest, largest = (float(limit["__float__"] if isinstance(limit, dict) else limit) for limit in given)
    except (TypeError, ValueError, KeyError):
        smallest, largest = math.nan, math.nan
    if not 0 <= smallest < largest:
        raise ValueError(f"config.json has time_step_limit = {given!r}; it must be two numbers, 0 <= first < second")
    return smallest, largest


def _written(limit: float) -> Any:
    return {"__float__": "Infinity"} if math.isinf(limit) else limit
