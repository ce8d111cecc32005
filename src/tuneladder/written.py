"""A recipe as it is written: YAML, a mapping or `key=value` words, with its keys checked and its defaults filled in.

What can be refused by looking at what is written is refused here, in a moment: nothing is imported that a model needs.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml

from tuneladder.errors import BadInput, shown, unknown
from tuneladder.evaluate.find import Metric, find_metric, metric_named
from tuneladder.evaluate.find import names as metric_names
from tuneladder.model.whole import check_whole
from tuneladder.numbers import MOST, is_number, is_whole
from tuneladder.task.build import METRICS
from tuneladder.task.read import expand
from tuneladder.task.wordings import WORDINGS
from tuneladder.types import Bar, Cost, Kind

Given = str | Path | Mapping[str, Any] | None

ROOMS = ("prompt", "tune")
DEFAULTS: dict[str, Any] = {
    "name": "",
    "task": {
        "kind": None,
        "data": None,
        "input": None,
        "target": None,
        "references": None,
        "multi_label": None,
        "separator": None,
        "labels": None,
        "options": None,
        "normalise": None,
        "schema": None,
        "constrain": None,
        "answer": None,
        "tests": None,
        "metric": None,
        "also": None,
        "instruction": None,
        "system": "",
        "template": None,
        "templates": None,
        "class_weights": None,
        "rows": None,
        "decoding": None,
    },
    "base": None,
    "bases": None,
    "bar": None,
    "evaluate": {"robustness": None, "fairness": None, "toxicity": None, "harmlessness": None, "reward": None, "energy": None},
    "limit": {"minutes": None, "memory": None, "money": None},
    "rungs": ["zero_shot", "few_shot", "lora", "full"],
    "seed": 0,
    "trust_remote_code": False,
}
HINTS = {  # what people call the steps elsewhere
    "train": "climb --rung NAME trains one rung",
    "sft": "lora and full train on examples",
    "finetune": "lora and full train on examples",
    "icl": "few_shot shows examples in the prompt",
}
BAR_KEYS = ("forgetting", "volume", "hour")
TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(
        ("input", "references", "separator", "normalise", "answer", "tests", "instruction", "system", "template"),
        (str, "it is a text; numbers and yes or no stand in quotes"),
    ),
    **dict.fromkeys(("rows", "decoding"), (dict, "it takes keys")),
    "target": (
        (str, dict, list),
        "a column's name or Jinja, or one for each split: {train: ..., dev: ..., test: ...}; or the columns of labels, a list",
    ),
    "multi_label": (bool, "true where a row may have several labels, or none"),
    "labels": ((dict, list), "a list of words, or value: word"),
    "options": ((str, list), "the column that lists a row's options, or a list of columns with one each"),
    "schema": ((str, dict), "a JSON schema of an object, or the path of one"),
    "constrain": (bool, "true holds what is written to the schema, false parses it, and repairs it once"),
    "metric": ((str, dict), "a metric's name, or name: {setting: value}"),
    "also": (list, "a list of metrics, for example [bleu, length: {at_most: 40}]"),
    "templates": ((str, list), f"a list of templates, or one of: {', '.join(WORDINGS)}"),
    "class_weights": ((str, dict), "balanced, or label: weight"),
}
SORTS = {  # of answers, and the kinds of task that have them
    "plain text": ("text",),
    "comparisons": ("prefer",),
    "labels": ("classify", "choose", "multi_label"),
    "tags of words": ("tag",),
    "text that is written": ("generate", "chat", "extract", "record"),
}
RIGHT = ("accuracy", "exact_match")  # whether answers are right can be asked of them all
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


@dataclass(frozen=True)
class Written:
    """`given` is what was written, `overridden` the keys that the command line set, `keys` all of it with defaults. `rungs` are
    names with the steps of each ({name: settings}); relative files are looked for in `folder`."""

    given: Mapping[str, Any]
    overridden: tuple[str, ...]
    keys: Mapping[str, Any]
    folder: Path
    name: str
    rungs: Mapping[str, list[dict[str, Any]]]
    bar: Bar
    limit: Cost


def read(source: Given = None, overrides: Sequence[str] = ()) -> Written:
    """A YAML file, a mapping, or None for the embedded example, under words `key=value` with dots for depth. Raises BadInput."""
    given, folder = _read(source)
    overridden = [_override(given, word) for word in overrides]
    _take_bases(given, overridden)
    _take_all_rows(given)
    _check_keys(given, DEFAULTS, "")
    keys = _fill(given, DEFAULTS)
    seed, name = keys["seed"], keys["name"] or _name(source)
    if not is_whole(seed) or not 0 <= seed < 2**32:
        raise BadInput(f"seed {shown(seed)} is not a whole number from 0 to 4,294,967,295", "for example seed: 1")
    if not isinstance(keys["trust_remote_code"], bool):
        trust = f"trust_remote_code {shown(keys['trust_remote_code'])} is neither true nor false"
        raise BadInput(trust, "leave it out unless you have read that code")
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w. -]{0,99}", name):
        raise BadInput(f"name {shown(name)} cannot be a folder's", "use letters, digits, dots, dashes and spaces, 100 at most")
    if keys["base"] is not None and keys["bases"] is not None:
        raise BadInput("`base` and `bases` are both given", "keep one of them")
    _check_task(keys["task"])
    _check_bases([keys["base"]] if keys["bases"] is None else keys["bases"], folder)
    rungs = _rungs(keys["rungs"])
    limit = _limit(keys["limit"])
    also = keys["task"]["also"] = _placed_judges(keys["task"]["also"], folder)
    for metric in (keys["task"]["metric"], *(also if isinstance(also, list) else ())):
        if metric is not None:
            _suits(find_metric(metric_named(metric)), keys["task"]["kind"])
    bar = _bar(keys["bar"])
    return Written(given, tuple(overridden), keys, folder, name, rungs, bar, limit)


def embedded() -> Path:
    """The recipe of the example that ships with the package."""
    return Path(__file__).parent / "assets" / "desks" / "recipe.yaml"


def steps() -> dict[str, str]:
    """Every step in the folders, with its room: the folder is the registry."""
    here = Path(__file__).parent
    return {path.stem: room for room in ROOMS for path in sorted((here / room).glob("*.py")) if path.stem != "__init__"}


def room_of(step: str) -> str:
    """The folder of a step of ours. Raises BadInput for a name that no file has."""
    rooms = steps()
    if step not in rooms:
        raise unknown("step", step, rooms, HINTS.get(step, ""))
    return rooms[step]


def bytes_of(value: Any, key: str = "limit: memory") -> int:
    """`16GB`, `500MB`, `8GiB` as bytes; `key` is what to call it. Raises BadInput for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B?)\s*", str(value).upper())
    if not match or not (unit := UNITS.get(match[2] if match[2].endswith("B") else f"{match[2]}B")):
        raise BadInput(f"{key} is {shown(value)}", "for example 16GB or 500MB")
    if not is_number(size := float(match[1]) * unit):
        raise BadInput(f"{key} is {shown(value)}", "more than any machine has; for example 16GB or 500MB")
    size = int(size)
    if not match[2] and size < 1_000_000:
        raise BadInput(f"{key} is {value!r}, and no unit says of what", f"for example {match[1]}GB")
    if size < 1:
        raise BadInput(f"{key} is {value!r}", "it is above 0")
    return size


def known_key(key: Any, known: Iterable[str], what: str) -> None:
    if key not in known:
        raise unknown(what, str(key), known)


def located(location: str, folder: Path) -> str:
    """A relative file is looked for beside the recipe, then where the command is given."""
    if Path(location).is_absolute() or "$" in location:
        return location
    return next((str(place / location) for place in (folder, Path.cwd()) if location and (place / location).exists()), location)


def _read(source: str | Path | Mapping[str, Any] | None) -> tuple[dict[str, Any], Path]:
    if isinstance(source, Mapping):
        return json.loads(json.dumps(dict(source), default=str)), Path.cwd()
    if not isinstance(source, str | Path | None):
        raise BadInput(f"{source!r} is no recipe", "a file's name, a mapping of keys, or nothing for the embedded example")
    path = embedded() if source is None else Path(source)
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise BadInput(f"there is no recipe {path}", "`tuneladder init FILE` writes one for your data") from error
    except IsADirectoryError as error:
        raise BadInput(f"{path} is a folder, not a recipe", "name a YAML file") from error
    except UnicodeDecodeError as error:
        what = f"{path} is not text (byte {error.start} is not UTF-8)"
        raise BadInput(what, "a recipe is a YAML file; data goes under `task: data:`") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    try:
        given = yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        where = f", line {error.problem_mark.line + 1}" if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark else ""
        hint = "look at the indentation and the quotes there; Jinja such as {{ text }} stands in quotes"
        raise BadInput(f"{path} is not YAML{where}: {_problem(error)}", hint) from error
    if not isinstance(given, dict):
        holds = (
            "nothing"
            if given is None
            else "a list"
            if isinstance(given, list)
            else "a text"
            if isinstance(given, str)
            else repr(given)
        )
        raise BadInput(f"{path} is no recipe: it holds {holds}", "a recipe begins with `task:`; `tuneladder init FILE` writes one")
    return given, path.resolve().parent


def _problem(error: Exception) -> str:
    return str(error.problem) if isinstance(error, yaml.MarkedYAMLError) else (str(error) or type(error).__name__).splitlines()[0]


class Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, and reads 2e-4 as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                problem = "a key that is itself a list or a set of keys"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d[\d_]*)(?:\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _override(given: dict[str, Any], word: str) -> str:
    """Set what `key=value` says; the key."""
    if not isinstance(word, str):
        raise BadInput(f"{word!r} is not key=value", 'a text, for example "seed=1"')
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise BadInput(f"'{word}' is not key=value", "for example seed=1 or limit.minutes=10")
    if not text.strip():  # such as base=$BASE where that is not set
        raise BadInput(f"'{word}' gives no value", f"{key}=null is the default")
    parts = key.split(".")
    at = given
    for depth, part in enumerate(parts[:-1]):
        if at.get(part) is None:
            at[part] = {}
        elif parts[: depth + 1] == ["task", "data"] and isinstance(at[part], str):
            at[part] = {"train": at[part]}  # one file, and now another for a split
        at = at[part]
        if not isinstance(at, dict):
            whole = ".".join(parts[: depth + 1])
            raise BadInput(f"'{key}' cannot be set: {whole} is {at!r}, not keys", f"set the whole of it: {whole}=...")
    try:
        at[parts[-1]] = text if text.lstrip().startswith(("{{", "{%")) else yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        hint = "put a text that holds : or { in quotes, twice for the shell"
        raise BadInput(f"the value of '{word}' is not YAML: {_problem(error)}", hint) from error
    return key


def _take_bases(given: dict[str, Any], overridden: Sequence[str]) -> None:
    """What the command line says of `base` or of `bases` stands in the place of the other that the recipe has."""
    said = {key.partition(".")[0] for key in overridden}
    for own, other in (("base", "bases"), ("bases", "base")):
        if own in said and other not in said and given[own] is not None:
            given.pop(other, None)


def _take_all_rows(given: dict[str, Any]) -> None:
    """`rows: {test: null}` is as if nothing were said of that split."""
    task = given.get("task")
    if isinstance(task, dict) and isinstance(rows := task.get("rows"), dict) and None in rows.values():
        left = {split: count for split, count in rows.items() if count is not None}
        given["task"] = {**task, "rows": left} if left else {key: own for key, own in task.items() if key != "rows"}


def _check_keys(given: Mapping[str, Any], known: Mapping[str, Any], path: str) -> None:
    for key, value in given.items():
        known_key(key, known, f"key of {path}" if path else "key")
        if isinstance(known[key], dict) and value is not None:
            if not isinstance(value, dict):
                raise BadInput(f"'{key}' is {value!r}, not a set of keys", f"its keys: {', '.join(known[key])}")
            _check_keys(value, known[key], key)


def _fill(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, with defaults where nothing was; a key without a value is one that was not given."""
    filled: dict[str, Any] = {}
    for key, default in defaults.items():
        own = given.get(key)
        if isinstance(default, dict):
            filled[key] = _fill(own or {}, default)
        else:
            filled[key] = copy.deepcopy(default) if own is None else own
    return filled


def _name(source: str | Path | Mapping[str, Any] | None) -> str:
    return "desks" if source is None else "task" if isinstance(source, Mapping) else Path(source).stem


def _check_bases(wanted: Any, folder: Path) -> None:
    """Raises BadInput for a base whose folder holds no whole model."""
    for each in wanted if isinstance(wanted, list) else ():
        name = each.get("id") if isinstance(each, dict) else each
        if isinstance(name, str) and name and (place := Path(expand(located(name, folder)))).is_dir():
            check_whole(place)


def _check_task(keys: Mapping[str, Any]) -> None:
    kind, data = keys["kind"], keys["data"]
    if kind is None:
        raise BadInput("the recipe does not say what kind of task this is", f"task: kind: {' | '.join(get_args(Kind))}")
    if kind not in get_args(Kind):
        raise unknown("kind of task", str(kind), get_args(Kind))
    if data is None:
        raise BadInput("the recipe names no data", "task: data: FILE")
    if kind == "text":  # its keys are few, and all others are refused
        return
    if not isinstance(data, str | dict):
        raise BadInput(f"data is {data!r}", "a file, {train: FILE, test: FILE}, {hub: ID}, or {mixture: [...]}")
    for key, (wanted, hint) in TYPES.items():
        if keys[key] is not None and not isinstance(keys[key], wanted):
            raise BadInput(f"{key} is {shown(keys[key])}", hint)
    if keys["input"] is not None and keys["input"] == keys["target"]:
        raise BadInput(f"input and target are both {keys['input']!r}", "what is read and what is answered are two columns")


def _suits(metric: Metric, kind: Any) -> None:
    """Raises BadInput for a metric of other answers than those of this kind of task; plain text and comparisons have one each."""
    sort = next((sort for sort, kinds in SORTS.items() if set(kinds) & set(metric.kinds)), "")
    if not sort or kind not in get_args(Kind) or kind in ("text", "prefer", *SORTS[sort]) or metric.name in RIGHT:
        return
    raise BadInput(f"{metric.name} is of {sort}, and this task is of kind {kind}", f"another metric, such as {METRICS[kind]}")


def _placed_judges(also: Any, folder: Path) -> Any:
    """The metrics with the files and folders that a judge names found beside the recipe."""
    if not isinstance(also, list):
        return also
    placed = []
    for each in also:
        own = each.get("judge") if isinstance(each, dict) else None
        if isinstance(own, dict):
            there = {key: located(own[key], folder) for key in ("by", "people") if isinstance(own.get(key), str)}
            each = {"judge": own | there}
        placed.append(each)
    return placed


def _rungs(wanted: Any) -> dict[str, list[Any]]:
    """Each rung's name and its steps, as written: `name` or {name: settings}. A list is named after its steps; a mapping names its
    rungs."""
    if not isinstance(wanted, list | dict) or not wanted:
        raise BadInput(f"rungs is {wanted!r}", "a list of steps, for example [zero_shot, lora]")
    rungs: dict[str, list[Any]] = {}
    for title, each in wanted.items() if isinstance(wanted, dict) else ((None, each) for each in wanted):
        pairs = [_one(one) for one in (each if isinstance(each, list) else [each])]
        if not pairs:
            raise BadInput("a rung has no steps", "leave it out, or name a step")
        for step, _ in pairs:
            if ":" not in step:
                room_of(step)
        name = "+".join(_said(step, given) for step, given in pairs) if title is None else str(title)
        if name in rungs:
            raise BadInput(f"the rung {name} stands twice", "leave one out, or change its settings")
        rungs[name] = [{step: given} for step, given in pairs]
    return rungs


def _one(wanted: Any) -> tuple[str, dict[str, Any]]:
    """A step's name and the settings that were given."""
    if isinstance(wanted, str):
        return wanted, {}
    if not isinstance(wanted, dict) or len(wanted) != 1:
        raise BadInput(f"{wanted!r} is no step", "write a name, or name: {setting: value}")
    name, given = next(iter(wanted.items()))
    if given is not None and not isinstance(given, dict):
        raise BadInput(
            f"the settings of {name} are {given!r}", f"write {name}: {{setting: value}}, and every rung with a dash before it"
        )
    return str(name), given or {}


def _said(step: str, given: Mapping[str, Any]) -> str:
    """A step with the settings that were given: `lora(r=8)`."""
    settings = ",".join(f"{key}={_short(value)}" for key, value in given.items())
    return f"{step}({settings})" if settings else step


def _short(value: Any) -> str:
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return str(len(value))  # what each of them says would fill a page
    if isinstance(value, dict):
        return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf).strip()
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + " ".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


def _bar(wanted: Any) -> Bar:
    if wanted is None:
        return Bar()
    if not isinstance(wanted, dict):
        raise BadInput(f"bar is {wanted!r}", "for example bar: {macro_f1: 0.85, forgetting: 0.05, volume: 100000}")
    for key in wanted:
        if ":" not in str(key):
            known_key(key, [*metric_names(), *BAR_KEYS], "key of the bar, and no metric,")
    metrics = [str(key) for key in wanted if key not in BAR_KEYS]
    if len(metrics) > 1:
        raise BadInput(f"the bar names {len(metrics)} metrics: {', '.join(metrics)}", "keep the one that decides")
    for key, value in wanted.items():
        if not is_number(value):
            raise BadInput(
                f"bar: {key} is {shown(value)}, not a number",
                "for example bar: {macro_f1: 0.85, forgetting: 0.05}",
            )
    metric = metrics[0] if metrics else ""
    found = find_metric(metric) if metric else None
    if found:
        _check_within(found, wanted[metric], f"bar: {metric} is {wanted[metric]}")
    if wanted.get("forgetting", 0) < 0:
        hint = "how far the loss on plain text may rise: 0 or more, and 0.05 is 5 %"
        raise BadInput(f"bar: forgetting is {wanted['forgetting']}, and the untouched base forgets nothing", hint)
    volume = wanted.get("volume", Bar().volume)
    if volume < 0 or volume != int(volume):
        raise BadInput(f"bar: volume is {volume}", "how many answers will be served: a whole number, 0 or more")
    if (hour := wanted.get("hour", 0.0)) < 0:
        raise BadInput(f"bar: hour is {hour}", "what an hour of this machine costs: 0 or more")
    return Bar(found.name if found else "", wanted[metric] if metric else None, wanted.get("forgetting"), int(volume), float(hour))


def _check_within(metric: Metric, value: float, said: str) -> None:
    """Raises BadInput for a bar that nothing clears, or everything."""
    rising = metric.better == "higher"
    if value > metric.best if rising else value < metric.best:
        raise BadInput(f"{said}, and nothing can clear it: its best is {metric.best:g}", "a share is written 0.85, not 85")
    if value < metric.least if rising else value > metric.worst:
        end = f"never below {metric.least:g}" if rising else f"never above {metric.worst:g}"
        raise BadInput(f"{said}, and everything clears it: it is {end}", "leave it out where no bar is meant")


def _limit(wanted: Mapping[str, Any]) -> Cost:
    """Allowed seconds, bytes and money; 0 is no limit."""
    minutes = wanted["minutes"]
    if minutes is not None and (not is_number(minutes) or minutes <= 0):
        raise BadInput(f"limit: minutes is {shown(minutes)}", f"a number above 0, and at most {MOST:,}")
    money = wanted["money"]
    if money is not None and (not is_number(money) or money <= 0):
        raise BadInput(f"limit: money is {shown(money)}", f"a number above 0 and at most {MOST:,}, in the currency of the prices")
    memory = bytes_of(wanted["memory"]) if wanted["memory"] is not None else 0
    return Cost(seconds=60 * (minutes or 0), memory=memory, money=money or 0.0)
