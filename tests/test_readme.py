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


def test_commands_of_the_readme_are_complete_and_monitor_a_run_that_one_of_them_makes():
    from seqloom.tasks.converse import Converse

    lines = re.findall(r"^\$ seqloom (.*?)(?: *#.*)?$", (ROOT / "README.md").read_text(), re.MULTILINE)
    given = next(line.split()[2:] for line in lines if line.startswith("compare converse"))
    assert Converse(**{name[2:]: value for name, value in zip(given[::2], given[1::2], strict=True)}).intent
    run = next(line.split()[1] for line in lines if line.startswith("monitor"))
    out, task, model = run.rsplit("/", 2)
    made = next(line for line in lines if line.startswith("compare --data") and line.endswith(f"--out {out}"))
    models = re.search(r"--models (\S+)", made)[1].split(",")
    seeds = int(re.search(r"--seeds (\d+)", made)[1])
    assert task == "classify" and model in {f"{name}-{seed}" for name in models for seed in range(seeds)}


def test_targets_named_in_pages_are_in_the_makefile():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^\$ |`)make ([a-z]+)", "\n".join(p.read_text() for p in PAGES), re.MULTILINE))
    assert named <= targets


def test_links_of_pages_lead_to_files():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
