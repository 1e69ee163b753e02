"""Progress: bars on a terminal, plain lines elsewhere."""

import io

import pytest

from seqloom.train.progress import Board, Event, Stages, duration


class Terminal(io.StringIO):
    def isatty(self):
        return True


def event(step, done=False):
    return Event(step, 10, 2.0, 65.0, 0.5, 0.75, done)


def test_off_a_terminal_lines_are_plain_seldom_and_end_with_the_last():
    stream = io.StringIO()
    with Board(stream, every_s=1e9) as board:
        show = board.add("gru")
        for step in range(1, 10):
            show(event(step))
        show(event(10, done=True))
    assert stream.getvalue() == "gru: step 10 of 10, loss 0.5, validation 0.75, 2 s trained\n"


def test_a_line_tells_what_is_left():
    stream = io.StringIO()
    Board(stream, every_s=0).add("gru")(event(3)._replace(validation=None))
    assert stream.getvalue() == "gru: step 3 of 10, loss 0.5, 1 min 05 s left\n"


def test_on_a_terminal_there_are_bars_with_what_is_left():
    stream = Terminal()
    with Board(stream) as board:
        first, second = board.add("gru"), board.add("[lstm]")
        first(event(5))
        second(event(10, done=True))
        board.say("a notice [with brackets]")
    text = stream.getvalue()
    for part in ("gru", "5/10", "1 min 05 s left", "a notice [with brackets]"):
        assert part in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3599, "59 min 59 s"), (7380, "2 h 03 min")],
)
def test_durations_read_well(seconds, text):
    assert duration(seconds) == text


def test_stages_tell_of_long_work_now_and_then_and_of_notices_at_once() -> None:
    stream = io.StringIO()
    quiet, lively = Stages(stream, every_s=1000), Stages(stream, every_s=0)
    for share in (0.0, 0.5, 1.0):
        quiet("reading", share)
    assert stream.getvalue() == ""
    quiet("waiting for another process", None)
    for share in (0.0, 0.5):
        lively("reading", share)
    assert stream.getvalue() == "waiting for another process\nreading\nreading: 50%\n"
