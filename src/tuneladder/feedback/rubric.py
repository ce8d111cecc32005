"""What labelers are asked and how to decide it, in words: a YAML file whose content is its version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from tuneladder.errors import BadInput, unknown
from tuneladder.feedback.rankings import FAILED, TIED, is_ranking, ranking_of
from tuneladder.feedback.table import is_number
from tuneladder.store import digest, writing
from tuneladder.task.formats import text_of
from tuneladder.types import Judgement

Asks = Literal["score", "choose", "rank", "label"]
_KEYS = ("name", "criteria")
_CRITERION = ("name", "asks", "means", "values", "examples")
_EXAMPLE = ("text", "value", "why")
QUOTES = "put it in quotes: 'yes'"
HINT = "for example {name: help, criteria: [{name: correct, asks: score, values: {0: wrong, 1: right}}]}"


@dataclass(frozen=True)
class Worked:
    """An example decided: what was judged, what is right of it, and why."""

    text: str
    value: Any
    why: str = ""


@dataclass(frozen=True)
class Criterion:
    """One question. `values` are what may be said, each with what it means: numbers of a score, words of a label."""

    name: str
    asks: Asks
    means: str = ""
    values: Mapping[Any, str] | None = None
    examples: tuple[Worked, ...] = ()


@dataclass(frozen=True)
class Rubric:
    """`version` is the digest of all that it says: a word changed is another rubric."""

    name: str
    criteria: tuple[Criterion, ...]
    version: str


def read_rubric(path: Path) -> Rubric:
    """The rubric in a YAML file. Raises BadInput for one that is empty, or leaves undefined what may be said."""
    try:
        found = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise BadInput(f"there is no rubric {path}", "name a YAML file with `criteria`") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadInput(f"{path} cannot be read as a rubric: {str(error).splitlines()[0]}", HINT) from error
    if not found or not isinstance(found, dict):
        raise BadInput(f"the rubric {path} is empty" if not found else f"{path} is no rubric: it holds no keys", HINT)
    return rubric_of(found, str(path), name=path.stem)


def rubric_of(given: Mapping[str, Any], where: str = "the rubric", *, name: str = "rubric") -> Rubric:
    """The rubric that a mapping describes; `name` is what it is called where it does not say."""
    _known(given, _KEYS, where)
    listed = given.get("criteria")
    if not listed or not isinstance(listed, list):
        raise BadInput(f"{where} has no criteria", HINT)
    criteria = tuple(_criterion(each, f"{where}, criterion {number}") for number, each in enumerate(listed, start=1))
    names = [each.name for each in criteria]
    if twice := next((each for at, each in enumerate(names) if each in names[:at]), ""):
        raise BadInput(f"{where} has two criteria called '{twice}'", "give each a name of its own")
    called = str(given.get("name") or name)
    return Rubric(called, criteria, digest(called, [_content(each) for each in criteria]))


def stamp(rubric: Rubric, criterion: str) -> str:
    """What a judgement made under a criterion keeps as its rubric: the criterion and the version."""
    return f"{criterion}@{rubric.version}"


def unstamped(stamped: str) -> tuple[str, str]:
    """The criterion and the version that a judgement keeps, each "" where it does not say."""
    name, _, version = stamped.partition("@")
    return name, version


def of_version(rubrics: Sequence[Rubric], judgement: Judgement) -> Rubric:
    """Of a guideline's versions the one that a judgement was made under; the last where it does not say."""
    _, version = unstamped(judgement.rubric)
    return next((each for each in rubrics if each.version == version), rubrics[-1])


def criterion_of(rubric: Rubric, judgement: Judgement) -> Criterion:
    """The criterion that a judgement was made under; of a rubric with one criterion a judgement need not say.

    Raises BadInput for another version of the guideline and for a criterion that it does not have.
    """
    name, version = unstamped(judgement.rubric)
    if version and version != rubric.version:
        said = f"{judgement.labeler} judged item {judgement.item} under version {version} of a rubric, and {rubric.name} is"
        raise BadInput(f"{said} {rubric.version}", "hand in the rubric as it was then, too")
    if not name and len(rubric.criteria) == 1:
        return rubric.criteria[0]
    if found := next((each for each in rubric.criteria if each.name == name), None):
        return found
    raise unknown(f"criterion in {rubric.name}", name, [each.name for each in rubric.criteria])


def check_judgement(rubric: Rubric, judgement: Judgement) -> None:
    """Raises BadInput for a value that the rubric does not define."""
    criterion = criterion_of(rubric, judgement)
    where = f"{judgement.labeler} on item {judgement.item}"
    if criterion.asks == "rank":
        ranking_of(judgement.value, where)
        return
    words = {text_of(each) for each in criterion.values or {}}
    if criterion.asks == "choose":
        words |= {TIED, FAILED}
    if criterion.values and text_of(judgement.value) not in words:
        raise unknown(f"value of {criterion.name} ({where})", text_of(judgement.value), words)


def as_asked(rubric: Rubric, judgement: Judgement) -> Judgement:
    """The judgement with its value as its criterion takes it: a label is a word, though it be called 1, and so is the name of the
    answer that was chosen. Raises as criterion_of."""
    word = criterion_of(rubric, judgement).asks in ("label", "choose") and not is_ranking(judgement.value)
    return replace(judgement, value=text_of(judgement.value)) if word else judgement


def keep(rubric: Rubric, folder: Path) -> Path:
    """The rubric as a file named by its version, so that no judgement outlives its guideline; one that is there stays."""
    path = folder / f"{rubric.name}@{rubric.version}.yaml"
    if not path.exists():
        content = {"name": rubric.name, "criteria": [_content(each) for each in rubric.criteria]}
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _criterion(given: Any, where: str) -> Criterion:
    if not isinstance(given, dict):
        raise BadInput(f"{where} is {given!r}, and not a mapping", HINT)
    _known(given, _CRITERION, where)
    name, asks = str(given.get("name") or "").strip(), given.get("asks", "score")
    if not name or "@" in name:
        raise BadInput(f"{where} is called '{name}'", "give it a name without @, such as `correct`")
    if asks not in get_args(Asks):
        raise unknown(f"question for {where}: asks", str(asks), get_args(Asks))
    means = str(given.get("means") or "").strip()
    values = _values(given.get("values"), asks, where)
    if not means and not values:
        raise BadInput(f"{where} ({name}) says nothing of how to decide", "describe it with `means`, or each of its `values`")
    examples = tuple(_worked(each, f"{where}, example {n}") for n, each in enumerate(given.get("examples") or (), start=1))
    criterion = Criterion(name, asks, means, values, examples)
    alone = Rubric(where, (criterion,), "")
    for each in examples:
        check_judgement(alone, Judgement(each.text[:40], "the example", "", each.value, ""))
    return criterion


def _values(given: Any, asks: str, where: str) -> dict[Any, str] | None:
    """What may be said with what it means; needed of scores and labels."""
    if given is None and asks in ("choose", "rank"):
        return None
    if not isinstance(given, dict) or len(given) < 2:
        raise BadInput(f"{where} defines {len(given) if given else 'no'} values", "two or more, as values: {0: wrong, 1: right}")
    if asks == "score" and (word := next((each for each in given if not is_number(each)), None)) is not None:
        raise BadInput(f"{where} scores by {word!r}, which is no number", "use numbers, or asks: label")
    if any(isinstance(each, bool) for each in given):
        raise BadInput(f"{where} has a bare yes, no, on or off, which YAML reads as true or false", QUOTES)
    if bare := [each for each, words in given.items() if not str(words or "").strip()]:
        raise BadInput(f"{where} does not say what {bare[0]!r} means", "define each value in words")
    return {value: str(words) for value, words in given.items()}


def _worked(given: Any, where: str) -> Worked:
    if not isinstance(given, dict) or "text" not in given or "value" not in given:
        raise BadInput(f"{where} has no text or no value", "write {text: ..., value: ..., why: ...}")
    _known(given, _EXAMPLE, where)
    if isinstance(given["value"], bool):
        raise BadInput(f"{where} has a bare yes, no, on or off, which YAML reads as true or false", QUOTES)
    return Worked(str(given["text"]), given["value"], str(given.get("why") or ""))


def _content(criterion: Criterion) -> dict[str, Any]:
    """As a file says it."""
    found: dict[str, Any] = {"name": criterion.name, "asks": criterion.asks, "means": criterion.means}
    if criterion.values:
        found["values"] = dict(criterion.values)
    found["examples"] = [{"text": each.text, "value": each.value, "why": each.why} for each in criterion.examples]
    return found


def _known(given: Mapping[Any, Any], keys: tuple[str, ...], where: str) -> None:
    if stray := next((key for key in given if key not in keys), None):
        raise unknown(f"key for {where}:", str(stray), keys)
