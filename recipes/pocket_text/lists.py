"""Write the source of `pocket-encoder.yaml` that is made of words: lists of words that its teacher's tokenizer knows whole. The
open text is old, and a teacher can say where words of today lie as well as where sentences do.

TUNELADDER_SHARED=/data/root python -m recipes.pocket_text.lists
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tuneladder.model.batching import unit
from tuneladder.model.inspect import inspect
from tuneladder.model.shelf import Shelf, open_tokenizer
from tuneladder.types import Embedder, Prompt, Turn, Variant

from .__main__ import FOLDER, SEED, write
from .words import FUNCTION_WORDS

TEACHER = "minilm"
COUNT = 260_000
NEAR = 48  # words that go with a word
MOST = 14  # words of a list


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    words = known_words()
    rows = [{"text": text} for text in lists(words, neighbours(words), count=COUNT, seed=SEED)]
    write(FOLDER / "words.jsonl", rows)


def known_words() -> list[str]:
    """The whole words of the teacher's vocabulary, in its order: of two letters or more, none of them foreign."""
    vocabulary: dict[str, int] = open_tokenizer(inspect(TEACHER)).get_vocab()
    return [
        word for word, _ in sorted(vocabulary.items(), key=lambda item: item[1]) if word.isascii() and word.isalpha() and word[1:]
    ]


def neighbours(words: Sequence[str]) -> np.ndarray[Any, Any]:
    """The NEAR words (N, NEAR) that the teacher puts next to each word, the nearest first, itself left out."""
    own = embedded(words)
    found = []
    for start in range(0, len(own), 2048):
        near = own[start : start + 2048] @ own.T
        near[np.arange(len(near)), start + np.arange(len(near))] = -1
        found.append(np.argsort(-near, axis=1)[:, :NEAR])
    return np.concatenate(found)


def embedded(texts: Sequence[str]) -> np.ndarray[Any, Any]:
    """Where the teacher puts each text: unit vectors (N, W)."""
    with Shelf().engine(Variant(inspect(TEACHER), Prompt())) as engine:
        assert isinstance(engine, Embedder)
        return unit(engine.embed([(Turn("user", text),) for text in texts]))


def lists(words: Sequence[str], near: np.ndarray[Any, Any], *, count: int, seed: int) -> Iterator[str]:
    """Every word alone; then words that go together, words of two kinds, and words of any, some with small words between."""
    yield from words
    draw = random.Random(f"{seed} lists")
    small = sorted(word for word in FUNCTION_WORDS if word.isalpha())
    for _ in range(count - len(words)):
        size = draw.randint(2, MOST)
        fate = draw.random()
        if fate < 0.45:
            own = _around(words, near, draw, size)
        elif fate < 0.75:
            first = draw.randint(1, size - 1)
            own = _around(words, near, draw, first) + _around(words, near, draw, size - first)
        else:
            own = [words[draw.randrange(len(words))] for _ in range(max(2, size // 2))]
        if draw.random() < 0.4:
            own = [part for word in own for part in ((draw.choice(small), word) if draw.random() < 0.5 else (word,))]
        yield " ".join(own)


def _around(words: Sequence[str], near: np.ndarray[Any, Any], draw: random.Random, size: int) -> list[str]:
    """A word and others near it, in any order."""
    middle = draw.randrange(len(words))
    found = [middle, *draw.sample(near[middle].tolist(), size - 1)]
    draw.shuffle(found)
    return [words[at] for at in found]


if __name__ == "__main__":
    main()
