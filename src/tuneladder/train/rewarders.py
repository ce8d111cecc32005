"""What an answer earns: by the task's own metric or another, by a check that needs no judge, by a reward that people's preferences
taught, or by any function `f(prompts, completions) -> list[float]` of the user's own."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from tuneladder.errors import BadInput, Refused, unknown
from tuneladder.evaluate.find import Metric, find_metric, metric_content, metric_named, parted
from tuneladder.evaluate.find import names as metric_names
from tuneladder.evaluate.measure import has_rights, rights
from tuneladder.model.ask import parse, schema_of
from tuneladder.model.nodes import FILE, read_variant
from tuneladder.model.shelf import Shelf
from tuneladder.own import own_code, own_content
from tuneladder.store import digest
from tuneladder.task.comparing import asked
from tuneladder.task.numerals import number_in
from tuneladder.train.checks import is_json, schema_given
from tuneladder.train.reward_model import opened
from tuneladder.types import Answer, Comparison, Example, Prompt, Task, Turns, Variant

CHECKS = ("metric", "number", "json")
HINT = "metric, number, json, a metric's name, or one of them with settings; my_module:fn; the folder of a node that `reward` made"
HINTS = dict.fromkeys(("tests", "unit_tests", "code", "pass"), "pass_at_k tries programs with a row's `tests`")
SHOWN = 80  # characters of a prompt in an error


@dataclass(frozen=True)
class Asked:
    """A prompt of the task: the row that it is made of, its turns, and its text as the model reads it; `again` is how often the
    same text was asked before it in a phase."""

    example: Example
    turns: Turns
    text: str
    again: int = 0


Rewarder = Callable[[Sequence[Asked], Sequence[str]], list[float]]  # prompts and an answer to each -> what each answer earns
Marks = Callable[[Sequence[Example], Sequence[Answer]], list[float]]


def reward_named(given: Any) -> Any:
    """A reward as a recipe gives it, `number` or `json: {schema: ...}`, in one line."""
    if not isinstance(given, dict):
        return given
    if len(given) != 1 or not isinstance(next(iter(given.values())), dict):
        raise BadInput(f"reward is {given!r}", "a name, or name: {setting: value}")
    return metric_named(given)


Reward = Annotated[str, BeforeValidator(reward_named)]


def check_reward(reward: str) -> None:
    """Raises BadInput for the name of a reward that there is not, and for settings that it does not take."""
    bare, given = parted(reward)
    if ":" in bare:
        own_code(reward, "reward")
    elif bare == "json":
        schema_given(given)
    elif bare in metric_names():
        find_metric(reward)
    elif bare not in CHECKS and not model_of(reward):
        raise unknown("reward", bare, (*CHECKS, *metric_names()), HINTS.get(bare, HINT))
    elif given:
        raise BadInput(f"the reward {bare} takes no settings, and {given} are given", f"write {bare} alone")


def model_of(reward: str) -> Variant | None:
    """The variant of the node whose folder a reward names; None where it is of another kind, or there is no such node."""
    bare, folder = parted(reward)[0], Path(reward).absolute()
    other = ":" in bare or bare in (*CHECKS, *metric_names()) or not (folder / FILE).is_file()
    return None if other else read_variant(folder)


def placed_reward(given: Any, found: Callable[[str], str]) -> Any:
    """A reward with its file by where that is found: the folder of a node, or the schema that JSON is to fit."""
    if isinstance(given, dict) and isinstance(own := given.get("json"), dict) and isinstance(own.get("schema"), str):
        return {**given, "json": {**own, "schema": found(own["schema"])}}
    if not isinstance(given, str) or (bare := parted(given)[0]) in (*CHECKS, *metric_names()) or ":" in bare:
        return given
    return found(given)


def reward_keyed(reward: str) -> dict[str, str]:
    """What stands for a reward's place in a node's key, beside what is there."""
    bare, given = parted(reward)
    if bare == "json" and isinstance(given.get("schema"), str):
        return {"reward": bare}
    return {"reward": "node"} if model_of(reward) else {}


def reward_content(reward: str) -> str:
    """What stands for a reward in a node's key beside its name: the source of a function, the key of a node, what a schema says."""
    bare, given = parted(reward)
    if ":" in bare:
        return own_content(reward, "reward")
    if bare == "json":
        return digest(schema_given(given)) if given else ""
    if bare in metric_names():
        return metric_content(reward)
    return Path(reward).absolute().name if model_of(reward) else ""


def prompted(task: Task, split: str) -> list[Example]:
    """The rows of a split whose prompts are answered: those that are learned from, or their kin. Of comparisons each prompt is
    answered once, however many of its answers were compared: the first row stands for it."""
    examples: Sequence[Example] = getattr(task.examples, split)
    pairs: Sequence[Comparison] = getattr(task.comparisons, split)
    if examples and task.kind != "prefer":
        return list(examples)
    first: dict[Turns, Example] = {}
    for row in examples or map(asked, pairs):
        first.setdefault(row.turns, row)
    return list(first.values())


def by_references(reward: str) -> bool:
    """Whether a reward goes by what the rows have for an answer: metrics and numbers do; a function, JSON's form and a reward model
    do not."""
    bare = parted(reward)[0]
    return bare != "json" and bare in (*CHECKS, *metric_names())


def refuse_reward(reward: str, task: Task, step: str, splits: Sequence[str]) -> None:
    """Raises Refused for a task without prompts, and for one that the reward cannot tell anything about."""
    rows = prompted(task, "train")
    bare = parted(reward)[0]
    if not rows:
        raise Refused(f"{step} answers the prompts of a task, and this task has none", "give it rows, of kind generate or prefer")
    if ":" in bare or bare == "json":
        return
    if judge := model_of(reward):
        if not (judge.head and judge.head.kind == "reward"):
            raise Refused(f"{reward} is no reward model", "name the folder of a node that the step `reward` made")
        return
    if not task.examples.train:
        said = f"{step} is to go by the {bare}, and rows that only compare answers have no right one"
        raise Refused(said, "reward: my_module:fn, or the folder of a node that the step `reward` made")
    asked = [prompted(task, split) for split in splits]
    if bare != "number":
        for own in asked:
            _try(task, reward, own[0], step)
    elif unread := next((row for own in asked for row in own if number_in(row.references[0], lowest=False) is None), None):
        said = f"{step} is to compare numbers, and the reference of row {unread.id} holds none"
        raise Refused(said, "reward: metric, or another")


def _try(task: Task, reward: str, row: Example, step: str) -> None:
    """Raises Refused for a metric that cannot mark an answer here: of all rows together, or without rows' tests or a sandbox."""
    metric, marks = _by_row(task, reward)
    if metric.outcomes is None:
        return
    try:
        marks([row], [Answer(row.references[0], None, row.references[0], (row.references[0],))])
    except Refused:
        raise
    except BadInput as error:
        raise Refused(f"{step} is to go by {metric.name}: {error.message}", error.hint) from error


@contextlib.contextmanager
def rewarding(reward: str, task: Task, prompt: Prompt, shelf: Shelf, model: Any) -> Iterator[Rewarder]:
    """What rewards answers to the task's prompts; of a reward model that stands on the weights of `model`, these are there once."""
    bare, given = parted(reward)
    if ":" in bare:
        yield _checked(reward, _users(own_code(reward, "reward")))
    elif bare == "number":
        yield _checked(reward, _number)
    elif bare == "json":
        yield _checked(reward, _json(prompt, json.dumps(schema_given(given)) if given else ""))
    elif bare in (*CHECKS, *metric_names()):
        yield _checked(reward, _metric(task, prompt, reward))
    else:
        if (judge := model_of(reward)) is None:
            raise BadInput(f"the reward model {reward} is not there any more", "climb its rung again, or name another")
        with opened(judge, shelf, model) as said:
            yield _checked(reward, lambda prompts, completions: said([own.example for own in prompts], completions))


def _checked(name: str, found: Callable[[Sequence[Asked], Sequence[str]], Any]) -> Rewarder:
    """The rewards as numbers. Raises BadInput, which names the prompt, for what is none, and for too few or too many."""

    def rewards(prompts: Sequence[Asked], completions: Sequence[str]) -> list[float]:
        made = list(found(prompts, completions))
        if len(made) != len(completions):
            said = (
                f"reward {name} returned {len(made)} numbers for {len(completions)} completions, the first to {_shown(prompts[0])}"
            )
            raise BadInput(said, "return a list with one number for each completion, in their order")
        for prompt, value in zip(prompts, made, strict=True):
            if isinstance(value, bool) or not isinstance(value, Real):
                said = f"reward {name} returned {value!r}, a {type(value).__name__}, for a completion to {_shown(prompt)}"
                raise BadInput(said, "return floats: float(value)")
            if not math.isfinite(value):
                said = f"reward {name} returned {value} for a completion to {_shown(prompt)}"
                raise BadInput(said, "return a finite number for any text, an empty one included")
        return [float(value) for value in made]

    return rewards


def _shown(prompt: Asked) -> str:
    text = prompt.turns[-1].text
    return f"the prompt {text[:SHOWN] + ('...' if len(text) > SHOWN else '')!r} (row {prompt.example.id})"


def _users(function: Callable[..., Any]) -> Callable[[Sequence[Asked], Sequence[str]], Any]:
    def rewards(prompts: Sequence[Asked], completions: Sequence[str]) -> Any:
        try:
            return list(function([own.text for own in prompts], list(completions)))
        except (Exception, SystemExit) as error:  # the user's code: whatever it raises
            raised = f"the reward raised {type(error).__name__}: {error}, on completions the first of which is to"
            raise BadInput(f"{raised} {_shown(prompts[0])}", "it must return a list of numbers for any texts") from error

    return rewards


def _by_row(task: Task, reward: str) -> tuple[Metric, Marks]:
    """A metric, the task's own where the reward is `metric`, and what it gives each answer, the higher the better. Raises Refused
    for one that only knows all rows at once, and for a judge."""
    metric: Metric = find_metric(task.metric if reward == "metric" else reward)
    if metric.judge is not None:
        raise Refused(f"{metric.name} is asked once all answers are given, and a reward is of each", "another metric")
    if metric.name == "preference":
        said = "preference says how often the better of two answers is told, and a reward is of one answer"
        raise Refused(
            said, "reward: my_module:fn, the folder of a node that the step `reward` made, or a metric of the chosen answers"
        )
    if items := metric.items:
        sign = 1.0 if metric.better == "higher" else -1.0

        def marks(examples: Sequence[Example], answers: Sequence[Answer]) -> list[float]:
            told = metric.outcomes(examples, answers) if metric.outcomes else [answer.text for answer in answers]
            return [sign * float(value) for value in items(told, [row.references for row in examples], task.labels)]

        return metric, marks
    if reward == "metric" and has_rights(task):
        return metric, lambda examples, answers: [
            float(bool(own)) for own in rights(task, [answer.text for answer in answers], [row.references for row in examples])
        ]
    said = f"{metric.name} is of all rows together, and a reward is of one answer"
    raise Refused(said, "a metric that is a mean over rows, or reward: my_module:fn")


def _metric(task: Task, prompt: Prompt, reward: str) -> Callable[[Sequence[Asked], Sequence[str]], list[float]]:
    _, marks = _by_row(task, reward)

    def rewards(prompts: Sequence[Asked], completions: Sequence[str]) -> list[float]:
        answers = [_read(prompt, own.example, text, task.labels) for own, text in zip(prompts, completions, strict=True)]
        return marks([own.example for own in prompts], answers)

    return rewards


def _read(prompt: Prompt, example: Example, text: str, labels: Sequence[str]) -> Answer:
    """The answer in a completion, by the rule that reads the task's answers; what is run is the completion itself."""
    words = len(example.turns[-1].text.split()) if prompt.parse == "tags" else 0
    options = example.options or tuple(labels)
    read = parse(text, prompt.parse, options, words=words, schema=schema_of(prompt, example))
    return Answer(read, None, text, (text,))


def _number(prompts: Sequence[Asked], completions: Sequence[str]) -> list[float]:
    """1 where the number that the completion comes to is that of a reference."""
    found = []
    for own, text in zip(prompts, completions, strict=True):
        said = number_in(text)
        found.append(float(said is not None and said in [number_in(one, lowest=False) for one in own.example.references]))
    return found


def _json(prompt: Prompt, schema: str) -> Callable[[Sequence[Asked], Sequence[str]], list[float]]:
    """1 where the whole completion is one JSON object or list that fits the schema, or else that of the row, if it has one."""

    def one(own: Asked, text: str) -> float:
        held = schema or schema_of(prompt, own.example)
        return float(is_json(text, json.loads(held) if held else None))

    return lambda prompts, completions: [one(own, text) for own, text in zip(prompts, completions, strict=True)]
