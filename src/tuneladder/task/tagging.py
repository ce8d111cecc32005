"""Rows that have a tag for each word: named entities, parts of speech. The words joined by blanks are what is read, the tags
joined by blanks what is learned, so that both are texts like any other's.

A tag of an entity is IOB2's `B-PER` or `I-PER` and `O` outside of all (Tjong Kim Sang and Veenstra, EACL 1999); IOB1's and
IOBES's are understood. Any other tag, a part of speech for one, stands for its word alone.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from tuneladder.errors import BadInput
from tuneladder.task.formats import Format, columns_of_line, is_span, listed, text_of, value_of
from tuneladder.task.labels import Words
from tuneladder.task.read import Row
from tuneladder.task.scripts import DENSE
from tuneladder.types import Example, Turn

OUTSIDE = "O"
_TAG = re.compile(r"([BIESLU])-(.+)|([BI])")
_COMMENT = re.compile(r"#\s*(?:id\s|\S+\s*=)")  # a word may be # too
_NOTES = {
    "blank": "{:,} words were blank, and were left out with their tags",
    "widened": "{:,} spans begin or end within a word: the whole word was taken",
    "nested": "{:,} spans lie over a longer one, and were left out: a word has one tag",
}


def words_of(text: str) -> list[str]:
    """The words of a text that is read word by word: what stands between two blanks."""
    return text.split(" ")


def place_of(tag: str) -> tuple[str, str]:
    """A tag's place in its entity (B, I, E, S, L or U; "" for a word's own tag, O outside) and the entity's type."""
    if tag in (OUTSIDE, ""):
        return OUTSIDE, ""
    found = _TAG.fullmatch(tag)
    return (found[1] or found[3], found[2] or "") if found else ("", tag)


def entities(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """Each entity's type, first word, and the word after its last, as CoNLL's evaluation counts them: a tag that goes on where
    there is nothing of its type to go on from opens an entity of its own."""
    found: list[tuple[str, int, int]] = []
    before, type, start = OUTSIDE, "", 0
    for at, tag in enumerate([*tags, OUTSIDE]):
        place, own = place_of(tag)
        if not (place in ("I", "E", "L") and before in ("B", "I") and own == type):
            if before != OUTSIDE:
                found.append((type, start, at))
            type, start = own, at
        before = place
    return found


def metric_of(tags: Sequence[str]) -> str:
    """What tags like these are measured by: entities where there are any, else words."""
    return "span_f1" if any(place_of(tag)[0] not in ("", OUTSIDE) for tag in tags) else "tag_accuracy"


def to_tagged(format: Format, row: Row, id: str, *, at: Callable[[int], str] = lambda line: "") -> Example | None:
    """The row as an Example, or None where it has no words or was never tagged. What was mended is counted in `meta`.

    It holds a list of words and one of tags, or a text and the spans in it, or the lines of a CoNLL file, of which the first
    column and the last are taken; `at` says where in the file such a line of the row stands, the first being 1. Raises BadInput,
    naming the row, for what cannot be understood.
    """
    if not format.input:
        raise BadInput(f"kind tag reads words with their tags, and this data is {format.name}", "set `input` and `target`")
    read, marks = value_of(format.input, row, id), value_of(format.target, row, id)
    mended: Counter[str] = Counter()
    if marks is None:
        return None
    if format.input == format.target:
        words, tags = _from_lines(text_of(read, id), id, at)
    elif isinstance(read, str) and not isinstance(marks, int | float) and all(map(is_span, spans := _spans(marks, id))):
        words, tags = _from_spans(text_of(read, id), spans, id, mended)
    else:
        words, tags = listed(read), listed(marks)
    if len(words) != len(tags):
        raise BadInput(f"row {id} has {len(words):,} words and {len(tags):,} tags", "every word needs one tag")
    kept = []
    for word, tag in zip((_joined(word, "\u00a0", id) for word in words), (_joined(tag, "_", id) for tag in tags), strict=True):
        if word and not tag:
            raise BadInput(f"row {id}: the word {word[:80]!r} has an empty tag", f"a word outside of all has the tag {OUTSIDE}")
        mended["blank"] += not word
        kept += [(word, tag)] if word else []
    if not kept:
        return None
    said, learned = (" ".join(part) for part in zip(*kept, strict=True))
    return Example(id, (Turn("user", said),), (learned,), meta={name: count for name, count in mended.items() if count})


def tag_words(
    examples: Mapping[str, Sequence[Example]], labels: Mapping[Any, Any] | Sequence[Any] | None
) -> tuple[dict[str, list[Example]], Words]:
    """The examples with the words for their tags, and these words: O first, then type by type, or in the order of `labels`.

    `labels` maps tags to words; or lists the words, which the tags are themselves or count from 0; or does so with the types of
    entities (`PER` for `B-PER` and `I-PER`). Raises BadInput for a tag without a word, for a single tag, for as good as a tag a
    word, and for more tags than words, unless `labels` names them.
    """
    counts: Counter[str] = Counter()
    first: dict[str, str] = {}
    for example in (example for part in examples.values() for example in part):
        for tag in words_of(example.references[0]):
            counts[tag] += 1
            first.setdefault(tag, example.id)
    total = sum(counts.values())
    if len(counts) > 20 and len(counts) > total / 2:
        said = f"the target has {len(counts):,} different values for {total:,} words: these are no tags"
        raise BadInput(said, "name another column with `target`, or say kind: generate")
    if len(counts) > 20 and labels is None:
        read = {word for part in examples.values() for example in part for word in words_of(example.turns[0].text)}
        if len(counts) > len(read):
            said = f"the rows have {len(counts):,} different tags for {len(read):,} different words"
            hint = "are `input` and `target` swapped, or a file's columns? tags that are that many are named by `labels`"
            raise BadInput(said, hint)
    of = _words(counts, first, labels)
    used = {of[tag] for tag in counts}
    if len(used) < 2:
        hint = "tags that say something differ; is `target` the right column?"
        raise BadInput(f"all {total:,} words have the tag {next(iter(used))!r}", hint)
    words = tuple(dict.fromkeys(of.values()))
    made = {
        split: [replace(e, references=(" ".join(of[tag] for tag in words_of(e.references[0])),)) for e in part]
        for split, part in examples.items()
    }
    return made, Words(words, {}, tuple(_notes(made, words, used, named=labels is not None)))


def _words(counts: Mapping[str, int], first: Mapping[str, str], labels: Any) -> dict[str, str]:
    """The word for each tag, in the words' order; those that stand in no row too."""
    if labels is None:
        return {tag: tag for tag in sorted(counts, key=_order)}
    if isinstance(labels, Mapping):
        given = {_joined(tag, "_", ""): _joined(word, "_", "") for tag, word in labels.items()}
    elif isinstance(labels, str):
        raise BadInput(f"labels is the text {labels[:80]!r}", "a list of tags, or a mapping from the tags to words")
    else:
        names = [_joined(word, "_", "") for word in labels]
        numbered = all(tag.isdecimal() for tag in counts) and not set(names) & set(counts)
        given = {str(at) if numbered else name: name for at, name in enumerate(names)}
    if "" in given.values():
        raise BadInput("one of the labels is an empty word", "every tag needs a word that a model can write")
    if set(given) & set(counts) - {OUTSIDE} or not any(place_of(tag)[1] in given for tag in counts):
        of = dict(given)
    else:  # types of entities
        of = {f"{place}-{tag}": f"{place}-{word}" for tag, word in given.items() if tag != OUTSIDE for place in "BI"}
        of = {OUTSIDE: OUTSIDE, **of}
        of |= {tag: f"{place}-{given[type]}" for tag in counts for place, type in [place_of(tag)] if place and type in given}
    if strange := next((tag for tag in counts if tag not in of), None):
        said = f"the tag {strange[:80]!r} (row {first[strange]}, {counts[strange]:,} in all) is none of the labels"
        hint = f"labels has: {', '.join(given)[:200]}"
        if any(isinstance(label, bool) for label in labels):
            hint += "; YAML reads a bare yes, no, on, off as true or false: put them in quotes"
        raise BadInput(said, hint)
    return of


def _notes(examples: Mapping[str, Sequence[Example]], words: Sequence[str], used: set[str], *, named: bool) -> list[str]:
    rows = [example for part in examples.values() for example in part]
    notes = [said.format(count) for name, said in _NOTES.items() if (count := sum(row.meta.get(name, 0) for row in rows))]
    if not named and all(word.isdecimal() for word in words):
        notes.append("the tags are numbers, which name no entities: list their names in order with labels: [O, B-PER, ...]")
    opened, where = 0, ""
    for row in rows:
        tags = words_of(row.references[0])
        loose = sum(place_of(tags[start])[0] in ("I", "E", "L") for _, start, _ in entities(tags))
        opened, where = opened + loose, where or (row.id if loose else "")
    if opened:
        notes.append(f"{opened:,} entities open with I- and no B- (the first in row {where}): each counts as one of its own")
    learned = {tag for row in examples["train"] for tag in words_of(row.references[0])}
    if missing := [word for word in words if word in used and word not in learned]:
        notes.append(f"no training word has the tag {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}")
    return notes


def _order(tag: str) -> tuple[bool, int, str, str]:
    """O, then numbers by size, then type by type with B before I."""
    place, type = place_of(tag)
    return tag != OUTSIDE, int(tag) if tag.isdecimal() else -1, type, place


def _joined(value: Any, by: str, id: str) -> str:
    """A cell's text without blanks, which divide words: those inside it are replaced."""
    return by.join(text_of(value, id).split())


def _from_lines(text: str, id: str, at: Callable[[int], str]) -> tuple[list[str], list[str]]:
    """A sentence of a CoNLL file: a line a word, its first column the word and its last the tag."""
    lines = [
        (number, line, cells)
        for number, line in enumerate(text.split("\n"), 1)
        if (cells := columns_of_line(line)) and cells[0] != "-DOCSTART-"
    ]
    width = len(lines[-1][2]) if lines else 0
    lines = [each for each in lines if not _COMMENT.match(each[1]) and not (each[1].startswith("#") and len(each[2]) != width)]
    if alone := next((each for each in lines if len(each[2]) < 2), None):
        number, line, _ = alone
        said = f"row {id}: the line {line[:80]!r}{at(number)} is not a word and its tag"
        raise BadInput(said, "a word, blanks or tabs, its tag; a line each")
    return [cells[0] for *_, cells in lines], [cells[-1] for *_, cells in lines]


def _spans(marks: Any, id: str) -> list[Any]:
    """What a cell of spans holds; a text that is no list holds no spans, and is one that says so."""
    return listed(marks) if not isinstance(marks, str) or marks.lstrip().startswith("[") else [marks]


def _from_spans(text: str, spans: Sequence[Any], id: str, mended: Counter[str]) -> tuple[list[str], list[str]]:
    """The words of a text, punctuation marks being words of their own, and the tags that its spans give them: IOB2."""
    places = [match.span() for match in _word().finditer(text)]
    tags = [OUTSIDE] * len(places)
    for start, end, label in sorted((_span(span, text, id) for span in spans), key=lambda span: (span[0] - span[1], span[0])):
        inside = [at for at, (first, last) in enumerate(places) if first < end and last > start]
        if any(tags[at] != OUTSIDE for at in inside):
            mended["nested"] += 1
            continue
        mended["widened"] += bool(inside) and (places[inside[0]][0] < start or places[inside[-1]][1] > end)
        for at in inside:
            tags[at] = f"{'B' if at == inside[0] else 'I'}-{label}"
    return [text[first:last] for first, last in places], tags


def _span(span: Any, text: str, id: str) -> tuple[int, int, str]:
    """Start, end and label; offsets count characters. Labelling tools call the three by several names."""
    if isinstance(span, dict):
        labels = span.get("label", span.get("type", span.get("labels")))
        label = labels[0] if isinstance(labels, list) and len(labels) == 1 else labels
        start, end = (span.get(name, span.get(f"{name}_offset")) for name in ("start", "end"))
    else:
        start, end, label = span
    if not isinstance(label, str) or not label.strip():
        raise BadInput(
            f"row {id}: the span {text_of(span, id)[:80]} has no label", 'for example {"start": 0, "end": 5, "label": "PER"}'
        )
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text)):
        said = f"row {id}: the span {text_of(span, id)[:80]} does not lie in its text of {len(text):,} characters"
        raise BadInput(said, "start and end count characters from 0, the end left out")
    return start, end, _joined(label, "_", id)


@lru_cache(maxsize=1)
def _word() -> re.Pattern[str]:
    """A word, or any other mark alone. Accents and vowel signs belong to their letter; scripts that put no spaces between words
    are read character by character."""
    marks = "".join(re.escape(chr(n)) for n in range(0x300, 0x3000) if unicodedata.category(chr(n)).startswith("M"))
    return re.compile(rf"[{DENSE}][{marks}]*|(?:[^\W{DENSE}][{marks}]*)+|\S")
