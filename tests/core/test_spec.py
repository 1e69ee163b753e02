"""Specs: equal by value, JSON both ways, stable digests, helpful errors; the registry is read without imports."""

import subprocess
import sys

import pytest

from seqloom.core.cost import Cost
from seqloom.core.registry import catalog, kernels, look_up
from seqloom.core.spec import Spec, resolve
from seqloom.mixers.attention import Attention
from seqloom.mixers.bidirectional import Bidirectional
from seqloom.mixers.gru import GRU
from seqloom.model.backbone import Backbone
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import ModelSpec

HYBRID = Backbone(pattern=(GRU(), Attention(window=128)) * 2)


def test_equal_values_are_equal_specs() -> None:
    again = Backbone(pattern=(GRU(), Attention(window=128), GRU(), Attention(window=128)))
    assert again == HYBRID and hash(again) == hash(HYBRID) and again.digest() == HYBRID.digest()
    assert HYBRID.replace(dropout=0.1) != HYBRID


def test_json_round_trip_gives_the_same_spec() -> None:
    spec = ModelSpec(frontend=Tokens(vocabulary=9), backbone=HYBRID, head=NextToken(vocabulary=9), width=16)
    assert ModelSpec.from_json(spec.to_json()) == spec
    nested = Bidirectional(mixer=Backbone(pattern=(GRU(hidden=4),)))
    assert MixerSpec.from_json(nested.to_json()) == nested


def test_digest_is_the_same_in_another_process() -> None:
    code = "from seqloom.mixers.gru import GRU; print(GRU(hidden=4).digest())"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert out == GRU(hidden=4).digest()


def test_names_and_mappings_become_specs() -> None:
    assert resolve(MixerSpec, "gru") == GRU()
    assert resolve(MixerSpec, {"name": "attention", "heads": 2}) == Attention(heads=2)
    assert resolve(MixerSpec, "seqloom.mixers.gru.GRU") == GRU()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("atention", "unknown mixer 'atention'. Did you mean 'attention'?"),
        ({"name": "attention", "haeds": 2}, "unknown key 'haeds' of Attention. Did you mean 'heads'?"),
        ({"name": "attention", "heads": 0}, "Attention.heads = 0: Input should be greater than 0"),
        ({"name": "seqloom.core.cost.Cost"}, "not a MixerSpec"),
        ({"name": "nowhere.Thing"}, "cannot import 'nowhere.Thing'"),
        (3, "expected a MixerSpec"),
    ],
)
def test_a_wrong_value_is_named_with_its_rule(value, says) -> None:
    with pytest.raises(ValueError) as caught:
        resolve(MixerSpec, value)
    assert says in str(caught.value)


def test_a_wrong_name_deep_inside_is_located() -> None:
    with pytest.raises(ValueError, match="Backbone.pattern.1 = 'grru': unknown mixer 'grru'. Did you mean 'gru'?"):
        resolve(Backbone, {"pattern": ["gru", "grru"]})


def test_specs_are_frozen() -> None:
    with pytest.raises(AttributeError):
        GRU().hidden = 3  # type: ignore[misc]


def test_the_registry_imports_no_plug_in() -> None:
    code = (
        "import sys; from seqloom.core import registry; registry.catalog('mixers'); registry.catalog('zoo');"
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'pydantic')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert out == "[]"


def test_the_registry_agrees_with_the_classes() -> None:
    import dataclasses
    import importlib

    for folder in ("mixers", "zoo", "tasks"):
        for name, entry in catalog(folder).items():
            cls = getattr(importlib.import_module(entry.module), entry.cls)
            assert issubclass(cls, Spec) and cls.name() == name
            assert {f.name for f in entry.fields} == {f.name for f in dataclasses.fields(cls)}
            assert entry.summary


def test_kernels_are_found_by_file_name() -> None:
    assert kernels() == {
        "associative": ["chunked"],
        "attention": ["native", "torch"],
        "delta": ["chunked"],
        "linear": ["native", "torch"],
        "recurrence": ["loop", "native", "torch"],
        "rmsnorm": ["native"],
        "rotate": ["native"],
        "scan": ["blocked", "native", "triton"],
        "swiglu": ["native"],
    }
    with pytest.raises(ValueError, match="unknown model 'grru'"):
        look_up("zoo", "grru")


def test_costs_add_in_a_row_and_side_by_side() -> None:
    a, b = Cost(flops=2, bytes=3, depth=5), Cost(flops=7, depth=11, messages=1)
    assert a + b == Cost(flops=9, bytes=3, depth=16, messages=1)
    assert a.beside(b) == Cost(flops=9, bytes=3, depth=11, messages=1)
    assert 3 * a == a + a + a
