"""Every mixer, hybrids and nested backbones among them, obeys every law of the contract."""

import pytest
import torch

from seqloom.core.registry import catalog
from seqloom.lab.laws import LAWS
from seqloom.mixers.attention import Attention
from seqloom.mixers.bidirectional import Bidirectional
from seqloom.mixers.gru import GRU
from seqloom.mixers.lstm import LSTM
from seqloom.mixers.mingru import MinGRU
from seqloom.mixers.rnn import RNN
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
