"""Beauty: what customers of Amazon bought one after the other."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Purchases of beauty products, 22,363 users, 5-core",
    licence="free for research (no licence is stated)",
    citation=(
        "mcauley2015",
        "McAuley, J. and others",
        "Image-Based Recommendations on Styles and Substitutes",
        "2015",
        "arXiv:1506.04757; as prepared for S3-Rec, arXiv:2008.07873",
    ),
    folder="seqrec",
    files=("Beauty.txt",),
    downloads=(
        Download(
            url="https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/master/data/Beauty.txt",
            to="Beauty.txt",
            most_bytes=10000000,
        ),
    ),
    tasks={
        "recommend": {"data": "./Beauty.txt"},
    },
)
