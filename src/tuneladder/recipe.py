"""YAML, a mapping or `key=value` words -> Recipe: the only reader of configuration, and the only dynamic import of steps.

Below this file nobody sees a config object: a recipe becomes nouns, or an error that names the key.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import inspect as python_inspect
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from tuneladder.errors import BadInput, unknown
from tuneladder.evaluate.find import Metric, find_metric, metric_named, metrics_of
from tuneladder.evaluate.find import names as metric_names
from tuneladder.evaluate.harmlessness import tempting, warden
from tuneladder.evaluate.people import read_people
from tuneladder.evaluate.robustness import PERTURBATIONS
from tuneladder.evaluate.toxicity import check as check_detector
from tuneladder.evaluate.toxicity import label_of_toxic
from tuneladder.evaluate.verdicts import REFERENCE
from tuneladder.ladder.tree import step_name
from tuneladder.model import budget, pocket
from tuneladder.model.addressed import named, remote
from tuneladder.model.constrained import HINT as NO_GUIDE
from tuneladder.model.constrained import can_constrain
from tuneladder.model.inspect import from_shape, inspect
from tuneladder.numbers import is_number
from tuneladder.own import own_code
from tuneladder.task.build import LENGTHS, METRICS, Findings, build, longest_of
from tuneladder.task.comparisons import read_comparisons
from tuneladder.task.corpus import Source, gather
from tuneladder.task.mixture import Mixing, Set, mix
from tuneladder.task.multi_label import kind_in_full
from tuneladder.task.prefer import METRIC as PREFERENCE
from tuneladder.task.prefer import build_preferences
from tuneladder.task.schema import read_schema
from tuneladder.task.wordings import WORDINGS
from tuneladder.train.constitution import read_prompts
from tuneladder.train.rewarders import model_of
from tuneladder.types import Axes, Bar, Base, Cost, Decoding, Detector, Grader, Kind, Prompt, Robustness, Rung, Step, Task, Warden

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
TEXT_KEYS = ("kind", "data", "metric")  # what a task of plain text reads
PREFER_KEYS = ("kind", "data", "metric", "instruction", "system", "template", "rows", "decoding")  # and one of comparisons
MIXED_KEYS = ("kind", "data", "metric", "also", "instruction", "system", "decoding", "constrain")  # and one of several data sets
BAR_KEYS = ("forgetting", "volume")
TYPES: dict[str, tuple[type | tuple[type, ...], str]] = {
    **dict.fromkeys(
        ("input", "references", "separator", "normalise", "tests", "instruction", "system", "template"),
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
STEP_FACTS = ("changes", "needs", "families", "reads", "version", "plan", "apply")
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


@dataclass(frozen=True)
class Grouping:
    """Answers are counted group by group, `by` a column or Jinja; groups of fewer than `least` rows are not compared."""

    by: str
    least: int = Axes().least


@dataclass(frozen=True)
class Toxic:
    """The rows that a classifier of toxic texts learns from, and which of its labels is theirs; "" where its word says so."""

    data: str | dict[str, str]
    input: str | None = None
    target: str | None = None
    toxic: str = ""


@dataclass(frozen=True)
class Guarded:
    """The pairs that a judge of harmlessness learns from, a file of prompts that tempt ("" is ours), and the most tokens of an
    answer."""

    data: str
    prompts: str = ""
    tokens: int = 64


@dataclass(frozen=True)
class Judging:
    """The folder of the node of a reward model that grades answers, and the most tokens of an answer."""

    node: str
    tokens: int = 64


@dataclass(frozen=True)
class Powered:
    """Grams of CO2 for a kWh, and watts in place of the estimate."""

    intensity: float = Axes().intensity
    watts: float | None = None


@dataclass(frozen=True)
class Beside:
    """What a recipe asks to be measured beside quality."""

    robustness: Robustness | None
    fairness: Grouping | None
    toxicity: Toxic | None
    harmlessness: Guarded | None
    reward: Judging | None
    energy: Powered


@dataclass(frozen=True)
class Recipe:
    """What to climb. `notes` are the sentences that reading the data gave; `resolved` is the recipe with every default filled
    in and files by their whole path, so that it can be climbed from anywhere; `origins` says where each of its values came from
    (`task.metric`, `rungs.lora.0.lora.r`): recipe, command line or default. `judges` are the bases that judge, by the name of the
    metric that asks them."""

    name: str
    task: Task
    bases: tuple[Base, ...]
    rungs: tuple[Rung, ...]
    bar: Bar
    limit: Cost
    seed: int
    notes: tuple[str, ...]
    findings: Findings
    resolved: Mapping[str, Any]
    origins: Mapping[str, str]
    judges: Mapping[str, Base]
    axes: Axes


def load(source: str | Path | Mapping[str, Any] | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe: a YAML file, a mapping, or None for the embedded example; `overrides` are `key=value` with dots for depth.

    Raises BadInput for anything a person has to change.
    """
    given, folder = _read(source)
    overridden = [_override(given, word) for word in overrides]
    _take_bases(given, overridden)
    _check_keys(given, DEFAULTS, "")
    keys = _fill(given, DEFAULTS)
    seed, name = keys["seed"], keys["name"] or _name(source)
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise BadInput(f"seed {seed!r} is not a whole number from 0 to 4,294,967,295", "for example seed: 1")
    if not isinstance(keys["trust_remote_code"], bool):
        trust = f"trust_remote_code {keys['trust_remote_code']!r} is neither true nor false"
        raise BadInput(trust, "leave it out unless you have read that code")
    if not isinstance(name, str) or not re.fullmatch(r"\w[\w. -]{0,99}", name):
        raise BadInput(f"name {repr(name)[:120]} cannot be a folder's", "use letters, digits, dots, dashes and spaces, 100 at most")
    # what is cheap to refuse comes first: rungs and bar before data, data before bases
    if keys["base"] is not None and keys["bases"] is not None:
        raise BadInput("`base` and `bases` are both given", "keep one of them")
    written = _rungs(keys["rungs"])
    specs = {rung: tuple(_step(one) for one in rung_steps) for rung, rung_steps in written.items()}
    limit = _limit(keys["limit"])
    also = keys["task"]["also"] = _placed_judges(keys["task"]["also"], folder)
    for metric in (keys["task"]["metric"], *(also if isinstance(also, list) else ())):
        if metric is not None:
            _suits(find_metric(metric_named(metric)), keys["task"]["kind"])
    bar = _bar(keys["bar"])
    as_meant = {**given, "evaluate": _in_full(keys["evaluate"])}
    beside = _beside(as_meant["evaluate"], keys["task"])
    task, findings, data = _task(
        keys["task"], name=name, folder=folder, seed=seed, group=beside.fairness.by if beside.fairness else None
    )
    bar = _bar_of(bar, task)
    axes = _axes(beside, find_metric(bar.metric), task, folder=folder, seed=seed)
    several = keys["bases"] is not None
    wanted = _placed_bases(keys["bases"] if several else [pocket.DEFAULT if keys["base"] is None else keys["base"]], folder)
    bases = _bases(wanted, trust=keys["trust_remote_code"])
    task = _constrained(task, keys["task"]["constrain"], bases)
    if bar.metric == "perplexity" and len(bases) > 1:
        said = "the bar is set on perplexity, which is per token of each base's own tokenizer, and several bases are named"
        raise BadInput(said, "bar: {bits_per_byte: ...} compares them")
    judges = _judges(task, specs, trust=keys["trust_remote_code"])
    if limit.money:
        _refuse_unpriced((*bases, *judges.values(), *_asked_by(specs)), limit.money)
    rungs = [
        Rung(f"{base.name}/{rung}" if len(bases) > 1 else rung, base.name, each) for base in bases for rung, each in specs.items()
    ]
    _refuse_its_own_teacher(axes, rungs)
    resolved = {
        "name": name,
        "task": _resolved_task(keys["task"], task, data),
        "bases" if several else "base": wanted if several else wanted[0],
        "bar": _resolved_bar(bar),
        "evaluate": _resolved_beside(beside, axes, folder),
        "limit": keys["limit"],
        "rungs": {rung: [{step_name(step): _plain(step)} for step in each] for rung, each in specs.items()},
        "seed": seed,
        "trust_remote_code": keys["trust_remote_code"],
    }
    as_given = {**as_meant, "rungs": written if given.get("rungs") else {}}
    if isinstance(keys["task"]["schema"], str):  # a file's, as a whole
        as_given["task"] = {**given["task"], "schema": resolved["task"]["schema"]}
    if task.kind == "text":
        as_given["task"] = {**given["task"], "data": _sources(given["task"]["data"])}
    elif isinstance(data, dict) and "mixture" in data:
        own = given["task"]["data"]
        sets = [
            {**each, "schema": read["schema"]} if isinstance(each.get("schema"), str) else each
            for each, read in zip(_sources(own["mixture"]), data["mixture"], strict=True)
        ]
        as_given["task"] = {**given["task"], "data": {**own, "mixture": sets}}
    origins = _origins(resolved, as_given, set(overridden))
    return Recipe(name, task, bases, tuple(rungs), bar, limit, seed, findings.notes, findings, resolved, origins, judges, axes)


def embedded() -> Path:
    """The recipe of the example that ships with the package."""
    return Path(__file__).parent / "assets" / "desks" / "recipe.yaml"


def resolved_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, each value followed by where it came from. It can be climbed itself."""

    def put(value: Any, path: str, indent: str) -> list[str]:
        lines: list[str] = []
        for key, each in _items(value):
            head = f"{_scalar(key)}:" if isinstance(value, dict) else "-"
            here = f"{path}.{key}" if path else str(key)
            if _nested(each):
                inside = put(each, here, f"{indent}  ")
                lines += [f"{indent}- {inside[0].lstrip()}", *inside[1:]] if head == "-" else [f"{indent}{head}", *inside]
            else:
                said = f"[{', '.join(map(_scalar, each))}]" if isinstance(each, list) else _scalar(each)
                lines.append(f"{indent}{head} {said}  # {recipe.origins[here]}")
        return lines

    return "\n".join(put(recipe.resolved, "", "")) + "\n"


def _nested(value: Any) -> bool:
    """Whether a value is written over several lines; a list of plain values is one value."""
    inside = isinstance(value, list) and any(isinstance(each, dict | list) for each in value)
    return inside or (isinstance(value, dict) and bool(value))


def _items(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items() if isinstance(value, dict) else enumerate(value))


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        bare = re.fullmatch(r"[A-Za-z_]\w*", value) and yaml.load(value, _Loader) == value
        return value if bare else yaml.safe_dump(value, default_style='"', allow_unicode=True, width=math.inf).strip()
    return str(yaml.safe_dump(value, default_flow_style=True).split("\n")[0])


def _origins(resolved: Any, given: Any, overridden: set[str]) -> dict[str, str]:
    """Where every value came from; `given` is what was written, in the shape of the resolved."""
    found: dict[str, str] = {}

    def walk(value: Any, own: Any, path: str, said: str) -> None:
        said = "command line" if path in overridden else said
        if _nested(value):
            there = dict(_items(own)) if isinstance(own, dict | list) else {}
            for key, each in _items(value):
                walk(each, there.get(key), f"{path}.{key}" if path else str(key), said)
        else:
            found[path] = "default" if own is None else said

    walk(resolved, given, "", "recipe")
    return found


def _plain(settings: Any) -> dict[str, Any]:
    """A step's, source's or decoding's settings as YAML has them."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(settings).items()}


def find_step(name: str) -> type:
    """The class of a step: the one that `<room>/<name>.py` defines, or the user's `my_module:MyStep`."""
    if ":" in name:
        found = own_code(name, "step")
        if not (python_inspect.isclass(found) and dataclasses.is_dataclass(found)):
            raise BadInput(f"'{name}' is no step", "a step is a frozen dataclass with plan() and apply()")
        if missing := [fact for fact in STEP_FACTS if not hasattr(found, fact)]:
            raise BadInput(
                f"the step '{name}' does not say its {missing[0]}", f"a step has {', '.join(STEP_FACTS)}: see types.Step"
            )
        return found
    rooms = steps()
    if name not in rooms:
        raise unknown("step", name, rooms, HINTS.get(name, ""))
    module = importlib.import_module(f"tuneladder.{rooms[name]}.{name}")
    return getattr(module, "".join(part.title() for part in name.split("_")))  # type: ignore[no-any-return]


def steps() -> dict[str, str]:
    """Every step in the folders, with its room: the folder is the registry."""
    here = Path(__file__).parent
    return {path.stem: room for room in ROOMS for path in sorted((here / room).glob("*.py")) if path.stem != "__init__"}


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
        given = yaml.load(text, _Loader)
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


class _Loader(yaml.SafeLoader):
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


_Loader.add_implicit_resolver(
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
        at[parts[-1]] = text if text.lstrip().startswith(("{{", "{%")) else yaml.load(text, _Loader)
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


def _check_keys(given: Mapping[str, Any], known: Mapping[str, Any], path: str) -> None:
    for key, value in given.items():
        _known_key(key, known, f"key of {path}" if path else "key")
        if isinstance(known[key], dict) and value is not None:
            if not isinstance(value, dict):
                raise BadInput(f"'{key}' is {value!r}, not a set of keys", f"its keys: {', '.join(known[key])}")
            _check_keys(value, known[key], key)


def _known_key(key: Any, known: Iterable[str], what: str) -> None:
    if key not in known:
        raise unknown(what, str(key), known)


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


def _task(keys: Mapping[str, Any], *, name: str, folder: Path, seed: int, group: str | None) -> tuple[Task, Findings, Any]:
    """The task, what was found in its data, and where that lies."""
    kind, data = keys["kind"], keys["data"]
    if kind is None:
        raise BadInput("the recipe does not say what kind of task this is", f"task: kind: {' | '.join(get_args(Kind))}")
    if kind not in get_args(Kind):
        raise unknown("kind of task", str(kind), get_args(Kind))
    if data is None:
        raise BadInput("the recipe names no data", "task: data: FILE")
    if kind == "text":
        return _text_task(keys, name=name, folder=folder, seed=seed)
    if not isinstance(data, str | dict):
        raise BadInput(f"data is {data!r}", "a file, {train: FILE, test: FILE}, {hub: ID}, or {mixture: [...]}")
    for key, (wanted, hint) in TYPES.items():
        if keys[key] is not None and not isinstance(keys[key], wanted):
            raise BadInput(f"{key} is {keys[key]!r}", hint)
    if keys["input"] is not None and keys["input"] == keys["target"]:
        raise BadInput(f"input and target are both {keys['input']!r}", "what is read and what is answered are two columns")
    decoding = _decoding(keys["decoding"], kind, seed) if keys["decoding"] is not None else None
    if isinstance(data, dict) and "mixture" in data:
        return _mixed_task(keys, decoding, name=name, folder=folder, seed=seed)
    where = _placed_data(data, folder)
    if kind == "prefer":
        return *_preferences(keys, where, decoding, name=name, seed=seed), where
    task, findings = build(
        name=name,
        kind=kind,
        data=where,
        input=keys["input"],
        target=keys["target"],
        references=keys["references"] or "apart",
        multi_label=keys["multi_label"],
        separator=keys["separator"],
        labels=keys["labels"],
        options=keys["options"],
        normalise=keys["normalise"],
        schema=_place(keys["schema"], folder) if isinstance(keys["schema"], str) else keys["schema"],
        tests=keys["tests"],
        metric=keys["metric"] and _metric(keys["metric"]),
        also=[_metric(each) for each in keys["also"] or ()],
        instruction=keys["instruction"],
        system=keys["system"],
        template=keys["template"],
        templates=keys["templates"],
        class_weights=keys["class_weights"],
        rows=keys["rows"],
        group=group,
        decoding=decoding,
        seed=seed,
    )
    for name in filter(None, (task.metric, *task.also)):
        _check_tried(find_metric(name), task, keys["tests"])
        _check_counted(find_metric(name), task)
    return _roomy(task, keys["decoding"]), findings, where


def _roomy(task: Task, given: Mapping[str, Any] | None) -> Task:
    """The task with room for an answer of several labels, or for an object, where the `decoding` that is given does not say how
    much: the default of one label is too short."""
    if not (task.multi_label or task.prompt.schema) or "max_new_tokens" in (given or {"max_new_tokens": None}):
        return task
    decoding = dataclasses.replace(task.prompt.decoding, max_new_tokens=longest_of(task.prompt.schema))
    return dataclasses.replace(task, prompt=dataclasses.replace(task.prompt, decoding=decoding))


def _metric(given: Any) -> str:
    """What a metric is called in full."""
    return find_metric(metric_named(given)).name


def _suits(metric: Metric, kind: Any) -> None:
    """Raises BadInput for a metric of other answers than those of this kind of task; plain text and comparisons have one each."""
    sort = next((sort for sort, kinds in SORTS.items() if set(kinds) & set(metric.kinds)), "")
    if not sort or kind not in get_args(Kind) or kind in ("text", "prefer", *SORTS[sort]) or metric.name in RIGHT:
        return
    raise BadInput(f"{metric.name} is of {sort}, and this task is of kind {kind}", f"another metric, such as {METRICS[kind]}")


def _check_counted(metric: Metric, task: Task) -> None:
    """Raises BadInput for a metric that counts labels, where no two rows have the same ones: it would find none, and none wrong."""
    counts = {"classify", "multi_label"} & set(metric.kinds)
    if task.kind == "choose" and not task.labels and counts and metric.name not in RIGHT:
        raise BadInput(f"{metric.name} counts labels, and the rows of this task bring options of their own", "metric: accuracy")


def _preferences(keys: Mapping[str, Any], where: Any, decoding: Decoding | None, *, name: str, seed: int) -> tuple[Task, Findings]:
    if said := next((key for key in keys if key not in PREFER_KEYS and keys[key] not in (None, "", [])), ""):
        raise BadInput(f"'{said}' means nothing for comparisons (kind: prefer)", f"they have: {', '.join(PREFER_KEYS)}")
    if keys["metric"] not in (None, PREFERENCE):
        raise BadInput(f"comparisons are not measured by {keys['metric']}", f"leave `metric` out: it is {PREFERENCE}")
    return build_preferences(
        name=name,
        data=where,
        instruction=keys["instruction"],
        system=keys["system"],
        template=keys["template"],
        rows=keys["rows"],
        decoding=decoding,
        seed=seed,
    )


def _check_tried(metric: Metric, task: Task, tests: str | None) -> None:
    """Raises BadInput for a metric that tries answers, where the task says not how or writes too few."""
    samples = task.prompt.decoding.samples
    if metric.samples and tests is None:
        raise BadInput(f"{metric.name} runs answers with a row's tests, and the task names none", "task: tests: a column, or Jinja")
    if metric.samples > samples:
        hint = f"decoding: {{samples: {metric.samples}, temperature: 0.8}}, or more samples"
        raise BadInput(f"{metric.name} takes {metric.samples} samples of an answer, and {samples} are written", hint)


def _placed_data(data: Any, folder: Path) -> Any:
    if isinstance(data, str):
        return _place(data, folder)
    if "hub" in data:
        return data
    return {split: _place(file, folder) if isinstance(file, str) else file for split, file in data.items()}


def _mixed_task(
    keys: Mapping[str, Any], decoding: Decoding | None, *, name: str, folder: Path, seed: int
) -> tuple[Task, Findings, Any]:
    if said := next((key for key in keys if key not in MIXED_KEYS and keys[key] not in (None, "")), ""):
        raise BadInput(f"'{said}' is said of the whole mixture", f"each set has its own keys: {', '.join(_fields(Set))}")
    settings = {key: value for key, value in keys["data"].items() if key != "mixture"}
    mixing: Mixing = _settings(Mixing, settings, "a mixture")
    if not isinstance(keys["data"]["mixture"], list):
        raise BadInput(f"mixture is {keys['data']['mixture']!r}", "a list of sets, each with its `data`")
    sets = []
    for each in _sources(keys["data"]["mixture"]):
        if isinstance(each, dict) and isinstance(each.get("schema"), str):
            each = {**each, "schema": read_schema(_place(each["schema"], folder))}
        own: Set = _settings(Set, each, "a set of the mixture")
        sets.append(dataclasses.replace(own, data=_placed_data(own.data, folder)))
    task, findings = mix(
        sets,
        mixing,
        name=name,
        kind=keys["kind"],
        metric=keys["metric"] and _metric(keys["metric"]),
        also=[_metric(each) for each in keys["also"] or ()],
        instruction=keys["instruction"],
        system=keys["system"],
        decoding=decoding,
        seed=seed,
    )
    return _roomy(task, keys["decoding"]), findings, {"mixture": [_plain(own) for own in sets], **_plain(mixing)}


def _decoding(given: Mapping[str, Any], kind: str, seed: int) -> Decoding:
    """What is given over what the kind of task would have."""
    if "schema" in given:
        raise BadInput("decoding: schema is the task's own", "task: schema: ..., and constrain: true")
    made: Decoding = _settings(Decoding, {"max_new_tokens": LENGTHS[kind], "seed": seed, **given}, "decoding")
    for key, least in {"max_new_tokens": 1, "samples": 1, "temperature": 0, "top_k": 0, "seed": 0}.items():
        if getattr(made, key) < least:
            raise BadInput(f"decoding: {key} is {getattr(made, key)}", f"{least} or more")
    if not 0 < made.top_p <= 1 or made.repetition <= 0:
        raise BadInput(
            f"decoding: top_p is {made.top_p}, repetition {made.repetition}", "both are above 0, top_p at most 1; 1 is off"
        )
    if made.samples > 1 and made.temperature == 0:
        raise BadInput(
            f"decoding: {made.samples} samples at temperature 0 are all the same", "raise `temperature`, or leave `samples` out"
        )
    return made


def _constrained(task: Task, wanted: bool | None, bases: Sequence[Base]) -> Task:
    """The task with its answers held to its schema as they are written, if that is wanted, or nothing is said and every base
    can."""
    if not task.prompt.schema:
        if wanted is not None:
            raise BadInput(
                "constrain holds answers to a schema, and this task has none", "kind: extract, of objects; or leave it out"
            )
        return task
    can = can_constrain() or all(base.source == "url" for base in bases)
    if wanted and not can:
        raise BadInput("constrain: true needs llguidance, which is not installed", NO_GUIDE)
    if not (can if wanted is None else wanted):
        return task
    prompt = task.prompt
    prompt = dataclasses.replace(prompt, decoding=dataclasses.replace(prompt.decoding, schema=prompt.schema))
    return dataclasses.replace(task, prompt=prompt)


def _in_full(keys: Mapping[str, Any]) -> dict[str, Any]:
    """What is to be measured beside quality, with what was said in a word as keys: a list of perturbations, a column, a file."""
    words = {
        "robustness": (list, "perturb"),
        "fairness": (str, "by"),
        "toxicity": (str, "data"),
        "harmlessness": (str, "data"),
        "reward": (str, "node"),
    }
    full = {key: None if value is False else value for key, value in keys.items()}
    if full["robustness"] is True:
        full["robustness"] = {}
    return full | {key: {place: full[key]} for key, (kind, place) in words.items() if isinstance(full[key], kind)}


def _beside(keys: Mapping[str, Any], task: Mapping[str, Any]) -> Beside:
    """What is asked, checked before any data is read."""
    kind, data = str(task["kind"]), task["data"]
    asking = ("robustness", "fairness", "toxicity", "harmlessness", "reward")
    unasked = {"text": asking, "prefer": ("robustness", "fairness")}.get(kind, ())
    if said := next((key for key in unasked if keys[key] is not None), ""):
        raise BadInput(f"evaluate: {said} is of rows that are asked and answered, and this task is of kind {kind}", "leave it out")
    if keys["fairness"] is not None and isinstance(data, dict) and "mixture" in data:
        raise BadInput(
            "evaluate: fairness is of one data set, and the task mixes several", "leave it out: each set is measured apart"
        )
    if keys["toxicity"] is not None and kind not in ("generate", "chat"):
        raise BadInput(f"evaluate: toxicity is of text that is written freely, and this task is of kind {kind}", "leave it out")
    energy: Powered = _settings(Powered, keys["energy"] or {}, "energy")
    for name in ("intensity", "watts"):
        if (value := getattr(energy, name)) is not None and value < 0:
            raise BadInput(
                f"energy: {name} is {value:g}", "grams of CO2 for a kWh, 0 or more" if name == "intensity" else "0 or more"
            )
    fairness: Grouping | None = None if keys["fairness"] is None else _settings(Grouping, keys["fairness"], "fairness")
    if fairness and (fairness.least < 1 or not fairness.by):
        said = f"least is {fairness.least}" if fairness.by else "by is an empty text"
        raise BadInput(f"fairness: {said}", "fairness: {by: COLUMN, least: 20}, and 1 or more")
    toxicity: Toxic | None = None if keys["toxicity"] is None else _settings(Toxic, keys["toxicity"], "toxicity")
    if keys["harmlessness"] is not None and kind not in ("generate", "chat", "prefer"):
        raise BadInput(f"evaluate: harmlessness is of text that is written freely, and this task is of kind {kind}", "leave it out")
    guarded: Guarded | None = None if keys["harmlessness"] is None else _settings(Guarded, keys["harmlessness"], "harmlessness")
    if guarded and guarded.tokens < 1:
        raise BadInput(f"harmlessness: tokens is {guarded.tokens}", "the most tokens of an answer: 1 or more")
    reward: Judging | None = None if keys["reward"] is None else _settings(Judging, keys["reward"], "reward")
    if reward and kind not in ("generate", "chat", "prefer"):
        raise BadInput(f"evaluate: reward is of text that is written freely, and this task is of kind {kind}", "leave it out")
    if reward and reward.tokens < 1:
        raise BadInput(f"reward: tokens is {reward.tokens}", "the most tokens of an answer: 1 or more")
    return Beside(_robustness(keys["robustness"], kind), fairness, toxicity, guarded, reward, energy)


def _robustness(given: Any, kind: str) -> Robustness | None:
    if given is None:
        return None
    made: Robustness = _settings(Robustness, given, "robustness")
    if kind == "tag":
        if "perturb" in given and "spacing" in made.perturb:
            raise BadInput("robustness: spacing parts words anew, and these words have a tag each", "leave it out")
        made = dataclasses.replace(made, perturb=tuple(way for way in made.perturb if way != "spacing"))
    for way in made.perturb:
        _known_key(way, PERTURBATIONS, "perturbation")
    if not made.perturb or len(set(made.perturb)) < len(made.perturb):
        raise BadInput(f"robustness: perturb is {list(made.perturb)}", f"one or more of {', '.join(PERTURBATIONS)}, each once")
    if not 0 < made.share <= 1:
        raise BadInput(f"robustness: share is {made.share:g}", "the share of a row's words that get a typo, above 0 and at most 1")
    if made.rows < 0:
        raise BadInput(f"robustness: rows is {made.rows}", "how many test rows are asked again, 0 for all")
    if made.instructions and ("instruction" not in made.perturb or not all(own.strip() for own in made.instructions)):
        why = "one is empty" if "instruction" in made.perturb else "they are not asked with"
        raise BadInput(f"robustness: instructions are given, and {why}", "perturb: [instruction], and other words for it")
    return made


def _axes(beside: Beside, metric: Metric, task: Task, *, folder: Path, seed: int) -> Axes:
    """What is asked, with the rows that it takes."""
    said = "robustness" if beside.robustness else "fairness" if beside.fairness else ""
    if said and (metric.outcomes or metric.judge):  # no kept answer holds what these mark
        why = "a judge is asked when all answers are given" if metric.judge else f"{metric.name} has to run what was written"
        hint = "leave it out, or set the bar and the task on another metric"
        raise BadInput(f"evaluate: {said} is by the metric that decides, and {why}", hint)
    detector = _detector(beside.toxicity, folder, seed) if beside.toxicity else None
    guard = _warden(beside.harmlessness, task, folder) if beside.harmlessness else None
    judge = _grader(beside.reward, folder) if beside.reward else None
    energy = beside.energy
    axes = Axes(beside.robustness, detector, intensity=energy.intensity, watts=energy.watts, warden=guard, grader=judge)
    fairness = beside.fairness
    return dataclasses.replace(axes, group=fairness.by, least=fairness.least) if fairness else axes


def _detector(wanted: Toxic, folder: Path, seed: int) -> Detector:
    where = _placed_data(wanted.data, folder)
    try:
        task, _ = build(name="toxicity", kind="classify", data=where, input=wanted.input, target=wanted.target, seed=seed)
    except BadInput as error:
        raise BadInput(f"toxicity: {error.message}", error.hint) from error
    if task.multi_label:
        raise BadInput("toxicity: rows have several labels", "name one that says toxic or not with `target`")
    place = where if isinstance(where, str) else str(where.get("train") or where.get("hub"))
    detector = Detector(task, label_of_toxic(task.labels, wanted.toxic), "/".join(Path(place).parts[-2:]))
    check_detector(detector)
    return detector


def _warden(wanted: Guarded, task: Task, folder: Path) -> Warden:
    place = _place(wanted.data, folder)
    try:
        pairs = read_comparisons(place).comparisons
        asked = read_prompts(_place(wanted.prompts, folder)) if wanted.prompts else tempting()
    except BadInput as error:
        raise BadInput(f"harmlessness: {error.message}", error.hint) from error
    return warden(pairs, task, source="/".join(Path(place).parts[-2:]), tempting=asked, tokens=wanted.tokens)


def _grader(wanted: Judging, folder: Path) -> Grader:
    place = _place(wanted.node, folder)
    judge = model_of(place)
    if not (judge and judge.head and judge.head.kind == "reward"):
        hint = "the folder of a node that the step `reward` made, in the .store beside a run"
        raise BadInput(f"evaluate: reward is {wanted.node}, which is no reward model", hint)
    return Grader(judge, Path(place).absolute().name, wanted.tokens)


def _refuse_its_own_teacher(axes: Axes, rungs: Sequence[Rung]) -> None:
    """No policy is graded by what it was taught by."""
    for rung in rungs:
        taught = (name for step in rung.steps if isinstance(name := _plain(step).get("reward"), str))
        if axes.grader and any(Path(name).absolute().name == axes.grader.source for name in taught):
            said = f"evaluate: reward is the model that teaches {rung.name}"
            raise BadInput(said, "take one that learned from other prompts: reward: {half: a} teaches, reward: {half: b} grades")


def _resolved_beside(beside: Beside, axes: Axes, folder: Path) -> dict[str, Any]:
    toxicity = (
        beside.toxicity
        and axes.detector
        and {**_plain(beside.toxicity), "data": _placed_data(beside.toxicity.data, folder), "toxic": axes.detector.toxic}
    )
    guarded, reward = beside.harmlessness, beside.reward
    return {
        "robustness": _plain(beside.robustness) if beside.robustness else None,
        "fairness": _plain(beside.fairness) if beside.fairness else None,
        "toxicity": toxicity,
        "harmlessness": guarded
        and {key: _place(own, folder) if isinstance(own, str) else own for key, own in _plain(guarded).items()},
        "reward": reward and {**_plain(reward), "node": _place(reward.node, folder)},
        "energy": _plain(beside.energy),
    }


def _resolved_task(keys: Mapping[str, Any], task: Task, data: Any) -> dict[str, Any]:
    if task.kind == "text":
        return {"kind": task.kind, "data": data, "metric": task.metric}
    prompt = task.prompt
    mixed = isinstance(data, dict) and "mixture" in data
    return {
        **keys,
        "data": data,
        "labels": keys["labels"] or list(task.labels) or None,
        "references": None if mixed or task.kind == "prefer" else keys["references"] or "apart",
        "multi_label": task.multi_label if task.kind == "classify" else None,
        "normalise": prompt.normalise if task.kind == "choose" and not task.labels else None,
        "metric": task.metric,
        "also": list(task.also),
        "instruction": prompt.instruction,
        "template": None if mixed or keys["templates"] is not None else prompt.template,
        "schema": json.loads(prompt.schema) if prompt.schema and not mixed else None,
        "constrain": bool(prompt.decoding.schema) if prompt.schema else None,
        "decoding": {key: value for key, value in _plain(prompt.decoding).items() if key != "schema"},
    }


def _text_task(keys: Mapping[str, Any], *, name: str, folder: Path, seed: int) -> tuple[Task, Findings, Any]:
    unread = [key for key in keys if key not in TEXT_KEYS and keys[key] not in (None, "")]
    if unread:
        hint = "leave it out; what a source's text is, its own `text` says"
        raise BadInput(f"'{unread[0]}' means nothing for plain text (kind: text)", hint)
    if keys["metric"] not in (None, "bits_per_byte"):
        raise BadInput(f"plain text is not measured by {keys['metric']}", "leave `metric` out: it is bits_per_byte")
    sources = []
    for each in _sources(keys["data"]):
        source: Source = _settings(Source, each, "source of text")
        sources.append(dataclasses.replace(source, data=_place(source.data, folder)))
    if not sources:
        raise BadInput("data is an empty list", "name at least one source of text")
    found = gather(sources, seed=seed)
    if not (found.text.dev and found.text.test):
        none = "test" if found.text.dev else "dev"
        hint = "give more text, or a source a larger `held_out`"
        raise BadInput(f"no text is held out for {none}: there is nothing to measure on; {found.notes[0]}", hint)
    task = Task(
        name=name,
        kind="text",
        text=found.text,
        mixture=found.mixture,
        replay=found.replay,
        metric="bits_per_byte",
        prompt=Prompt(),
    )
    rows = {split: len(getattr(found.text, split)) for split in ("train", "dev", "test")}
    return task, Findings("text", rows, notes=found.notes), [_plain(source) for source in sources]


def _sources(data: Any) -> list[Any]:
    return [{"data": each} if isinstance(each, str) else each for each in (data if isinstance(data, list) else [data])]


def _place(location: str, folder: Path) -> str:
    """A relative file is looked for beside the recipe, then where the command is given."""
    if Path(location).is_absolute() or "$" in location:
        return location
    return next((str(place / location) for place in (folder, Path.cwd()) if location and (place / location).exists()), location)


def _placed_bases(wanted: Any, folder: Path) -> list[Any]:
    if not isinstance(wanted, list) or not wanted:
        raise BadInput(f"bases is {wanted!r}", "bases: [a, b], or base: a")
    placed = [_place(each, folder) if isinstance(each, str) else each for each in wanted]
    return [{**each, "id": _place(str(each["id"]), folder)} if isinstance(each, dict) and "id" in each else each for each in placed]


def _bases(wanted: list[Any], *, trust: bool) -> tuple[Base, ...]:
    bases = [_base(each, trust=trust) for each in wanted]
    names = [base.name for base in bases]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise BadInput(f"two bases are called '{twice}'", "a ladder climbs each base once: leave one out, or rename its folder")
    return tuple(bases)


def _placed_judges(also: Any, folder: Path) -> Any:
    """The metrics with the files and folders that a judge names found beside the recipe."""
    if not isinstance(also, list):
        return also
    placed = []
    for each in also:
        own = each.get("judge") if isinstance(each, dict) else None
        if isinstance(own, dict):
            there = {key: _place(own[key], folder) for key in ("by", "people") if isinstance(own.get(key), str)}
            each = {"judge": own | there}
        placed.append(each)
    return placed


def _judges(task: Task, rungs: Mapping[str, Any], *, trust: bool) -> dict[str, Base]:
    """The base of each judge that the task names. Raises BadInput for one that cannot judge, before any work is spent."""
    if task.metric and find_metric(task.metric).judge:
        raise BadInput("a judge is asked when all answers are given: it cannot be the task's own metric", "also: [judge: {...}]")
    found = {}
    for name in task.also:
        rules = find_metric(name).judge
        if rules is None:
            continue
        found[name] = base = _base(rules.by, trust=trust)
        if base.family == "encoder":
            raise BadInput(f"{base.name} is an encoder, which writes no verdicts", "name a decoder, a seq2seq or an endpoint")
        bare = rules.against.rpartition("/")[2]
        if rules.against and rules.against != REFERENCE and rules.against not in rungs and bare not in rungs:
            raise unknown("rung to judge against", rules.against, [*rungs, REFERENCE])
        if rules.people:
            read_people(rules.people)
    return found


def _asked_by(rungs: Mapping[str, Sequence[Step]]) -> Iterator[Base]:
    """The bases that steps ask beside their own; one that is not to be had is refused by its step's plan."""
    for step in chain(*rungs.values()):
        if asked := getattr(step, "asks", None):
            with contextlib.suppress(BadInput):
                yield named(asked)


def _refuse_unpriced(bases: Iterable[Base], money: float) -> None:
    if free := next((base for base in bases if base.source == "url" and "prices" not in base.settings), None):
        hint = "{url: ..., model: ..., prices: {input: ..., output: ...}}, for a million tokens each"
        raise BadInput(f"limit: money is {money:g}, and nothing says what {free.name} costs", hint)


def _base(wanted: Any, *, trust: bool) -> Base:
    if isinstance(wanted, str):
        return inspect(wanted, trust=trust)
    if isinstance(wanted, dict) and "shape" in wanted:
        for key in wanted:
            _known_key(key, ("shape", "name"), "key of a base with a shape")
        return from_shape(str(wanted.get("name", "shape")), wanted["shape"])
    if isinstance(wanted, dict) and "url" in wanted:
        return remote(wanted)
    if isinstance(wanted, dict) and "id" in wanted:
        for key in wanted:
            _known_key(key, ("id", "revision"), "key of a base")
        return inspect(str(wanted["id"]), revision=str(wanted.get("revision") or ""), trust=trust)
    raise BadInput(f"base is {wanted!r}", "a hub id, a folder, {id: ..., revision: ...}, {shape: {...}} or {url: ..., model: ...}")


def _rungs(wanted: Any) -> dict[str, list[Any]]:
    """Each rung's name and its steps, as written: `name` or {name: settings}. A list is named after its steps; a mapping names its
    rungs. The root, the base with the task's plain prompt, is always one of them."""
    if not isinstance(wanted, list | dict) or not wanted:
        raise BadInput(f"rungs is {wanted!r}", "a list of steps, for example [zero_shot, lora]")
    rungs: dict[str, list[Any]] = {}
    for title, each in wanted.items() if isinstance(wanted, dict) else ((None, each) for each in wanted):
        pairs = [_one(one) for one in (each if isinstance(each, list) else [each])]
        if not pairs:
            raise BadInput("a rung has no steps", "leave it out, or name a step")
        name = "+".join(_said(step, given) for step, given in pairs) if title is None else str(title)
        if name in rungs:
            raise BadInput(f"the rung {name} stands twice", "leave one out, or change its settings")
        rungs[name] = [{step: given} for step, given in pairs]
    if not any(len(own) == 1 and _step(own[0]) == find_step("zero_shot")() for own in rungs.values()):
        if "zero_shot" in rungs:
            raise BadInput(
                "a rung with other steps is called zero_shot",
                "that is the base with the task's plain prompt: give yours another name",
            )
        rungs = {"zero_shot": [{"zero_shot": {}}]} | rungs
    return rungs


def _said(step: str, given: Mapping[str, Any]) -> str:
    """A step with the settings that were given: `lora(r=8)`."""
    settings = ",".join(f"{key}={_short(value)}" for key, value in given.items())
    return f"{step}({settings})" if settings else step


def _one(wanted: Any) -> tuple[str, dict[str, Any]]:
    """A step's name and the settings that were given."""
    if isinstance(wanted, str):
        return wanted, {}
    if not isinstance(wanted, dict) or len(wanted) != 1:
        raise BadInput(f"{wanted!r} is no step", "write a name, or name: {setting: value}")
    name, given = next(iter(wanted.items()))
    if given is not None and not isinstance(given, dict):
        raise BadInput(f"the settings of {name} are {given!r}", f"write {name}: {{setting: value}}")
    return str(name), given or {}


def _step(wanted: Mapping[str, Mapping[str, Any]]) -> Step:
    name, given = next(iter(wanted.items()))
    return _settings(find_step(name), given, name)  # type: ignore[no-any-return]


def _short(value: Any) -> str:
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return str(len(value))  # what each of them says would fill a page
    if isinstance(value, dict):
        return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf).strip()
    return "[" + " ".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


def _settings(kind: Any, given: Any, name: str) -> Any:
    """A frozen dataclass from keys; unknown keys and wrong types are errors that name the key."""
    if not isinstance(given, dict):
        raise BadInput(f"the settings of {name} are {given!r}", "they are keys with values")
    known = _fields(kind)
    for key, value in given.items():
        _known_key(key, known, f"setting of {name}")
        if isinstance(value, float) and not math.isfinite(value):
            raise BadInput(f"{name}: {key} is {value}", "give a finite number")
        if isinstance(value, bool) and known[key] in ("int", "float", "Rate"):
            raise BadInput(f"{name}: {key} is {str(value).lower()}", "give a number")
    try:
        return TypeAdapter(kind).validate_python({key: _counted(value, known[key]) for key, value in given.items()})
    except ValidationError as error:
        first = error.errors()[0]
        place = str(first["loc"][0]) if first["loc"] else name
        said = [each["msg"].lower() for each in error.errors() if each["loc"][:1] == first["loc"][:1]]
        raise BadInput(f"{name}: {place} is {first['input']!r}", ", or ".join(dict.fromkeys(said))) from error


def _counted(value: Any, kind: str) -> Any:
    """A whole number as the command line takes it: `30k`, `10M`, `1.5B`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKMBG])", value) if kind == "int" and isinstance(value, str) else None
    return round(float(found[1]) * budget.UNITS[found[2].upper()]) if found else value


def _fields(kind: Any) -> dict[str, str]:
    """The settings of a step, and the type that each has where it has any."""
    return {field.name: str(field.type).removesuffix(" | None") for field in dataclasses.fields(kind) if field.init}


def _bar(wanted: Any) -> Bar:
    if wanted is None:
        return Bar()
    if not isinstance(wanted, dict):
        raise BadInput(f"bar is {wanted!r}", "for example bar: {macro_f1: 0.85, forgetting: 0.05, volume: 100000}")
    for key in wanted:
        if ":" not in str(key):
            _known_key(key, [*metric_names(), *BAR_KEYS], "key of the bar, and no metric,")
    metrics = [str(key) for key in wanted if key not in BAR_KEYS]
    if len(metrics) > 1:
        raise BadInput(f"the bar names {len(metrics)} metrics: {', '.join(metrics)}", "keep the one that decides")
    for key, value in wanted.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise BadInput(f"bar: {key} is {value!r}, not a number", "for example bar: {macro_f1: 0.85, forgetting: 0.05}")
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
    return Bar(found.name if found else "", wanted[metric] if metric else None, wanted.get("forgetting"), int(volume))


def _check_within(metric: Metric, value: float, said: str) -> None:
    """Raises BadInput for a bar that nothing clears, or everything."""
    rising = metric.better == "higher"
    if value > metric.best if rising else value < metric.best:
        raise BadInput(f"{said}, and nothing can clear it: its best is {metric.best:g}", "a share is written 0.85, not 85")
    if value < metric.least if rising else value > metric.worst:
        end = f"never below {metric.least:g}" if rising else f"never above {metric.worst:g}"
        raise BadInput(f"{said}, and everything clears it: it is {end}", "leave it out where no bar is meant")


def _bar_of(bar: Bar, task: Task) -> Bar:
    """The bar on the task's metric where it names none; a metric that is not measured cannot be the bar's."""
    if bar.metric and bar.metric != task.metric:
        found = [task.metric, *task.also, *(metric.name for metric in metrics_of(kind_in_full(task)))]
        if bar.metric not in found:
            hint = (
                f"set task: metric: {bar.metric} or also: [{bar.metric}], or the bar on one of: {', '.join(dict.fromkeys(found))}"
            )
            raise BadInput(f"the bar is set on {bar.metric}, which is not measured in this task", hint)
    return dataclasses.replace(bar, metric=bar.metric or task.metric)


def _resolved_bar(bar: Bar) -> dict[str, Any]:
    made = {bar.metric: bar.at_least, "forgetting": bar.forget_at_most, "volume": bar.volume}
    return {key: value for key, value in made.items() if value is not None}


def _limit(wanted: Mapping[str, Any]) -> Cost:
    """Allowed seconds, bytes and money; 0 is no limit."""
    minutes = wanted["minutes"]
    if minutes is not None and (isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 < minutes < math.inf):
        raise BadInput(f"limit: minutes is {minutes!r}", "a number above 0")
    money = wanted["money"]
    if money is not None and (not is_number(money) or money <= 0):
        raise BadInput(f"limit: money is {money!r}", "a number above 0, in the currency of the prices")
    memory = bytes_of(wanted["memory"]) if wanted["memory"] is not None else 0
    return Cost(seconds=60 * (minutes or 0), memory=memory, money=money or 0.0)


def bytes_of(value: Any, key: str = "limit: memory") -> int:
    """`16GB`, `500MB`, `8GiB` as bytes; `key` is what to call it. Raises BadInput for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B?)\s*", str(value).upper())
    if not match or not (unit := UNITS.get(match[2] if match[2].endswith("B") else f"{match[2]}B")):
        raise BadInput(f"{key} is {value!r}", "for example 16GB or 500MB")
    size = int(float(match[1]) * unit)
    if not match[2] and size < 1_000_000:
        raise BadInput(f"{key} is {value!r}, and no unit says of what", f"for example {match[1]}GB")
    if size < 1:
        raise BadInput(f"{key} is {value!r}", "it is above 0")
    return size
