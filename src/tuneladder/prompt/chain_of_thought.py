"""Reasoning before the answer: asked for outright (arXiv:2205.11916), or shown in worked examples (arXiv:2201.11903)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from tuneladder.errors import BadInput, Refused
from tuneladder.evaluate.measure import has_rights, rights
from tuneladder.model.ask import ask, turns_of_all
from tuneladder.model.fees import fee, tokens_of, written_by
from tuneladder.store import write_json
from tuneladder.task.multi_label import joined, labels_of
from tuneladder.task.shots import choose, different
from tuneladder.types import Cost, Example, Family, Kit, Pace, Shots, Task, Thought, Turn, Variant

TRIES = 8  # rows that the model reasons about for each that is shown


@dataclass(frozen=True)
class Worked:
    """An example that a person worked out: what is asked, what leads to the answer, and the answer."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}

    input: str
    reason: str
    answer: str


@dataclass(frozen=True, kw_only=True)
class ChainOfThought:
    """`invitation` asks for the reasoning, of at most `tokens` tokens, and `conclusion` for the answer after it, which is then
    ranked or read as the task's answers are. Each row is asked about twice, and an answer costs so much more.

    `examples` are worked out by a person. `shots` more the model works out itself, on rows of the train split, balanced over the
    labels where a row has one: shown are those whose reasoning came to the right answer (arXiv:2203.14465). Shots without
    reasoning, of a few_shot before it, show the answer alone; with worked examples of its own the step leaves them out.
    """

    changes: ClassVar = "prompt"
    needs: ClassVar = "nothing"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "seq2seq")
    reads: ClassVar = ("train",)
    version: ClassVar = 2

    examples: tuple[Worked, ...] = ()
    shots: int = 0
    tokens: int = Thought.tokens
    invitation: str = Thought.invitation
    conclusion: str = Thought.conclusion

    def __post_init__(self) -> None:
        if self.tokens < 1 or self.shots < 0:
            name = "tokens" if self.tokens < 1 else "shots"
            least = "1 or more" if self.tokens < 1 else "0 or more"
            raise BadInput(f"chain_of_thought cannot use {name} {getattr(self, name)}", f"{name} is {least}")
        if not self.invitation.strip() or not self.conclusion.strip():
            raise BadInput(
                "chain_of_thought has to ask for the reasoning and for the answer", "invitation and conclusion are texts"
            )

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        if task.kind == "text":
            raise Refused("chain_of_thought reasons toward an answer, and plain text has none", "take a task with answers")
        if variant.prompt.why:
            said = "the prompt asks for a reason after the answer, and what reasons before it is not asked again"
            raise Refused(said, "leave `explain` out: the reasoning is kept with each answer")
        if variant.prompt.calibrate:
            raise Refused("chain_of_thought cannot be calibrated: an empty input is nothing to think of", "leave `calibrate` out")
        if (samples := variant.prompt.decoding.samples) > 1:
            said = f"chain_of_thought comes to one answer for each row, and {samples} samples are asked for"
            raise Refused(said, "leave `decoding: samples` out, or the step")
        for example in self.examples:
            said = f"the worked example {example.input[:60]!r} is answered {example.answer!r}, which is no"
            if task.multi_label and joined(labels_of(example.answer, task.labels), task.labels) != example.answer:
                order = f"they are written in this order: {joined(task.labels, task.labels)}; of none: {joined((), task.labels)}"
                raise Refused(f"{said} set of labels", order)
            if task.kind == "classify" and not task.multi_label and example.answer not in task.labels:
                raise Refused(f"{said} label", f"the labels: {', '.join(task.labels)}")
        if self.shots and not has_rights(task):
            raise Refused(
                f"chain_of_thought keeps the reasoning that comes to the right answer, and {task.metric or task.kind} knows none",
                "give worked `examples`, or leave `shots` out",
            )
        if self.shots > different(task.examples.train):
            have = different(task.examples.train)
            raise Refused(f"{self.shots} shots asked for, but {task.name} has {have} to show", "lower `shots`")
        found = self._on(variant, self._given())
        if not self.shots:
            return found, Cost(annotations=len(self.examples))
        tried = min(TRIES * self.shots, different(task.examples.train))
        rows = task.examples.train[:tried]
        read = sum(len(turn.text) for turns in turns_of_all(found.prompt, rows, task.labels) for turn in turns) / 4
        seconds = 2 * variant.base.active * (2 * read + 2 * tried * self.tokens) / pace.flops
        prompt = written_by(variant.base, found.prompt)
        asked = fee(variant.base, tokens_of(prompt, rows, task.labels), tried)
        return found, replace(asked, seconds=seconds, annotations=len(self.examples) + tried)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        given = self._given()
        if not self.shots:
            return self._on(variant, given)
        found: list[tuple[Example, str]] = []
        tried = 0
        with kit.shelf.engine(variant) as engine:
            # a few_shot below may show the very rows that are reasoned about
            prompt = self._on(replace(variant, prompt=replace(variant.prompt, shots=None)), given).prompt
            for rows in self._rows(task, kit.seed):
                answers = ask(engine, prompt, rows, task.labels)
                tried += len(rows)
                right = rights(task, [answer.text for answer in answers], [row.references for row in rows])
                reasoned = [(row, answer.reason) for row, answer in zip(rows, answers, strict=True)]
                found += [own for own, correct in zip(reasoned, right, strict=True) if correct and own[1]]
                if len(found) >= self.shots:
                    break
        found = found[: self.shots]
        said = f"{len(found)} of {self.shots} worked examples shown: of the model's own reasoning about {tried} rows, right ones"
        write_json(kit.folder / "notes.json", [said])
        return self._on(variant, [*given, *found])

    def _given(self) -> list[tuple[Example, str]]:
        return [
            (Example(f"worked {number}", (Turn("user", own.input),), (own.answer,)), own.reason)
            for number, own in enumerate(self.examples)
        ]

    def _on(self, variant: Variant, worked: Sequence[tuple[Example, str]]) -> Variant:
        prompt = replace(variant.prompt, think=Thought(self.invitation, self.conclusion, self.tokens))
        if worked:
            rows, reasons = zip(*worked, strict=True)
            prompt = replace(prompt, shots=Shots(len(rows), "fixed", rows, reasons))
        return replace(variant, steps=(*variant.steps, "chain_of_thought"), prompt=prompt)

    def _rows(self, task: Task, seed: int) -> Iterator[tuple[Example, ...]]:
        """Rows to reason about, as many at a time as are wanted."""
        # a set of labels is no one label to be balanced by
        labels = task.labels if task.kind == "classify" and not task.multi_label else ()
        count = min(TRIES * self.shots, different(task.examples.train))
        drawn = choose(task.examples.train, count=count, seed=seed, labels=labels)
        return (drawn[start : start + self.shots] for start in range(0, count, self.shots))
