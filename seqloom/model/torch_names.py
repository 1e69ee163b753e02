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


def from_torch(module: Any, state: dict[str, Any], prefix: str, *given: Any) -> None:
    """Rename, in place, the keys of a torch.nn.TransformerEncoder to those of a backbone; leave any others.

    A `load_state_dict` pre-hook. The backbone that fits has attention with biases and without positions, LayerNorm, and
    the encoder's activation and placement of norms.
    """
    for key in [key for key in state if key.startswith(f"{prefix}layers.")]:
        number, _, rest = key.removeprefix(f"{prefix}layers.").partition(".")
        for theirs, ours in _PARTS.items():
            if rest.startswith(theirs):
                state[f"{prefix}blocks.{number}.{ours}{rest.removeprefix(theirs)}"] = state.pop(key)
                break
