"""Classify: the class of each text, series, picture, clip or sound of the user's."""

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

from seqloom.data.columns import NoColumn, chosen_by
from seqloom.data.folders import Kind, kind_of
from seqloom.data.ts import is_rows_of_series
from seqloom.tasks._clips import Filmed, clips_coding, open_clips
from seqloom.tasks._labelled import Labelled, refuse_settings
from seqloom.tasks._pictures import Seen, open_pictures, pictures_coding
from seqloom.tasks._series import Series, open_series, series_coding
from seqloom.tasks._sounds import Sounds, open_sounds, sounds_coding
from seqloom.tasks._texts import Texts, open_texts, texts_coding
from seqloom.tasks.task import Coding, Opened, Task


class _Other(NamedTuple):
    """A kind of data besides texts: which settings have an effect, what opens it, and what restores its coding."""

    settings: type[Labelled]
    open: Callable[[Any, int], Opened]
    coding: Callable[[Any], Coding]


_OTHERS: dict[Kind, _Other] = {
    "pictures": _Other(Seen, open_pictures, pictures_coding),
    "clips": _Other(Filmed, open_clips, clips_coding),
    "series": _Other(Series, open_series, series_coding),
    "sounds": _Other(Sounds, open_sounds, sounds_coding),
}


_SERIES = (
    ": its first row is of numbers alone. Is it a series a line, the label first, as .tsv files of the UCR archive are?"
    " Give the archive's .ts file, or write one: @classLabel true and the classes, @data, then 1.5,2.5,...:label a line"
)


class Classify(Texts, Series, Seen, Filmed, Sounds, Task):
    """Tell the class of a text, series, picture, clip or sound, learnt from examples and labels of yours.

    The name tells what data are: a CSV, TSV, JSON lines or Parquet file holds texts; a .ts file or a folder of a csv
    per series holds series; idx, .npz or a folder of png pictures; one of mp4 clips; one of wav sounds.

    One example of texts with tokens="bpe", as its tokens would be spelt; its target is the number of "late" among the
    sorted labels ("late", "lost"):

        text,label
        Where is my card? I ordered it last month.,late

        inputs    _where _is _my _card ? _i _ordered _it _last _month .
        target    0

    Columns are given by name, or by number from 0 for a file without a header. Without a test file the rows are split
    by seed, every class alike: `validation` of them for validation, as many for test, the rest for training. Equal
    texts are never in two splits: rows that stand in the test file too are left out of training.
    """

    metric: ClassVar[str] = "accuracy"
    better: ClassVar[str] = "higher"
    source: ClassVar[tuple[str, ...]] = (
        "sennrich2016",
        "Sennrich, R. and Haddow, B. and Birch, A.",
        "Neural Machine Translation of Rare Words with Subword Units",
        "2016",
        "arXiv:1508.07909",
    )

    @chosen_by("text", "label")
    def open(self, seed: int = 0) -> Opened:
        """Read the data, split them, and learn from the training examples how they become inputs.

        Raises:
            ValueError: the data cannot be read or too many rows or files not be used; classes that cannot be split; a
                label in the test data that training never shows; a setting without effect on such data.
        """
        kind = kind_of(self.data)
        for path in (self.validation_data, self.test):
            if path is not None and (found := kind_of(path)) != kind:
                raise ValueError(f"'{self.data}' holds {kind} and '{path}' {found}; give the same kind")
        other = _OTHERS.get(kind)
        refuse_settings(self, kind, (other.settings if other is not None else Texts).__dataclass_fields__)
        if other is not None:
            return other.open(self, seed)
        try:
            return open_texts(self, seed)
        except NoColumn as error:
            if not is_rows_of_series(error.path):
                raise
            raise NoColumn(error.column, error.path, _SERIES) from None

    def coding(self, encoding: Any) -> Coding:
        """Return the coding of other kinds than texts as they say; the tokens' from their tokenizer's JSON values."""
        other = _OTHERS.get(encoding["kind"])
        return other.coding(encoding) if other is not None else texts_coding(self, encoding)

    def like(self, encoding: Any) -> Self:
        """Return the task on bytes, if the encoding is of bytes."""
        if not (isinstance(encoding, dict) and encoding.get("kind") == "bytes"):
            return self
        return self.replace(tokens="bytes", lower=encoding["lower"])
