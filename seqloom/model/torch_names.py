"""State dicts of torch.nn.TransformerEncoder, taken as they are."""

from typing import Any

_PARTS = {
    "self_attn.in_proj_": "mixer.enter.",
    "self_attn.out_proj.": "mixer.out.",
    "linear1.": "channel.enter.",
    "linear2.": "channel.leave.",
    "norm1.": "mixer_norm.",
    "norm2.": "channel_norm.",
}
_ALWAYS = ("mixer.out.bias", "norm.bias")  # ours has these whatever `bias` says


def from_torch(module: Any, state: dict[str, Any], prefix: str, *given: Any) -> None:
    """Rename, in place, the keys of a torch.nn.TransformerEncoder to those of a backbone; leave any others.

    A `load_state_dict` pre-hook. The backbone that fits has attention without positions, LayerNorm, and the encoder's
    activation, biases and norms. An encoder of bias=False, none of whose layers has a bias, is given zeros for those of
    the norms and of attention's last map, which ours always has.
    """
    theirs = [key for key in state if key.startswith(f"{prefix}layers.")]
    for key in theirs:
        number, _, rest = key.removeprefix(f"{prefix}layers.").partition(".")
        for part, ours in _PARTS.items():
            if rest.startswith(part):
                name = f"{prefix}blocks.{number}.{ours}{rest.removeprefix(part)}"
                state[name] = state.pop(key)
                break
    if theirs and not any(key.endswith("bias") for key in theirs):
        own = module.state_dict()
        for key in (key for key in own if key.endswith(_ALWAYS)):
            weight = state.get(prefix + key.removesuffix("bias") + "weight")
            if weight is not None:
                state.setdefault(prefix + key, weight.new_zeros(own[key].shape))
