"""Edit distance: how many insertions, deletions and substitutions make one sequence of another."""

from collections.abc import Hashable, Sequence


def edit_distance(a: Sequence[Hashable], b: Sequence[Hashable]) -> int:
    """Return the least number of edits between two sequences. Work O(len(a) len(b)), memory O(len(b)).

    Source: Levenshtein 1966; Wagner and Fischer 1974, doi:10.1145/321796.321811.
    """
    before = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y)))
        before = row
    return before[-1]
