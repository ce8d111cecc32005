"""Plain text for pretraining: sources with weights -> documents, held out by source.

A source is a file of rows and a Jinja text over their columns. `episode` joins that many rows, of one `group` where that is
named, into one document, so that a base learns what worked examples in a prompt are for. Where rows have an `answer`, their
documents are lessons: text that asks and answers as a prompt does, which a seq2seq reads and writes apart.

A source may be larger than memory. It is read through once to find what is held out, and again by whoever goes through its
documents; a row, and WINDOW characters of documents, are all that is held of it.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from tuneladder.errors import BadInput
from tuneladder.store import digest
from tuneladder.task.formats import text_of
from tuneladder.task.read import Row, stream_rows
from tuneladder.task.template import ASKS, PlainTemplate
from tuneladder.types import Document, Lesson, Text

PASSAGE = 4_000
ANSWER = ASKS + PlainTemplate.lead  # between what asks and what answers
TOKEN = 3.7  # characters of English in a token of an 8k byte-level BPE, for what the notes foretell
WHOLE = 20  # fewer documents are held out by their closing passages
WINDOW = 8_000_000  # characters that are shuffled, or joined into episodes, at once
TRAIN, DEV, TEST, ANY = 0, 1, 2, 3


@dataclass(frozen=True)
class Source:
    """Rows of text. `text`: a column or Jinja; `answer`: the same, for what answers it; `where`: a Jinja expression that a row must
    satisfy; `weight`: its share of the tokens seen, relative to the other sources; `held_out`: the share of its characters kept
    for dev, and again for test; `together`: a Jinja expression whose value no split divides (several texts of one article);
    `replay` marks general text, of which nothing is held out, and which only a step reads that is told to replay some."""

    data: str
    text: str = "text"
    answer: str = ""
    name: str = ""
    weight: float = 1.0
    episode: int = 1
    group: str = ""
    where: str = ""
    together: str = ""
    held_out: float = 0.02
    held_out_at_most: int = 100_000
    replay: bool = False

    @property
    def title(self) -> str:
        return self.name or Path(self.data).stem.split(".")[0]


@dataclass(frozen=True)
class Part:
    """What reading a source through has shown.

    `documents` and `characters` are those to train on; `content` is the digest of all of its documents in their order, and of the
    splits that they must be in; of those that any split may have, the ones whose place is `below` or lower are held out; of a
    source of few documents the closing `passages`, so many of them, are.
    """

    source: Source
    seed: int
    documents: int
    characters: int
    content: str
    below: float = -1.0
    passages: int | None = None


class Stream(Sequence[Document]):
    """The documents that sources have to train on, read from their files each time they are gone through: in their order, for to
    reach one all before it are read."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)

    def __iter__(self) -> Iterator[Document]:
        """Raises BadInput, at the end of a source, where its file is no longer what it was when it was first read."""
        for part in self.parts:
            for text in _train(part):
                yield _lesson(text, part.source.title) if part.source.answer else Document(text, part.source.title)

    def __len__(self) -> int:
        return sum(part.documents for part in self.parts)

    @overload
    def __getitem__(self, place: int) -> Document: ...

    @overload
    def __getitem__(self, place: slice) -> list[Document]: ...

    def __getitem__(self, place: int | slice) -> Document | list[Document]:
        if isinstance(place, slice):
            return list(itertools.islice(self, *place.indices(len(self))))
        for document in itertools.islice(self, range(len(self))[place], None):
            return document
        raise IndexError(place)

    @property
    def content(self) -> str:
        """The digest of the documents in their order; where the files lie is no part of it."""
        parts = [(part.content, bool(part.source.answer), part.below, part.passages, part.seed) for part in self.parts]
        return digest([part.source.title for part in self.parts], parts)


@dataclass(frozen=True)
class Corpus:
    """`text` is the task's own, `replay` the general text that a step may mix in, `mixture` the weight of each source among those
    of its kind; `notes` say what was read."""

    text: Text
    replay: Sequence[Document]
    mixture: Mapping[str, float]
    notes: tuple[str, ...]


def gather(sources: Sequence[Source], *, seed: int) -> Corpus:
    """Documents of all sources.

    Raises BadInput for a source without text, a weight that is not positive, two sources of one name, and general text alone.
    """
    parts: list[Part] = []
    held: tuple[list[Document], list[Document]] = ([], [])
    mixture: dict[str, float] = {}
    notes: list[str] = []
    for source in sources:
        if source.weight <= 0:
            raise BadInput(f"weight {source.weight} of source '{source.title}' is not above 0", "leave the source out instead")
        if source.title in mixture:
            raise BadInput(f"two sources are called '{source.title}'", "give one of them a `name`")
        if not 0 <= source.held_out < 0.5:
            raise BadInput(f"held_out {source.held_out} of source '{source.title}' is not a share below 0.5", "0.02 holds out 2 %")
        if source.episode < 1:
            raise BadInput(f"episode {source.episode} of source '{source.title}' joins no rows", "1 leaves each row a document")
        mixture[source.title] = source.weight
        part, dev, test = _survey(replace(source, held_out=0.0) if source.replay else source, seed)
        parts.append(part)
        for into, texts in zip(held, (dev, test), strict=True):
            into += [Document(text, source.title) for text in texts]
        share = source.weight / sum(each.weight for each in sources if each.replay == source.replay)
        if source.replay:
            notes.append(
                f"{source.title}: {part.documents:,} documents; {part.characters:,} characters, read only where a step has "
                f"`replay`: {share:.1%} of what it replays"
            )
            continue
        sizes = [sum(map(len, texts)) for texts in (dev, test)]
        notes.append(
            f"{source.title}: {part.documents:,} documents; {part.characters:,} characters to train, {sizes[0]:,} dev, "
            f"{sizes[1]:,} test; {share:.1%} of the tokens seen: all of it is read once in "
            f"{_tokens(part.characters / TOKEN / share)} tokens"
        )
    own, replayed = ([part for part in parts if part.source.replay == kind] for kind in (False, True))
    if not own:
        raise BadInput("every source is marked `replay`, and none is the task's own text", "leave `replay` out of one of them")
    text = Text(Stream(own), tuple(held[0]), tuple(held[1]))
    return Corpus(text, Stream(replayed) if replayed else (), mixture, tuple(notes))


def _tokens(count: float) -> str:
    return f"{count / 1e6:,.2f} million" if count >= 1e6 else f"{count:,.0f}"


def by_source(documents: Sequence[Document]) -> dict[str, Sequence[Document]]:
    """The documents of each source, by its name."""
    if isinstance(documents, Stream):
        return {part.source.title: Stream([part]) for part in sorted(documents.parts, key=lambda part: part.source.title)}
    names = sorted({document.source for document in documents})
    return {name: tuple(document for document in documents if document.source == name) for name in names}


def content_of(documents: Sequence[Document]) -> str:
    """The digest of the documents in their order."""
    return documents.content if isinstance(documents, Stream) else digest([(type(each).__name__, each) for each in documents])


def sampled(documents: Iterable[Document], *, characters: int, seed: str) -> list[str]:
    """All texts in their order where they have at most so many characters, else about as many, drawn whole."""
    draw = random.Random(seed)
    kept: list[tuple[float, int, str]] = []  # the texts of the lowest draws: a heap whose first is the highest of them
    size = 0
    for at, document in enumerate(documents):
        heapq.heappush(kept, (-draw.random(), at, document.text))
        size += len(document.text)
        while size - len(kept[0][2]) >= characters:
            size -= len(heapq.heappop(kept)[2])
    return [text for _, _, text in sorted(kept, key=lambda each: each[1])]


@dataclass(frozen=True)
class _Row:
    text: str
    group: str
    together: str


def _rows(source: Source) -> Iterator[_Row]:
    """The rows of a source as text, with what groups them and what keeps them together."""
    env = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True, finalize=_filled)
    empty = True

    def made(row: Row) -> _Row | None:
        if keep is not None and not keep(**row):
            return None
        group = str(row[source.group]) if source.group else ""
        said = text_of(_asked(render(**row), answer and answer(**row)))
        return _Row(said, group, str(together(**row)) if together else "")

    def failed(error: Exception, columns: Iterable[str] = ("none",)) -> BadInput:
        return BadInput(f"the text of source '{source.title}' cannot be made: {error}", f"its columns: {', '.join(columns)}")

    try:
        render = env.from_string(_template(source.text)).render
        answer = env.from_string(_template(source.answer)).render if source.answer else None
        keep = env.compile_expression(source.where) if source.where else None
        together = env.compile_expression(source.together) if source.together else None
    except TemplateError as error:
        raise failed(error) from error
    for row in stream_rows(source.data):
        try:
            found = made(row)
        except BadInput:
            raise
        except Exception as error:  # a template may do anything
            raise failed(error, row) from error
        if found and found.text:
            empty = False
            yield found
    if empty:
        raise BadInput(f"source '{source.title}' has no text", f"look at {source.data} and at its `text` and `where`")


def _filled(cell: Any) -> Any:
    """A cell as a template writes it: nothing where it is empty, which Parquet's columns of numbers say by NaN."""
    return "" if cell is None or cell != cell else cell


def _template(text: str) -> str:
    return text if "{{" in text or "{%" in text else "{{ " + text + " }}"


def _asked(text: str, answer: str | None) -> str:
    """A row's text, with its answer where it has one; nothing where one of the two is empty."""
    if answer is None:
        return text.strip()
    return f"{text.strip()}{ANSWER}{answer.strip()}" if text.strip() and answer.strip() else ""


def _lesson(text: str, source: str) -> Lesson:
    """The last row asks, and those before it are its worked examples."""
    ask, _, answer = text.rpartition(ANSWER)
    return Lesson(text, source, ask, answer)


class _Episodes:
    """Rows as they come -> documents: each row one, or `source.episode` rows of a group, joined; they are drawn among the rows of
    a WINDOW."""

    def __init__(self, source: Source, seed: int) -> None:
        self.count = source.episode
        self.order = random.Random(f"{seed} {source.title}")
        self.groups: dict[str, list[str]] = defaultdict(list)
        self.size = 0

    def add(self, row: _Row) -> list[str]:
        if self.count == 1:
            return [row.text]
        self.groups[row.group].append(row.text)
        self.size += len(row.text)
        return self.rest() if self.size >= WINDOW else []

    def rest(self) -> list[str]:
        texts = []
        for group in self.groups.values():
            self.order.shuffle(group)
            texts += ["\n\n".join(group[at : at + self.count]) for at in range(0, len(group), self.count)]
        self.groups, self.size = defaultdict(list), 0
        return texts


def _documents(source: Source, seed: int) -> Iterator[tuple[int, str]]:
    """The documents of a source, each with the split that it must be in: by what its rows are kept together by, where that is
    named, else ANY."""
    if not source.together:
        episodes = _Episodes(source, seed)
        for row in _rows(source):
            for text in episodes.add(row):
                yield ANY, text
        for text in episodes.rest():
            yield ANY, text
        return
    each = [_Episodes(source, seed) for _ in (TRAIN, DEV, TEST)]
    share = source.held_out
    for row in _rows(source):
        # a hash and not a draw, so that two sources over one file hold out the same rows
        place = int(digest(seed, row.together), 16) / 16**16
        split = DEV if place < share else TEST if place < 2 * share else TRAIN
        for text in each[split].add(row):
            yield split, text
    for split, episodes in enumerate(each):
        for text in episodes.rest():
            yield split, text


def _mark(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _place(mark: bytes, seed: int) -> float:
    """Where a document stands, from 0 to 1: by its own text, so that one that stands twice is held out twice or not at all."""
    return int.from_bytes(hashlib.sha256(b"%d " % seed + mark).digest()[:7], "big") / 2**56  # as many bits as a float tells apart


@dataclass
class _Lowest:
    """The documents of the lowest places, as many as what may be held out could need."""

    most: int
    places: list[float] = field(default_factory=list)  # a heap of what is kept, each negative
    kept: dict[float, list[str]] = field(default_factory=dict)
    size: int = 0

    def add(self, place: float, text: str) -> None:
        if place in self.kept:
            self.kept[place].append("")  # the same text again: its size is told by the first
            return
        heapq.heappush(self.places, -place)
        self.kept[place] = [text]
        self.size += min(len(text), self.most)
        # dev and test each take documents until they have what they want, which may be `most`
        while self.places and self.size - self._clipped(highest := -self.places[0]) >= 3 * self.most:
            self.size -= self._clipped(highest)
            del self.kept[highest]
            heapq.heappop(self.places)

    def _clipped(self, place: float) -> int:
        return min(len(self.kept[place][0]), self.most)


def _survey(source: Source, seed: int) -> tuple[Part, list[str], list[str]]:
    """What a source holds, and its texts for dev and test: by what the rows are kept together by where that is named, else by
    whole documents where there are at least WHOLE, else by the closing passages, for a document cannot be shuffled within."""
    most = source.held_out_at_most
    content = hashlib.sha256()
    lowest = _Lowest(most)
    first: list[str] = []
    fixed: tuple[list[str], list[str]] = ([], [])
    count = size = 0
    for split, text in _documents(source, seed):
        mark = _mark(text)
        content.update(mark + bytes([split]))
        if split in (DEV, TEST):
            if sum(map(len, into := fixed[split - DEV])) < most:
                into.append(text)
            continue
        count, size = count + 1, size + len(text)
        if split == ANY:
            lowest.add(_place(mark, seed), text)
            first = [*first, text] if count < WHOLE else []
    part = Part(source, seed, count, size, content.hexdigest())
    if source.together:
        return part, _trim(fixed[0], most), _trim(fixed[1], most)
    if count < WHOLE and not source.answer:  # a lesson is not cut into passages
        return _closing(part, first)
    order = [lowest.kept[place] for place in sorted(lowest.kept)]
    held, taken = _first(order, min(source.held_out * size, most), at_most=len(order) - 1)
    gone = [text for texts in order[:taken] for text in texts]
    below = sorted(lowest.kept)[taken - 1] if taken else -1.0
    without = sum(len(texts[0]) * len(texts) for texts in order[:taken])
    part = replace(part, documents=count - len(gone), characters=size - without, below=below)
    return part, _trim(held[0], most), _trim(held[1], most)


def _first(order: Sequence[Sequence[str]], wanted: float, *, at_most: int) -> tuple[tuple[list[str], list[str]], int]:
    """The first of the texts for dev and then for test, each until it has `wanted` characters; and how many both took."""
    held: tuple[list[str], list[str]] = ([], [])
    start = 0
    for into in held:
        size = 0
        while size < wanted and start < at_most:
            into.append(order[start][0])
            size += len(order[start][0])
            start += 1
    return held, start


def _closing(part: Part, documents: Sequence[str]) -> tuple[Part, list[str], list[str]]:
    """The closing passages of few documents, for test the last but those of dev."""
    order = [[passage] for document in documents for passage in passages(document)][::-1]
    wanted = part.source.held_out * sum(len(own[0]) for own in order)
    held, taken = _first(order, wanted, at_most=len(order) - 1)
    texts = [_trim(own[::-1], part.source.held_out_at_most) for own in held]
    kept = replace(part, passages=taken, documents=1)
    return replace(kept, characters=len(_opening(kept, documents))), texts[0], texts[1]


def _opening(part: Part, documents: Sequence[str]) -> str:
    """Few documents as one, without their closing passages."""
    order = [passage for document in documents for passage in passages(document)]
    return "\n\n".join(order[: len(order) - (part.passages or 0)])


def _train(part: Part) -> Iterator[str]:
    """The texts that a source has to train on, read anew: in their order where rows are kept together, else shuffled within a
    WINDOW, for files are often sorted."""
    source, content = part.source, hashlib.sha256()
    order = random.Random(f"{part.seed} {source.title} order")
    window: list[str] = []
    size = 0
    for split, text in _documents(source, part.seed):
        mark = _mark(text)
        content.update(mark + bytes([split]))
        if split == TRAIN:
            yield text
        elif split == ANY and (part.passages is not None or _place(mark, part.seed) > part.below):
            window.append(text)
            size += len(text)
            if size >= WINDOW and part.passages is None:
                order.shuffle(window)
                yield from window
                window, size = [], 0
    if content.hexdigest() != part.content:
        raise BadInput(f"{source.data} has changed since this command began to read it", "run the command again")
    if part.passages is not None:
        yield _opening(part, window)
        return
    order.shuffle(window)
    yield from window


def _trim(texts: list[str], most: int) -> list[str]:
    """The first passages of the texts, `most` characters of them at the most."""
    kept: list[str] = []
    for text in texts:
        for passage in passages(text):
            if most <= 0:
                return kept
            kept.append(passage[:most])
            most -= len(passage)
    return kept


def passages(text: str, size: int = PASSAGE) -> list[str]:
    """The text in pieces of about `size` characters, cut at blank lines where there are any, else at spaces."""
    pieces: list[str] = []
    while len(text) > size:
        cut = max(text.rfind("\n\n", size // 2, size), -1)
        if cut < 0:
            cut = text.rfind(" ", size // 2, size)
        cut = size if cut < 0 else cut
        pieces.append(text[:cut])
        text = text[cut:].lstrip("\n ")
    if text.strip():
        pieces.append(text)
    return pieces
