"""MNIST: handwritten digits, 28 x 28 pixels."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Handwritten digits, 60,000 and 10,000 pictures",
    licence="CC BY-SA 3.0",
    citation=(
        "lecun1998",
        "LeCun, Y. and others",
        "Gradient-Based Learning Applied to Document Recognition",
        "1998",
        "Proceedings of the IEEE 86(11)",
    ),
    folder="mnist",
    files=(
        "train-images-idx3-ubyte.gz",
        "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ),
    downloads=(
        Download(
            url="https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
            to="train-images-idx3-ubyte.gz",
            sha256="440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            most_bytes=20000000,
        ),
        Download(
            url="https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
            to="train-labels-idx1-ubyte.gz",
            sha256="3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            most_bytes=20000000,
        ),
        Download(
            url="https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
            to="t10k-images-idx3-ubyte.gz",
            sha256="8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            most_bytes=20000000,
        ),
        Download(
            url="https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
            to="t10k-labels-idx1-ubyte.gz",
            sha256="f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            most_bytes=20000000,
        ),
    ),
    tasks={
        "classify": {"data": "./train-images-idx3-ubyte.gz", "test": "./t10k-images-idx3-ubyte.gz"},
    },
)
