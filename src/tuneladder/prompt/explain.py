"""A reason for each answer, asked for once it is given: so that people can judge what the model says moved it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from tuneladder.errors import BadInput, Refused
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant, Why


@dataclass(frozen=True, kw_only=True)
class Explain:
    """After each answer the model is asked `question`, and writes a reason of at most `tokens` tokens. The answers stay what they
    are without it. What is said afterwards need not be what decided (arXiv:2305.04388): reasons that contradict their answer, or
    name what the row does not, are counted (evaluate/explanations.py)."""

    changes: ClassVar = "prompt"
    needs: ClassVar = "nothing"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "seq2seq")
    reads: ClassVar[tuple[str, ...]] = ()
    version: ClassVar = 1

    question: str = Why.question
    tokens: int = Why.tokens

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise BadInput(f"explain cannot use tokens {self.tokens}", "tokens is 1 or more")
        if not self.question.strip():
            raise BadInput("explain has to ask for the reason", "question is a text")

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        if task.kind == "text":
            raise Refused("explain asks for the reason of an answer, and plain text has none", "take a task with answers")
        if variant.prompt.think:
            raise Refused("the prompt reasons before it answers: that is its reason", "leave `explain` out")
        if variant.head or variant.probe:
            raise Refused("a head answers here, and what writes does not know why", "put explain on a rung that writes")
        return self._on(variant), Cost()

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        return self._on(variant)

    def _on(self, variant: Variant) -> Variant:
        prompt = replace(variant.prompt, why=Why(self.question, self.tokens))
        return replace(variant, steps=(*variant.steps, "explain"), prompt=prompt)
