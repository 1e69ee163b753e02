"""The verdict claims what intervals show, and nothing else."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented import golden, make_run, row, scored

from seqloom.lab.evidence import results
from seqloom.lab.verdict import verdict


def crossed(**more):
    """Return timings in which the GRU is slower below the crossing and faster above."""
    rows = []
    for length, gru, transformer in ((64, 2.0, 1.0), (1024, 3.0, 3.5), (4096, 9.0, 30.0)):
        for model, value in (("gru", gru), ("transformer", transformer)):
            rows.append(row("train_step_s", value, low=value * 0.95, high=value * 1.05, model=model, length=length))
    return [*rows, row("crossover", 700, low=560, high=900, phase="train_step", a="gru", b="transformer", **more)]


def test_disjoint_intervals_name_a_winner_with_high_confidence():
    rows = scored("digits", "gru", 0.41, 0.02, time=9) + scored("digits", "transformer", 0.99, 0.01, time=20)
    found = verdict(make_run(), rows)
    assert found.sentence == "Use the Transformer: accuracy .990 against .410 for the GRU."
    assert found.confidence == "high for accuracy"
    assert found.tasks[0].choice and found.tasks[0].choice.model == "transformer"


def test_overlapping_intervals_show_no_difference_and_the_faster_is_used():
    rows = scored("digits", "gru", 0.980, 0.01, time=10) + scored("digits", "transformer", 0.985, 0.01, time=34)
    found = verdict(make_run(), rows)
    assert found.sentence == (
        "Use the GRU: it gets there 3.4 times faster than the Transformer, and no difference in accuracy was shown."
    )
    assert found.confidence == "none for accuracy, high for time"


def test_where_time_overlaps_too_either_will_do():
    rows = scored("digits", "gru", 0.980, 0.01, time=10, spread=0.5) + scored(
        "digits", "transformer", 0.985, 0.01, time=11
    )
    found = verdict(make_run(), rows)
    assert found.tasks[0].either
    assert found.sentence.startswith("Use the Transformer or the GRU: no difference in accuracy or in time")
    assert "none for accuracy, none for time" in found.confidence


def test_scores_of_a_hundred_are_not_written_as_shares_of_one():
    run = make_run({"pairs": {"metric": "bleu", "floor": 0.923}})
    rows = scored("pairs", "gru", 0.9, 0.1, metric="bleu") + scored("pairs", "transformer", 0.8, 0.1, metric="bleu")
    sentence = verdict(run, rows).sentence
    assert "the floor of 0.92 BLEU" in sentence and "0.90 (0.80 – 1.00)" in sentence


def test_touching_intervals_overlap():
    rows = scored("digits", "gru", 0.50, 0.125) + scored("digits", "transformer", 0.75, 0.125)
    assert "no difference" in verdict(make_run(), rows).sentence


def test_fewer_than_three_seeds_give_moderate_confidence():
    rows = scored("digits", "gru", 0.41, 0.02, n=2) + scored("digits", "transformer", 0.99, 0.01, n=2)
    assert verdict(make_run(), rows).confidence == "moderate for accuracy"


def test_without_an_interval_nothing_is_shown():
    rows = scored("digits", "gru", 0.41, None, n=1) + scored("digits", "transformer", 0.99, None, n=1)
    found = verdict(make_run(), rows)
    assert "no difference" in found.sentence and "unknown for accuracy" in found.confidence


def test_a_time_measured_once_is_said_to_be():
    rows = scored("digits", "gru", 0.98, 0.01, time=10, n=1) + scored("digits", "transformer", 0.98, 0.01, time=34, n=1)
    found = verdict(make_run(seeds=1), rows)
    assert "3.4 times faster (timed once)" in found.sentence
    assert "unknown for time" in found.confidence


def test_lower_scores_win_where_lower_is_better():
    run = make_run({"language": {"metric": "bits_per_byte", "better": "lower", "floor": 4.7}})
    rows = scored("language", "gru", 2.1, 0.02, time=30, metric="bits_per_byte")
    rows += scored("language", "transformer", 2.5, 0.02, time=10, metric="bits_per_byte")
    found = verdict(run, rows)
    assert found.sentence == "Use the GRU: bits per byte 2.10 against 2.50 for the Transformer."
    assert found.tasks[0].frontier == ("transformer", "gru")


def test_models_that_do_not_clearly_beat_the_floor_win_nothing():
    rows = scored("digits", "gru", 0.12, 0.03, time=1) + scored("digits", "transformer", 0.11, 0.02, time=9)
    found = verdict(make_run(), rows)
    assert found.sentence.startswith("No verdict: no model clearly beats the floor of .100 accuracy")
    assert found.tasks[0].choice is None
    assert found.changes == ("telling needs a larger budget than 60s",)


def test_a_fast_model_that_learned_nothing_is_not_the_fastest_to_good():
    rows = scored("digits", "gru", 0.12, 0.03, time=0.1) + scored("digits", "transformer", 0.99, 0.01, time=40)
    task = verdict(make_run(), rows).tasks[0]
    assert task.cards["fastest"].model == "transformer" and task.cards["smallest"].model == "transformer"


def test_the_crossing_is_named_with_its_interval():
    rows = scored("digits", "gru", 0.98, 0.01, time=10) + scored("digits", "transformer", 0.98, 0.01, time=34)
    (crossing, _) = verdict(make_run(), rows + crossed()).changes
    assert crossing == (
        "on sequences shorter than about 700 steps (560 – 900) the Transformer trains faster on this machine, "
        "on longer ones the GRU"
    )


def test_speeds_whose_intervals_overlap_are_not_told_apart():
    rows = scored("digits", "gru", 0.41, 0.01) + scored("digits", "transformer", 0.98, 0.01)
    for length, half in ((256, 0.9), (512, 0.1)):
        rows.append(row("train_step_s", 2.0, low=2 - half, high=2 + half, model="gru", length=length))
        rows.append(row("train_step_s", 3.0, low=3 - half, high=3 + half, model="transformer", length=length))
    (change,) = verdict(make_run(), rows).changes
    assert change == (
        "at 256 steps no difference in speed was shown, at 512 steps the GRU trains faster; "
        "no crossing was pinned down on this machine"
    )


@pytest.mark.parametrize(
    ("low", "high", "said"), [(None, 900, "(at most 900)"), (560, None, "(at least 560)"), (None, None, "steps the")]
)
def test_an_interval_open_to_one_side_is_said_to_be(low, high, said):
    rows = scored("digits", "gru", 0.98, 0.01, time=10) + scored("digits", "transformer", 0.98, 0.01, time=34)
    rows += [r for r in crossed() if r.what != "crossover"]
    rows.append(row("crossover", 700, low=low, high=high, phase="train_step", a="transformer", b="gru"))
    assert said in verdict(make_run(), rows).changes[0]


def test_an_extrapolated_crossing_is_called_so():
    rows = scored("digits", "gru", 0.98, 0.01, time=10) + scored("digits", "transformer", 0.98, 0.01, time=34)
    assert verdict(make_run(), rows + crossed(kind="extrapolated")).changes[0].startswith("extrapolated: ")


def test_where_no_crossing_was_found_none_is_claimed():
    rows = scored("digits", "gru", 0.41, 0.01) + scored("digits", "transformer", 0.98, 0.01)
    uncrossed = [r for r in crossed() if r.what != "crossover" and r.labels["length"] > 64]
    (change,) = verdict(make_run(), rows + uncrossed).changes
    assert change == "the GRU trains faster at 1,024 and at 4,096 steps on this machine; no crossing was found between"


def test_several_tasks_are_answered_in_one_sentence():
    run = make_run({"language": {}, "digits": {}, "recall": {}})
    rows = [r for t in ("language", "digits") for r in scored(t, "gru", 0.98, 0.01, time=10)]
    rows += [r for t in ("language", "digits") for r in scored(t, "transformer", 0.98, 0.01, time=34)]
    rows += scored("recall", "gru", 0.4, 0.01) + scored("recall", "transformer", 0.99, 0.01)
    found = verdict(run, rows)
    assert found.sentence == "For language and digits use the GRU; for recall the Transformer."
    assert found.confidence == "high for language (by time), digits (by time) and recall (by accuracy)"


def test_one_model_for_all_tasks_is_said_once():
    run = make_run({"digits": {}, "recall": {}})
    rows = [r for t in ("digits", "recall") for r in scored(t, "gru", 0.98, 0.01) + scored(t, "transformer", 0.5, 0.01)]
    assert verdict(run, rows).sentence == "Use the GRU for each task: digits and recall."


def test_a_model_without_a_score_says_why_and_wins_nothing():
    rows = [
        *scored("digits", "gru", 0.9, 0.01),
        row("missing", 0, task="digits", model="transformer", why="out of memory"),
    ]
    found = verdict(make_run(), rows)
    missing = next(e for e in found.tasks[0].entries if e.model == "transformer")
    assert missing.missing == "out of memory" and "transformer" not in found.tasks[0].frontier
    assert found.sentence.startswith("Only the GRU was tested")


def test_an_empty_ledger_gives_no_verdict():
    assert verdict(make_run(), []).sentence == "No verdict: no model was tested."
    assert verdict(make_run() | {"tasks": {}}, []).tasks == ()


def test_the_latest_row_stands_after_a_resumed_run():
    rows = (
        scored("digits", "gru", 0.2, 0.01)
        + scored("digits", "transformer", 0.5, 0.01)
        + scored("digits", "gru", 0.9, 0.01)
    )
    assert verdict(make_run(), rows).sentence.startswith("Use the GRU: accuracy .900")


def test_seeds_needed_grow_as_the_difference_shrinks():
    def needed(gap):
        rows = scored("digits", "gru", 0.9, 0.02) + scored("digits", "transformer", 0.9 + gap, 0.02)
        return verdict(make_run(), rows).changes[0]

    assert needed(0.03) == "telling accuracy apart takes at least about 6 seeds"
    assert needed(0.001) == "telling accuracy apart takes more than 30 seeds, if it differs at all"


def test_table_and_data_hold_every_task():
    run, rows = golden()
    found = verdict(run, rows)
    assert [line[0] for line in found.table] == ["task", "language", "digits", "recall"]
    assert len({len(line) for line in found.table}) == 1
    assert json.loads(json.dumps(found.to_data()))["tasks"]["recall"]["use"] == "transformer"


def test_results_hold_every_task_and_model_with_intervals():
    run, rows = golden()
    found = results(run, rows)
    assert len(found) == 15
    assert found[0]["metrics"]["bits_per_byte"].keys() == {"value", "low", "high"}
    assert isinstance(found[0]["parameters"], int) and json.dumps(found)


def test_the_verdict_of_the_frozen_run_stays():
    run, rows = golden()
    found = verdict(run, rows)
    assert found.sentence == "For language use the Hybrid or the GRU, for digits the GRU, for recall the Transformer."
    assert found.confidence == "high for digits (by time) and recall (by accuracy), none for language"


def test_the_order_of_rows_does_not_matter():
    run, rows = golden()
    shuffled = random.Random(3).sample(rows, len(rows))
    assert verdict(run, shuffled).to_data() == verdict(run, rows).to_data()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.2, 0.99), st.floats(1, 100)), min_size=1, max_size=6),
    st.sampled_from(["higher", "lower"]),
)
def test_nothing_beats_a_model_on_the_frontier_and_something_beats_each_other(points, better):
    names = {f"m{n}": "recurrent" for n in range(len(points))}
    rows = [r for n, (q, t) in enumerate(points) for r in scored("digits", f"m{n}", q, 0.001, time=t, spread=0)]
    frontier = verdict(make_run({"digits": {"better": better}}, names), rows).tasks[0].frontier
    sign = 1 if better == "higher" else -1
    for n, (quality, time) in enumerate(points):
        beaten = any(sign * q >= sign * quality and t <= time and (q, t) != (quality, time) for q, t in points)
        twin = points.index((quality, time)) != n
        assert (f"m{n}" in frontier) == (not beaten and not twin)


@pytest.mark.parametrize("task", ["language", "digits", "recall"])
def test_a_choice_is_never_shown_worse_than_another(task):
    run, rows = golden()
    found = next(t for t in verdict(run, rows).tasks if t.name == task)
    assert found.choice in found.equals


def test_a_wide_interval_does_not_win_by_speed():
    rows = scored("digits", "gru", 0.897, 0.09, time=1) + scored("digits", "transformer", 0.962, 0.03, time=3)
    found = verdict(make_run(), rows)
    assert found.sentence == (
        "Use the Transformer: accuracy .962 against .897 for the GRU, though no difference was shown at this budget."
    )
    assert found.tasks[0].cards["fastest"].model == "transformer"
    assert found.confidence.startswith("none for accuracy")
