"""Whole language models against their peers, a training step and decoding; and every mixer at equal parameters.

Four blocks of width 256, 4 heads, 256 tokens, batch 8, float32. Where a peer's architecture is ours too, both sides are
the same model; else ours is fitted to the peer's number of parameters. Sides of a pair run in turn in one process, on
the same threads, both warmed; a training step is forward, backward and AdamW. Decoding is 256 tokens after a prompt of
64, one row. `pip install x-transformers minGRU-pytorch mambapy xlstm mlstm_kernels` brings the peers besides
transformers; what is absent is named. The last line is one JSON document.

    python benchmarks/models.py [--lengths 128,512,2048] [--seconds 6] [--threads 2] [--page docs/results/models.md]
"""

import argparse
import functools
import importlib.util
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import seqloom.nn
from seqloom.core import runtime
from seqloom.core.registry import catalog
from seqloom.core.spec import resolve
from seqloom.measure.clock import interleave
from seqloom.measure.machine import describe
from seqloom.mixers.attention import Attention
from seqloom.model.backbone import Backbone
from seqloom.model.frontend import Tokens
from seqloom.model.head import NextToken
from seqloom.model.mixer import MixerSpec
from seqloom.model.model import ModelSpec
from seqloom.zoo.architecture import Architecture, count_parameters, fit_width

LAYERS, WIDTH, HEADS, VOCABULARY, BATCH = 4, 256, 4, 256, 8
LONGEST = 4096  # positions in the tables of models that have one
PROMPT, DECODED = 64, 256
Side = tuple[nn.Module, Callable[[Tensor], Tensor]]  # the module, and tokens (B, T) -> logits (B, T, V)
TARGETS = {"training": (1.0, 1.3), "decoding": 3.0}


def ours(name: str, **settings: Any) -> Side:
    model = seqloom.build(name, vocabulary=VOCABULARY, **{"width": WIDTH, "layers": LAYERS, **settings})
    return model, lambda tokens: model(tokens)[0]


def fitted(name: str, parameters: int) -> Side:
    architecture = resolve(Architecture, {"name": name, "layers": LAYERS, "width": WIDTH})
    parts = Tokens(vocabulary=VOCABULARY), NextToken(vocabulary=VOCABULARY)
    spec = fit_width(architecture, *parts, True, parameters - VOCABULARY * WIDTH).model(*parts, True)
    model = spec.build()
    return model, lambda tokens: model(tokens)[0]


def torch_like(layers: nn.Module, run: Callable[[Tensor], Tensor]) -> Side:
    table, head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)
    return nn.ModuleList([layers, table, head]), lambda tokens: head(run(table(tokens)))


def encoder_ours() -> Side:
    attention = Attention(heads=HEADS, rotary=None, bias=True)
    backbone = Backbone(
        pattern=(attention,) * LAYERS, channel="relu", expand=4, norm="layer", placement="post", eps=1e-5, bias=True
    ).build(WIDTH)
    return torch_like(backbone, lambda x: backbone(x)[0])


def encoder_torch() -> Side:
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True)
    layers = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def run(x: Tensor) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1])
        return layers(x, mask=mask, is_causal=True)

    return torch_like(layers, run)


def recurrent(library: Any, cell: str) -> Side:
    layers = getattr(library, cell)(WIDTH, WIDTH, LAYERS, batch_first=True)
    return torch_like(layers, lambda x: layers(x)[0])


def gpt2() -> Side:
    import transformers

    config = transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=LONGEST, bos_token_id=0,
        eos_token_id=0, attn_pdrop=0.0, embd_pdrop=0.0, resid_pdrop=0.0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config)
    return model, lambda tokens: model(input_ids=tokens).logits


def mamba2() -> Side:
    import transformers

    config = transformers.Mamba2Config(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_heads=8, head_dim=64, state_size=64,
        n_groups=1, chunk_size=64, bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    model = transformers.Mamba2ForCausalLM(config)
    return model, lambda tokens: model(input_ids=tokens).logits


def x_transformers() -> Side:
    from x_transformers import Decoder, TransformerWrapper

    layers = Decoder(dim=WIDTH, depth=LAYERS, heads=HEADS, attn_flash=True)
    model = TransformerWrapper(num_tokens=VOCABULARY, max_seq_len=LONGEST, attn_layers=layers)
    return model, model


def mingru_lm() -> Side:
    from minGRU_pytorch.minLM import minLM

    model = minLM(num_tokens=VOCABULARY, dim=WIDTH, depth=LAYERS)
    return model, model


def mambapy() -> Side:
    from mambapy.mamba import Mamba, MambaConfig

    layers = Mamba(MambaConfig(d_model=WIDTH, n_layers=LAYERS))
    return torch_like(layers, layers)


def xlstm() -> Side:
    from xlstm.xlstm_large.model import xLSTMLarge, xLSTMLargeConfig

    config = xLSTMLargeConfig(
        embedding_dim=WIDTH, num_heads=HEADS, num_blocks=LAYERS, vocab_size=VOCABULARY, return_last_states=True,
        mode="train", chunkwise_kernel="chunkwise--native_autograd", sequence_kernel="native_sequence__native",
        step_kernel="native",
    )  # fmt: skip
    model = xLSTMLarge(config)
    return model, model


# peer -> (the peer, ours by the peer's number of parameters, the longest length that it takes in reasonable time)
PAIRS: dict[str, tuple[Callable[[], Side], Callable[[int], Side], int]] = {
    "nn.TransformerEncoder": (encoder_torch, lambda _: encoder_ours(), 2048),
    "transformers GPT-2": (gpt2, lambda _: ours("gpt", heads=HEADS, max_length=LONGEST), 2048),
    # its table of positions is looked up, not multiplied with, and ours has none: it does not count
    "x-transformers": (x_transformers, lambda n: fitted("transformer", n - LONGEST * WIDTH), 2048),
    "nn.LSTM": (lambda: recurrent(torch.nn, "LSTM"), lambda _: recurrent(seqloom.nn, "LSTM"), 2048),
    "nn.GRU": (lambda: recurrent(torch.nn, "GRU"), lambda _: recurrent(seqloom.nn, "GRU"), 2048),
    "minGRU-pytorch": (mingru_lm, functools.partial(fitted, "mingru"), 2048),
    "mambapy": (mambapy, functools.partial(fitted, "mamba2"), 512),
    "transformers Mamba-2": (mamba2, lambda _: ours("mamba2", heads=8), 2048),
    "xlstm": (xlstm, functools.partial(fitted, "xlstm"), 2048),
}


def step(side: Side, length: int) -> Callable[[], None]:
    module, logits = side
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-4, fused=True)
    tokens = torch.randint(VOCABULARY, (BATCH, length + 1), generator=torch.Generator().manual_seed(0))

    def run() -> None:
        optimizer.zero_grad()
        output = logits(tokens[:, :-1])
        output = output[0] if isinstance(output, tuple) else output
        F.cross_entropy(output.flatten(0, 1), tokens[:, 1:].flatten()).backward()
        optimizer.step()

    return run


def size(side: Side) -> int:
    return sum(parameter.numel() for parameter in side[0].parameters())


def row(sides: dict[str, Callable[[], Any]], seconds: float) -> dict[str, Any]:
    times = interleave(sides, min_rounds=3, min_time_s=seconds)
    ratio = times["peer"] / times["ours"]
    draws = np.median(np.random.default_rng(0).choice(ratio, (2000, len(ratio))), axis=1)
    return {
        "ours_ms": round(1e3 * float(np.median(times["ours"])), 3),
        "peer_ms": round(1e3 * float(np.median(times["peer"])), 3),
        "ratio": round(float(np.median(ratio)), 3),
        "interval": [round(float(bound), 3) for bound in np.quantile(draws, (0.025, 0.975))],
        "rounds": len(ratio),
    }


def training(lengths: list[int], seconds: float) -> tuple[list[dict[str, Any]], dict[str, str]]:
    rows: list[dict[str, Any]] = []
    absent: dict[str, str] = {}
    for name, (peer, own, longest) in PAIRS.items():
        for length in lengths:
            if length > longest or name in absent:
                continue
            torch.manual_seed(0)
            try:
                theirs = peer()
            except (ImportError, AttributeError) as error:
                absent[name] = str(error)
                tell(f"{name} absent: {error}")
                continue
            mine = own(size(theirs))
            found = {"peer": name, "T": length, "parameters": [size(mine), size(theirs)]}
            found |= row({"ours": step(mine, length), "peer": step(theirs, length)}, seconds)
            rows.append(found)
            tell(found)
    return rows, absent


def decoding(seconds: float) -> list[dict[str, Any]]:
    prompt = torch.randint(VOCABULARY, (1, PROMPT), generator=torch.Generator().manual_seed(0))
    asked = {"attention_mask": torch.ones_like(prompt), "do_sample": False, "pad_token_id": 0}
    asked |= {"min_new_tokens": DECODED, "max_new_tokens": DECODED}
    rows: list[dict[str, Any]] = []
    for name, peer, own in (("transformers GPT-2", gpt2, "gpt"), ("transformers Mamba-2", mamba2, "mamba2")):
        theirs = peer()[0].eval()
        mine = ours(own, heads=HEADS if own == "gpt" else 8)[0].eval()
        sides = {
            "ours": functools.partial(mine.generate, prompt, max_new_tokens=DECODED),
            "peer": functools.partial(theirs.generate, prompt, **asked),
        }
        rows.append({"peer": f"{name} generate", **row(sides, seconds)})
        tell(rows[-1])
    for cell in ("GRU", "LSTM"):
        module, _ = recurrent(torch.nn, cell)
        layers, table, head = module

        def loop(layers: Any = layers, table: Any = table, head: Any = head) -> None:
            with torch.inference_mode():
                y, state = layers(table(prompt))
                for _ in range(DECODED):
                    y, state = layers(table(head(y[:, -1:]).argmax(-1)), state)

        mine = fitted(cell.lower(), size((module, table)))[0].eval()
        sides = {"ours": functools.partial(mine.generate, prompt, max_new_tokens=DECODED), "peer": loop}
        rows.append({"peer": f"nn.{cell}, a loop", **row(sides, seconds)})
        tell(rows[-1])
    return rows


def mixers(lengths: list[int], seconds: float, parameters: int = 1_000_000) -> list[dict[str, Any]]:
    """Return training and decoding speed of every causal mixer that reads no source, in models of equal size."""
    head = NextToken(vocabulary=VOCABULARY)
    models: dict[str, ModelSpec] = {}
    for name in catalog("mixers"):
        if name in ("bidirectional", "hierarchical", "cross", "additive"):
            continue
        mixer = resolve(MixerSpec, name)

        def spec(width: int, expand: float = 2.0, mixer: MixerSpec = mixer) -> ModelSpec:
            backbone = Backbone(pattern=(mixer,) * LAYERS, expand=expand)
            return ModelSpec(frontend=Tokens(vocabulary=VOCABULARY), backbone=backbone, head=head, width=width)

        width = min(range(64, 257, 8), key=lambda w: abs(count_parameters(spec(w), embeddings=False) - parameters))
        inner = round(2.0 * width) + round(
            (parameters - count_parameters(spec(width), embeddings=False)) / (3 * LAYERS * width)
        )
        models[name] = spec(width, inner / width)
    rows = {name: {"mixer": name, "parameters": count_parameters(s, embeddings=False)} for name, s in models.items()}
    for length in lengths:
        built = {name: spec.build() for name, spec in models.items()}
        sides = {name: step((m, lambda x, m=m: m(x)[0]), length) for name, m in built.items()}
        times = interleave(sides, min_rounds=3, min_time_s=seconds)
        for name, seconds_each in times.items():
            rows[name][f"train_tokens_per_s_{length}"] = round(BATCH * length / float(np.median(seconds_each)))
        prompt = torch.randint(VOCABULARY, (1, length))
        decode = {
            f"{name} {n}": functools.partial(m.eval().generate, prompt, max_new_tokens=n)
            for name, m in built.items()
            for n in (1, 33)
        }
        times = interleave(decode, min_rounds=3, min_time_s=seconds)
        for name in built:
            more = np.median(times[f"{name} 33"] - times[f"{name} 1"]) / 32
            rows[name][f"decode_ms_{length}"] = round(1e3 * float(more), 3)
        tell(f"mixers at T = {length} done")
    return list(rows.values())


def precision(lengths: list[int], seconds: float) -> list[dict[str, Any]]:
    """Return our Transformer's float32 step against its own under bfloat16 autocast: "ours" is bfloat16."""
    rows = []
    for length in lengths:
        sides = {}
        for name, enabled in (("peer", False), ("ours", True)):
            module, logits = encoder_ours()

            def cast(tokens: Tensor, logits: Any = logits, enabled: bool = enabled) -> Tensor:
                with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
                    return logits(tokens).float()

            sides[name] = step((module, cast), length)
        rows.append({"T": length, **row(sides, seconds)})
        tell({"bfloat16": True, **rows[-1]})
    return rows


def table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *([str(cell) for cell in line] for line in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page(found: dict[str, Any], command: str) -> str:
    here = found["machine"]
    lengths = sorted({r["T"] for r in found["training"]})
    by = {(r["peer"], r["T"]): r for r in found["training"]}
    peers = list(dict.fromkeys(r["peer"] for r in found["training"]))

    def cell(r: dict[str, Any] | None) -> str:
        if r is None:
            return "–"
        low, high = r["interval"]
        return f"**{r['ratio']:.2f}** ({low:.2f} – {high:.2f}); {r['peer_ms']:.0f} / {r['ours_ms']:.0f}"

    trained = table(
        ["peer", *(f"T = {n}" for n in lengths)], [[p, *(cell(by.get((p, n))) for n in lengths)] for p in peers]
    )
    decoded = table(
        ["peer", "times as fast", "95 % interval", "tokens/s: peer / ours"],
        [
            [r["peer"], f"**{r['ratio']:.2f}**", f"{r['interval'][0]:.2f} – {r['interval'][1]:.2f}",
             f"{1e3 * DECODED / r['peer_ms']:.0f} / {1e3 * DECODED / r['ours_ms']:.0f}"]
            for r in found["decoding"]
        ],
    )  # fmt: skip
    halves = table(
        ["T", "times as fast as float32", "ms: float32 / bfloat16"],
        [[r["T"], f"**{r['ratio']:.2f}**", f"{r['peer_ms']:.0f} / {r['ours_ms']:.0f}"] for r in found["bfloat16"]],
    )
    kinds = [f"{kind}_{n}" for kind in ("train_tokens_per_s", "decode_ms") for n in lengths]
    names = [f"training, tokens/s, T = {n}" for n in lengths] + [f"decoding, ms/token after {n}" for n in lengths]
    every = table(["mixer", "parameters", *names],
                  [[r["mixer"], r["parameters"], *(r[kind] for kind in kinds)] for r in found["mixers"]])  # fmt: skip
    absent = ", ".join(found["absent"]) or "none"
    return f"""<!-- written by benchmarks/models.py -->

# Models against their peers

{here["cpu"]}, {here["capability"]}, {here["cores"]} cores, {here["threads"]} threads, {here["system"]}, Python
{here["python"]}, torch {here["torch"]}. Four blocks of width 256, 4 heads, 256 tokens, batch 8, float32; where a peer's
architecture is ours too both sides are the same model, else ours has the peer's number of parameters, tables of
positions aside. Both sides take AdamW in its fused form and a process that keeps freed memory. Absent: {absent}.

```console
$ {command}
```

## A training step

Times as fast as the peer (95 % interval); milliseconds: peer / ours. Geometric mean **{found["mean"]}** (asked: 1.3),
worst **{found["worst"]}** (asked: 1.0).

{trained}

## Decoding: 256 tokens after 64, one row

Asked: 3 times as fast as `generate` of transformers.

{decoded}

## The Transformer under bfloat16 autocast

Against its own float32 (asked: 1.4), which is itself some two times as fast as torch's.

{halves}

## Every mixer at equal parameters

Models of a million parameters, four blocks, each mixer with its defaults; on one machine in turn.

{every}
"""


def tell(what: Any) -> None:
    print(what, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--lengths", default="128,512,2048")
    parser.add_argument("--seconds", type=float, default=6.0, help="of measuring, for each pair, at least")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    if importlib.util.find_spec("transformers"):
        import transformers

        transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(given.threads)
    runtime.keep_memory()  # for both sides
    lengths = [int(length) for length in given.lengths.split(",")]
    rows, absent = training(lengths, given.seconds)
    ratios = [r["ratio"] for r in rows]
    found = {
        "benchmark": "models",
        "machine": describe().facts(),
        "training": rows,
        "absent": absent,
        "mean": round(float(np.exp(np.mean(np.log(ratios)))), 2),
        "worst": min(ratios),
        "decoding": decoding(given.seconds),
        "bfloat16": precision(lengths, given.seconds),
        "mixers": mixers(lengths, given.seconds),
    }
    if given.page:
        given.page.write_text(page(found, f"python benchmarks/models.py {' '.join(sys.argv[1:])}"), encoding="utf-8")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
