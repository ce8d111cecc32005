"""The task's plain prompt on the base: the root of every ladder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from tuneladder.errors import Refused
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class ZeroShot:
    """`instruction` replaces the task's own; empty keeps it. An encoder reads none: it ranks labels by how near their words lie.
    Of tags, and of where a row's several labels end, it knows nothing before it has a head: what the most frequent are worth stands
    among the baselines."""

    changes: ClassVar = "prompt"
    needs: ClassVar = "nothing"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar[tuple[str, ...]] = ()
    version: ClassVar = 1

    instruction: str = ""

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        base = variant.base
        if base.family == "encoder" and task.kind == "tag" and not variant.head:
            raise Refused(f"{base.name} has no head that tags words", "lora and full make one")
        if base.family == "encoder" and task.multi_label and not variant.head and not variant.probe:
            said = f"{base.name} can rank labels by their words, and not say which of several a text has"
            raise Refused(said, "linear_probe, lora and full make a head that does")
        heads = task.kind in ("text", "tag") or task.multi_label
        if base.family == "encoder" and not heads and variant.prompt.ask != "score":
            raise Refused(f"{base.name} is an encoder, which writes no answers", "give the task labels, or take a decoder")
        if base.family == "encoder" and task.kind == "text" and not base.settings.get("masked"):
            raise Refused(f"{base.name} came without the head of its pretraining, and cannot read", "take another base")
        if base.family == "seq2seq" and task.kind == "text" and not base.settings.get("sentinels"):
            raise Refused(f"{base.name} has no sentinels, and cannot read", "take a base in T5's manner")
        return self._on(variant, task), Cost()

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        return self._on(variant, task)

    def _on(self, variant: Variant, task: Task) -> Variant:
        prompt = replace(task.prompt, instruction=self.instruction or task.prompt.instruction)
        return replace(variant, steps=(*variant.steps, "zero_shot"), prompt=prompt)
