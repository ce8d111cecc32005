"""Text as tokens on disk: one array for each source, made once for every step that reads the same text, and never held whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tuneladder.store import Store, digest
from tuneladder.task.corpus import by_source, content_of
from tuneladder.task.encode import reader_of
from tuneladder.types import Document

BATCH = 500_000  # characters that are encoded at once: what the tokenizer keeps of them is 30 times their size
CHARACTERS = 16  # text of so many characters for each of some tokens has more tokens than these
READING = 2  # raise it when a text is cut into other tokens than before


class TokenFile:
    """Tokens in a file, of which a slice is read when it is asked for.

    Not a memory map: pages of a map that have been touched count as the process's own memory, and a long run touches them all.
    """

    def __init__(self, path: Path, dtype: str) -> None:
        self.path, self.dtype = path, np.dtype(dtype)
        self.count = path.stat().st_size // self.dtype.itemsize

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: slice) -> np.ndarray[Any, Any]:
        start, stop, _ = place.indices(self.count)
        return np.fromfile(self.path, self.dtype, count=max(0, stop - start), offset=start * self.dtype.itemsize)


def token_files(tokenizer: Any, documents: Sequence[Document], store: Store) -> dict[str, TokenFile]:
    """The tokens of each source, each document closed by the end token. Raises BadInput where a file has changed meanwhile."""
    return {name: _token_file(tokenizer, own, store) for name, own in by_source(documents).items()}


def short_of(tokenizer: Callable[[], Any], documents: Sequence[Document], length: int) -> int:
    """Tokens of the longest source where none has more than `length`, so that no block of so many can be cut; 0 where one has. Of
    text that is surely long enough only so much is read, and no tokenizer is opened for it."""
    found = []
    for own in by_source(documents).values():
        texts, size = [], 0
        for document in own:
            texts.append(document.text)
            size += len(document.text)
            if size > CHARACTERS * length:
                return 0
        found.append(texts)
    reader = reader_of(tokenizer())
    most = max(sum(len(reader.encode(text, add_special_tokens=False).ids) + 1 for text in texts) for texts in found)
    return most if most <= length else 0


def _token_file(tokenizer: Any, documents: Sequence[Document], store: Store) -> TokenFile:
    reader = reader_of(tokenizer)
    key = "tokens-" + digest(READING, reader.to_str(), end_of(tokenizer), content_of(documents))

    def make(folder: Path) -> Mapping[str, Any]:
        width = np.dtype(np.uint16 if len(tokenizer) <= 1 << 16 else np.uint32)
        end, count = end_of(tokenizer), 0
        with (folder / "tokens.bin").open("wb") as file:  # what a kill left of it is written anew
            for texts in _batches(document.text for document in documents):
                for encoded in reader.encode_batch_fast(texts, add_special_tokens=False):
                    ids = np.array([*encoded.ids, end], dtype=width)
                    ids.tofile(file)
                    count += len(ids)
        return {"tokens": count, "dtype": width.name}

    folder = store.once(key, make)
    return TokenFile(folder / "tokens.bin", json.loads((folder / "done.json").read_text("utf-8"))["dtype"])


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def spread(texts: Iterable[Sequence[int]], *, length: int, end: int, most: int = 64, ahead: int = 0) -> list[np.ndarray[Any, Any]]:
    """At most `most` blocks of `length` tokens, and the `ahead` that follow each, at even distances in the texts, which follow one
    another, each closed by `end`."""
    stream = np.array([token for ids in texts for token in [*ids, end]], dtype=np.int64)
    count = (len(stream) - ahead) // length
    starts = [at * count // min(most, count) * length for at in range(min(most, count))]
    return [stream[start : start + length + ahead] for start in starts]


def end_of(tokenizer: Any) -> int:
    """What closes a text: the end token, or where an encoder's tokenizer has none its separator."""
    return int(tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id)
