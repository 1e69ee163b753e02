"""The verb that watches a stream with a trained model: monitor."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from seqloom.cli_output import Stream

_POLL_S = 0.2  # between looks at a file that is followed
_SHOWN = 100  # characters of a line that people are shown


def monitor(
    run: Path,
    *,
    watch: str,
    follow: Path | None = None,
    from_end: bool = False,
    jsonl: bool = False,
    text: str | None = None,
    encoding: str = "utf-8",
    baseline: Annotated[float | None, Parameter(allow_leading_hyphen=True)] = None,
    learn: int = 200,
    factor: float = 2.0,
    false_alarm_every: int = 10_000,
    window: int = 100,
) -> Stream:
    """Score a stream of lines live, from standard input or a growing file; alert when the rate of a class moves.

    With --json each line, alert and notice is one JSON object a line. Ctrl-C ends with a summary and exit code 0.

    Parameters
    ----------
    run
        a run directory of train, of a task that tells the class of a line
    watch
        the class whose rate is watched
    follow
        a file that grows, instead of standard input; it may be rotated or cut
    from_end
        pass over what the file holds at first
    jsonl
        each line is a JSON object
    text
        where the text stands in each object [default: text]
    encoding
        of the lines
    baseline
        the rate of the class as it should be; without it learnt from the first lines
    learn
        lines that the rate is learnt from, at first and after each alert
    factor
        change of the odds that is looked for, up or down: a smaller one is found too, but later
    false_alarm_every
        lines between two false alarms, on average, at least; fewer find a change sooner
    window
        lines of the rolling rate
    """
    from seqloom.core.spec import resolve
    from seqloom.data.streams import followed, lines_of, piped
    from seqloom.lab.monitor import Monitor, Watching, scorer
    from seqloom.lab.trained import load

    if text is not None and not jsonl:
        raise ValueError(f"--text {text}: names a key of JSON objects; add --jsonl, or leave it out for lines of text")
    if from_end and follow is None:
        raise ValueError("--from-end: standard input has no end to begin at; add --follow FILE, or leave it out")
    if follow is None and sys.stdin is None:
        raise ValueError("standard input is closed; give lines there, or --follow FILE")
    settings = resolve(
        Watching,
        {
            "watch": watch,
            "baseline": baseline,
            "learn": learn,
            "factor": factor,
            "false_alarm_every": false_alarm_every,
            "window": window,
        },
    )
    trained = load(run)
    watcher = Monitor(settings, scorer(trained, watch))
    pieces = followed(follow, _wait, from_end) if follow is not None else piped(sys.stdin.fileno())
    column = (text or "text") if jsonl else None
    return Stream(watcher.events(lines_of(pieces, encoding, column)), _told(settings.window), watcher.summary)


def _wait() -> bool:
    time.sleep(_POLL_S)
    return True


def _told(every: int) -> Any:
    """Return what tells people of an event; of scores, one in `every`."""
    scored = 0

    def told(event: dict[str, Any]) -> str | None:
        nonlocal scored
        kind = event["event"]
        if kind == "score":
            scored += 1
            return f"line {event['line']}: rate {event['rate']:.3f}" if scored % every == 0 else None
        return {"alert": _alert, "summary": _summary}.get(kind, _notice)(event)

    return told


def _alert(event: dict[str, Any]) -> str:
    before, after = event["before"], event["after"]
    learnt = f"{_rate(before)} over {before['lines']} lines" if before["lines"] else f"{before['rate']:.3f}, as given"
    lines = [
        f"ALERT line {event['line']}: rate of '{event['watch']}' is {event['direction']} since line {event['since']}: "
        f"{_rate(after)} over {after['lines']} lines, before {learnt}",
        f"  statistic {event['statistic']:.2f} >= {event['threshold']:.2f}: a false alarm comes at most every "
        f"{event['false_alarm_every']} lines on average",
    ]
    return "\n".join([*lines, *(f"  line {shown['line']}: {shown['text'][:_SHOWN]}" for shown in event["examples"])])


def _notice(event: dict[str, Any]) -> str:
    if event["event"] == "baseline":
        return f"line {event['line']}: rate of '{event['watch']}' learnt: {_rate(event)} over {event['lines']} lines"
    if event["event"] == "broken":
        return f"line {event['line']} is not scored: {event['reason']}"
    return f"notice: {event['text']}"


def _summary(event: dict[str, Any]) -> str:
    rate = "" if event["rate"] is None else f", rate of '{event['watch']}' {event['rate']:.3f}"
    return f"{event['lines']} lines, {event['scored']} scored, {event['broken']} broken{rate}, {event['alerts']} alerts"


def _rate(of: dict[str, Any]) -> str:
    return f"{of['rate']:.3f} ({of['low']:.3f} – {of['high']:.3f})"
