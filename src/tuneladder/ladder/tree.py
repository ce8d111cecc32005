"""The prefix tree of a ladder's rungs: what two rungs share is one node, made once and kept under a key."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from tuneladder.errors import BadInput, Refused, unknown
from tuneladder.evaluate.find import metric_content
from tuneladder.ladder import words
from tuneladder.model.hardware import computed_in, device, hardware
from tuneladder.model.memory import climbing, inference
from tuneladder.store import digest, plain
from tuneladder.task.multi_label import kind_in_full
from tuneladder.train.made import with_made
from tuneladder.train.supervised import APART
from tuneladder.types import Base, Cost, Pace, Rung, Split, Step, Task, Text, Variant


@dataclass(frozen=True)
class Node:
    """A step after the steps before it. `key` names its folder; `variant` and `cost`, the step's own, are foretold."""

    step: Step
    name: str
    key: str
    variant: Variant
    cost: Cost


@dataclass(frozen=True)
class Foretold:
    """A rung with its nodes and its predicted cost; `refused` is the reason it cannot be climbed, or "". Beside that `asking` is
    what its answers to dev, test and perturbed rows take, and `judging` what judges of them do (ladder/ahead.py)."""

    rung: Rung
    nodes: tuple[Node, ...]
    cost: Cost
    refused: str = ""
    asking: Cost = field(default_factory=Cost)
    judging: Cost = field(default_factory=Cost)


def weights_of(foretold: Foretold) -> str:
    """Whose weights a rung answers with: the last of its nodes that made some, or its base."""
    own = (node.key for node in reversed(foretold.nodes) if node.step.changes != "prompt" and not node.variant.probe)
    return next(own, foretold.rung.base)


def in_full(name: str, names: Sequence[str], what: str) -> str:
    """The rung of that name, or the one that has settings too: `lora` is `lora(r=8)` where no other `lora` is there. Raises
    BadInput for none and for several."""
    found = [own for own in names if own == name] or [own for own in names if own.startswith(f"{name}(")]
    if len(found) > 1:
        raise BadInput(f"{what} '{name}' could be any of {len(found)}", f"name it in full: {', '.join(found)}")
    if not found:
        raise unknown(what, name, {*names, *(own.partition("(")[0] for own in names)})
    return found[0]


def root_of(base: Base, task: Task) -> Variant:
    """The untouched base with the task's plain prompt."""
    return Variant(base, task.prompt, stamp=digest(base.name, base.content, base.revision, task.prompt, task.labels))


def splits_digest(task: Task) -> Mapping[str, str]:
    """Digests of what a step may read: never the test split. Beside the splits, of what the task is measured by."""
    beside: dict[str, list[Any]] = {"train": [own for own in (task.replay, task.weights) if own], "dev": []}
    metric = digest(task.metric, metric_content(task.metric) if task.metric else "")
    return {"metric": metric} | {
        split: digest(
            kind_in_full(task),
            getattr(task.examples, split),
            getattr(task.text, split),
            task.mixture,
            task.labels,
            *also,
            *compared(task, split),
        )
        for split, also in beside.items()
    }


def compared(task: Task, split: str) -> list[Any]:
    """A split's comparisons, for the digest of a task that has some."""
    return [own] if (own := getattr(task.comparisons, split)) else []


def key_of(step: Step, parent: str, splits: Mapping[str, str], base: Base, seed: int) -> str:
    """Parent's stamp, step, settings, version, the splits it reads, the base's content, the seed; what a step says that it reads
    beside them (`content`, a teacher's for one, in place of where it lies); not limit, device or ranks."""
    name = step_name(step)
    code = "" if type(step).__module__.startswith("tuneladder.") else source_of(type(step).__module__)
    settings = {**plain(step), "__type__": name}
    asked = getattr(step, "asks", "")
    if isinstance(asked, dict):  # how an endpoint is called changes no answer; `content` says which it is
        settings |= {key: asked.get("prices") for key, value in settings.items() if value == asked}
    settings |= getattr(step, "keyed", {})
    reads = {split: splits[split] for split in step.reads}
    if content := getattr(step, "content", ""):
        reads["content"] = content
    return f"{name.replace(':', '-')}-{digest(parent, settings, step.version, reads, base.content, seed, code)}"


def step_name(step: Step) -> str:
    """As a recipe names it: the file for a step of ours, `my_module:MyStep` for the user's own."""
    module = type(step).__module__
    return module.rpartition(".")[2] if module.startswith("tuneladder.") else f"{module}:{type(step).__name__}"


def source_of(module: str) -> str:
    """Code of the user's own is keyed by its source: change it, and what it made is made anew."""
    file = sys.modules[module].__file__
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def foretell(rung: Rung, base: Base, task: Task, pace: Pace, limit: Cost, splits: Mapping[str, str], seed: int) -> Foretold:
    """The rung's nodes with their costs, or the reason why it is refused: before any work."""
    variant = root_of(base, task)
    nodes: list[Node] = []
    seconds, memory, disk, annotations, money, tokens = 0.0, 0, 0, 0, 0.0, 0.0
    for step in rung.steps:
        try:
            _suits(step, variant)
            ahead, cost = step.plan(variant, with_made(lent(task, step), variant, step), pace)
            if said := too_much(cost.memory, limit):
                less = _lower(step, "batch_size", "max_length") or "take a smaller base"
                raise Refused(f"{step_name(step)} needs {said}", f"raise `limit: memory`, or {less}" if limit.memory else less)
            if limit.seconds and cost.seconds > 20 * limit.seconds:
                need = f"about {words.duration(cost.seconds)}, and the limit is {words.duration(limit.seconds)}"
                less = _lower(step, "epochs", "tokens")
                raise Refused(f"{step_name(step)} would take {need}", f"raise `limit: minutes`{less and f', or {less}'}")
            key = key_of(step, variant.stamp, splits, base, seed)
        except Exception as error:  # a step may be the user's own: one that cannot plan is refused, and the others are climbed
            reason = error.message if isinstance(error, BadInput) else f"{type(error).__name__} in its plan: {error}"
            hint = f" ({error.hint})" if isinstance(error, BadInput) and error.hint else ""
            return Foretold(rung, tuple(nodes), Cost(seconds, memory, disk, annotations, money, tokens), reason + hint)
        variant = replace(ahead, stamp=key)
        nodes.append(Node(step, step_name(step), key, variant, cost))
        seconds, memory = seconds + cost.seconds, max(memory, cost.memory)
        disk, annotations = disk + cost.disk, max(annotations, cost.annotations)
        money, tokens = money + cost.money, tokens + cost.tokens
    return Foretold(rung, tuple(nodes), Cost(seconds, max(memory, answering(base)), disk, annotations, money, tokens))


def too_large(rung: Rung, base: Base, limit: Cost) -> Foretold | None:
    """The rung as refused where not even answers of its base have room: told before the base is opened."""
    need = answering(base)
    if not (said := too_much(need, limit)):
        return None
    hint = "raise `limit: memory`" if limit.memory else "take a smaller base"
    return Foretold(rung, (), Cost(memory=need), f"answering needs {said} ({hint})")


def too_much(memory: int, limit: Cost) -> str:
    """Why so many bytes are too many: the recipe's limit, or all that the machine has, a GPU where the work is done there; "" where
    they are not. What other processes hold now they may let go of."""
    if limit.memory:
        return f"about {words.size(memory)}, and the limit is {words.size(limit.memory)}" if memory > limit.memory else ""
    there = hardware()
    most = there.gpu_memory if device() == "cuda" else there.memory
    return f"about {words.size(memory)}, and this machine has {words.size(most)}" if memory > most else ""


def _lower(step: Step, *settings: str) -> str:
    """Which of those settings that it has to lower, so that a step takes less."""
    own = [f"`{name}`" for name in settings if name in plain(step)]
    return f"lower {' or '.join(own)}" if own else ""


def answering(base: Base) -> int:
    """Bytes of a climb's process while it asks the base in batches of 4,096 tokens; nothing for a remote one."""
    if base.source == "url":
        return 0
    dtype = computed_in(device())
    return inference(base, rows=64, length=64, dtype=dtype, device=device()).peak + climbing(device())


def lent(task: Task, step: Step) -> Task:
    """The task as a step sees it: only the splits that it says it reads, which are those in its key, and never test."""

    def seen(split: Split[Any]) -> Split[Any]:
        return Split(split.train if "train" in step.reads else (), split.dev if "dev" in step.reads else ())

    return replace(
        task,
        examples=seen(task.examples),
        comparisons=seen(task.comparisons),
        text=Text(task.text.train if "train" in step.reads else (), task.text.dev if "dev" in step.reads else ()),
        replay=task.replay if "train" in step.reads else (),
    )


def _suits(step: Step, variant: Variant) -> None:
    name = step_name(step)
    if variant.base.family not in step.families:
        families = ", ".join(step.families)
        raise Refused(f"{name} makes no sense for a base of the {variant.base.family} family", f"it is for: {families}")
    if variant.probe:
        raise Refused(f"nothing goes on from a linear head, and {name} would have to", "put linear_probe last")
    if variant.head and variant.head.kind == "reward":
        raise Refused(f"nothing goes on from a reward model, and {name} would have to", "put reward last")
    if variant.head and step.needs == "text":
        raise Refused(f"{name} learns from plain text, and this model has a classification head", APART)
    if variant.base.source == "url" and step.changes != "prompt":
        raise Refused(f"{name} changes weights, and {variant.base.name} is a remote model", "prompt steps work there")


def machine_memory(limit: Cost) -> int:
    """Bytes a step may plan with: the recipe's limit, or what the machine has free, the GPU's where the work is done there."""
    free = torch.cuda.mem_get_info()[0] if device() == "cuda" else hardware().available
    return limit.memory or int(free * 0.9)
