"""Every mixer, hybrids and nested backbones among them, obeys every law of the contract."""

import pytest
import torch

from seqloom.core.registry import catalog
from seqloom.lab.laws import LAWS
from seqloom.mixers.attention import Attention
from seqloom.mixers.bidirectional import Bidirectional
from seqloom.mixers.conv import Conv
from seqloom.mixers.deltanet import DeltaNet
from seqloom.mixers.gru import GRU
from seqloom.mixers.linear_attention import LinearAttention
from seqloom.mixers.lstm import LSTM
from seqloom.mixers.mingru import MinGRU
from seqloom.mixers.mlstm import MLSTM
from seqloom.mixers.relative import Relative
from seqloom.mixers.rnn import RNN
from seqloom.mixers.ssd import SSD
from seqloom.model.backbone import Backbone
from seqloom.model.mixer import MixerSpec

# plug-ins that need no argument come by themselves; these are their variants and what is built of them
VARIANTS: dict[str, MixerSpec] = {
    "rnn relu": RNN(activation="relu"),
    "gru hidden 6": GRU(hidden=6),
    "attention not causal": Attention(heads=2, causal=False),
    "attention without positions": Attention(heads=2, rotary=None),
    "attention window 1": Attention(heads=2, window=1),
    "attention window 3": Attention(heads=2, window=3),
    "attention window 9": Attention(heads=2, window=9),
    "attention window 4 both ways": Attention(heads=2, window=4, causal=False),
    "attention without positions, both ways": Attention(heads=2, rotary=None, causal=False),
    "grouped-query attention": Attention(heads=4, kv_heads=2, rotary=None, bias=True),
    "attention alibi": Attention(heads=2, rotary=None, alibi=True),
    "attention alibi window 3": Attention(heads=2, rotary=None, alibi=True, window=3),
    "relative memory 3": Relative(heads=2, memory=3),
    "relative memory 0": Relative(heads=2, memory=0),
    "relative both ways": Relative(heads=2, causal=False),
    "ssd in chunks of 4": SSD(heads=4, groups=2, state_size=3, chunk=4, bias=True),
    "mlstm in chunks of 4": MLSTM(heads=2, chunk=4),
    "deltanet in chunks of 4": DeltaNet(heads=2, chunk=4),
    "deltanet that forgets nothing": DeltaNet(heads=2, chunk=5, gated=False),
    "linear attention in chunks of 4": LinearAttention(heads=2, chunk=4),
    "conv of one step": Conv(kernel=1),
    "bidirectional gru": Bidirectional(mixer=GRU()),
    "bidirectional lstm": Bidirectional(mixer=LSTM()),
    "bidirectional mingru": Bidirectional(mixer=MinGRU()),
    "hybrid": Backbone(pattern=(GRU(), Attention(heads=2, window=4)) * 2),
    "nested": Backbone(
        pattern=(MinGRU(), Backbone(pattern=(RNN(), Attention(heads=2)), channel="none")), channel="gelu"
    ),
}
PLAIN = {name: MixerSpec.from_json(f'{{"name":"{name}"}}') for name in catalog("mixers") if name != "bidirectional"}
SPECS = PLAIN | VARIANTS


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS.keys())
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_law_holds_in_float64(spec: MixerSpec, law) -> None:
    law(spec, torch.float64)


@pytest.mark.parametrize(
    "law", [law for name, law in LAWS.items() if name not in ("gradients_are_right", "compiles_and_exports")]
)
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_law_holds_in_float32(spec: MixerSpec, law) -> None:
    law(spec, torch.float32)
