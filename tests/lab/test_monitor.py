"""Monitor: false alarms are as rare as stated, changes are found soon and with evidence, no line ends the stream."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from seqloom import cli
from seqloom.data.streams import Line, Notice
from seqloom.lab.monitor import Cusum, Event, Found, Monitor, Rate, Watching


def said(texts: list[str]) -> list[Found | str]:
    """Say of "1 ..." that it is of the class with probability .9, of "0 ..." .1; of anything else nothing."""
    known = {"1": Found("bad", 0.9), "0": Found("good", 0.1)}
    return [known.get(text[:1], "no digit") for text in texts]


def watched(hits: np.ndarray, **settings) -> tuple[list[Event], Event]:
    monitor = Monitor(Watching(watch="bad", **settings), said)
    lines = [Line(number, f"{int(hit)} text") for number, hit in enumerate(hits, 1)]
    return list(monitor.events([lines])), monitor.summary()


def alarms(events: list[Event]) -> list[Event]:
    return [event for event in events if event["event"] == "alert"]


def first_alarm(hits: np.ndarray, settings: Watching) -> int:
    """Return the number of the line that raises the first alarm; 0: none does."""
    assert settings.baseline is not None
    sides = [Cusum(settings.baseline, settings.factor), Cusum(settings.baseline, 1 / settings.factor)]
    for number, hit in enumerate(hits.tolist(), 1):
        if max([side.add(number, "", hit, 0.5) for side in sides]) >= settings.threshold:
            return number
    return 0


def test_false_alarms_within_n_lines_are_no_more_likely_than_n_in_the_stated_number() -> None:
    settings = Watching(watch="bad", baseline=0.2, false_alarm_every=1000)
    streams = np.random.default_rng(0).random((300, 200)) < 0.2
    raised = sum(first_alarm(stream, settings) > 0 for stream in streams)
    # the bound is 200 / 1000; it is no tight one, so that even the count of 300 streams stays below it
    assert raised / len(streams) <= 0.2


def test_lines_between_false_alarms_are_on_average_more_than_stated() -> None:
    settings = Watching(watch="bad", baseline=0.3, false_alarm_every=200)
    streams = np.random.default_rng(1).random((150, 2000)) < 0.3
    runs = [first_alarm(stream, settings) or stream.size for stream in streams]
    assert np.mean(runs) >= 200  # cut at 2000, which only lowers the mean


def test_a_learnt_baseline_keeps_the_stated_number_of_false_alarms() -> None:
    generator = np.random.default_rng(2)
    raised = sum(
        len(alarms(watched(generator.random(1200) < 0.2, learn=200, false_alarm_every=5000)[0])) for _ in range(40)
    )
    assert raised <= 40 * 1000 / 5000


@pytest.mark.parametrize(("before", "after"), [(0.1, 0.4), (0.5, 0.15)])
def test_a_change_is_found_about_as_soon_as_theory_says(before: float, after: float) -> None:
    factor = after * (1 - before) / (before * (1 - after))
    settings = Watching(watch="bad", baseline=before, factor=max(factor, 1 / factor))
    generator = np.random.default_rng(3)
    delays = []
    for _ in range(100):
        hits = np.concatenate([generator.random(100) < before, generator.random(400) < after])
        if (found := first_alarm(hits, settings)) > 100:
            delays.append(found - 100)
    information = after * math.log(after / before) + (1 - after) * math.log((1 - after) / (1 - before))
    # Lorden 1971: no test with as few false alarms is sooner than h / information but for a constant; here one step
    assert len(delays) >= 98 and np.mean(delays) <= settings.threshold / information + 5


def test_an_alert_tells_its_evidence() -> None:
    generator = np.random.default_rng(4)
    hits = np.concatenate([generator.random(500) < 0.1, generator.random(200) < 0.6])
    events, summary = watched(hits)
    (learnt,) = [event for event in events if event["event"] == "baseline"][:1]
    alert = alarms(events)[0]
    assert learnt["line"] == 200 and learnt["lines"] == 200 and learnt["rate"] == hits[:200].mean()
    assert alert["direction"] == "up" and 450 <= alert["since"] <= 510 < alert["line"] < 560
    assert alert["before"] == {key: learnt[key] for key in ("rate", "low", "high", "lines")}
    span = hits[alert["since"] - 1 : alert["line"]]
    assert alert["after"]["lines"] == len(span) and alert["after"]["rate"] == span.mean()
    assert alert["after"]["low"] > alert["before"]["high"]
    assert alert["statistic"] >= alert["threshold"] == pytest.approx(math.log(20000))
    assert len(alert["examples"]) == 3
    assert all(shown["text"] == "1 text" and alert["since"] <= shown["line"] for shown in alert["examples"])
    assert summary == {
        "event": "summary", "watch": "bad", "lines": 700, "scored": 700, "broken": 0,
        "rate": hits.mean(), "alerts": len(alarms(events)),
    }  # fmt: skip
    assert json.loads(json.dumps(events, allow_nan=False)) == events


def test_the_statistic_of_a_line_has_that_line_in_it() -> None:
    hits = np.array([False, True, True, False, True, True, True, True, True, True])
    events, _ = watched(hits, baseline=0.1, false_alarm_every=20)
    sides = [Cusum(0.1, 2.0), Cusum(0.1, 0.5)]
    alert = alarms(events)[0]
    scores = [event for event in events if event["event"] == "score" and event["line"] <= alert["line"]]
    wanted = [max(side.add(n, "", hit, 0.5) for side in sides) for n, hit in enumerate(hits[: len(scores)].tolist(), 1)]
    assert [score["statistic"] for score in scores] == pytest.approx(wanted)
    assert scores[-1]["line"] == alert["line"] and scores[-1]["statistic"] == alert["statistic"] >= alert["threshold"]


def test_after_an_alert_the_rate_is_learnt_anew_and_a_fall_back_is_found() -> None:
    generator = np.random.default_rng(5)
    rates = np.repeat([0.1, 0.7, 0.1], [400, 600, 400])
    events, _ = watched(generator.random(len(rates)) < rates)
    assert [alert["direction"] for alert in alarms(events)] == ["up", "down"]
    assert all(shown["text"] == "0 text" for shown in alarms(events)[1]["examples"])
    assert 400 < alarms(events)[0]["line"] < 450 and 1000 < alarms(events)[1]["line"] < 1060


@pytest.mark.parametrize("rate", [0, 1])
def test_a_class_that_is_never_or_always_there_is_watched_on_the_side_that_is_left(rate: int) -> None:
    events, _ = watched(np.concatenate([np.full(200, rate), np.full(100, 1 - rate)]))
    assert [alert["direction"] for alert in alarms(events)] == ["down" if rate else "up"]


def test_the_rolling_rate_is_of_the_last_lines() -> None:
    events, _ = watched(np.array([1, 1, 0, 0, 1]), window=2, baseline=0.5)
    assert [event["rate"] for event in events if event["event"] == "score"] == [1, 1, 0.5, 0, 0.5]


def test_broken_lines_and_notices_stand_in_their_place_and_end_nothing() -> None:
    monitor = Monitor(Watching(watch="bad"), said)
    batch = [Line(1, "1 a"), Line(2, "", "not JSON"), Notice("cut"), Line(3, "?"), Line(4, "0 b")]
    kinds = [event["event"] for event in monitor.events([batch, []])]
    assert kinds == ["score", "broken", "notice", "broken", "score"]
    assert monitor.summary() | {"rate": None} == {
        "event": "summary", "watch": "bad", "lines": 4, "scored": 2, "broken": 2, "rate": None, "alerts": 0,
    }  # fmt: skip


@pytest.mark.parametrize("wrong", [{"baseline": 0.0}, {"baseline": 1.0}, {"factor": 1.0}, {"learn": 3}, {"window": 0}])
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Watching(watch="bad", **wrong)  # type: ignore[arg-type]


def test_intervals_are_the_exact_binomial_ones() -> None:
    found = Rate.of(8, 100)
    assert (found.low, found.high) == pytest.approx((0.03517, 0.15156), abs=1e-5)  # Brown et al. 2001, table


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that tells complaints from praise."""
    folder = tmp_path_factory.mktemp("monitor")
    words = {"negative": ["late broken refund angry", "never again broken"], "positive": ["thanks great", "love it"]}
    rows = [f"{words[label][i % 2]} {i % 7},{label}" for i in range(120) for label in words]
    (folder / "table.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    train = ["train", "classify", "--data", str(folder / "table.csv"), "--text", "text", "--label", "label"]
    size = ["--steps", "40", "--width", "16", "--layers", "1", "--model", "gru", "--out", str(folder / "run")]
    assert cli.run([*train, *size]) == 0
    return folder / "run"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--watch", "negativ"], "Did you mean 'negative'"),
        (["--watch", "negative", "--text", "body"], "--jsonl"),
        (["--watch", "negative", "--from-end"], "--follow"),
        (["--watch", "negative", "--follow", "nothing.log"], "nothing.log"),
        (["--watch", "negative", "--baseline", "-1"], "-1"),
        (["--watch", "negative", "--encoding", "utf-16", "--follow", __file__], "utf-16"),
    ],
)
def test_wrong_usage_names_the_value(run: Path, words: list[str], told: str, capsys: pytest.CaptureFixture) -> None:
    code = cli.run(["monitor", str(run), *words])
    out, err = capsys.readouterr()
    assert code == 2 and not out and told in err and "Traceback" not in err


def test_a_run_without_classes_of_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    small = ["--steps", "1", "--width", "8", "--layers", "1", "--model", "gru"]
    assert cli.run(["train", "adding", *small, "--out", str(tmp_path / "run")]) == 0
    assert cli.run(["monitor", str(tmp_path / "run"), "--watch", "negative"]) == 2
    assert "train classify" in capsys.readouterr().err


@pytest.mark.e2e
def test_a_stream_is_scored_live_and_ctrl_c_ends_it_with_a_summary(run: Path) -> None:
    words = ["monitor", str(run), "--watch", "negative", "--jsonl", "--text", "body", "--learn", "50", "--json"]
    command = [sys.executable, "-m", "seqloom", *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        bodies = ["thanks great 1"] * 60 + ["late broken refund angry 2"] * 40
        lines = [json.dumps({"body": body}) for body in bodies]
        os.write(process.stdin.fileno(), ("\n".join([*lines[:30], "{broken", *lines[30:]]) + "\n").encode())
        events = []
        while not events or events[-1].get("line") != 101:  # all are answered while the stream is still open
            events.append(json.loads(process.stdout.readline()))
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=30)
    events += [json.loads(line) for line in rest.decode().splitlines()]
    assert process.returncode == 0 and not err, err
    (alert,) = alarms(events)
    assert alert["direction"] == "up" and alert["since"] == 62 and "refund" in alert["examples"][0]["text"]
    assert [event["line"] for event in events if event["event"] == "broken"] == [31]
    assert events[-1]["event"] == "summary" and events[-1]["scored"] == 100 and events[-1]["alerts"] == 1


def test_people_are_told_of_alerts_and_of_the_rate_now_and_then(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "lines").write_text("\n".join(["thanks great"] * 200 + ["", "late broken refund angry"] * 40) + "\n")
    with (tmp_path / "lines").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert cli.run(["monitor", str(run), "--watch", "negative", "--window", "100"]) == 0
    out = capsys.readouterr().out
    assert "line 100: rate 0.000" in out and "ALERT line" in out and "rate of 'negative' is up since line 202" in out
    assert "line 201 is not scored: blank" in out and "280 lines, 240 scored, 40 broken" in out.splitlines()[-1]
