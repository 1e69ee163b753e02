"""ETTh1: oil temperature and loads of an electricity transformer, hourly, two years."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Electricity transformer temperature, 7 series, hourly",
    licence="CC BY-ND 4.0",
    citation=(
        "zhou2021",
        "Zhou, H. and others",
        "Informer: Beyond Efficient Transformer for Long Sequence Time-Series Forecasting",
        "2021",
        "arXiv:2012.07436",
    ),
    folder="ett",
    files=("ETTh1.csv",),
    downloads=(
        Download(
            url="https://raw.githubusercontent.com/zhouhaoyi/ETDataset/main/ETT-small/ETTh1.csv",
            to="ETTh1.csv",
            most_bytes=10000000,
        ),
    ),
    tasks={
        "forecast": {"data": "./ETTh1.csv", "time": ("date",), "horizon": 96},
    },
    sha256={
        "ETTh1.csv": "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066",
    },
)
