"""A look at a task before any work: what `check` says."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass, field

from tuneladder.errors import BadInput
from tuneladder.task.build import SPLITS, Findings
from tuneladder.task.encode import Coder, Encoded, Tally, encode_all
from tuneladder.task.multi_label import labels_of
from tuneladder.task.pairs import PairCoder, encode_pairs
from tuneladder.task.passages import TextCoder, said
from tuneladder.task.scripts import whole
from tuneladder.task.tagging import words_of
from tuneladder.types import Example, Task, Turns

SHOWN = 12  # rows of other templates than the first's
LABELS = 20  # that are listed with their counts
MISSING = ("nan", "null", "none", "n/a", "na", "nil")  # what a cell that was empty is often written as
AnyCoder = Coder | TextCoder | PairCoder


@dataclass(frozen=True)
class Piece:
    """A stretch of a rendered row whose tokens are all learned, or all only read."""

    text: str
    learned: bool


@dataclass(frozen=True)
class Drawn:
    """A set of a mixture as an epoch sees it: `drawn` of its `rows` training rows, which are `share` of all that is drawn, each
    read `readings` times; `tokens` pass through the model then, None without a coder."""

    name: str
    rows: int
    weight: float
    drawn: int
    share: float
    readings: float
    tokens: int | None


@dataclass(frozen=True)
class Report:
    """`facts` and `warnings` are sentences; `balance` counts the rows of each label by split; `tallies` what the base's context
    leaves of each split; `row` is the first training row as the base reads it, and `worded` are the first that other templates, or
    those of other sets, ask, at most SHOWN of them. These three are empty without a coder; `reader` is its base. `sets` are a
    mixture's."""

    facts: tuple[str, ...]
    warnings: tuple[str, ...]
    balance: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tallies: Mapping[str, Tally] = field(default_factory=dict)
    row: tuple[Piece, ...] = ()
    worded: tuple[tuple[Piece, ...], ...] = ()
    sets: tuple[Drawn, ...] = ()
    reader: str = ""


def lint(task: Task, findings: Findings, coder: AnyCoder | None, *, asked: Callable[[Example], Turns] | None = None) -> Report:
    """What is noteworthy in the task's data, and one row as the base will read it.

    `asked` renders an example into the turns of the task's prompt (model/ask.py); without it the example's own turns are shown.
    Of an encoder's row the label is learned, by a head, and none of its tokens; of a seq2seq's what its decoder writes. Raises
    BadInput where the base's context leaves nothing to learn.
    """
    splits: dict[str, Sequence[Example]] = {split: getattr(task.examples, split) for split in SPLITS}
    facts = [", ".join(f"{split} {len(rows):,}" for split, rows in splits.items()) + " rows", *findings.notes]
    warnings = [
        f"{leak.split} row {leak.id} stood in {leak.kept} too (row {leak.other}, {leak.overlap:.0%})" for leak in findings.leaks[:5]
    ]
    if len(findings.leaks) > 5:
        warnings.append(f"... and {len(findings.leaks) - 5:,} more such rows; all were taken out")
    balance = {split: _counts(task, rows) for split, rows in splits.items()} if task.labels else {}
    warnings += _balance(task, balance)
    warnings += _told(task, splits["train"])
    if len(splits["test"]) < 100:
        warnings.append(f"test has {len(splits['test'])} rows: its scores will have wide intervals")
    tallies: dict[str, Tally] = {}
    row: tuple[Piece, ...] = ()
    worded: tuple[tuple[Piece, ...], ...] = ()
    parts: dict[str, Sequence[Example]] = {name: [e for e in splits["train"] if e.set == name] for name in task.mixture}
    parts = parts or {"": splits["train"]}
    sets: list[Tally] = []

    def pairs(rows: Sequence[Example]) -> list[tuple[Turns, str]]:
        return [(asked(e) if asked else e.turns, e.references[0]) for e in rows]

    for split, rows in splits.items():
        if coder is None:
            break
        if split == "train":
            found = [_laid(task, coder, pairs(own)) for own in parts.values()]
            sets, row = [tally for tally, _ in found], found[0][1]
            tallies[split] = Tally(*map(sum, zip(*(astuple(tally) for tally in sets), strict=True)))
            worded = _worded(task, coder, rows, pairs)
        else:
            tallies[split], _ = _laid(task, coder, pairs(rows))
        facts.append(_counted(split, tallies[split]))
        if tallies[split].dropped:
            warnings.append(
                f"{tallies[split].dropped:,} {split} rows do not fit the base's {coder.context} tokens with their answer: dropped"
            )
        if tallies[split].cut * 20 > len(rows):
            warnings.append(f"{tallies[split].cut / len(rows):.0%} of the {split} rows are cut to fit {coder.context} tokens")
    warnings += _ended(task, coder, [row for split in ("dev", "test") for row in splits[split]])
    counts = {split: dict(own) for split, own in balance.items()}
    return Report(tuple(facts), tuple(warnings), counts, tallies, row, worded, _drawn(task, findings, parts, sets))


def tally_of(task: Task, coder: AnyCoder, rows: Sequence[Example], asked: Callable[[Example], Turns]) -> Tally:
    """What the coder's context leaves of rows. Raises BadInput where nothing."""
    return _laid(task, coder, [(asked(row), row.references[0]) for row in rows])[0]


def tables(report: Report) -> list[str]:
    """The sets of a mixture and the rows of each label as lines of text, none where there are none."""
    return [*_sets(report), *_labels(report)]


def _labels(report: Report) -> list[str]:
    """The commonest first, LABELS at most."""
    counts = report.balance
    if not counts:
        return []
    whole: Counter[str] = sum(map(Counter, counts.values()), Counter())
    width = max(map(len, ("label", *whole)))
    lines = ["", "label".ljust(width) + "".join(split.rjust(9) for split in counts)]
    for label, _ in whole.most_common(LABELS):
        lines.append(label.ljust(width) + "".join(f"{own.get(label, 0):9,}" for own in counts.values()))
    return [*lines, *([f"and {len(whole) - LABELS:,} more labels"] if len(whole) > LABELS else [])]


def _sets(report: Report) -> list[str]:
    if not report.sets:
        return []
    cells = [("set", "rows", "weight", "drawn an epoch", "share", "readings", "tokens")]
    for own in report.sets:
        tokens = "-" if own.tokens is None else f"{own.tokens:,}"
        figures = (f"{own.rows:,}", f"{own.weight:g}", f"{own.drawn:,}", f"{own.share:.1%}", f"{own.readings:.2f}", tokens)
        cells.append((own.name, *figures))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["", *("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in cells)]


def _drawn(task: Task, findings: Findings, parts: Mapping[str, Sequence[Example]], tallies: Sequence[Tally]) -> tuple[Drawn, ...]:
    """What an epoch draws of each set of the task's mixture."""
    whole = sum(task.mixture.values())
    found = []
    for at, (name, count) in enumerate(task.mixture.items()):
        rows = len(parts[name])
        readings = count / rows
        tokens = round((tallies[at].learned + tallies[at].read) * readings) if tallies else None
        found.append(Drawn(name, rows, findings.weights[name], int(count), count / whole, readings, tokens))
    return tuple(found)


def _worded(
    task: Task, coder: AnyCoder, rows: Sequence[Example], pairs: Callable[[Sequence[Example]], list[tuple[Turns, str]]]
) -> tuple[tuple[Piece, ...], ...]:
    """The first row that each template of each set asks, but for the first of all, as the base reads it; no set has two before
    every other has one."""
    first: dict[str, dict[str, Example]] = {}
    for row in rows:
        first.setdefault(row.set, {}).setdefault(row.template, row)
    turns = itertools.zip_longest(*(own.values() for own in first.values()))
    found = []
    for row in [row for turn in turns for row in turn if row is not None][1 : SHOWN + 1]:
        with contextlib.suppress(BadInput):  # a row that does not fit is counted, and not shown
            found.append(_laid(task, coder, pairs([row]))[1])
    return tuple(found)


def _counts(task: Task, rows: Sequence[Example]) -> Counter[str]:
    """How many rows have each label, or how many words each tag; the word for no label is counted as one."""

    def own(text: str) -> Sequence[str]:
        if task.multi_label:
            return labels_of(text, task.labels) or [text]
        return words_of(text) if task.kind == "tag" else [text]

    return Counter(label for row in rows for label in own(row.references[0]))


def _balance(task: Task, balance: Mapping[str, Mapping[str, int]]) -> list[str]:
    if not balance:
        return []
    one = "word" if task.kind == "tag" else "row"
    train = balance["train"]
    said = []
    few = [f"{label} ({train.get(label, 0)})" for label in task.labels if train.get(label, 0) < 5]
    if few:
        said.append(f"labels with fewer than 5 training {one}s: {', '.join(few[:10])}{', ...' if len(few) > 10 else ''}")
    label, most = max(train.items(), key=lambda pair: pair[1])
    rows = len(task.examples.train)
    if most > 0.8 * rows and task.kind != "tag":  # most words are outside of every entity
        said.append(f"{most / rows:.0%} of the training rows are '{label}': read macro-F1, not accuracy")
    if odd := [label for label in task.labels if label.casefold() in MISSING]:
        said.append(f"'{odd[0]}' is a label here, of {train.get(odd[0], 0):,} training {one}s: were these cells empty?")
    if unseen := [label for label in task.labels if not balance["test"].get(label)]:
        said.append(f"no test {one} has the label {', '.join(unseen[:10])}: how well it is told cannot be measured")
    return said


def _told(task: Task, rows: Sequence[Example]) -> list[str]:
    """Where what is read says what is to be answered, row after row, and says no other answer."""
    if task.kind != "classify" or task.multi_label or not rows:
        return []
    words = {label: re.compile(whole([label]), re.IGNORECASE) for label in task.labels}
    texts = ["\n".join(turn.text for turn in row.turns) for row in rows[:500]]
    own = sum(bool(words[row.references[0]].search(text)) for row, text in zip(rows, texts, strict=False))
    others = sum(
        any(word.search(text) for label, word in words.items() if label != row.references[0])
        for row, text in zip(rows, texts, strict=False)
    )
    if own < 0.9 * len(texts) or others > 0.5 * own:
        return []
    return [f"in {own:,} of {len(texts):,} training rows the answer itself stands in what is read: is the target in the input?"]


def _ended(task: Task, coder: AnyCoder | None, rows: Sequence[Example]) -> list[str]:
    """Whether answers as long as the references of `rows` would be cut."""
    most = task.prompt.decoding.max_new_tokens
    written = task.kind != "prefer" and task.prompt.ask == "generate" and not task.prompt.think
    if not (written and rows and isinstance(coder, Coder | PairCoder)):
        return []
    prompts = coder.prompts if isinstance(coder, PairCoder) else coder
    before = len(prompts.encode_whole(""))
    laid = prompts.lay([((), row.references[0]) for row in rows], every=False, close=False)
    sizes = [len(each.ids) - len(prompts.soft) - before for each in laid]
    longer = sum(size > most for size in sizes)
    if longer * 50 <= len(rows):
        return []
    return [
        f"{longer / len(rows):.0%} of the dev and test references are longer than the {most} tokens that an answer may have, "
        f"the longest has {max(sizes)}: decoding: {{max_new_tokens: ...}} sets it"
    ]


def _counted(split: str, tally: Tally) -> str:
    return (
        f"{split}: {tally.kept:,} rows kept, {tally.cut:,} of them cut, {tally.dropped:,} dropped; "
        # a classification head learns labels, and no tokens
        + (f"{tally.learned:,} tokens learned, {tally.read:,} only read" if tally.learned else f"{tally.read:,} tokens read")
    )


def _laid(task: Task, coder: AnyCoder, pairs: Sequence[tuple[Turns, str]]) -> tuple[Tally, tuple[Piece, ...]]:
    """What the base's context leaves of rows, and the first of them as the base reads it."""
    if isinstance(coder, TextCoder):
        read = coder.encode_many([said(turns) for turns, _ in pairs])
        cut = 0 if task.kind == "tag" else sum(each.cut > 0 for each in read)  # long rows of words are read in windows
        pieces = (*_pieces(coder, read[0]), Piece(pairs[0][1], True)) if read else ()
        return Tally(len(read), cut, 0, 0, sum(len(each.ids) for each in read)), pieces
    if isinstance(coder, PairCoder):
        if not pairs:
            return Tally(0, 0, 0, 0, 0), ()
        rows, tally = encode_pairs(coder, pairs)
        source, target = (str(coder.tokenizer.decode(ids)) for ids in (rows[0].source, rows[0].target))
        return tally, (Piece(source + "\n", False), Piece(target, True))
    encoded, tally = encode_all(coder, pairs, every=task.kind == "chat")
    return tally, _pieces(coder, encoded[0]) if encoded else ()


def _pieces(coder: Coder | TextCoder, encoded: Encoded) -> tuple[Piece, ...]:
    """The tokens' text, cut where learning starts or ends. Each piece is the growth of the decoded prefix: decoders trim what
    they decode alone."""
    pieces: list[Piece] = []
    before, start = "", 0
    for end in range(1, len(encoded.ids) + 1):
        if end == len(encoded.ids) or encoded.learn[end] != encoded.learn[start]:
            text = str(coder.tokenizer.decode(encoded.ids[:end]))
            pieces.append(Piece(text[len(before) :], encoded.learn[start]))
            before, start = text, end
    return tuple(pieces)
