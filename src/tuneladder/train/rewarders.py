"""What an answer earns: by the task's own metric, by a check that needs no judge, by a reward that people's preferences taught, or
by any function `f(prompts, completions) -> list[float]` of the user's own."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

from tuneladder.errors import BadInput, Refused, unknown
from tuneladder.evaluate.find import Metric, find_metric
from tuneladder.evaluate.measure import has_rights, rights
from tuneladder.evaluate.preference import Weigher
from tuneladder.model.ask import parse, schema_of, turns_of_all
from tuneladder.model.nodes import FILE, read_variant
from tuneladder.model.shelf import Shelf
from tuneladder.own import own_code, own_content
from tuneladder.task.comparing import asked
from tuneladder.types import Answer, Comparison, Example, Prompt, Task, Turns, Variant

CHECKS = ("metric", "number", "json")
SHOWN = 80  # characters of a prompt in an error


@dataclass(frozen=True)
class Asked:
    """A prompt of the task: the row that it is made of, its turns, and its text as the model reads it."""

    example: Example
    turns: Turns
    text: str


Rewarder = Callable[[Sequence[Asked], Sequence[str]], list[float]]  # prompts and an answer to each -> what each answer earns


def check_reward(reward: str) -> None:
    """Raises BadInput for the name of a reward that there is not."""
    if ":" in reward:
        own_code(reward, "reward")
    elif reward not in CHECKS and not (Path(reward) / FILE).is_file():
        hint = "metric, number or json; a function of your own as my_module:fn; or the folder of a node that `reward` made"
        raise unknown("reward", reward, CHECKS, hint)


def reward_content(reward: str) -> str:
    """What stands for a reward in a node's key beside its name: the source of a function, the key of a node."""
    if ":" in reward:
        return own_content(reward, "reward")
    return Path(reward).absolute().name if (Path(reward) / FILE).is_file() else ""


def prompted(task: Task, split: str) -> list[Example]:
    """The rows of a split whose prompts are answered, a comparison's once: those that are learned from, or their kin."""
    examples: Sequence[Example] = getattr(task.examples, split)
    pairs: Sequence[Comparison] = getattr(task.comparisons, split)
    return list(examples) or list({own.turns: asked(own) for own in pairs}.values())


def refuse_reward(reward: str, task: Task, prompt: Prompt, step: str) -> None:
    """Raises Refused for a task without prompts, and for one that the reward cannot tell anything about."""
    rows = prompted(task, "train")
    if not rows:
        raise Refused(f"{step} answers the prompts of a task, and this task has none", "give it rows, of kind generate or prefer")
    if reward in CHECKS and reward != "json" and not task.examples.train:
        said = f"{step} is to go by the {reward}, and rows that only compare answers have no right one"
        raise Refused(said, "reward: my_module:fn, or the folder of a node that the step `reward` made")
    if reward == "metric":
        _by_row(task)
    if reward == "number" and (bare := next((row for row in rows if not parse(row.references[0], "number")), None)):
        raise Refused(f"{step} is to compare numbers, and the reference of row {bare.id} holds none", "reward: metric, or another")
    if reward not in CHECKS and ":" not in reward and not _rewards(read_variant(Path(reward))):
        raise Refused(f"{reward} is no reward model", "name the folder of a node that the step `reward` made")


def _rewards(variant: Variant) -> bool:
    return variant.head is not None and variant.head.kind == "reward"


@contextlib.contextmanager
def rewarding(reward: str, task: Task, prompt: Prompt, shelf: Shelf, model: Any) -> Iterator[Rewarder]:
    """What rewards answers to the task's prompts; of a reward model that stands on the weights of `model`, these are there once."""
    if ":" in reward:
        yield _checked(reward, _users(own_code(reward, "reward")))
    elif reward in CHECKS:
        yield _checked(reward, {"metric": _metric, "number": _number, "json": _json}[reward](task, prompt))
    else:
        variant = read_variant(Path(reward).absolute())
        own = Shelf(shelf.device, dtype=shelf.dtype, memory=shelf.memory)
        try:
            with own.engine(variant, beside=model) as engine:
                assert isinstance(engine, Weigher)
                yield _checked(reward, _of_model(engine, variant))
        finally:
            own.close()


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
        except Exception as error:  # the user's code: whatever it raises
            raised = f"the reward raised {type(error).__name__}: {error}, on completions the first of which is to"
            raise BadInput(f"{raised} {_shown(prompts[0])}", "it must return a list of numbers for any texts") from error

    return rewards


def _by_row(task: Task) -> Callable[[Sequence[str], Sequence[Sequence[str]]], list[float]]:
    """What the task's metric gives each answer, the higher the better. Raises Refused for one that only knows all rows at once."""
    metric: Metric = find_metric(task.metric)
    if metric.judge is None and metric.outcomes is None and (items := metric.items):
        sign = 1.0 if metric.better == "higher" else -1.0
        return lambda answers, references: [sign * float(value) for value in items(answers, references, task.labels)]
    if has_rights(task):
        return lambda answers, references: [float(bool(own)) for own in rights(task, answers, references)]
    said = f"{metric.name} is of all rows together, and a reward is of one answer"
    raise Refused(said, "a metric that is a mean over rows, or reward: my_module:fn")


def _metric(task: Task, prompt: Prompt) -> Callable[[Sequence[Asked], Sequence[str]], list[float]]:
    by_row = _by_row(task)

    def rewards(prompts: Sequence[Asked], completions: Sequence[str]) -> list[float]:
        answers = [_read(prompt, own.example, text, task.labels).text for own, text in zip(prompts, completions, strict=True)]
        return by_row(answers, [own.example.references for own in prompts])

    return rewards


def _read(prompt: Prompt, example: Example, text: str, labels: Sequence[str]) -> Answer:
    """The answer in a completion, by the rule that reads the task's answers."""
    words = len(example.turns[-1].text.split()) if prompt.parse == "tags" else 0
    options = example.options or tuple(labels)
    return Answer(parse(text, prompt.parse, options, words=words, schema=schema_of(prompt, example)))


def _number(task: Task, prompt: Prompt) -> Callable[[Sequence[Asked], Sequence[str]], list[float]]:
    """1 where the last number of the completion is that of a reference."""

    def rewards(prompts: Sequence[Asked], completions: Sequence[str]) -> list[float]:
        found = []
        for own, text in zip(prompts, completions, strict=True):
            said, wanted = parse(text, "number"), [parse(one, "number") for one in own.example.references]
            found.append(float(any(said and one and float(said) == float(one) for one in wanted)))
        return found

    return rewards


def _json(task: Task, prompt: Prompt) -> Callable[[Sequence[Asked], Sequence[str]], list[float]]:
    """1 where the whole completion is one JSON object or list."""

    def one(text: str) -> float:
        try:
            return float(isinstance(json.loads(text), dict | list))
        except (ValueError, RecursionError):
            return 0.0

    return lambda prompts, completions: [one(text) for text in completions]


def _of_model(engine: Weigher, variant: Variant) -> Callable[[Sequence[Asked], Sequence[str]], list[float]]:
    """What a reward model says of each answer under its own prompt; one that does not fit earns what the least of the others do."""

    def rewards(prompts: Sequence[Asked], completions: Sequence[str]) -> list[float]:
        asks = turns_of_all(variant.prompt, [own.example for own in prompts])
        found = [own[0] if own else math.nan for own in engine.weigh(asks, [[text] for text in completions])]
        least = min((value for value in found if not math.isnan(value)), default=math.nan)
        return [least if math.isnan(value) else value for value in found]

    return rewards
