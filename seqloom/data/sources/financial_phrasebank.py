"""Financial PhraseBank: is a sentence good, bad or no news for investors?"""

from seqloom.data.fetch import Download
from seqloom.data.named import Named

source = Named(
    title="Financial news in English, 3 classes, all annotators agreeing",
    licence="CC BY-NC-SA 3.0",
    citation=(
        "malo2014",
        "Malo, P. and others",
        "Good Debt or Bad Debt: Detecting Semantic Orientations in Economic Texts",
        "2014",
        "JASIST 65(4)",
    ),
    folder="financial_phrasebank",
    files=(
        "Sentences_AllAgree.txt",
        "Sentences_50Agree.txt",
    ),
    downloads=(
        Download(
            url="https://huggingface.co/datasets/takala/financial_phrasebank/resolve/main/data/FinancialPhraseBank-v1.0.zip",
            to={
                "FinancialPhraseBank-v1.0/Sentences_AllAgree.txt": "Sentences_AllAgree.txt",
                "FinancialPhraseBank-v1.0/Sentences_50Agree.txt": "Sentences_50Agree.txt",
            },
            most_bytes=5000000,
        ),
    ),
    tasks={
        "classify": {
            "data": "./Sentences_AllAgree.txt",
            "text": 0,
            "label": 1,
            "delimiter": "@",
            "encoding": "latin-1",
        },
    },
)
