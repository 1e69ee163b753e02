"""tinyshakespeare: plays, a million characters."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Plays of Shakespeare, 1,115,394 characters",
    licence="public domain",
    citation=(
        "karpathy2015",
        "Karpathy, A.",
        "The Unreasonable Effectiveness of Recurrent Neural Networks",
        "2015",
        "char-rnn",
    ),
    folder="tinyshakespeare",
    files=("input.txt",),
    downloads=(
        Download(
            url="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
            to="input.txt",
            most_bytes=5000000,
        ),
    ),
    tasks={
        "language": {"data": "./input.txt"},
    },
    sha256={
        "input.txt": "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
    },
)
