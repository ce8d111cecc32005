"""A text as its tokenizer cuts it: the pieces with their ids, for people to read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

# Byte-level tokenizers write each byte as a letter: those that print as themselves, the others from 256 on in their order.
_PRINTED = (*range(33, 127), *range(161, 173), *range(174, 256))
_BYTES = {chr(byte): byte for byte in _PRINTED} | {
    chr(256 + number): byte for number, byte in enumerate(byte for byte in range(256) if byte not in _PRINTED)
}


@dataclass(frozen=True)
class Piece:
    """A token. Of a character that is cut between tokens, `text` shows the bytes."""

    id: int
    text: str


@runtime_checkable
class Cuts(Protocol):
    """An engine that cuts texts into tokens where it can be seen."""

    def pieces(self, text: str) -> list[Piece]:
        """A plain text in tokens, without marks around it."""
        ...


def pieces_of(tokenizer: Any, ids: Sequence[int]) -> list[Piece]:
    """What each token stands for: the blank before a word with the word, other marks as the vocabulary has them."""
    bytewise = '"ByteLevel"' in json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())["decoder"])
    names = tokenizer.convert_ids_to_tokens(list(ids))
    return [Piece(id, _text_of(name or "", bytewise)) for id, name in zip(ids, names, strict=True)]


def _text_of(name: str, bytewise: bool) -> str:
    if bytewise and all(letter in _BYTES for letter in name):
        return bytes(_BYTES[letter] for letter in name).decode("utf-8", "backslashreplace")
    return name.replace("\u2581", " ")
