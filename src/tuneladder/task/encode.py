"""The one way from turns to tokens: training, scoring, generation and serving all come through here.

The whole text is tokenised at once, so that what merges across the border of prompt and answer merges as it will when the
model writes; what is learned is then told by character offsets. Special tokens are read only in the template's own marks: a
row that says `<|im_end|>` holds those ten characters, and ends no turn.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import AddedToken, Tokenizer

from tuneladder.errors import BadInput
from tuneladder.task.template import ChatTemplate, Part, goes_on, template_of
from tuneladder.types import Turns

# A turn cut below this many tokens says nothing any more: whole exchanges are left out before that.
SHORTEST = 8
BATCH = 1024

Pair = tuple[Turns, str | None]


class TooLong(ValueError):
    """The answer alone, with the template's marks around it, does not fit."""


@dataclass(frozen=True)
class Encoded:
    """`ids` and `learn` have one entry per token; `cut` counts the prompt tokens that were removed to make it fit; `weight` is how
    much each learned token counts in the loss."""

    ids: list[int]
    learn: list[bool]
    cut: int
    weight: float = 1.0


@dataclass(frozen=True)
class Tally:
    """Rows kept, cut (they are kept too) and dropped; tokens learned and tokens only read."""

    kept: int
    cut: int
    dropped: int
    learned: int
    read: int


@dataclass(frozen=True)
class Laid:
    """Tokens before cutting. `turn` is the number of the prompt turn that a token may be cut from, -1 where it must stay."""

    ids: list[int]
    learn: list[bool]
    turn: list[int]


@dataclass(frozen=True)
class _Piece:
    text: str
    role: str = ""
    learn: bool = False


class Coder:
    """A tokenizer and a context in tokens. `stop_ids` end an answer: the end of text and the template's end of turn. `soft` are
    tokens that stand before everything, and are neither learned nor cut."""

    def __init__(self, tokenizer: Any, context: int, *, soft: Sequence[int] = ()) -> None:
        self.tokenizer = tokenizer
        self.context = context
        self.soft = tuple(soft)
        self.template = template_of(tokenizer)
        eos = tokenizer.eos_token_id
        end = tokenizer.convert_tokens_to_ids(self.template.end) if self.template.end else None
        self.stop_ids: tuple[int, ...] = tuple(dict.fromkeys(i for i in (eos, end) if i is not None))
        self.bos: int | None = tokenizer.bos_token_id
        self._adds_bos = self.bos is not None and list(tokenizer("a")["input_ids"])[:1] == [self.bos]
        self._talks = isinstance(self.template, ChatTemplate)  # a chat template writes BOS itself where its model wants one
        self._core, self._marks, self._back = guarded(tokenizer)
        self._special = re.compile("|".join(re.escape(s) for s in sorted(self._marks, key=len, reverse=True)) or r"(?!)")

    def render(self, turns: Turns, answer: str | None = None) -> str:
        """The text that is encoded, for people to read."""
        return "".join(piece.text for piece in self._pieces(turns, answer, every=False, close=True))

    def stops(self, turns: Turns) -> tuple[str, ...]:
        """Strings, beside the stop ids, that end an answer to these turns."""
        return self.template.stops(turns)

    def encode(
        self, turns: Turns, answer: str | None = None, *, every: bool = False, close: bool = True, limit: int | None = None
    ) -> Encoded:
        """The tokens of turns and answer, and which of them are learned.

        Without an answer it is the prompt to generate from. `every` learns each assistant turn, `close` ends the answer and
        learns its end, `limit` is the most tokens (the context if None). Without turns the answer is plain text after BOS, and
        after turns of the role `text` it goes on from them.
        Raises TooLong.
        """
        return self.encode_many([(turns, answer)], every=every, close=close, limit=limit)[0]

    def encode_many(
        self, pairs: Sequence[Pair], *, every: bool = False, close: bool = True, limit: int | None = None
    ) -> list[Encoded]:
        """As `encode`, for many at once. Raises TooLong for the first that does not fit."""
        laid = self.lay(pairs, every=every, close=close)
        return [self.cut(row, pair, every=every, close=close, limit=limit) for row, pair in zip(laid, pairs, strict=True)]

    def encode_whole(self, text: str) -> list[int]:
        """The tokens of a plain text of any length after BOS, uncut and without what is soft."""
        return self.lay([((), text)], every=False, close=False)[0].ids[len(self.soft) :]

    def lay(self, pairs: Sequence[Pair], *, every: bool, close: bool) -> list[Laid]:
        """The tokens of each pair, uncut."""
        pieces = [self._pieces(turns, answer, every=every, close=close) for turns, answer in pairs]
        texts = ["".join(self._guard(piece) for piece in row) for row in pieces]
        found = self._core.encode_batch([_sound(text) for text in texts], add_special_tokens=False)
        return [
            self._laid(row, encoding, bos=self._adds_bos and (goes_on(turns) or not self._talks))
            for row, encoding, (turns, _) in zip(pieces, found, pairs, strict=True)
        ]

    def cut(self, laid: Laid, pair: Pair, *, every: bool, close: bool, limit: int | None) -> Encoded:
        """What was laid, made to fit: the oldest exchanges go first, each whole, and only then is a turn cut in its middle.

        Raises TooLong.
        """
        turns, answer = pair
        room = self.context if limit is None else min(limit, self.context)
        before = len(laid.ids)
        while len(laid.ids) > room and (fewer := without_oldest(turns)) is not None:
            turns = fewer
            laid = self.lay([(turns, answer)], every=every, close=close)[0]
        if (keep := _fit(laid, room)) is None:
            raise TooLong(f"{len(laid.ids)} tokens, of which at most {room} fit")
        ids = [laid.ids[i] for i in keep]
        return Encoded(ids, [laid.learn[i] for i in keep], before - len(ids))

    def _pieces(self, turns: Turns, answer: str | None, *, every: bool, close: bool) -> list[_Piece]:
        end = self.template.end
        if goes_on(turns):
            said = [_Piece(answer or "", "assistant", True), _Piece(self.tokenizer.eos_token or "" if close else "", learn=True)]
            return [*(_Piece(turn.text, turn.role) for turn in turns), *(said if answer is not None or not turns else ())]
        pieces: list[_Piece] = []
        parts: list[Part] = self.template.parts(turns)
        for previous, part in zip([Part(""), *parts], parts, strict=False):
            if every and previous.role == "assistant" and end and part.text.startswith(end):
                pieces += [_Piece(end, learn=True), _Piece(part.text[len(end) :])]
            else:
                pieces.append(_Piece(part.text, part.role, every and part.role == "assistant"))
        if answer is not None:
            pieces.append(_Piece(self.template.lead + answer, "assistant", True))
            pieces += [_Piece(end, learn=True)] if close else []
        return pieces

    def _guard(self, piece: _Piece) -> str:
        """A mark's special tokens in the form that the guarded tokenizer knows; a turn's text as it is."""
        return piece.text if piece.role else self._special.sub(lambda found: self._marks[found.group()], piece.text)

    def _laid(self, pieces: list[_Piece], encoding: Any, *, bos: bool) -> Laid:
        """Whose each token is: learned if it holds any character that is, removable if it lies wholly in one prompt turn. One BOS
        stands before all where the pieces begin with any, or where it is to be added."""
        spans: list[tuple[int, int, bool, int]] = []
        start = 0
        for number, piece in enumerate(pieces):
            end = start + len(self._guard(piece))
            loose = piece.role != "" and not piece.learn
            if end > start:
                spans.append((start, end, piece.learn, number if loose else -1))
            start = end
        ids, learn, turn = [], [], []
        at, reached = 0, 0
        for token, (first, last) in zip(encoding.ids, encoding.offsets, strict=True):
            # Characters that a normaliser dropped belong to the token after them; a token without any, to its neighbour's.
            first, reached = min(first, reached), max(reached, last)
            while at + 1 < len(spans) and spans[at][1] <= first:
                at += 1
            over = at
            learned = False
            while over < len(spans) and (spans[over][0] < last or over == at):
                learned |= spans[over][2]
                over += 1
            ids.append(self._back.get(token, token))
            learn.append(learned)
            turn.append(spans[at][3] if spans and not learned and last <= spans[at][1] else -1)
        skip = 0
        while self.bos is not None and skip < len(ids) and ids[skip] == self.bos and turn[skip] == -1:
            skip += 1
        ahead = list(self.soft)
        if skip or bos:
            assert self.bos is not None
            ahead.append(self.bos)
        return Laid([*ahead, *ids[skip:]], [*[False] * len(ahead), *learn[skip:]], [*[-1] * len(ahead), *turn[skip:]])


def encode_all(
    coder: Coder,
    pairs: Iterable[tuple[Turns, str]],
    *,
    every: bool = False,
    limit: int | None = None,
    weights: Sequence[float] | None = None,
) -> tuple[list[Encoded], Tally]:
    """Every pair that fits, in order, and the count of what was kept, cut and dropped. `weights` are the pairs', 1 without.

    Raises BadInput, showing one example, where nothing at all is left to learn.
    """
    kept: list[Encoded] = []
    cut = dropped = 0
    rows: list[Pair] = list(pairs)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        own = weights[start : start + BATCH] if weights else [1.0] * len(batch)
        for laid, pair, weight in zip(coder.lay(batch, every=every, close=True), batch, own, strict=True):
            try:
                encoded = coder.cut(laid, pair, every=every, close=True, limit=limit)
            except TooLong:
                dropped += 1
                continue
            if not any(encoded.learn):
                dropped += 1
                continue
            cut += encoded.cut > 0
            kept.append(replace(encoded, weight=weight))
    if not kept:
        if not rows:
            raise BadInput("there is nothing to learn: no rows are left")
        room = coder.context if limit is None else min(limit, coder.context)
        shown = coder.render(*rows[0])
        shown = shown if len(shown) <= 400 else f"{shown[:200]} [...] {shown[-200:]}"
        raise BadInput(
            f"nothing is learnable: no answer of {len(rows)} rows fits in {room} tokens; the first row reads {shown!r}",
            f"raise `max_length` (the context is {coder.context}), choose a base with a longer context, or shorten the answers",
        )
    learned = sum(sum(encoded.learn) for encoded in kept)
    return kept, Tally(len(kept), cut, dropped, learned, sum(len(encoded.ids) for encoded in kept) - learned)


def _fit(laid: Laid, room: int) -> list[int] | None:
    """Indices of the tokens that stay: turns are cut in their middle, the longest first. None if they would say nothing."""
    excess = len(laid.ids) - room
    if excess <= 0:
        return list(range(len(laid.ids)))
    turns: dict[int, list[int]] = {}
    for index, turn in enumerate(laid.turn):
        if turn >= 0:
            turns.setdefault(turn, []).append(index)
    spare = sum(len(indices) for indices in turns.values()) - excess
    if spare < 0:
        return None
    # The highest cap per turn under which all fit; short turns leave their share to the long.
    cap, left = 0, spare
    for done, size in enumerate(sorted(len(indices) for indices in turns.values())):
        cap = left // (len(turns) - done)
        if size > cap:
            break
        left -= size
    if cap < SHORTEST and len(turns) > 1:
        return None
    gone: set[int] = set()
    for indices in turns.values():
        if len(indices) > cap:
            head = (cap + 1) // 2
            gone.update(indices[head : len(indices) - (cap - head)])
    return [index for index in range(len(laid.ids)) if index not in gone]


def without_oldest(turns: Turns) -> Turns | None:
    """The turns without their first exchange, what the system says kept; None where only the question is left."""
    asked = [number for number, turn in enumerate(turns) if turn.role == "user"]
    if len(asked) < 2:
        return None
    return tuple(turn for turn in turns[: asked[0]] if turn.role == "system") + turns[asked[1] :]


def reader_of(tokenizer: Any) -> Tokenizer:
    """A copy of the tokenizer that takes special tokens for plain text: a text that says `<|end|>` holds those seven characters.
    Its post-processor is left out: BOS is ours to add, and byte-level post-processors trim blanks off the offsets."""
    if not tokenizer.is_fast:
        raise BadInput(f"the tokenizer of {tokenizer.name_or_path} knows no character offsets", "choose one with a tokenizer.json")
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    content |= {"post_processor": None, "truncation": None, "padding": None}
    core = Tokenizer.from_str(json.dumps(content))
    core.encode_special_tokens = True
    return core


def guarded(tokenizer: Any) -> tuple[Tokenizer, dict[str, str], dict[int, int]]:
    """A reader that knows each special token by another, secret name.

    Returns it, the secret name of each special token, and the true id of each secret id. The names are drawn anew each time, so
    that no row can say one.
    """
    core, drawn = reader_of(tokenizer), secrets.token_hex(8)
    marks: dict[str, str] = {}
    back: dict[int, int] = {}
    for number, (true_id, token) in enumerate(sorted(tokenizer.added_tokens_decoder.items())):
        if token.special:
            secret = f"\U0010f8f2{drawn}-{number}\U0010f8f3"
            core.add_tokens([AddedToken(secret, normalized=False, special=False, lstrip=token.lstrip, rstrip=token.rstrip)])
            marks[token.content] = secret
            secret_id = core.token_to_id(secret)
            assert secret_id is not None
            back[secret_id] = true_id
    return core, marks, back


def _sound(text: str) -> str:
    """Half a surrogate pair, which JSON may hold and UTF-8 may not, becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
