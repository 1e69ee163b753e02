"""CoNLL-2003: names of persons, places, organisations and others in English news."""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Named entities in English news, 4 types, IOB1",
    licence="Reuters Corpus: research only, to be asked for at NIST; the tags are free",
    citation=(
        "tjongkimsang2003",
        "Tjong Kim Sang, E. and De Meulder, F.",
        "Introduction to the CoNLL-2003 Shared Task",
        "2003",
        "CoNLL",
    ),
    folder="conll2003",
    files=(
        "eng.train",
        "eng.testa",
        "eng.testb",
    ),
    downloads=(
        Download(
            url="https://raw.githubusercontent.com/glample/tagger/master/dataset/eng.train",
            to="eng.train",
            most_bytes=20000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/glample/tagger/master/dataset/eng.testa",
            to="eng.testa",
            most_bytes=20000000,
        ),
        Download(
            url="https://raw.githubusercontent.com/glample/tagger/master/dataset/eng.testb",
            to="eng.testb",
            most_bytes=20000000,
        ),
    ),
    tasks={
        "tag": {"data": "./eng.train", "validation_data": "./eng.testa", "test": "./eng.testb"},
    },
)
