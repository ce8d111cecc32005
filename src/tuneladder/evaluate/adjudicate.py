"""What a person ruled on disagreements: rows of a CSV that come back as corrected references, with the score before and after."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tuneladder.errors import BadInput, unknown
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.measure import rate
from tuneladder.types import Marked, Score

RIGHT = "right"  # the column that a person fills
BOTH = "|"  # between labels that both are acceptable


@dataclass(frozen=True)
class Ruling:
    """A metric of the same answers by the references that were, and by those ruled right."""

    metric: str
    before: Score
    after: Score


def read_adjudicated(path: Path, answers: Sequence[Marked], labels: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The references ruled right, by item. Lines whose column `right` is empty were not ruled on.

    Raises BadInput for ids that the answers do not have, labels that the task does not have, and items that two lines rule on.
    """
    known = {marked.id for marked in answers}
    ruled: dict[str, tuple[str, ...]] = {}
    where: dict[str, int] = {}
    for number, row in lines_of(path):
        item, said = (row["id"] or "").strip(), (row[RIGHT] or "").strip()
        if item not in known:
            hint = "adjudicate the CSV that `tuneladder disagreements` wrote for this variant"
            raise BadInput(f"{path}, line {number}: the variant answered no item '{item}'", hint)
        if not said:
            continue
        if item in where:
            raise BadInput(f"{path}: lines {where[item]} and {number} both rule on item {item}", "keep one of them")
        where[item], ruled[item] = number, _labels(said, labels, f"{path}, line {number}")
    if not ruled:
        raise BadInput(f"{path} rules on no row", f"write the right label into the column `{RIGHT}`")
    return ruled


def corrected(answers: Sequence[Marked], ruled: Mapping[str, tuple[str, ...]]) -> tuple[Marked, ...]:
    """The answers, marked anew against the references ruled right."""
    return tuple(
        replace(marked, reference=rights[0], others=rights[1:], correct=marked.answer.text in rights)
        if (rights := ruled.get(marked.id))
        else marked
        for marked in answers
    )


def changed(answers: Sequence[Marked], ruled: Mapping[str, tuple[str, ...]]) -> int:
    """How many items have other references than they had."""
    return sum(
        set(ruled.get(marked.id, given)) != set(given) for marked in answers for given in [(marked.reference, *marked.others)]
    )


def rulings(
    before: Sequence[Marked], after: Sequence[Marked], metrics: Sequence[str], labels: Sequence[str], *, seed: int
) -> tuple[Ruling, ...]:
    """Each metric with its 95 % interval, before and after."""

    def scored(name: str, answers: Sequence[Marked]) -> Score:
        references = [(marked.reference, *marked.others) for marked in answers]
        return rate(find_metric(name), [marked.answer.text for marked in answers], references, labels, seed=seed)

    return tuple(Ruling(name, scored(name, before), scored(name, after)) for name in metrics)


def lines_of(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows of a CSV that a person ruled in, with their line numbers. Raises BadInput for one that cannot be read so."""
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        raise BadInput(f"there is no file {path}", "name the CSV that was adjudicated") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}", "save it as CSV in UTF-8") from error
    first = text.partition("\n")[0]
    # a spreadsheet may write semicolons where commas are decimal points
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=";" if first.count(";") > first.count(",") else ",")
    if missing := [name for name in ("id", RIGHT) if name not in (reader.fieldnames or ())]:
        raise BadInput(f"{path} has no column `{missing[0]}`", f"it needs the columns id and {RIGHT}")
    return [(reader.line_num, row) for row in reader]


def _labels(said: str, labels: Sequence[str], where: str) -> tuple[str, ...]:
    if said in labels:
        return (said,)
    given = tuple(dict.fromkeys(part.strip() for part in said.split(BOTH)))
    if stranger := next((each for each in given if each not in labels), None):
        raise unknown(f"label for {where}:", stranger, labels)
    if "" in given:
        raise BadInput(f"{where}: '{said}' names a label that is empty", f"labels: {', '.join(labels)}")
    return given
