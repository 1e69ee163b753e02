"""Edit distance is the least number of edits, and the word error rate made of it is torchmetrics'."""

import numpy as np
import pytest

from seqloom.measure.edits import edit_distance


def test_known_distances() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "abc") == 3 and edit_distance("abc", "") == 3 and edit_distance("", "") == 0
    assert edit_distance(["three", "five", "nine"], ["three", "nine", "nine"]) == 1


@pytest.mark.slow  # to import torchmetrics takes longer than all else here
def test_word_and_character_error_rates_are_those_of_torchmetrics() -> None:
    text = pytest.importorskip("torchmetrics.functional.text")
    generator = np.random.default_rng(0)
    words = ["one", "two", "three", "four", "oh"]
    made = [[" ".join(words[i] for i in generator.integers(0, 5, size=n)) for n in range(1, 9)] for _ in range(2)]
    for rate, split in ((text.word_error_rate, str.split), (text.char_error_rate, list)):
        edits = sum(edit_distance(split(a), split(b)) for a, b in zip(*made, strict=True))
        assert edits / sum(len(split(b)) for b in made[1]) == pytest.approx(float(rate(*made)), abs=1e-6)
