"""Scales, ticks and labels of the drawings."""

from hypothesis import given
from hypothesis import strategies as st

from seqloom.lab import words
from seqloom.lab.figures import Drawing, Style, scale, spread

positive = st.floats(1e-9, 1e12)


@given(st.lists(positive, min_size=1, max_size=8), st.booleans())
def test_every_value_lies_inside_its_scale_and_ticks_are_few(values, log):
    found = scale(values, 50, 350, log=log)
    assert all(50 <= found(v) <= 350 for v in values)
    ticks = found.ticks(6)
    assert 1 <= len(ticks) <= 9 and all(found.low <= t * (1 + 1e-9) and t <= found.high * (1 + 1e-9) for t in ticks)


@given(st.lists(st.floats(0, 200), min_size=1, max_size=8))
def test_labels_keep_their_order_and_distance(wanted):
    found = spread(wanted, 14, 0, 200)
    order = sorted(range(len(wanted)), key=lambda n: wanted[n])
    assert all(found[b] - found[a] >= 14 - 1e-9 for a, b in zip(order, order[1:], strict=False))


def test_text_in_a_drawing_is_escaped():
    drawing = Drawing(100, 100)
    drawing.text(0, 0, "<b>&\"'")
    drawing.group(Style("recurrent").css, "", "<script>")
    assert "<b>" not in drawing.svg("x", "<t>", "<d>") and "<script>" not in drawing.svg("x", "", "")


def test_an_unknown_family_takes_the_neutral_colour():
    assert Style('"><script>').css == "m oth r0"


def test_quantities_read_as_people_write_them():
    assert [words.seconds(v) for v in (4.2e-6, 0.0123, 9.96, 118, 600, 9000)] == [
        "4.2 µs",
        "12 ms",
        "10.0 s",
        "118 s",
        "10 min",
        "2.5 h",
    ]
    assert [words.size(v) for v in (512, 96e6, 8.2e9)] == ["512 B", "96 MB", "8.2 GB"]
    assert [words.number(v) for v in (0.8124, 1.0, 2.345, 0.00004, -0.5)] == [
        ".812",
        "1.000",
        "2.35",
        "4.0e-05",
        "-.500",
    ]
    assert [words.scored(name, 0.923) for name in ("bleu", "chrf", "accuracy")] == ["0.92", "0.92", ".923"]
    assert words.span_scored("bleu", 0.8, 1.04) == f"(0.80 {words.DASH} 1.04)"
    assert words.span_scored("f1", 0.8, 1.04) == words.span(0.8, 1.04) and words.span_scored("bleu", None, 1.0) == ""
    assert words.listing(["a", "b", "c"]) == "a, b and c"
