"""Several data sets in one task: multi-task training by sampling (arXiv:1910.10683, section 3.5.2; arXiv:2301.13688).

Each set is read, split and asked as a task of its own would be; then a row of one that stands in another's dev or test is taken
out, and how many rows of each an epoch draws is decided. A set smaller than what is drawn of it is read several times.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tuneladder.errors import BadInput, unknown
from tuneladder.task.build import (
    METRICS,
    RECORD,
    RECORD_METRIC,
    SPLITS,
    Findings,
    Read,
    check_asked,
    prompt_of,
    read_examples,
    room_for,
)
from tuneladder.task.leaks import Leak, find_leaks
from tuneladder.task.schema import compact, read_schema
from tuneladder.task.split import draw, make_splits, share_sources
from tuneladder.task.wordings import templates_of, with_labels, worded
from tuneladder.types import Decoding, Example, Split, Task

KINDS = ("generate", "extract", "chat")  # whose answers are text: rows of all sets are then learned and marked alike


@dataclass(frozen=True)
class Set:
    """A data set of a mixture. `data`, `input`, `target`, `schema`, `template`, `templates` and `rows` are what a task of its own
    would say; `where`: a Jinja expression that a row must satisfy; `weight`: how many times as often its rows are drawn as its size
    says."""

    data: str | dict[str, str]
    name: str = ""
    input: str | None = None
    target: str | tuple[str, ...] | None = None
    schema: dict[str, Any] | None = None
    template: str | None = None
    templates: str | tuple[str, ...] | None = None
    where: str = ""
    weight: float = 1.0
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def title(self) -> str:
        place = self.data if isinstance(self.data, str) else self.data.get("hub") or self.data.get("train", "")
        return self.name or Path(place).stem.split(".")[0]


@dataclass(frozen=True)
class Mixing:
    """How sets are drawn. `temperature` 1 goes by their sizes, and a higher one makes them more alike; `at_most` is the size that a
    set is taken for at the most, 0 for any; `epoch` is how many rows an epoch draws, 0 for as many as there are; `measure` names
    the sets that dev and test are of, none for all."""

    temperature: float = 1.0
    at_most: int = 0
    epoch: int = 0
    measure: str | tuple[str, ...] = ()

    @property
    def measured(self) -> tuple[str, ...]:
        return (self.measure,) if isinstance(self.measure, str) else self.measure


def mix(
    sets: Sequence[Set],
    mixing: Mixing,
    *,
    name: str,
    kind: str,
    metric: str | None = None,
    also: Sequence[str] = (),
    instruction: str | None = None,
    system: str = "",
    decoding: Decoding | None = None,
    seed: int = 0,
) -> tuple[Task, Findings]:
    """The task of all sets and what was found in their data.

    A set that is not measured gives all its rows to train. Raises BadInput for sets or settings that make no such task.
    """
    _check(sets, mixing, kind)
    read: dict[str, Read] = {}
    for own in sets:
        read[own.title] = _read(own, kind)
    schemas = _schemas(read)
    pooled = share_sources({(title, part): rows for title, each in read.items() for part, rows in each.examples.items()})
    splits: dict[str, Split[Example]] = {}
    leaks: list[Leak] = []
    notes: list[str] = []
    for own in sets:
        examples = {part: rows for (title, part), rows in pooled.items() if title == own.title}
        splits[own.title], found, said = _split(own, examples, seed, measured=not mixing.measured or own.title in mixing.measured)
        leaks += found
        notes += [f"{own.title}: {note}" for note in (*read[own.title].notes, *said)]
    splits, across = _apart(splits)
    if across:
        notes.append(f"{len(across):,} rows were taken out, because they stand in dev or test of another set")
    sizes = [len(splits[own.title].train) for own in sets]
    shares = rates(sizes, [own.weight for own in sets], temperature=mixing.temperature, at_most=mixing.at_most)
    drawn = dict(zip(splits, shared_out(mixing.epoch or sum(sizes), shares), strict=True))
    for title, size in zip(splits, sizes, strict=True):
        notes.append(
            f"{title}: {drawn[title]:,} of the {sum(drawn.values()):,} rows of an epoch "
            f"({drawn[title] / sum(drawn.values()):.1%}), so that each of its {size:,} is read {drawn[title] / size:.2f} times"
        )
    asked = {own.title: _asked(own, splits[own.title], seed, schemas.get(own.title, "")) for own in sets}
    joined = Split(*(tuple(row for split in asked.values() for row in getattr(split, part)) for part in SPLITS))
    decoding = decoding or Decoding(max_new_tokens=room_for(kind, joined.train, schema=schemas), seed=seed)
    prompt = prompt_of(kind, (), RECORD if schemas and instruction is None else instruction, system, None, decoding, seed)
    if schemas:  # a row is held to its own set's
        prompt = replace(
            prompt, parse="json", schema=compact({"anyOf": [json.loads(each) for each in dict.fromkeys(schemas.values())]})
        )
    task = Task(
        name=name,
        kind=kind,  # type: ignore[arg-type]  # one of KINDS
        examples=joined,
        prompt=prompt,
        metric=metric or (RECORD_METRIC if schemas else METRICS[kind]),
        also=tuple(also),
        mixture=drawn,
    )
    counts = {part: len(getattr(joined, part)) for part in SPLITS}
    repeated = sum(len(rows) - len({row.source for row in rows}) for rows in pooled.values())
    empty = sum(each.empty for each in read.values())
    weights = {own.title: own.weight for own in sets}
    return task, Findings("mixture", counts, (*leaks, *across), repeated, 0, empty, tuple(notes), weights)


def _read(own: Set, kind: str) -> Read:
    try:
        schema = read_schema(own.schema) if own.schema is not None else None
        return read_examples(
            own.data,
            kind=kind,
            input=own.input,
            target=own.target,
            where=own.where,
            name=own.title,
            schema=schema,
            guess_schema=True,
        )
    except BadInput as error:
        raise BadInput(f"set '{own.title}': {error.message}", error.hint) from error


def _schemas(read: Mapping[str, Read]) -> dict[str, str]:
    """The schema of each set's objects; none where the answers are texts. Raises BadInput where both are mixed."""
    found = {title: compact(each.schema) for title, each in read.items() if each.schema}
    if found and (bare := next((title for title in read if title not in found), "")):
        said = f"set '{next(iter(found))}' extracts objects, and set '{bare}' texts: no metric marks both"
        raise BadInput(said, "give both objects, or make a task of each")
    return found


def rates(sizes: Sequence[int], weights: Sequence[float], *, temperature: float, at_most: int = 0) -> list[float]:
    """Each set's share of what is drawn: its weight times min(rows, K)^(1/T), all of them summing to 1 (arXiv:1910.10683, section
    3.5.2), with K `at_most` (0 for any) and T `temperature`."""
    raw = [weight * min(size, at_most or size) ** (1 / temperature) for size, weight in zip(sizes, weights, strict=True)]
    return [each / sum(raw) for each in raw]


def shared_out(count: int, shares: Sequence[float]) -> list[int]:
    """`count` rows by the shares, in whole rows, the largest remainders first, and at least one of each set."""
    exact = [round(count * share, 9) for share in shares]  # of 7 a third and two thirds make 7 again
    whole = [int(each) for each in exact]
    for at in sorted(range(len(exact)), key=lambda at: (whole[at] - exact[at], at))[: count - sum(whole)]:
        whole[at] += 1
    return [max(1, each) for each in whole]


def _check(sets: Sequence[Set], mixing: Mixing, kind: str) -> None:
    if kind not in KINDS:
        hint = f"kind: {', '.join(KINDS)}; a label can be generated too, its word made by `target`"
        raise BadInput(f"a mixture needs answers that are text, and this task is of kind {kind}", hint)
    if len(sets) < 2:
        raise BadInput(f"the mixture names {len(sets)} data sets", "name two or more, or give the one as `data`")
    titles = [own.title for own in sets]
    for own in sets:
        if titles.count(own.title) > 1:
            raise BadInput(f"two sets are called '{own.title}'", "give one of them a `name`")
        if not own.title or any(mark in own.title for mark in ":[]"):
            raise BadInput(f"a set cannot be called '{own.title}'", "give it a `name` without colons and brackets")
        if kind != "extract" and (own.schema is not None or isinstance(own.target, tuple)):
            key = "schema" if own.schema is not None else "target"
            raise BadInput(
                f"{key} of set '{own.title}' is of objects that are extracted, and this task is of kind {kind}", "kind: extract"
            )
        if not 0 < own.weight < math.inf:
            raise BadInput(f"weight {own.weight} of set '{own.title}' is not above 0", "leave the set out instead")
        try:
            check_asked(kind, own.rows, own.template, own.templates)
        except BadInput as error:
            raise BadInput(f"set '{own.title}': {error.message}", error.hint) from error
        if mixing.measured and own.title not in mixing.measured and (unread := [part for part in own.rows if part != "train"]):
            raise BadInput(f"set '{own.title}' is not measured, and rows: {unread[0]} means nothing", "leave it out")
    for title in mixing.measured:
        if title not in titles:
            raise unknown("set to measure", title, titles)
    if not 0 < mixing.temperature < math.inf:
        raise BadInput(f"temperature {mixing.temperature} of the mixture is not above 0", "1 draws by size, 2 by its root")
    for key in ("at_most", "epoch"):
        if getattr(mixing, key) < 0:
            raise BadInput(f"{key} {getattr(mixing, key)} of the mixture is below 0", "a number of rows; 0 sets none")


def _split(
    own: Set, examples: Mapping[str, Sequence[Example]], seed: int, *, measured: bool
) -> tuple[Split[Example], list[Leak], list[str]]:
    """The splits of one set, what leaked among them, and the sentences that say what was done."""
    if measured:
        try:
            return make_splits(examples, rows=own.rows, seed=seed, stratum=lambda example: "")
        except BadInput as error:
            raise BadInput(f"set '{own.title}': {error.message}", error.hint) from error
    train, cap = tuple(examples["train"]), own.rows.get("train")
    if cap is not None and cap < len(train):
        train, _ = draw(train, cap, seed=seed, stratum=lambda example: "", whole=False, keep=0)
    return Split(train), [], ["not measured: it has neither dev nor test"]


def _apart(splits: Mapping[str, Split[Example]]) -> tuple[dict[str, Split[Example]], list[Leak]]:
    """The sets without rows that stand in another's later split: test keeps its row, then dev."""
    every = [(part, [row for split in splits.values() for row in getattr(split, part)]) for part in ("test", "dev", "train")]
    leaks = find_leaks(every)
    gone = {(leak.split, leak.id) for leak in leaks}
    kept: dict[str, Split[Example]] = {}
    for title, split in splits.items():
        kept[title] = Split(*(tuple(row for row in getattr(split, part) if (part, row.id) not in gone) for part in SPLITS))
        if not kept[title].train:
            raise BadInput(f"every training row of set '{title}' stands in dev or test of another", "leave the set out")
    return kept, leaks


def _asked(own: Set, split: Split[Example], seed: int, schema: str) -> Split[Example]:
    """The set's rows with its name, its schema and its templates: for a training row one is drawn, dev and test have the first."""
    several = (own.template,) if own.template else with_labels(templates_of(own.templates), ()) if own.templates else ()
    first = several[0] if several else ""
    more = {"schema": schema} if schema else {}
    train, dev, test = (
        tuple(replace(row, set=own.title, template=first, meta={**row.meta, **more}) for row in getattr(split, part))
        for part in SPLITS
    )
    return Split(worded(train, several, seed=seed) if several else train, dev, test)
