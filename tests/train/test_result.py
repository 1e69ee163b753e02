"""The course of a run: what counts as best, when patience ends, and when quality was reached."""

import math

import pytest

from seqloom.train.result import Course, Point, time_to_quality_s


def after(values, better="higher", patience=None):
    course, taken = Course(planned=100), []
    for value in values:
        course.add(1.0)
        taken.append(course.validated(value, better, patience))
    return course, taken


def test_best_is_the_highest_or_the_lowest_and_of_equals_the_later():
    course, taken = after([0.5, 0.7, 0.6, 0.7])
    assert taken == [True, True, False, True] and (course.best, course.best_step) == (0.7, 4)
    course, taken = after([2.0, 3.0, 1.0], better="lower")
    assert taken == [True, False, True] and (course.best, course.best_step) == (1.0, 3)


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_nan_is_never_best(better):
    course, taken = after([math.nan, 0.5, math.nan], better)
    assert taken == [False, True, False] and course.best == 0.5


def test_patience_ends_after_validations_without_a_better_one():
    assert not after([0.5, 0.6, 0.6], patience=2)[0].done
    assert after([0.5, 0.6, 0.6, 0.6], patience=2)[0].done
    assert not after([0.5, 0.6, 0.5, 0.7, 0.7], patience=2)[0].done


def test_a_point_holds_the_mean_loss_since_the_one_before():
    course = Course(planned=10)
    for losses in ((1.0, 3.0), (5.0,)):
        for loss in losses:
            course.add(loss)
        course.validated(0.5, "higher", None)
    assert [point.train_loss for point in course.curve] == [2.0, 5.0]


def test_a_course_goes_to_data_and_back():
    course, _ = after([0.1, 0.30000000000000004])
    assert Course.from_data(course.to_data()) == course


def test_time_to_quality_is_when_validation_first_came_within_a_hundredth_of_its_best():
    curve = [Point(n, float(n), 1.0, value) for n, value in enumerate([0.2, 0.989, 0.991, 0.98, 1.0])]
    assert time_to_quality_s(curve, "higher") == 2.0
    curve = [Point(n, float(n), 1.0, value) for n, value in enumerate([9.0, 2.03, 2.01, 2.0])]
    assert time_to_quality_s(curve, "lower") == 2.0
    assert time_to_quality_s([], "lower") is None
