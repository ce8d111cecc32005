"""YAML, a mapping or `key=value` words -> Recipe: the only reader of configuration, and the only dynamic import of steps.

Below this file nobody sees a config object: a recipe becomes nouns, or an error that names the key.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect as python_inspect
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import TypeAdapter, ValidationError

from tuneladder.errors import BadInput, unknown
from tuneladder.evaluate.find import find_metric
from tuneladder.model import pocket
from tuneladder.model.inspect import from_shape, inspect
from tuneladder.store import digest, plain
from tuneladder.task.build import Findings, build
from tuneladder.task.corpus import Source, gather
from tuneladder.types import Bar, Base, Cost, Decoding, Kind, Prompt, Rung, Step, Task

ROOMS = ("prompt", "tune")
DEFAULTS: dict[str, Any] = {
    "name": "",
    "task": {
        "kind": None,
        "data": None,
        "input": None,
        "target": None,
        "labels": None,
        "metric": None,
        "instruction": None,
        "system": "",
        "template": None,
        "rows": None,
        "decoding": None,
    },
    "base": None,
    "bases": None,
    "bar": None,
    "limit": {"minutes": None, "memory": None},
    "rungs": ["zero_shot", "few_shot", "lora", "full"],
    "seed": 0,
    "trust_remote_code": False,
}
REMOTE_KEYS = {"url", "model", "key_env", "concurrency"}
BAR_KEYS = {"forgetting", "volume"}
UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


@dataclass(frozen=True)
class Recipe:
    """What to climb. `notes` are the sentences that reading the data gave; `resolved` is the recipe with every default filled
    in, `origins` where each of its values came from: recipe, command line or default."""

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


def load(source: str | Path | Mapping[str, Any] | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe: a YAML file, a mapping, or None for the embedded example; `overrides` are `key=value` with dots for depth.

    Raises BadInput for anything a person has to change.
    """
    given, folder = _read(source)
    origins: dict[str, str] = {}
    for word in overrides:
        _override(given, word, origins)
    _check_keys(given, DEFAULTS, "")
    resolved = _fill(given, DEFAULTS, origins, "")
    task_keys = resolved["task"]
    if not isinstance(resolved["name"], str):
        raise BadInput(f"name {resolved['name']!r} is not a text")
    if not isinstance(resolved["seed"], int) or isinstance(resolved["seed"], bool):
        raise BadInput(f"seed {resolved['seed']!r} is not a whole number")
    if not isinstance(resolved["trust_remote_code"], bool):
        raise BadInput(f"trust_remote_code {resolved['trust_remote_code']!r} is neither true nor false")
    seed = resolved["seed"]
    name = resolved["name"] or _name(source)
    if not re.fullmatch(r"[\w][\w. -]*", name):
        raise BadInput(f"name {name!r} cannot be a folder's", "use letters, digits, dots, dashes and spaces")
    resolved["name"] = name
    # what is cheap to refuse comes first: rungs and bar before data, data before bases
    if resolved["base"] is not None and resolved["bases"] is not None:
        raise BadInput("`base` and `bases` are both given", "keep one of them")
    rung_specs = _rungs(resolved["rungs"])
    limit = _limit(resolved["limit"])
    if task_keys["metric"] is not None:
        find_metric(str(task_keys["metric"]))
    bar_spec = _bar(resolved["bar"])
    task, findings = _task(task_keys, name=name, folder=folder, seed=seed)
    if task.metric:
        resolved["task"]["metric"] = task.metric
    bar = dataclasses.replace(bar_spec, metric=bar_spec.metric or task.metric)
    wanted = resolved["bases"] if resolved["bases"] is not None else [resolved["base"] or pocket.DEFAULT]
    bases = _bases(wanted, folder, trust=resolved["trust_remote_code"])
    resolved["bases" if resolved["bases"] is not None else "base"] = wanted if resolved["bases"] is not None else wanted[0]
    rungs = [
        Rung(f"{base.name}/{rung_name}" if len(bases) > 1 else rung_name, base.name, steps)
        for base in bases
        for rung_name, steps in rung_specs
    ]
    resolved["rungs"] = [[{_step_name(step): plain(dataclasses.asdict(step))} for step in steps] for _, steps in rung_specs]  # type: ignore[call-overload]
    return Recipe(name, task, bases, tuple(rungs), bar, limit, seed, findings.notes, findings, resolved, origins)


def embedded() -> Path:
    """The recipe of the example that ships with the package."""
    return Path(__file__).parent / "assets" / "desks" / "recipe.yaml"


def resolved_yaml(recipe: Recipe) -> str:
    """The resolved recipe as YAML, each value followed by where it came from."""
    lines: list[str] = []

    def put(value: Any, path: str, indent: int) -> None:
        for key, own in value.items():
            here = f"{path}.{key}" if path else str(key)
            if isinstance(own, dict) and own and here in ("task", "limit"):
                lines.append(f"{'  ' * indent}{key}:")
                put(own, here, indent + 1)
            else:
                lines.append(f"{'  ' * indent}{key}: {json.dumps(plain(own), ensure_ascii=False)}  # {recipe.origins.get(here, 'recipe')}")

    put(recipe.resolved, "", 0)
    return "\n".join(lines) + "\n"


def find_step(name: str) -> type:
    """The class of a step: the one that `<room>/<name>.py` defines, or the user's `my_module:MyStep`."""
    if ":" in name:
        module_name, _, class_name = name.partition(":")
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        try:
            found = getattr(importlib.import_module(module_name), class_name, None)
        except ImportError as error:
            raise BadInput(f"the step '{name}' cannot be imported: {error}", "write my_module:MyStep, with my_module.py in this folder") from error
        if not (python_inspect.isclass(found) and dataclasses.is_dataclass(found) and callable(getattr(found, "apply", None))):
            raise BadInput(f"'{class_name}' in {module_name} is no step", "a step is a frozen dataclass with plan() and apply()")
        return found
    rooms = steps()
    if name not in rooms:
        hints = {"train": "climb --rung NAME trains one rung", "sft": "lora and full train on examples", "finetune": "lora and full train on examples"}
        raise unknown("step", name, rooms, hints.get(name, ""))
    module = importlib.import_module(f"tuneladder.{rooms[name]}.{name}")
    return getattr(module, "".join(part.title() for part in name.split("_")))  # type: ignore[no-any-return]


def steps() -> dict[str, str]:
    """Every step in the folders, with its room: the folder is the registry."""
    here = Path(__file__).parent
    return {path.stem: room for room in ROOMS for path in sorted((here / room).glob("*.py")) if path.stem != "__init__"}


def _read(source: str | Path | Mapping[str, Any] | None) -> tuple[dict[str, Any], Path]:
    if isinstance(source, Mapping):
        return json.loads(json.dumps(dict(source))), Path.cwd()
    path = embedded() if source is None else Path(source)
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise BadInput(f"there is no recipe {path}", "`tuneladder init FILE` writes one for your data") from error
    except IsADirectoryError as error:
        raise BadInput(f"{path} is a folder, not a recipe", "name a YAML file") from error
    except UnicodeDecodeError as error:
        raise BadInput(f"{path} is not text (byte {error.start} is not UTF-8)", "a recipe is a YAML file; data goes under `task: data:`") from error
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from error
    try:
        given = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        where = f", line {error.problem_mark.line + 1}" if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark else ""
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else str(error).splitlines()[0]
        raise BadInput(f"{path} is not YAML{where}: {problem}", "look at the indentation and the quotes there") from error
    if not isinstance(given, dict):
        raise BadInput(f"{path} is no recipe: it holds {'nothing' if given is None else f'a {type(given).__name__}'}", "a recipe begins with `task:`; `tuneladder init FILE` writes one")
    return given, path.resolve().parent


class _Loader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, and reads 2e-4 as a number."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)  # type: ignore[no-untyped-call]
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key '{key}' stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(  # type: ignore[no-untyped-call]
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(?:\d[\d_]*)(?:\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def _override(given: dict[str, Any], word: str, origins: dict[str, str]) -> None:
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise BadInput(f"'{word}' is not key=value", "for example seed=1 or limit.minutes=10")
    parts = key.split(".")
    at = given
    for part in parts[:-1]:
        at = at.setdefault(part, {})
        if not isinstance(at, dict):
            raise BadInput(f"'{key}' cannot be set: '{part}' holds a value, not keys")
    try:
        at[parts[-1]] = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise BadInput(f"the value of '{word}' is not YAML") from error
    origins[key] = "command line"


def _check_keys(given: Mapping[str, Any], known: Mapping[str, Any], path: str) -> None:
    for key, value in given.items():
        if key not in known:
            raise unknown(f"key {path}".strip(), str(key), known)
        if isinstance(known[key], dict) and value is not None:
            if not isinstance(value, dict):
                raise BadInput(f"'{key}' is {value!r}, not a set of keys", f"its keys: {', '.join(known[key])}")
            _check_keys(value, known[key], f"{key}:")


def _fill(given: Mapping[str, Any], defaults: Mapping[str, Any], origins: dict[str, str], path: str) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for key, default in defaults.items():
        here = f"{path}.{key}" if path else key
        if isinstance(default, dict):
            filled[key] = _fill(given.get(key) or {}, default, origins, here)
        else:
            filled[key] = given.get(key, default)
            if not any(here == origin or origin.startswith(f"{here}.") for origin in origins):
                origins[here] = "recipe" if key in given else "default"
    return filled


def _name(source: str | Path | Mapping[str, Any] | None) -> str:
    return "desks" if source is None else "task" if isinstance(source, Mapping) else Path(source).stem


def _task(keys: Mapping[str, Any], *, name: str, folder: Path, seed: int) -> tuple[Task, Findings]:
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
        raise BadInput(f"data is {data!r}", "a file, {train: FILE, test: FILE}, or {hub: ID}")
    for key, wanted in (("input", str), ("target", str), ("metric", str), ("instruction", str), ("system", str), ("template", str), ("rows", dict), ("labels", (dict, list)), ("decoding", dict)):
        if keys[key] is not None and not isinstance(keys[key], wanted):
            raise BadInput(f"{key} is {keys[key]!r}", {dict: "it takes keys", str: "it is a text"}.get(wanted, "a list of words, or value: word"))  # type: ignore[arg-type]
    decoding = _settings(Decoding, keys["decoding"], "decoding") if keys["decoding"] is not None else None
    where = _place(data, folder) if isinstance(data, str) else {k: _place(v, folder) if k != "hub" and isinstance(v, str) and "hub" not in data else v for k, v in data.items()}
    return build(
        name=name,
        kind=kind,
        data=where,
        input=keys["input"],
        target=keys["target"],
        labels=keys["labels"],
        metric=keys["metric"],
        instruction=keys["instruction"],
        system=keys["system"],
        template=keys["template"],
        rows=keys["rows"],
        decoding=decoding,
        seed=seed,
    )


def _text_task(keys: Mapping[str, Any], *, name: str, folder: Path, seed: int) -> tuple[Task, Findings]:
    unread = [key for key in ("input", "target", "labels", "instruction", "template", "rows", "decoding") if keys[key] is not None]
    if unread:
        raise BadInput(f"'{unread[0]}' means nothing for plain text (kind: text)", "leave it out; what a source's text is, its own `text` says")
    if keys["metric"] not in (None, "bits_per_byte"):
        raise BadInput(f"plain text is not measured by {keys['metric']}", "leave `metric` out: it is bits_per_byte")
    data = keys["data"]
    sources = []
    for each in data if isinstance(data, list) else [data]:
        own = {"data": each} if isinstance(each, str) else each
        source = _settings(Source, own, "source of text")
        sources.append(dataclasses.replace(source, data=_place(source.data, folder)))
    if not sources:
        raise BadInput("data is an empty list", "name at least one source of text")
    text, mixture, notes = gather(sources, seed=seed)
    task = Task(name=name, kind="text", text=text, mixture=mixture, metric="bits_per_byte", prompt=Prompt())
    rows = {split: len(getattr(text, split)) for split in ("train", "dev", "test")}
    return task, Findings("text", rows, notes=tuple(notes))


def _place(location: str, folder: Path) -> str:
    """A relative file is looked for beside the recipe, then where the command is given."""
    beside = folder / location
    return str(beside) if not Path(location).is_absolute() and "$" not in location and beside.exists() else location


def _bases(wanted: Any, folder: Path, *, trust: bool) -> tuple[Base, ...]:
    if not isinstance(wanted, list) or not wanted:
        raise BadInput(f"bases is {wanted!r}", "bases: [a, b], or base: a")
    bases = [_base(each, folder, trust=trust) for each in wanted]
    names = [base.name for base in bases]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise BadInput(f"two bases are called '{twice}'")
    return tuple(bases)


def _base(wanted: Any, folder: Path, *, trust: bool) -> Base:
    if isinstance(wanted, str):
        return inspect(_place(wanted, folder), trust=trust)
    if not isinstance(wanted, dict):
        raise BadInput(f"base is {wanted!r}", "a hub id, a folder, {shape: {...}} or {url: ..., model: ...}")
    if "shape" in wanted:
        if extra := set(wanted) - {"shape", "name"}:
            raise unknown("key of a base with a shape", sorted(extra)[0], ("shape", "name"))
        return from_shape(str(wanted.get("name", "shape")), wanted["shape"])
    if "url" in wanted:
        for key in wanted:
            if key not in REMOTE_KEYS:
                raise unknown("key of a remote base", str(key), REMOTE_KEYS)
        if not wanted.get("model"):
            raise BadInput(f"the base at {wanted['url']} names no model", "base: {url: ..., model: NAME}")
        settings = {key: value for key, value in wanted.items() if key != "url"}
        name = re.sub(r"[^\w.-]+", "-", str(wanted["model"]))
        return Base(name, "url", str(wanted["url"]), "decoder", 0, 0, 0, 0, 0, 0, content=digest(wanted), settings=settings)
    if "id" in wanted:
        if extra := set(wanted) - {"id", "revision"}:
            raise unknown("key of a base", sorted(extra)[0], ("id", "revision"))
        return inspect(_place(str(wanted["id"]), folder), revision=str(wanted.get("revision", "")), trust=trust)
    raise BadInput(f"base is {wanted!r}", "a hub id, a folder, {id: ..., revision: ...}, {shape: {...}} or {url: ..., model: ...}")


def _rungs(wanted: Any) -> list[tuple[str, tuple[Step, ...]]]:
    """Each rung's name and steps. The root, the base with the task's plain prompt, is always one of them."""
    if not isinstance(wanted, list) or not wanted:
        raise BadInput(f"rungs is {wanted!r}", "a list of steps, for example [zero_shot, lora]")
    rungs: dict[str, tuple[Step, ...]] = {}
    for each in wanted:
        pairs = [_step(one) for one in (each if isinstance(each, list) else [each])]
        if not pairs:
            raise BadInput("a rung has no steps", "leave it out, or name a step")
        name = "+".join(own for own, _ in pairs)
        if name in rungs:
            raise BadInput(f"the rung {name} stands twice", "leave one out, or change its settings")
        rungs[name] = tuple(step for _, step in pairs)
    root = find_step("zero_shot")()
    if (root,) not in rungs.values():
        rungs = {"zero_shot": (root,)} | rungs
    return list(rungs.items())


def _step(wanted: Any) -> tuple[str, Step]:
    """A step and its name with the settings that were given: `lora(r=8)`."""
    if isinstance(wanted, str):
        name, given = wanted, {}
    elif isinstance(wanted, dict) and len(wanted) == 1:
        name, given = next(iter(wanted.items()))
        given = given or {}
    else:
        raise BadInput(f"{wanted!r} is no step", "write a name, or name: {setting: value}")
    if not isinstance(given, dict):
        raise BadInput(f"the settings of {name} are {given!r}", f"write {name}: {{setting: value}}")
    step = _settings(find_step(str(name)), given, str(name))
    said = ",".join(f"{key}={_short(value)}" for key, value in given.items())
    return (f"{name}({said})" if said else str(name)), step


def _short(value: Any) -> str:
    return "[" + " ".join(map(str, value)) + "]" if isinstance(value, list) else str(value)


def _settings(kind: Any, given: Any, name: str) -> Any:
    """A frozen dataclass from keys; unknown keys and wrong types are errors that name the key."""
    if not isinstance(given, dict):
        raise BadInput(f"the settings of {name} are {given!r}", "they are keys with values")
    known = [field.name for field in dataclasses.fields(kind) if field.init]
    for key in given:
        if key not in known:
            raise unknown(f"setting of {name}", str(key), known)
    try:
        return TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or name
        raise BadInput(f"{name}: {place} is {first['input']!r}", first["msg"].lower()) from error


def _step_name(step: Step) -> str:
    module = type(step).__module__
    return module.rpartition(".")[2] if module.startswith("tuneladder.") else f"{module}:{type(step).__name__}"


def _bar(wanted: Any) -> Bar:
    if wanted is None:
        return Bar()
    if not isinstance(wanted, dict):
        raise BadInput(f"bar is {wanted!r}", "for example bar: {macro_f1: 0.85, forgetting: 0.05, volume: 100000}")
    metrics = [key for key in wanted if key not in BAR_KEYS]
    if len(metrics) > 1:
        raise BadInput(f"the bar names {len(metrics)} metrics: {', '.join(map(str, metrics))}", "keep the one that decides")
    for key, value in wanted.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadInput(f"bar: {key} is {value!r}, not a number")
    if metrics:
        find_metric(str(metrics[0]))
    volume = wanted.get("volume", Bar().volume)
    if volume < 0 or volume != int(volume):
        raise BadInput(f"bar: volume is {volume}", "how many answers will be served: a whole number, 0 or more")
    return Bar(str(metrics[0]) if metrics else "", wanted[metrics[0]] if metrics else None, wanted.get("forgetting"), int(volume))


def _limit(wanted: Mapping[str, Any]) -> Cost:
    """Allowed seconds and bytes; 0 is no limit."""
    minutes = wanted["minutes"]
    if minutes is not None and (isinstance(minutes, bool) or not isinstance(minutes, int | float) or minutes <= 0):
        raise BadInput(f"limit: minutes is {minutes!r}", "a number above 0")
    return Cost(seconds=60 * (minutes or 0), memory=_bytes(wanted["memory"]) if wanted["memory"] is not None else 0)


def _bytes(value: Any) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?B?)\s*", str(value).upper())
    if not match or not (unit := UNITS.get(match[2] if match[2].endswith("B") else f"{match[2]}B")):
        raise BadInput(f"limit: memory is {value!r}", "for example 16GB or 500MB")
    size = int(float(match[1]) * unit)
    if size < 1:
        raise BadInput(f"limit: memory is {value!r}", "it is above 0")
    return size
