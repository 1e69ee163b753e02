"""README and pages tell the truth: their Python runs, their commands parse, their files exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[tuple[str, str]]:
    """Return (page, code) of every fenced block in a language."""
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return [(path.name, code) for path in PAGES for code in fence.findall(path.read_text())]


@pytest.mark.parametrize(("page", "code"), blocks("python"))
def test_a_page_s_python_runs(page, code):
    exec(compile(code, page, "exec"), {})


def commands() -> list[str]:
    lines = [line for _, code in blocks("console") for line in code.splitlines()]
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ seqloom ")]


@pytest.mark.parametrize("command", commands())
def test_a_page_s_command_parses(command):
    from seqloom.cli import build

    words = [word for word in command.partition("#")[0].split()[1:] if word != "--json"]
    build(words).parse_args(words, exit_on_error=False, print_error=False)


def test_targets_named_in_pages_are_in_the_makefile():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^\$ |`)make ([a-z]+)", "\n".join(p.read_text() for p in PAGES), re.MULTILINE))
    assert named <= targets


def test_links_of_pages_lead_to_files():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
