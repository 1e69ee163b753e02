"""The package starts in milliseconds: what is heavy is imported on first use."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "pydantic", "numpy", "duckdb", "sklearn", "scipy")


def fresh(code: str) -> str:
    """Run code in a new interpreter; return its last line of output."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("statement", ["import seqloom", "import seqloom.cli", "import seqloom.core.registry"])
def test_nothing_heavy_is_imported_at_the_start(statement):
    loaded = fresh(f"{statement}; import sys; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


def test_training_on_one_process_imports_neither_what_shares_parameters_out_nor_schedules():
    heavy = ("sympy", "torch.distributed.fsdp", "torch.distributed.tensor", "torch.distributed.pipelining")
    loaded = fresh(f"import seqloom.train.loop, sys; print([m for m in {heavy} if m in sys.modules])")
    assert loaded == "[]"


def test_listing_and_correcting_a_name_imports_no_plug_in():
    code = (
        "from seqloom.core import registry; import sys\n"
        "[registry.catalog(f) for f in registry.FOLDERS]\n"
        "try: registry.look_up('zoo', 'trnsformer')\n"
        "except ValueError as error: assert 'transformer' in str(error), error\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    assert fresh(code) == "[]"


def test_every_public_name_is_there():
    code = "import seqloom as s; [getattr(s, name) for name in s.__all__]; print(set(s.__all__) <= set(dir(s)))"
    assert fresh(code) == "True"


def test_an_unknown_name_is_an_attribute_error():
    import seqloom

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = seqloom.nothing
