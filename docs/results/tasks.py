"""Keep the figures of the recipes: read run directories, update tasks.jsonl, and write tasks_table.md from all of it.

python docs/results/tasks.py runs/ptb_lstm runs/fsdd_gru ...

A run directory is named as its recipe; where a recipe has several experiments, its runs lie in directories of it and
their mean is told. Without arguments the table is written anew from the rows kept.
"""

import json
import sys
from pathlib import Path
from statistics import mean
from typing import Any

HERE = Path(__file__).parent
ROWS, TABLE = HERE / "tasks.jsonl", HERE / "tasks_table.md"
# data -> (its name in words, metric, its digits, figure asked of recurrent models, of attention or hybrids)
ASKED: dict[str, tuple[str, str, int, str, str]] = {
    "imdb": ("IMDb", "accuracy", 4, "≥ .87", "≥ .86"),
    "financial_phrasebank": ("Financial PhraseBank, all agree", "accuracy", 3, "≥ .85", "≥ .83"),
    "banking77": ("banking77", "accuracy", 3, "≥ .85", "≥ .85"),
    "conll2003": ("CoNLL-2003 testb, no pretrained vectors", "f1", 3, "≥ .83", "≥ .78"),
    "multi30k": ("Multi30k en-de, test 2016", "bleu", 1, "≥ 34", "≥ 37"),
    "en_zh": ("3AM en-zh, overlaps removed", "bleu", 1, "aim 30", "aim 30"),
    "tinyshakespeare": ("tinyshakespeare", "bits_per_byte", 3, "≤ 2.236", "≤ 2.236"),
    "ptb": ("Penn Treebank, words", "perplexity", 1, "≤ 100", "≤ 120"),
    "etth1": ("ETTh1, 96 steps", "mse", 3, "≤ .45", "≤ .40"),
    "japanese_vowels": ("JapaneseVowels", "accuracy", 3, "≥ .97", "≥ .97"),
    "basic_motions": ("BasicMotions", "accuracy", 3, "1.0", "1.0"),
    "fsdd": ("FSDD, official split", "accuracy", 3, "≥ .98", "≥ .98"),
    "fsdd_speakers": ("FSDD, one speaker left out, mean of six", "accuracy", 3, "report", "report"),
    "connected_digits": ("Connected digits, unseen recordings of all speakers", "wer", 3, "≤ .05", "≤ .05"),
    "connected_unseen": ("Connected digits, a speaker never heard", "wer", 3, "report", "report"),
    "mnist_rows": ("MNIST by rows", "accuracy", 4, "≥ .985", "report"),
    "mnist_patches": ("MNIST by 7 × 7 patches", "accuracy", 4, "report", "≥ .980"),
    "moving_digits": ("Moving digits, 16 frames", "accuracy", 3, "≥ .95", "≥ .95"),
    "trecqa": ("TrecQA", "map", 3, "≥ .65", "≥ .65"),
    "cmrc2018": ("CMRC 2018, trained on dev, tested on trial", "f1", 3, "report", "report"),
    "beauty": ("Beauty, full ranking", "hr@10", 4, "≥ .040 / .020", "≥ .060 / .031"),
    "movielens100k": ("MovieLens-100k, full ranking", "hr@10", 4, "report", "report"),
}


def recipe_of(name: str) -> tuple[str, str]:
    """Return the data and the model that a recipe's name says."""
    data = max((data for data in ASKED if name.startswith(f"{data}_")), key=len, default="")
    if not data:
        raise SystemExit(f"'{name}' is named after none of {', '.join(ASKED)}")
    return data, name.removeprefix(f"{data}_")


def row_of(run: Path) -> dict[str, Any]:
    """Return the row of a run directory, or of the runs in it."""
    parts = [run] if (run / "run.json").exists() else sorted(run.glob("*/"))
    records = [json.loads((part / "run.json").read_text(encoding="utf-8")) for part in parts]
    found = [metrics(part) for part in parts]
    data, model = recipe_of(run.name)
    machine = records[0]["machine"]
    return {
        "recipe": run.name,
        "data": data,
        "model": model,
        "family": family(parts[0]),
        "metrics": {name: mean(each[name] for each in found) for name in found[0]},
        "runs": len(parts),
        "seeds": sorted({record["experiment"]["seed"] for record in records}),
        "digests": [record["digest"] for record in records],
        "created": records[0]["created"],
        "machine": {name: machine[name] for name in ("cpu", "capability", "cores", "torch") if name in machine},
    }


def ledger(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "ledger.jsonl").read_text(encoding="utf-8").splitlines()]


def metrics(run: Path) -> dict[str, float]:
    rows = ledger(run)
    found = {row["what"]: row["value"] for row in rows if row["labels"].get("split") == "test"}
    about = {row["what"]: row["value"] for row in rows if row["what"] in ("parameters", "train_s", "steps")}
    if "train_s" not in about:
        raise SystemExit(f"the run in {run} has not ended")
    return {**found, **about}


def family(run: Path) -> str:
    return next(row["labels"]["family"] for row in ledger(run) if "family" in row["labels"])


def recurrent_alone(row: dict[str, Any]) -> bool:
    """Return whether a model's steps are recurrent: convolutions before them, and a decoder that looks back at what an
    encoder of GRUs read, leave it so."""
    return row["family"] == "recurrent" or row["model"] in ("cnn_lstm", "seq2seq")


def cell(rows: list[dict[str, Any]], metric: str, digits: int) -> str:
    """Return the figures of one side, a recipe each."""
    told = []
    for row in rows:
        value, minutes = row["metrics"][metric], row["metrics"]["train_s"] / 60
        second = f" / {row['metrics']['ndcg@10']:.{digits}f}" if metric == "hr@10" else ""
        told.append(f"**{value:.{digits}f}{second}** {row['model']}, {minutes:.1f} min")
    return "; ".join(told) or "–"


def table(rows: list[dict[str, Any]]) -> str:
    """Return the table as Markdown."""
    lines = ["| data | metric | asked | recurrent | asked | attention or hybrid |", "|---|---|---|---|---|---|"]
    for data, (name, metric, digits, recurrent, attention) in ASKED.items():
        mine = [row for row in rows if row["data"] == data]
        sides = [[r for r in mine if recurrent_alone(r) == side] for side in (True, False)]
        cells = [cell(side, metric, digits) for side in sides]
        told = "HR@10 / NDCG@10" if metric == "hr@10" else metric.replace("_", " ")
        lines.append(f"| {name} | {told} | {recurrent} | {cells[0]} | {attention} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def main(runs: list[str]) -> None:
    kept = [json.loads(line) for line in ROWS.read_text(encoding="utf-8").splitlines()] if ROWS.exists() else []
    rows = {row["recipe"]: row for row in kept}
    for run in map(Path, runs):
        rows[run.name] = row_of(run)
    ordered = [rows[name] for name in sorted(rows)]
    ROWS.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ordered), encoding="utf-8")
    TABLE.write_text(table(ordered), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
