"""Plain text for pretraining: sources with weights -> documents, held out by source.

A source is a file of rows and a Jinja text over their columns. `episode` joins that many rows, of one `group` where that is
named, into one document, so that a base learns what worked examples in a prompt are for. Where rows have an `answer`, their
documents are lessons: text that asks and answers as a prompt does, which a seq2seq reads and writes apart.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, StrictUndefined, TemplateError

from tuneladder.errors import BadInput
from tuneladder.store import digest
from tuneladder.task.read import read_rows
from tuneladder.types import Document, Lesson, Split

PASSAGE = 4_000
ANSWER = "\nAnswer: "  # between what asks and what answers, as the plain template has it
TOKEN = 3.7  # characters of English in a token of an 8k byte-level BPE, for what the notes foretell


@dataclass(frozen=True)
class Source:
    """Rows of text. `text`: a column or Jinja; `answer`: the same, for what answers it; `where`: a Jinja expression that a row must
    satisfy; `weight`: its share of the tokens seen, relative to the other sources; `held_out`: the share of its characters kept
    for dev, and again for test; `together`: a Jinja expression whose value no split divides (several texts of one article)."""

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

    @property
    def title(self) -> str:
        return self.name or Path(self.data).stem.split(".")[0]


@dataclass(frozen=True)
class _Row:
    text: str
    group: str
    together: str


def gather(sources: Sequence[Source], *, seed: int) -> tuple[Split[Document], dict[str, float], list[str]]:
    """Documents of all sources, the weight of each source, and sentences about what was read.

    Raises BadInput for a source without text, a weight that is not positive, and two sources of one name.
    """
    train: list[Document] = []
    dev: list[Document] = []
    test: list[Document] = []
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
        parts = _split(source, seed)
        mixture[source.title] = source.weight
        train += [_lesson(text, source.title) if source.answer else Document(text, source.title) for text in parts[0]]
        for into, texts in zip((dev, test), parts[1:], strict=True):  # what is held out is read as running text
            into += [Document(text, source.title) for text in texts]
        sizes = [sum(map(len, texts)) for texts in parts]
        share = source.weight / sum(each.weight for each in sources)
        notes.append(
            f"{source.title}: {len(parts[0]):,} documents; {sizes[0]:,} characters to train, {sizes[1]:,} dev, {sizes[2]:,} test; "
            f"{share:.1%} of the tokens seen, so that it is read once in every {sizes[0] / TOKEN / share / 1e6:,.2f} million"
        )
    return Split(tuple(train), tuple(dev), tuple(test)), mixture, notes


def _rows(source: Source) -> list[_Row]:
    """The rows of a source as text, with what groups them and what keeps them together."""
    env = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    rows = read_rows(source.data)
    try:
        render = env.from_string(_template(source.text)).render
        answer = env.from_string(_template(source.answer)).render if source.answer else None
        keep = env.compile_expression(source.where) if source.where else None
        together = env.compile_expression(source.together) if source.together else None
        made = [
            _Row(
                _asked(render(**row), answer and answer(**row)),
                str(row[source.group]) if source.group else "",
                str(together(**row)) if together else "",
            )
            for row in rows
            if keep is None or keep(**row)
        ]
    except (TemplateError, KeyError) as error:
        columns = ", ".join(rows[0]) if rows else "none"
        raise BadInput(f"the text of source '{source.title}' cannot be made: {error}", f"its columns: {columns}") from error
    made = [row for row in made if row.text]
    if not made:
        raise BadInput(f"source '{source.title}' has no text", f"look at {source.data} and at its `text` and `where`")
    return made


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


def _documents(rows: Sequence[_Row], source: Source, seed: int) -> list[str]:
    """The rows' texts, or episodes of `source.episode` rows of one group each."""
    if source.episode == 1:
        return [row.text for row in rows]
    groups: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        groups[row.group].append(row.text)
    order = random.Random(f"{seed} {source.title}")
    texts = []
    for group in groups.values():
        order.shuffle(group)
        texts += ["\n\n".join(group[at : at + source.episode]) for at in range(0, len(group), source.episode)]
    return texts


def _split(source: Source, seed: int) -> tuple[list[str], list[str], list[str]]:
    """Texts for train, dev and test: by what the rows are kept together by where that is named, else by whole documents where
    there are at least 20, else by the closing passages, for a document cannot be shuffled within."""
    rows = _rows(source)
    share = source.held_out
    if source.together:
        parts: tuple[list[_Row], ...] = ([], [], [])
        for row in rows:
            # a hash and not a draw, so that two sources over one file hold out the same rows
            place = int(digest(seed, row.together), 16) / 16**16
            parts[1 if place < share else 2 if place < 2 * share else 0].append(row)
        train, dev, test = (_documents(part, source, seed) for part in parts)
        return train, _trim(dev, source.held_out_at_most), _trim(test, source.held_out_at_most)
    documents = _documents(rows, source, seed)
    whole = len(documents) >= 20 or bool(source.answer)
    if whole:
        order = list(documents)
        random.Random(f"{seed} {source.title} held out").shuffle(order)
    else:
        order = [passage for document in documents for passage in passages(document)][::-1]
    wanted = share * sum(map(len, order))
    held: list[list[str]] = []
    start = 0
    for _ in ("dev", "test"):
        taken, size = [], 0
        while size < wanted and start < len(order) - 1:
            taken.append(order[start])
            size += len(order[start])
            start += 1
        held.append(_trim(taken if whole else taken[::-1], source.held_out_at_most))
    return (order[start:] if whole else ["\n\n".join(order[start:][::-1])]), held[0], held[1]


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
