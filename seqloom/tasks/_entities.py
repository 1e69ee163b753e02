"""A trained tagger's answers: the entities of sentences, in words."""

from typing import Any

import numpy as np
import torch

from seqloom.data.schemes import Span, spans_of
from seqloom.data.sentences import Sentence, joined
from seqloom.data.words import Lexicon, TokenExamples

_TOGETHER = 32  # sentences answered at a time


def entities(model: Any, sentences: list[Sentence], lexicon: Lexicon, tags: list[str]) -> list[dict[str, Any]]:
    """Return each sentence's tokens and entities: text, label, and tokens from `start` up to, not including, `end`.

    Of a sentence that was cut from a text also the characters. Sentences are read by length, together; one without
    tokens has no entities.
    """
    found = [_answer(sentence, []) for sentence in sentences]
    rows = [row for row, sentence in enumerate(sentences) if sentence.tokens]
    rows.sort(key=lambda row: len(sentences[row].tokens))
    device = next(model.parameters()).device
    for start in range(0, len(rows), _TOGETHER):
        asked = rows[start : start + _TOGETHER]
        tokens = [sentences[row].tokens for row in asked]
        examples = TokenExamples(tokens, [np.zeros(len(each), np.int16) for each in tokens], lexicon)
        batch = examples.batch(np.arange(len(asked))).to(device)
        with torch.no_grad():
            output = model(batch.inputs, segment=batch.segment)[0]
            paths = model.head.decode(output, batch.segment).tolist()
        for row, path in zip(asked, paths, strict=True):
            names = [tags[number] for number in path[: len(sentences[row].tokens)]]
            found[row] = _answer(sentences[row], spans_of(names))
    return found


def _answer(sentence: Sentence, spans: list[Span]) -> dict[str, Any]:
    entities: list[dict[str, Any]] = []
    for span in spans:
        tokens = sentence.tokens[span.start : span.end]
        entity: dict[str, Any] = {"text": joined(tokens), "label": span.label, "start": span.start, "end": span.end}
        if sentence.text is not None:
            first, last = sentence.places[span.start][0], sentence.places[span.end - 1][1]
            entity |= {"text": sentence.text[first:last], "start_character": first, "end_character": last}
        entities.append(entity)
    asked = {} if sentence.text is None else {"input": sentence.text}
    return {**asked, "tokens": sentence.tokens, "entities": entities}
