"""Models in and out of folders: Hugging Face's forms of BERT, GPT-2 and Mamba-2, and our own for every other model."""

from seqloom.hub.pretrained import load, save
from seqloom.hub.tokenizer import tokenizer

__all__ = ["load", "save", "tokenizer"]
