"""What is written -> Recipe: with `written.py` the only reader of configuration, and the only dynamic import of steps.

Below this file nobody sees a config object: a recipe becomes nouns, or an error that names the key.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect as python_inspect
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from pydantic import TypeAdapter, ValidationError

from tuneladder.errors import BadInput, Refused, shown, taken, unknown
from tuneladder.evaluate.find import Metric, find_metric, metric_named, metrics_of
from tuneladder.evaluate.harmlessness import tempting, warden
from tuneladder.evaluate.people import read_people
from tuneladder.evaluate.robustness import PERTURBATIONS
from tuneladder.evaluate.toxicity import check as check_detector
from tuneladder.evaluate.toxicity import label_of_toxic
from tuneladder.evaluate.verdicts import REFERENCE
from tuneladder.ladder.tree import root_of, step_name
from tuneladder.model import budget, pocket
from tuneladder.model.addressed import is_address, named, remote
from tuneladder.model.constrained import HINT as NO_GUIDE
from tuneladder.model.constrained import can_constrain
from tuneladder.model.inspect import from_shape, inspect
from tuneladder.numbers import MOST, is_number
from tuneladder.own import own_code
from tuneladder.task.build import LENGTHS, Findings, build, room_for
from tuneladder.task.comparing import halved
from tuneladder.task.comparisons import read_comparisons
from tuneladder.task.corpus import Source, gather
from tuneladder.task.mixture import Mixing, Set, mix
from tuneladder.task.multi_label import kind_in_full
from tuneladder.task.prefer import METRIC as PREFERENCE
from tuneladder.task.prefer import build_preferences
from tuneladder.task.schema import read_schema
from tuneladder.train.constitution import read_prompts
from tuneladder.train.reward_model import prompts_of, read_learned
from tuneladder.train.rewarders import model_of
from tuneladder.types import Axes, Bar, Base, Cost, Decoding, Detector, Grader, Pace, Prompt, Robustness, Rung, Step, Task, Warden
from tuneladder.written import RIGHT, Given, Loader, Written, known_key, located, read, room_of

TEXT_KEYS = ("kind", "data", "metric")  # what a task of plain text reads
PREFER_KEYS = ("kind", "data", "metric", "instruction", "system", "template", "rows", "decoding")  # and one of comparisons
MIXED_KEYS = ("kind", "data", "metric", "also", "instruction", "system", "decoding", "constrain")  # and one of several data sets
NUMBERS = ("int", "float", "Rate")  # types of settings that yes and no are none of
STEP_FACTS = ("changes", "needs", "families", "reads", "version", "plan", "apply")


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
    metric that asks them. `rooted`: the recipe names the untouched base itself, which is climbed either way."""

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
    rooted: bool


def load(source: Given = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe: a YAML file, a mapping, or None for the embedded example; `overrides` are `key=value` with dots for depth.

    Raises BadInput for anything a person has to change.
    """
    return recipe_of(read(source, overrides))


def recipe_of(written: Written) -> Recipe:
    """What a recipe means: its steps, its data read, its bases looked at. Raises BadInput for anything a person has to change."""
    given, keys, folder, name, seed = written.given, written.keys, written.folder, written.name, written.keys["seed"]
    specs = {rung: tuple(_step(one, folder) for one in each) for rung, each in written.rungs.items()}
    root: Step = find_step("zero_shot")()
    rooted = any(own == (root,) for own in specs.values())
    unasked = not rooted or not given.get("rungs")
    if not rooted:
        if "zero_shot" in specs:
            raise BadInput(
                "a rung with other steps is called zero_shot",
                "that is the base with the task's plain prompt: give yours another name",
            )
        specs = {"zero_shot": (root,)} | specs
    limit = written.limit
    as_meant = {**given, "evaluate": _in_full(keys["evaluate"])}
    beside = _beside(as_meant["evaluate"], keys["task"])
    task, findings, data = _task(
        keys["task"], name=name, folder=folder, seed=seed, group=beside.fairness.by if beside.fairness else None
    )
    bar = _bar_of(written.bar, task)
    axes = _axes(beside, find_metric(bar.metric), task, folder=folder, seed=seed)
    if unread := _unread(task, specs):
        findings = dataclasses.replace(findings, notes=(*findings.notes, unread))
    several = keys["bases"] is not None
    wanted = _placed_bases(keys["bases"] if several else [pocket.DEFAULT if keys["base"] is None else keys["base"]], folder)
    bases = _bases(wanted, trust=keys["trust_remote_code"])
    task = _roomy(_constrained(task, keys["task"]["constrain"], bases), keys["task"]["decoding"], bases)
    if unasked and all(_refused(root, base, task) for base in bases):
        del specs["zero_shot"]
    if bar.metric == "perplexity" and len(bases) > 1:
        said = "the bar is set on perplexity, which is per token of each base's own tokenizer, and several bases are named"
        raise BadInput(said, "bar: {bits_per_byte: ...} compares them")
    judges = _judges(task, specs, trust=keys["trust_remote_code"])
    asked = [*_asked_by(specs)]
    if limit.money:
        _refuse_unpriced((*bases, *judges.values(), *asked), limit.money)
    rungs = [
        Rung(f"{base.name}/{rung}" if len(bases) > 1 else rung, base.name, each) for base in bases for rung, each in specs.items()
    ]
    _refuse_its_own_teacher(axes, rungs, task)
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
    as_given = {**as_meant, "rungs": written.rungs if given.get("rungs") else {}}
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
    origins = _origins(resolved, as_given, set(written.overridden))
    return Recipe(
        name, task, bases, tuple(rungs), bar, limit, seed, findings.notes, findings, resolved, origins, judges, axes, rooted
    )


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
        bare = re.fullmatch(r"[A-Za-z_]\w*", value) and yaml.load(value, Loader) == value
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
    module = importlib.import_module(f"tuneladder.{room_of(name)}.{name}")
    return getattr(module, "".join(part.title() for part in name.split("_")))  # type: ignore[no-any-return]


def _task(keys: Mapping[str, Any], *, name: str, folder: Path, seed: int, group: str | None) -> tuple[Task, Findings, Any]:
    """The task, what was found in its data, and where that lies."""
    kind, data = keys["kind"], keys["data"]
    if kind == "text":
        return _text_task(keys, name=name, folder=folder, seed=seed)
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
        schema=located(keys["schema"], folder) if isinstance(keys["schema"], str) else keys["schema"],
        answer=keys["answer"],
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
    return task, findings, where


def _roomy(task: Task, given: Mapping[str, Any] | None, bases: Sequence[Base]) -> Task:
    """The task with room for the answers it learns from, as far as the bases read, where `decoding` does not say how much."""
    if task.kind in ("text", "prefer") or "max_new_tokens" in (given or {}):
        return task
    context = min((base.context for base in bases if base.source != "url"), default=None)
    rows, schema = task.examples.train, task.prompt.schema
    most = room_for(task.kind, rows, schema=schema, multi_label=task.multi_label, context=context)
    decoding = dataclasses.replace(task.prompt.decoding, max_new_tokens=most)
    return dataclasses.replace(task, prompt=dataclasses.replace(task.prompt, decoding=decoding))


def _metric(given: Any) -> str:
    """What a metric is called in full."""
    return find_metric(metric_named(given)).name


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
        return located(data, folder)
    if "hub" in data:
        return data
    return {split: located(file, folder) if isinstance(file, str) else file for split, file in data.items()}


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
            each = {**each, "schema": read_schema(located(each["schema"], folder))}
        if said := next((key for key in each if key in _fields(Mixing)), "") if isinstance(each, dict) else "":
            raise BadInput(
                f"'{said}' is said of the whole mixture", f"it stands in `data`, beside `mixture`: {{{said}: ..., mixture: [...]}}"
            )
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
    return task, findings, {"mixture": [_plain(own) for own in sets], **_plain(mixing)}


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
        known_key(way, PERTURBATIONS, "perturbation")
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
    own = bool(task.metric) and find_metric(task.metric).name == metric.name
    if said and (metric.judge or (metric.outcomes and not own)):  # kept answers hold what the task's own metric marks, and no other
        why = "a judge is asked when all answers are given" if metric.judge else f"what {metric.name} marks is not kept"
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
    place = located(wanted.data, folder)
    try:
        pairs = read_comparisons(place).comparisons
        asked = read_prompts(located(wanted.prompts, folder)) if wanted.prompts else tempting()
    except BadInput as error:
        raise BadInput(f"harmlessness: {error.message}", error.hint) from error
    return warden(pairs, task, source="/".join(Path(place).parts[-2:]), tempting=asked, tokens=wanted.tokens)


def _grader(wanted: Judging, folder: Path) -> Grader:
    place = located(wanted.node, folder)
    judge = model_of(place)
    if not (judge and judge.head and judge.head.kind == "reward"):
        hint = "the folder of a node that the step `reward` made, in the .store beside a run"
        raise BadInput(f"evaluate: reward is {wanted.node}, which is no reward model", hint)
    return Grader(judge, Path(place).absolute().name, wanted.tokens, read_learned(Path(place)))


def _refuse_its_own_teacher(axes: Axes, rungs: Sequence[Rung], task: Task) -> None:
    """No policy is graded by what it was taught by, nor by what learned from what people said of the same prompts."""
    grader, hint = axes.grader, "take one that learned from other prompts: half: a teaches, reward: {half: b} grades"
    if not grader:
        return
    for rung in rungs:
        if step_name(rung.steps[-1]) == "reward":  # it writes nothing that is graded
            continue
        made = False  # what a step below made is learned instead of the task's comparisons
        for step in rung.steps:
            taught, said = frozenset[str](), "this rung learns from"
            if isinstance(name := getattr(step, "reward", None), str) and model_of(name):
                if Path(name).absolute().name == grader.source:
                    raise BadInput(f"evaluate: reward is the model that teaches {rung.name}", hint)
                taught, said = read_learned(Path(name)), "its teacher learned from"
            elif step.needs == "comparisons" and not made:
                taught = _compared(task, step)
            if shared := len(taught & grader.learned):
                what = f"{shared:,} of the {len(taught):,} prompts that {said} taught the reward model that grades it"
                raise BadInput(f"evaluate: reward is no judge of {rung.name}: {what}", hint)
            made = made or step_name(step) == "constitution"


def _compared(task: Task, step: Step) -> frozenset[str]:
    """Digests of the prompts whose comparisons a step learns from."""
    try:
        return prompts_of(halved(task, getattr(step, "half", "")).comparisons)
    except Refused:  # as its plan will say
        return frozenset()


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
        and {key: located(own, folder) if isinstance(own, str) else own for key, own in _plain(guarded).items()},
        "reward": reward and {**_plain(reward), "node": located(reward.node, folder)},
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
        sources.append(dataclasses.replace(source, data=located(source.data, folder)))
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


def _refused(step: Step, base: Base, task: Task) -> bool:
    """Whether a first step cannot be done on this base."""
    try:
        step.plan(root_of(base, task), task, Pace(1.0))
    except Refused:
        return True
    return False


def _unread(task: Task, specs: Mapping[str, Sequence[Step]]) -> str:
    """What is to be said of general text that no step replays; what a step of the user's own reads nobody here knows."""
    steps = [step for each in specs.values() for step in each]
    if not task.replay or any(":" in step_name(step) or getattr(step, "replay", 0) for step in steps):
        return ""
    return f"the source '{task.replay[0].source}' is marked `replay`, and no rung replays any: pretrain: {{replay: 0.25}} does"


def _sources(data: Any) -> list[Any]:
    return [{"data": each} if isinstance(each, str) else each for each in (data if isinstance(data, list) else [data])]


def _placed_bases(wanted: Any, folder: Path) -> list[Any]:
    if not isinstance(wanted, list) or not wanted:
        raise BadInput(f"bases is {wanted!r}", "bases: [a, b], or base: a")
    placed = [located(each, folder) if isinstance(each, str) else each for each in wanted]
    return [
        {**each, "id": located(str(each["id"]), folder)} if isinstance(each, dict) and "id" in each else each for each in placed
    ]


def _bases(wanted: list[Any], *, trust: bool) -> tuple[Base, ...]:
    bases = [_base(each, trust=trust) for each in wanted]
    names = [base.name for base in bases]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise BadInput(f"two bases are called '{twice}'", "a ladder climbs each base once: leave one out, or rename its folder")
    return tuple(bases)


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
    """The bases that steps ask beside their own; one that is not to be had is refused by its step's plan. Raises BadInput for an
    endpoint that is written wrongly: a rung's name repeats its settings, and there may be a secret in these."""
    for step in chain(*rungs.values()):
        if asked := getattr(step, "asks", None):
            try:
                yield named(asked)
            except BadInput as error:
                if isinstance(asked, dict) or is_address(asked):
                    setting = next(key for key, value in vars(step).items() if value == asked)
                    raise BadInput(f"{setting}: {error.message}", error.hint) from error


def _refuse_unpriced(bases: Iterable[Base], money: float) -> None:
    if free := next((base for base in bases if base.source == "url" and "prices" not in base.settings), None):
        hint = "{url: ..., model: ..., prices: {input: ..., output: ...}}, for a million tokens each"
        raise BadInput(f"limit: money is {money:g}, and nothing says what {free.name} costs", hint)


def _base(wanted: Any, *, trust: bool) -> Base:
    if isinstance(wanted, str):
        return inspect(wanted, trust=trust)
    if isinstance(wanted, dict) and "shape" in wanted:
        for key in wanted:
            known_key(key, ("shape", "name"), "key of a base with a shape")
        return from_shape(str(wanted.get("name", "shape")), wanted["shape"])
    if isinstance(wanted, dict) and "url" in wanted:
        return remote(wanted)
    if isinstance(wanted, dict) and "id" in wanted:
        for key in wanted:
            known_key(key, ("id", "revision"), "key of a base")
        return inspect(str(wanted["id"]), revision=str(wanted.get("revision") or ""), trust=trust)
    if isinstance(wanted, list):
        raise BadInput(f"base is {wanted!r}", "several are `bases: [a, b]`")
    raise BadInput(f"base is {wanted!r}", "a hub id, a folder, {id: ..., revision: ...}, {shape: {...}} or {url: ..., model: ...}")


def _step(wanted: Mapping[str, Mapping[str, Any]], folder: Path) -> Step:
    name, given = next(iter(wanted.items()))
    kind = find_step(name)
    places = getattr(kind, "places", {}) if isinstance(given, dict) else {}
    there = {key: place(given[key], partial(located, folder=folder)) for key, place in places.items() if key in given}
    return _settings(kind, {**given, **there} if there else given, name)  # type: ignore[no-any-return]


def _settings(kind: Any, given: Any, name: str) -> Any:
    """A frozen dataclass from keys; unknown keys and wrong types are errors that name the key."""
    if not isinstance(given, dict):
        raise BadInput(f"the settings of {name} are {given!r}", "they are keys with values")
    known = _fields(kind)
    for key, value in given.items():
        known_key(key, known, f"setting of {name}")
        if isinstance(value, bool) and known[key] in NUMBERS:
            raise BadInput(f"{name}: {key} is {str(value).lower()}", "give a number")
    try:
        made = TypeAdapter(kind).validate_python({key: _counted(value, known[key]) for key, value in given.items()})
    except ValidationError as error:
        first = error.errors()[0]
        place = str(first["loc"][0]) if first["loc"] else name
        wanted = [taken(each) for each in error.errors() if each["loc"][:1] == first["loc"][:1]]
        absent = first["type"] == "missing"  # then the input is all that was given
        said = f"{name} names no {place}" if absent else f"{name}: {place} is {shown(first['input'])}"
        raise BadInput(said, ", or ".join(dict.fromkeys(wanted))) from error
    for key, value in given.items():
        if isinstance(own := getattr(made, key), int | float) and not isinstance(own, bool) and not is_number(own):
            raise BadInput(f"{name}: {key} is {shown(value)}", f"a number of at most {MOST:,}")
    return made


def _counted(value: Any, kind: str) -> Any:
    """A whole number as the command line takes it: `30k`, `10M`, `1.5B`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKMBG])", value) if kind == "int" and isinstance(value, str) else None
    if not found:
        return value
    number = float(found[1]) * budget.UNITS[found[2].upper()]
    return round(number) if is_number(number) else number


def _fields(kind: Any) -> dict[str, str]:
    """The settings of a step, and the type that each has where it has any."""
    return {field.name: str(field.type).removesuffix(" | None") for field in dataclasses.fields(kind) if field.init}


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
    made = {bar.metric: bar.at_least, "forgetting": bar.forget_at_most, "volume": bar.volume, "hour": bar.hour or None}
    return {key: value for key, value in made.items() if value is not None}
