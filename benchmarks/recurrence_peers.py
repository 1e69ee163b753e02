"""GRU against every other system that is installed: flax, JAX's scan, Keras on TensorFlow, ONNX Runtime.

All sides of a case run in turn in one process, each compiled and warmed beforehand; a training step is the forward
pass and the gradients of the input and all weights. Peers that are not installed are named as such:
`pip install jax flax keras tensorflow-cpu onnxruntime onnx` brings all of them. The last line is one JSON document.

    python benchmarks/recurrence_peers.py [--seconds 5] [--threads 2] [--peers flax,jax,keras,onnxruntime]
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

CASES = ((1, 512, 128), (8, 512, 128), (32, 128, 128), (32, 512, 256), (64, 512, 512))
Calls = dict[str, Callable[[], object]]  # "forward", "training"


def seqloom_gru(batch: int, length: int, size: int) -> Calls:
    import seqloom.nn

    return _torch_like(seqloom.nn.GRU(size, size, batch_first=True), batch, length, size)


def torch_nn(batch: int, length: int, size: int) -> Calls:
    import torch

    return _torch_like(torch.nn.GRU(size, size, batch_first=True), batch, length, size)


def _torch_like(layer: Any, batch: int, length: int, size: int) -> Calls:
    import torch

    x = torch.randn(batch, length, size)
    wanted, seed = x.clone().requires_grad_(), torch.randn(batch, length, size)

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    def training() -> None:
        torch.autograd.grad(layer(wanted)[0], [wanted, *layer.parameters()], seed)

    return {"forward": forward, "training": training}


def flax(batch: int, length: int, size: int) -> Calls:
    import jax
    from flax import nnx

    layer = nnx.RNN(nnx.GRUCell(size, size, rngs=nnx.Rngs(0)))
    graph, weights, rest = nnx.split(layer, nnx.Param, ...)  # the rest: random number streams

    def run(weights: Any, x: Any) -> Any:
        return nnx.merge(graph, weights, rest)(x, initial_carry=jax.numpy.zeros((batch, size)))

    return _jitted(run, weights, jax, batch, length, size)


def jax(batch: int, length: int, size: int) -> Calls:
    import jax
    import jax.numpy as jnp

    draw = np.random.default_rng(0)
    bound = size**-0.5
    shapes = ((size, 3 * size), (size, 3 * size), (3 * size,), (3 * size,))
    weights = tuple(jnp.asarray(draw.uniform(-bound, bound, shape), jnp.float32) for shape in shapes)

    def run(weights: Any, x: Any) -> Any:
        w_ih, w_hh, b_ih, b_hh = weights

        def step(h: Any, entering: Any) -> tuple[Any, Any]:
            x_r, x_z, x_n = jnp.split(entering, 3, axis=-1)
            u_r, u_z, u_n = jnp.split(h @ w_hh + b_hh, 3, axis=-1)
            r, z = jax.nn.sigmoid(x_r + u_r), jax.nn.sigmoid(x_z + u_z)
            n = jnp.tanh(x_n + r * u_n)
            h = n + z * (h - n)
            return h, h

        gates = jnp.swapaxes(x @ w_ih + b_ih, 0, 1)
        return jax.lax.scan(step, jnp.zeros((x.shape[0], size)), gates)[1]

    return _jitted(run, weights, jax, batch, length, size)


def _jitted(run: Callable[..., Any], weights: Any, jax: Any, batch: int, length: int, size: int) -> Calls:
    x = jax.numpy.asarray(np.random.default_rng(0).standard_normal((batch, length, size)), jax.numpy.float32)
    forward = jax.jit(run)
    training = jax.jit(jax.grad(lambda weights, x: run(weights, x).sum(), argnums=(0, 1)))
    return {
        "forward": lambda: jax.block_until_ready(forward(weights, x)),
        "training": lambda: jax.block_until_ready(training(weights, x)),
    }


def keras(batch: int, length: int, size: int) -> Calls:
    import keras
    import tensorflow as tf

    layer = keras.layers.GRU(size, return_sequences=True)
    x = tf.random.normal((batch, length, size))
    layer(x)

    @tf.function
    def forward(x: Any) -> Any:
        return layer(x)

    @tf.function
    def training(x: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x, training=True)
        return tape.gradient(y, [x, *layer.trainable_variables])

    return {
        "forward": lambda: forward(x).numpy(),
        "training": lambda: [gradient.numpy() for gradient in training(x)],
    }


def onnxruntime(batch: int, length: int, size: int) -> Calls:
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    shapes = {"W": (1, 3 * size, size), "R": (1, 3 * size, size), "B": (1, 6 * size)}
    weights = [
        numpy_helper.from_array(draw.uniform(-(size**-0.5), size**-0.5, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    node = helper.make_node("GRU", ["x", "W", "R", "B"], ["y"], hidden_size=size, linear_before_reset=1)
    entering = helper.make_tensor_value_info("x", TensorProto.FLOAT, (length, batch, size))
    leaving = helper.make_tensor_value_info("y", TensorProto.FLOAT, (length, 1, batch, size))
    model = helper.make_model(
        helper.make_graph([node], "gru", [entering], [leaving], weights),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    onnx.checker.check_model(model)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    x = {"x": draw.standard_normal((length, batch, size)).astype(np.float32)}
    return {"forward": lambda: session.run(None, x)}


PEERS = {"flax": flax, "jax": jax, "keras": keras, "onnxruntime": onnxruntime}
THREADS = 2


def main() -> None:
    global THREADS
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of measuring, for each case and mode, at least")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peers", default=",".join(PEERS))
    given = parser.parse_args()
    THREADS = given.threads
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import torch

    from seqloom.measure.clock import interleave
    from seqloom.measure.machine import describe

    torch.set_num_threads(given.threads)
    absent: dict[str, str] = {}
    cases = []
    for batch, length, size in CASES:
        sides: dict[str, Calls] = {}
        for name, make in {"seqloom": seqloom_gru, "torch.nn": torch_nn, **PEERS}.items():
            if name in PEERS and (name not in given.peers.split(",") or name in absent):
                continue
            try:
                sides[name] = make(batch, length, size)
            except ImportError as error:
                absent[name] = str(error)
        for mode in ("forward", "training"):
            calls = {name: side[mode] for name, side in sides.items() if mode in side}
            samples = interleave(calls, min_rounds=7, min_time_s=given.seconds, max_time_s=8 * given.seconds, warmup=2)
            ms = {name: round(1e3 * float(np.median(seconds)), 3) for name, seconds in samples.items()}
            best = min((name for name in ms if name != "seqloom"), key=ms.__getitem__)
            row = {"B": batch, "T": length, "H": size, "mode": mode, "ms": ms, "best_peer": best}
            row |= {"share_of_best": round(ms["seqloom"] / ms[best], 3), "rounds": len(samples["seqloom"])}
            print(row, file=sys.stderr, flush=True)
            cases.append(row)
    found = {"benchmark": "recurrence_peers", "machine": describe().facts(), "absent": absent, "cases": cases}
    worst = max(case["share_of_best"] for case in cases)
    print(json.dumps({**found, "worst_share": worst, "target": 0.8, "reached": worst <= 0.8}))


if __name__ == "__main__":
    main()
