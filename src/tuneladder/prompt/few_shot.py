"""Worked examples in the prompt (arXiv:2005.14165)."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from tuneladder.errors import BadInput, Refused
from tuneladder.task.shots import choose
from tuneladder.types import Cost, Family, Kit, Pace, Shots, Task, Variant


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """`shots` rows of the train split, chosen `balanced` over the labels or `fixed` (any rows), drawn by the ladder's seed.

    `order`: shuffled by the seed, or the labels' order kept (`grouped`). `calibrate` takes away what the prompt answers on an
    empty input (arXiv:2102.09690); it ranks labels only.
    """

    changes: ClassVar = "prompt"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "seq2seq")
    reads: ClassVar = ("train",)
    version: ClassVar = 1

    shots: int = 8
    choose: Literal["balanced", "fixed"] = "balanced"
    order: Literal["shuffled", "grouped"] = "shuffled"
    calibrate: bool = False

    def __post_init__(self) -> None:
        if self.shots < 1:
            raise BadInput(f"few_shot cannot show {self.shots} examples", "shots is 1 or more; zero_shot shows none")

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        have = len(task.examples.train)
        if self.shots > have:
            raise Refused(
                f"{self.shots} shots asked for, but {task.name} has {have} to show",
                "lower `shots`, or add examples to the train split",
            )
        if self.calibrate and variant.prompt.ask != "score":
            raise Refused(
                "calibrate ranks labels on an empty input, and this task's answers are generated", "leave `calibrate` out"
            )
        try:
            return self._on(variant, task, 0), Cost(annotations=self.shots)
        except BadInput as error:  # rows of one source count once
            raise Refused(error.message, error.hint) from error

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        return self._on(variant, task, kit.seed)

    def _on(self, variant: Variant, task: Task, seed: int) -> Variant:
        # a row of several words, or of several labels, has no one label to be balanced by
        labels = () if task.kind == "tag" or task.multi_label else task.labels
        chosen = choose(task.examples.train, count=self.shots, choose=self.choose, seed=seed, labels=labels)
        if self.order == "shuffled":
            chosen = tuple(random.Random(f"{seed} order").sample(chosen, len(chosen)))
        else:
            order = {label: at for at, label in enumerate(labels)}
            chosen = tuple(sorted(chosen, key=lambda example: order.get(example.references[0], 0)))
        prompt = replace(variant.prompt, shots=Shots(self.shots, self.choose, chosen), calibrate=self.calibrate)
        return replace(variant, steps=(*variant.steps, "few_shot"), prompt=prompt)
