"""The page of models says what the models are."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_table_of_models_is_what_their_specs_say():
    written = runpy.run_path(str(ROOT / "docs" / "models.py"))["page"]()
    assert (ROOT / "docs" / "models_table.md").read_text(encoding="utf-8") == written, "run python docs/models.py"
