"""Worked examples in the prompt (arXiv:2005.14165)."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from tuneladder.errors import BadInput, Refused
from tuneladder.model import memory
from tuneladder.model.hardware import computed_in, device
from tuneladder.model.likeness import Similarity, content_of, prepare, price_of, similarity_here, spread, text_of
from tuneladder.store import write_json
from tuneladder.task.shots import choose, different
from tuneladder.types import Cost, Example, Family, Kit, Pace, Shots, Task, Variant

LOOKING = ("nearest", "diverse")  # the ways that look at what the rows say


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """`shots` rows of the train split: `balanced` over the labels, `fixed` (any rows), `diverse` (one of each of so many clusters),
    or `nearest`, which shows every row those that are most like it (arXiv:2101.06804), the nearest last and never itself.

    `order`: shuffled by the seed, or the labels' order kept (`grouped`). `calibrate` takes away what the prompt answers on an
    empty input (arXiv:2102.09690); it ranks labels only. The last two choose among `pool` rows, drawn by the seed, by
    `similarity`: `minilm` where its package is installed, else `bm25`. The prompts of `nearest` have little in common that need be
    read only once, and every row of its pool has to be labelled.
    """

    changes: ClassVar = "prompt"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "seq2seq")
    reads: ClassVar = ("train",)
    version: ClassVar = 1

    shots: int = 8
    choose: Literal["balanced", "fixed", "nearest", "diverse"] = "balanced"
    order: Literal["shuffled", "grouped"] = "shuffled"
    calibrate: bool = False
    pool: int = 1000
    similarity: Literal["auto", "minilm", "bm25"] = "auto"

    def __post_init__(self) -> None:
        if self.shots < 1:
            raise BadInput(f"few_shot cannot show {self.shots} examples", "shots is 1 or more; zero_shot shows none")
        if self.choose in LOOKING and self.pool < self.shots:
            raise BadInput(f"few_shot cannot choose {self.shots} examples of a pool of {self.pool}", "raise `pool`")
        if self.choose == "nearest" and (self.order == "grouped" or self.calibrate):
            other = "calibrate" if self.calibrate else "order: grouped"
            raise BadInput(f"few_shot cannot use {other} with choose: nearest", "each row has shots of its own, the nearest last")
        if self.choose not in LOOKING and (self.pool, self.similarity) != (FewShot.pool, FewShot.similarity):
            raise BadInput(f"few_shot with choose: {self.choose} reads neither pool nor similarity", f"{' and '.join(LOOKING)} do")

    @property
    def content(self) -> str:
        """What decides which rows are alike beside their texts; nothing where it is not asked, or cannot be."""
        try:
            return content_of(self._similarity) if self.choose in LOOKING else ""
        except BadInput:
            return ""

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
        if self.calibrate and variant.prompt.think:
            raise Refused("calibrate ranks labels on an empty input, of which there is nothing to think", "leave `calibrate` out")
        try:
            # a plan opens no model: which rows are alike it does not know, and how long they are it sees on others
            drawn = replace(self, choose="fixed", pool=FewShot.pool, similarity="auto") if self.choose in LOOKING else self
            ahead, cost = drawn._on(variant, task, 0), Cost(annotations=self.shots)
            return ahead, self._looking(variant, task, pace) if self.choose in LOOKING else cost
        except BadInput as error:  # rows of one source count once; the encoder may not be there
            raise Refused(error.message, error.hint) from error

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        made = self._on(variant, task, kit.seed)
        if self.choose in LOOKING:
            pool, how = len(self._pool(task, kit.seed)), "nearest" if self.choose == "nearest" else "most diverse"
            write_json(kit.folder / "notes.json", [f"shows the {how} of {pool:,} rows of train, by {self._similarity}"])
        return made

    def _on(self, variant: Variant, task: Task, seed: int) -> Variant:
        # a row of several words, or of several labels, has no one label to be balanced by
        labels = () if task.kind == "tag" or task.multi_label else task.labels
        shots = Shots(self.shots, self.choose)
        if self.choose == "nearest":
            shots = replace(shots, pool=self._pool(task, seed), similarity=self._similarity)
            prepare(shots)
        elif self.choose == "diverse":
            pool = self._pool(task, seed)
            chosen = spread(pool, self.shots, similarity=self._similarity, seed=seed)
            shots = replace(shots, chosen=self._ordered(chosen, labels, seed), similarity=self._similarity)
        else:
            chosen = choose(task.examples.train, count=self.shots, choose=self.choose, seed=seed, labels=labels)
            shots = replace(shots, chosen=self._ordered(chosen, labels, seed))
        return replace(
            variant,
            steps=(*variant.steps, "few_shot"),
            prompt=replace(variant.prompt, shots=shots, calibrate=self.calibrate),
        )

    def _ordered(self, chosen: tuple[Example, ...], labels: tuple[str, ...], seed: int) -> tuple[Example, ...]:
        if self.order == "shuffled":
            return tuple(random.Random(f"{seed} order").sample(chosen, len(chosen)))
        order = {label: at for at, label in enumerate(labels)}
        return tuple(sorted(chosen, key=lambda example: order.get(example.references[0], 0)))

    @property
    def _similarity(self) -> Similarity:
        return similarity_here() if self.similarity == "auto" else self.similarity

    def _pool(self, task: Task, seed: int) -> tuple[Example, ...]:
        """The rows to choose from, no two of one source. Raises BadInput where there are fewer than shots."""
        count = min(self.pool, max(self.shots, different(task.examples.train)))
        return choose(task.examples.train, count=count, choose="fixed", seed=seed)

    def _looking(self, variant: Variant, task: Task, pace: Pace) -> Cost:
        """What choosing by what the rows say costs: the pool is read, by an encoder that then stands beside the base."""
        pool = self._pool(task, 0)
        flops, held = price_of(self._similarity, sum(len(text_of(example)) for example in pool))
        dtype = computed_in(device())
        answering = 0
        if variant.base.source != "url" and held:
            answering = memory.inference(variant.base, rows=64, length=64, dtype=dtype, device=device()).peak
        labelled = len(pool) if self.choose == "nearest" else self.shots
        return Cost(flops / pace.flops, answering + held, annotations=labelled)
