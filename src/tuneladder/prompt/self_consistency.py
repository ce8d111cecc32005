"""Several ways of reasoning, and a vote on where they lead (arXiv:2203.11171)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from tuneladder.errors import BadInput, Refused
from tuneladder.evaluate.measure import has_rights
from tuneladder.types import Cost, Family, Kit, Pace, Task, Thought, Variant

TOP_K = 40  # as in the paper, which leaves it out at an endpoint, too


@dataclass(frozen=True, kw_only=True)
class SelfConsistency:
    """Each row is asked `samples` times at `temperature`, among the `top_k` likeliest tokens (0: all), and the answer that most
    give counts; its share of the votes is the confidence, and an answer costs as many times more. Where nothing is said `top_k` is
    40, and all at an endpoint: OpenAI's own refuses whoever says how many.

    With `think`, a prompt that does not reason yet does, in at most `tokens` tokens, as in chain_of_thought; without it the answer
    itself is sampled, and labels are read out of what is written.
    """

    changes: ClassVar = "prompt"
    needs: ClassVar = "nothing"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "seq2seq")
    reads: ClassVar[tuple[str, ...]] = ()
    version: ClassVar = 2

    samples: int = 10
    temperature: float = 0.7
    top_k: int | None = None
    think: bool = True
    tokens: int = Thought.tokens

    def __post_init__(self) -> None:
        least = {"samples": 2, "top_k": 0, "tokens": 1}
        for name, value in least.items():
            if (given := getattr(self, name)) is not None and given < value:
                raise BadInput(f"self_consistency cannot use {name} {given}", f"{name} is {value} or more")
        if not self.temperature > 0:
            raise BadInput(f"self_consistency cannot use temperature {self.temperature}", "above 0: else all samples are the same")

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        if task.kind == "text":
            raise Refused("self_consistency votes on answers, and plain text has none", "take a task with answers")
        if variant.prompt.parse == "text" and not has_rights(task):
            said = f"self_consistency counts answers that are the same, and those of {task.metric or task.kind} seldom are"
            raise Refused(said, "it is for labels, numbers and what is right to the letter")
        if variant.prompt.why and self.think:
            said = "the prompt asks for a reason after the answer, and what reasons before it is not asked again"
            raise Refused(said, "leave `explain` out: the reasoning is kept with each answer; or say `think: false`")
        if variant.prompt.calibrate:
            raise Refused("self_consistency samples answers, and what is calibrated is ranked", "leave `calibrate` out")
        if (samples := variant.prompt.decoding.samples) > 1:
            said = f"self_consistency comes to one answer for each row, and {samples} samples are asked for"
            raise Refused(said, "its own `samples` are what votes: leave `decoding: samples` out, or the step")
        return self._on(variant), Cost()

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        return self._on(variant)

    def _on(self, variant: Variant) -> Variant:
        prompt = variant.prompt
        top_k = self.top_k if self.top_k is not None else 0 if variant.base.source == "url" else TOP_K
        decoding = replace(prompt.decoding, temperature=self.temperature, top_k=top_k)
        prompt = replace(prompt, decoding=decoding, vote=self.samples)
        if self.think and prompt.think is None:
            prompt = replace(prompt, think=Thought(tokens=self.tokens))
        if prompt.think is None and prompt.ask == "score":
            prompt = replace(prompt, ask="generate")
        return replace(variant, steps=(*variant.steps, "self_consistency"), prompt=prompt)
