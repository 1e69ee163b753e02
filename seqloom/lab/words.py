"""Numbers and names as people read them: the report, the verdict and the terminal use the same words.

Quantities are rounded for reading, never for computing: the ledger keeps every digit.
"""

import math
from collections.abc import Sequence

TITLES = {
    "bert": "BERT",
    "bilstm": "BiLSTM",
    "cnn_lstm": "CNN-LSTM",
    "cnn_transformer": "CNN-Transformer",
    "elman": "Elman RNN",
    "gpt": "GPT",
    "griffin": "Griffin",
    "gru": "GRU",
    "gru_transformer": "GRU-Transformer",
    "hierarchical": "Hierarchical RNN",
    "hybrid": "Hybrid",
    "lstm": "LSTM",
    "lstm_transformer": "LSTM-Transformer",
    "mamba2": "Mamba-2",
    "mingru": "minGRU",
    "seq2seq": "Seq2seq",
    "stacked": "Stacked LSTM",
    "transformer": "Transformer",
    "transformer_xl": "Transformer-XL",
    "vit": "ViT",
    "xlstm": "xLSTM",
}
_LETTERS = frozenset(
    ("auroc", "bleu", "cer", "crps", "ece", "f1", "hr", "mae", "map", "mase", "mrr", "mse", "ndcg", "wer")
)
_OF_A_HUNDRED = frozenset(("bleu", "chrf"))  # from 0 to 100, so that .923 would read as a share
_SPELT = {"chrf": "chrF", "oos": "out-of-scope"}
DASH = "\N{EN DASH}"


def title(model: str) -> str:
    """Return a model's name as the field writes it; an unknown name stays as it is."""
    return TITLES.get(model, model)


def metric(name: str) -> str:
    """Return a metric's name in words: `bits_per_byte` becomes `bits per byte`, `ndcg@10` NDCG@10."""
    words = (word.partition("@") for word in name.split("_"))
    return " ".join(
        f"{_SPELT.get(word, word.upper() if word in _LETTERS else word)}{mark}{rest}" for word, mark, rest in words
    )


def number(value: float, digits: int | None = None) -> str:
    """Return a score: three decimals up to ten (without the zero before the point), then fewer."""
    if not math.isfinite(value):
        return str(value)
    if digits is None:
        digits = 3 if abs(value) < 1.1 else 2 if abs(value) < 100 else 0
    if 0 < abs(value) < 0.5 * 10**-digits:
        return f"{value:.1e}"
    text = f"{value:,.{digits}f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def scored(name: str, value: float) -> str:
    """Return a value of a metric: as `number`, but 0.92 where the metric goes from 0 to 100, as BLEU does."""
    return f"{value:.2f}" if name in _OF_A_HUNDRED and math.isfinite(value) else number(value)


def span_scored(name: str, low: float | None, high: float | None) -> str:
    """Return an interval of a metric's values in brackets, or nothing where none was measured."""
    if low is None or high is None or name not in _OF_A_HUNDRED:
        return span(low, high)
    return f"({scored(name, low)} {DASH} {scored(name, high)})"


def span(low: float | None, high: float | None) -> str:
    """Return an interval in brackets, or nothing where none was measured."""
    if low is None or high is None:
        return ""
    digits = 3 if max(abs(low), abs(high)) < 1.1 else None
    return f"({number(low, digits)} {DASH} {number(high, digits)})"


def significant(value: float, digits: int = 2) -> str:
    """Return a value with a number of significant digits and no exponent: 3.4, 12, 0.051."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{round(value, decimals):,.{decimals}f}"


def seconds(value: float) -> str:
    """Return a duration in the unit that keeps it short: µs, ms, s, min, h."""
    if value == 0:
        return "0 s"
    for limit, scale, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (300.0, 1.0, "s"), (7200.0, 1 / 60, "min")):
        if abs(value) < limit:
            return f"{significant(value * scale, 3 if value * scale >= 100 else 2)} {unit}"
    return f"{significant(value / 3600)} h"


def seconds_span(low: float | None, high: float | None) -> str:
    """Return an interval of durations in brackets, or nothing."""
    return "" if low is None or high is None else f"({seconds(low)} {DASH} {seconds(high)})"


def size(value: float) -> str:
    """Return an amount of memory: B, kB, MB, GB, TB (powers of 1000)."""
    unit = 0
    while abs(value) >= 999.5 and unit < 4:
        value, unit = value / 1000, unit + 1
    return f"{significant(value, 3 if value >= 100 else 2)} {('B', 'kB', 'MB', 'GB', 'TB')[unit]}"


def count(value: float) -> str:
    """Return a whole number with separators: 6,920."""
    return f"{value:,.0f}"


def short_count(value: float) -> str:
    """Return a number of parameters or steps in brief: 101 k, 2.4 M."""
    for scale, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= 0.9995 * scale:
            return f"{significant(value / scale, 3 if value / scale >= 100 else 2)} {unit}"
    return f"{value:,.0f}"


def length(value: float) -> str:
    """Return a sequence length: exact up to 9,999, in brief beyond."""
    return count(value) if value < 10_000 else short_count(value)


def listing(items: Sequence[str], joint: str = "and") -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} {joint} {items[-1]}"


def sentence(text: str) -> str:
    """Return the text with its first letter large."""
    return text[:1].upper() + text[1:]


def unbroken(text: str) -> str:
    """Return the text with spaces at which no line breaks."""
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def clip(text: str, most: int = 240) -> str:
    """Return the text, cut where it is too long to show."""
    return text if len(text) <= most else f"{text[:most]}\N{HORIZONTAL ELLIPSIS} ({len(text):,} characters)"
