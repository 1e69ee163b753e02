"""The report as a person meets it: in a real browser, on a desk and a phone, in light and dark, by mouse and keys."""

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from seqloom.lab.report import write_report
from seqloom.measure.ledger import Measurement

pytestmark = pytest.mark.e2e

GOLDEN = Path(__file__).parent.parent / "golden"
REQUIRED = "SEQLOOM_REQUIRE_CHROMIUM"  # set where the browser must be there: then its absence fails
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def absent(reason: str) -> None:
    """Skip with the reason, or fail with it where the browser is required."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{reason}, and {REQUIRED} is set")
    pytest.skip(reason)


ATTACK = "transformer<img src=x onerror=alert(1)></script><script>alert(2)</script><!--"


def written(path: Path, transformer: str = "transformer") -> Path:
    """Write the report of the frozen run, with another name for its Transformer if need be."""
    run, ledger = ((GOLDEN / name).read_text(encoding="utf-8") for name in ("report_run.json", "report_ledger.jsonl"))
    rows = [Measurement.from_json(line.replace("transformer", transformer)) for line in ledger.splitlines()]
    write_report(json.loads(run.replace("transformer", transformer)), rows, path)
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("report") / "report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("the package playwright is not installed")
        return
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        absent("no Chromium was found on the path")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=found, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def look(browser: Any, report: Path) -> Iterator[Any]:
    """Open the report at a size; at the end nothing must have been asked for but the file, and nothing complained."""
    asked: list[str] = []
    heard: list[str] = []
    contexts: list[Any] = []

    def view(
        width: int = 1280, height: int = 800, scheme: str = "light", script: bool = True, path: Path = report
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=script
        )
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: heard.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: heard.append(str(error)))
        page.on("dialog", lambda dialog: (heard.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.goto(path.as_uri())
        return page

    yield view
    for context in contexts:
        context.close()
    outside = [url for url in asked if not url.startswith(("blob:", "data:")) and not url.endswith("/report.html")]
    assert not outside and not heard


def test_first_screen_holds_the_answer(look: Any):
    page = look()
    cards = page.locator(".panel >> visible=true").locator(".card")
    assert cards.count() == 3
    assert [cards.nth(n).locator("h3").inner_text().lower() for n in range(3)] == [
        "best",
        "fastest to good",
        "smallest",
    ]
    assert all("fits" in cards.nth(n).inner_text() for n in range(3))
    chart = page.locator(".panel >> visible=true").locator("figure svg >> visible=true").first
    for part in (
        page.locator("h1"),
        page.locator("#changes"),
        page.locator("#confidence"),
        chart,
        page.locator("#command"),
    ):
        _inside(part.bounding_box(), 1280, 800)
    for n in range(3):
        _inside(cards.nth(n).bounding_box(), 1280, 800)
    assert "use the" in page.locator("h1").inner_text()
    assert "about 660 steps (560 – 790)" in page.locator("#changes").inner_text()


def _inside(box: Any, width: int, height: int) -> None:
    assert box is not None and box["width"] > 0 and box["height"] > 0
    assert box["x"] >= 0 and box["y"] >= 0
    assert box["x"] + box["width"] <= width and box["y"] + box["height"] <= height


@pytest.mark.parametrize("task", [1, 2])
def test_first_screen_of_every_task_holds_chart_and_cards(look: Any, task: int):
    page = look()
    page.locator(f"label[for=pick-{task}]").click()
    panel = page.locator(f".panel-{task}")
    parts = [panel.locator("figure svg >> visible=true").first, page.locator("#command")]
    for part in parts + [panel.locator(".card").nth(n) for n in range(3)]:
        _inside(part.bounding_box(), 1280, 800)


def test_an_attack_stays_text(look: Any, tmp_path: Path):
    page = look(path=written(tmp_path / "report.html", ATTACK))
    assert "<img src=x onerror=alert(1)>" in page.locator("h1").inner_text()
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert page.evaluate("document.scripts.length") == 2


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_the_page_never_scrolls_sideways(look: Any, width: int):
    page = look(width=width)
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_text_of_the_drawings_is_readable_on_a_phone(look: Any):
    page = look(width=390, height=844)
    sizes = page.evaluate(
        "[...document.querySelectorAll('figure svg')].filter(s => s.getBoundingClientRect().width)"
        ".map(s => 12 * s.getBoundingClientRect().width / s.viewBox.baseVal.width)"
    )
    assert len(sizes) > 5 and min(sizes) >= 9.5  # 12 px in the drawing's own units


def test_keys_reach_the_switch_the_links_and_the_numbers(look: Any):
    page = look()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    seen = []
    for _ in range(40):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(NAME))
    assert {"pick-0", "#answers", "#raw", "SUMMARY", "copy"} <= set(seen)


def test_arrow_keys_change_the_task_without_script(look: Any):
    page = look(script=False)
    assert page.locator(".panel-0").is_visible() and not page.locator(".panel-2").is_visible()
    page.locator("#pick-0").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.locator(".panel-2").is_visible() and not page.locator(".panel-0").is_visible()


def test_a_figure_opens_its_table(look: Any):
    page = look()
    page.locator("#speed summary").first.click()
    assert page.locator("#speed table").first.is_visible()
    assert "Transformer" in page.locator("#speed table").first.inner_text()


def test_light_and_dark_differ_and_both_have_contrast(look: Any):
    pages = {scheme: look(scheme=scheme) for scheme in ("light", "dark")}
    assert pages["light"].screenshot() != pages["dark"].screenshot()
    for page in pages.values():
        for selector in ("h1", ".why", ".card p", ".fit", "th", ".cap"):
            assert page.evaluate(CONTRAST, selector) >= 4.5, selector  # WCAG 2.2, level AA


NAME = "(e => e.id || e.getAttribute('href') || e.tagName)(document.activeElement)"
CONTRAST = """(selector) => {
  const light = (text) => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(Number).map((v) => v / 255)
      .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const element = document.querySelector(selector);
  let ground = element;
  while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const pair = [light(getComputedStyle(element).color), light(getComputedStyle(ground).backgroundColor)].sort();
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
}"""


def test_the_ledger_can_be_saved(look: Any):
    page = look()
    lines = (GOLDEN / "report_ledger.jsonl").read_text(encoding="utf-8").splitlines()
    with page.expect_download() as saved:
        page.locator("#save-json").click()
    held = json.loads(Path(saved.value.path()).read_text(encoding="utf-8"))
    assert saved.value.suggested_filename == "seqloom-report.json"
    assert [row["value"] for row in held["rows"]] == [json.loads(line)["value"] for line in lines]
    with page.expect_download() as saved:
        page.locator("#save-csv").click()
    rows = list(csv.DictReader(io.StringIO(Path(saved.value.path()).read_text(encoding="utf-8"))))
    assert len(rows) == len(lines)
    assert {row["model"] for row in rows} >= {"gru", "transformer"}
