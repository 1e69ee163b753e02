"""Write models_table.md: every named model and mixer, from their own docstrings and specs.

python docs/models.py
"""

import re
from pathlib import Path

from seqloom.core.registry import Entry, catalog
from seqloom.core.spec import resolve
from seqloom.zoo.architecture import SIZES, Architecture, count_parameters

HERE = Path(__file__).parent
NEEDS = {"": "any task", "future": "tasks that are not causal", "source": "a source to read"}


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sentence(entry: Entry) -> str:
    # | would end a cell, and * begin emphasis
    return re.sub(r"([|*_])", r"\\\1", entry.summary)


def models() -> str:
    rows = []
    for name, entry in catalog("zoo").items():
        architecture = resolve(Architecture, name)
        built = [architecture.sized(size).standard(256) for size in [*architecture.presets, *SIZES]]
        counts = [count_parameters(spec, embeddings=False) / 1e6 for spec in built]
        sizes = [f"{size} {count:,.2f} M" for size, count in zip([*architecture.presets, *SIZES], counts, strict=True)]
        needs = NEEDS[architecture.needs]
        if built[0].encoder is not None and not architecture.needs:
            needs += " as one stack; from `build` a source to read, and so counted"
        rows.append([f"`{name}`", str(entry.attributes.get("family", "")), sentence(entry), needs, ", ".join(sizes)])
    return table(["model", "family", "what it is", "for", "parameters, token table aside"], rows)


def mixers() -> str:
    rows = [
        [f"`{name}`", str(entry.attributes.get("family", "")), sentence(entry)]
        for name, entry in catalog("mixers").items()
    ]
    return table(["mixer", "family", "equation"], rows)


def page() -> str:
    return f"<!-- written by docs/models.py -->\n\n## Models\n\n{models()}\n\n## Mixers\n\n{mixers()}\n"


if __name__ == "__main__":
    (HERE / "models_table.md").write_text(page(), encoding="utf-8")
