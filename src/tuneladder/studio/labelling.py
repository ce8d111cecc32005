"""What a labelling is made of: a YAML file that names the items, the rubric and who judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tuneladder.errors import BadInput, unknown
from tuneladder.feedback.assignment import Ask, assign
from tuneladder.feedback.calibration import PASS
from tuneladder.feedback.items import Item, item_row, read_items
from tuneladder.feedback.rubric import Rubric, read_rubric
from tuneladder.store import digest
from tuneladder.studio.known import Known, read_known
from tuneladder.task.read import expand

KEYS = (
    "items", "rubric", "labelers", "each", "calibration", "warm_up", "pass", "gold", "gold_share", "repeat_share", "reasons",
    "seed",
)  # fmt: skip
HINT = "for example {items: items.jsonl, rubric: rubric.yaml, labelers: [ana, ben], each: 2}"


@dataclass(frozen=True)
class Labelling:
    """`asks` are by labeler, in their order. `reasons` names the criteria under which a judgement needs one. `content` is the
    digest of all but the rubric, which may be improved while people work."""

    name: str
    items: Mapping[str, Item]
    rubric: Rubric
    asks: Mapping[str, tuple[Ask, ...]]
    calibration: Known
    warm_up: int
    gold: Known
    at_least: float
    reasons: frozenset[str]
    seed: int
    content: str
    gold_share: float
    repeat_share: float


def read_labelling(path: Path) -> Labelling:
    """The labelling that a YAML file describes; other files are named from where it lies. Raises BadInput for all that would
    only show when somebody judges."""
    given = _read(path)
    rubric = read_rubric(_beside(path, given["rubric"]))
    items = {item.id: item for item in read_items(str(_beside(path, given["items"])))}
    _check_items(rubric, items)
    calibration, gold = (_known(given.get(name), path, rubric, items) for name in ("calibration", "gold"))
    reasons = _reasons(given.get("reasons"), rubric)
    seed, warm_up, at_least = _whole(given, "seed", 0), _whole(given, "warm_up", 0), _share(given, "pass", PASS)
    labelers = _labelers(given["labelers"])
    first, hidden = (items_of(known) for known in (calibration, gold))
    shares = {"gold_share": _share(given, "gold_share", 0.1), "repeat_share": _share(given, "repeat_share", 0.05)}
    asks = assign(
        [id for id in items if id not in first and id not in hidden],
        labelers,
        each=_whole(given, "each", 1),
        seed=seed,
        calibration=first,
        warm_up=warm_up,
        gold=hidden,
        **shares,
    )
    content = digest([item_row(item) for item in items.values()], asks, seed)
    return Labelling(path.stem, items, rubric, asks, calibration, warm_up, gold, at_least, reasons, seed, content, **shares)


def _read(path: Path) -> dict[str, Any]:
    try:
        given = yaml.safe_load(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        raise BadInput(f"there is no labelling {path}", HINT) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{path} cannot be read: {str(error).splitlines()[0]}", HINT) from error
    if not isinstance(given, dict):
        raise BadInput(f"{path} is no labelling: it holds {'nothing' if given is None else 'no keys'}", HINT)
    if "task" in given and "items" not in given:
        raise BadInput(f"{path} is a recipe to climb, and says nothing of labelling", HINT)
    if stray := next((key for key in given if key not in KEYS), None):
        raise unknown(f"key for {path}:", str(stray), KEYS)
    if missing := next((key for key in ("items", "rubric", "labelers") if not given.get(key)), ""):
        raise BadInput(f"{path} has no `{missing}`", HINT)
    return given


def _beside(path: Path, named: Any) -> Path:
    if not isinstance(named, str):
        raise BadInput(f"{path} names the file {named!r}", "a file's name is a text")
    return path.parent / expand(named)


def _known(named: Any, path: Path, rubric: Rubric, items: Mapping[str, Item]) -> Known:
    return read_known(str(_beside(path, named)), rubric, items) if named is not None else {}


def items_of(known: Known) -> list[str]:
    """The items of which something is known, each once."""
    return list(dict.fromkeys(each.item for own in known.values() for each in own.values()))


def _check_items(rubric: Rubric, items: Mapping[str, Item]) -> None:
    for criterion in rubric.criteria:
        if criterion.asks in ("score", "label"):
            continue
        if short := next((item for item in items.values() if len(item.answers) < 2), None):
            said = f"{criterion.name} asks to {criterion.asks}, and item {short.id} has one answer"
            raise BadInput(said, "give it a second answer, or ask for a score or a label")
        allowed = set(map(str, criterion.values or ()))
        for item in items.values():
            if allowed and (stray := next((name for name in item.answers if name not in allowed), "")):
                raise unknown(f"value of {criterion.name} (item {item.id})", stray, allowed)


def _labelers(given: Any) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(each, str) and each.strip() for each in given):
        raise BadInput(f"labelers is {given!r}", "a list of names: [ana, ben]; numbers, yes and no stand in quotes")
    return [each.strip() for each in given]


def _reasons(given: Any, rubric: Rubric) -> frozenset[str]:
    names = [each.name for each in rubric.criteria]
    if given is None:
        return frozenset()
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise BadInput(f"reasons is {given!r}", f"a list of criteria: {names}")
    if stray := next((each for each in given if each not in names), None):
        raise unknown("criterion", str(stray), names)
    return frozenset(given)


def _whole(given: Mapping[str, Any], key: str, default: int) -> int:
    value = given.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise BadInput(f"{key} is {value!r}", f"a whole number, for example {key}: {default}")
    return value


def _share(given: Mapping[str, Any], key: str, default: float) -> float:
    value = given.get(key, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise BadInput(f"{key} is {value!r}", f"a share from 0 to 1, for example {key}: {default:g}")
    return float(value)
