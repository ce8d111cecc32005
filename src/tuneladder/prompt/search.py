"""Automatic prompt search (arXiv:2211.01910): a model proposes instructions from examples, and the best on dev is kept."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from tuneladder.errors import BadInput, Refused
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.measure import told_by
from tuneladder.model.addressed import Named, content_of, named, placed
from tuneladder.model.ask import ask, names_all, turns_of_all
from tuneladder.model.fees import CHARACTERS, Tokens, fee, tokens_of, written_by
from tuneladder.model.likeness import text_of
from tuneladder.store import write_json
from tuneladder.task.multi_label import joined
from tuneladder.task.shots import choose, different
from tuneladder.types import Base, Cost, Decoding, Engine, Example, Family, Kit, Pace, Prompt, Task, Turn, Turns, Variant

ASKED = (
    "Someone was given an instruction and wrote these outputs as it says.",
    "What was the instruction? Write it in one sentence.",
)


@dataclass(frozen=True, kw_only=True)
class Search:
    """`candidates` instructions of at most `tokens` tokens are proposed at `temperature`, each from `shown` other rows of train, by
    the model itself or by `proposer`: another base by the name that a recipe gives it, or an endpoint and its model, as
    "https://host/v1 MODEL" or by the keys of a recipe's base ({url: ..., model: ..., prices: ...}). They and the task's own are
    scored by the task's metric on `rows` rows of dev, those of a task with sets of labels or tags with the labels named after them
    where they name them not; the better half goes on to twice as many, until one is left or dev is at its
    end (successive halving, arXiv:1502.07943). Of equals the task's own is kept, then the earlier.

    What wins was chosen on dev among many, and its score there flatters it: test confirms it.
    """

    changes: ClassVar = "prompt"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "seq2seq")
    reads: ClassVar = ("train", "dev", "metric")
    version: ClassVar = 3
    places: ClassVar = {"proposer": placed}

    candidates: int = 16
    shown: int = 5
    rows: int = 16
    tokens: int = 48
    temperature: float = 0.9
    proposer: Named = ""

    def __post_init__(self) -> None:
        for name in ("candidates", "shown", "rows", "tokens"):
            if getattr(self, name) < 1:
                raise BadInput(f"search cannot use {name} {getattr(self, name)}", f"{name} is 1 or more")
        if not self.temperature > 0:
            raise BadInput(f"search cannot use temperature {self.temperature}", "above 0: else a model proposes the same again")

    @property
    def content(self) -> str:
        """What the proposer is: see `addressed.content_of`."""
        return content_of(self.proposer)

    @property
    def keyed(self) -> dict[str, str]:
        return {"proposer": ""} if self.content and isinstance(self.proposer, str) else {}

    @property
    def asks(self) -> Named:
        return self.proposer

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        if not task.examples.train or not task.examples.dev:
            split = "dev" if task.examples.train else "train"
            raise Refused(f"search proposes from rows of train and scores on dev, and {task.name} has no {split} rows", "add some")
        if not task.metric:
            raise Refused(f"search keeps what a metric likes best, and {task.name} names none", "set `metric`")
        proposer = self._proposer() or variant.base
        shown = min(self.shown, different(task.examples.train))
        texts = [text_of(row) + row.references[0] for row in task.examples.train]
        proposal = Tokens(shown * sum(map(len, texts)) / len(texts) / CHARACTERS, self.tokens)
        proposing = self.candidates * (proposal.read + proposal.written)
        some = task.examples.dev[:200]
        read = sum(len(turn.text) for turns in turns_of_all(variant.prompt, some, task.labels) for turn in turns) / len(some) / 4
        thinking = 2 * variant.prompt.think.tokens + read if variant.prompt.think else 0
        asked = _asked(self.candidates + 1, self.rows, len(task.examples.dev))
        scoring = asked * variant.prompt.vote * (read + thinking)
        seconds = 2 * (proposer.active * proposing + variant.base.active * scoring) / pace.flops
        annotations = min(len(task.examples.train), self.candidates * shown) + len(task.examples.dev)
        answer = tokens_of(written_by(variant.base, variant.prompt), task.examples.dev, task.labels)
        fees = (fee(proposer, proposal, self.candidates), fee(variant.base, answer, asked))
        money, tokens = sum(each.money for each in fees), sum(each.tokens for each in fees)
        cost = Cost(seconds, annotations=annotations, money=money, tokens=tokens)
        return self._with(variant, task.prompt.instruction), cost

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        asks = [_proposal(rows) for rows in self._drawn(task, kit.seed)]
        decoding = Decoding(max_new_tokens=self.tokens, temperature=self.temperature, seed=kit.seed)
        proposer = self._proposer()
        with kit.shelf.engine(Variant(proposer, Prompt()) if proposer else variant) as engine:
            written = engine.generate(asks, decoding)
        own = variant.prompt.instruction
        proposed = filter(None, (_instruction(text) for texts in written for text in texts))
        found = list(dict.fromkeys([own, *(_naming(text, task) for text in proposed)]))
        with kit.shelf.engine(variant) as engine:
            rounds = self._halved(engine, variant.prompt, task, found, kit.seed)
        last = rounds[-1]
        winner, score = next(iter(last["scores"].items()))
        asked = sum(len(each["scores"]) * (each["rows"] - before["rows"]) for before, each in zip([{"rows": 0}, *rounds], rounds))
        write_json(kit.folder / "search.json", {"proposed": [text for texts in written for text in texts], "rounds": rounds})
        said = (
            f"{len(found) - 1} different instructions of {len(asks)} proposed, scored with the task's own in {asked:,} answers on "
            f"dev; {'the task keeps its own' if winner == own else f'taken: {winner!r}'}, {task.metric} {score:.3f} on "
            f"{last['rows']} rows"
        )
        write_json(kit.folder / "notes.json", [said])
        return self._with(variant, winner)

    def _proposer(self) -> Base | None:
        if not self.proposer:
            return None
        try:
            found = named(self.proposer)
        except BadInput as error:
            raise Refused(f"search has no proposer: {error.message}", error.hint) from error
        if found.family not in self.families:
            raise Refused(f"{found.name} is of the {found.family} family, and writes no instructions", "take a decoder")
        return found

    def _drawn(self, task: Task, seed: int) -> list[tuple[Example, ...]]:
        """The rows that each proposal is made from."""
        train, count = task.examples.train, min(self.shown, different(task.examples.train))
        # a set of labels is no one label to be balanced by
        labels = task.labels if task.kind == "classify" and not task.multi_label else ()
        every = random.Random(f"{seed} proposals").sample(range(2**31), self.candidates)
        return [choose(train, count=count, seed=own, labels=labels) for own in every]

    def _halved(self, engine: Engine, prompt: Prompt, task: Task, found: Sequence[str], seed: int) -> list[dict[str, Any]]:
        """The rounds: on how many rows each instruction that was left was scored, the best first."""
        metric = find_metric(task.metric)
        up = 1 if metric.better == "higher" else -1
        dev = random.Random(f"{seed} rows").sample(task.examples.dev, len(task.examples.dev))
        prompt = replace(prompt, why=None)  # reasons move no score
        told: dict[str, list[str]] = {instruction: [] for instruction in found}
        left, size = list(found), min(self.rows, len(dev))
        rounds: list[dict[str, Any]] = []
        while True:
            scores = {}
            for instruction in left:
                own = told[instruction]
                rows = dev[len(own) : size]
                own += told_by(metric, rows, ask(engine, replace(prompt, instruction=instruction), rows, task.labels))
                scores[instruction] = metric.score(own, [row.references for row in dev[:size]], task.labels)
            left.sort(key=lambda instruction: -up * scores[instruction])
            rounds.append({"rows": size, "scores": {instruction: scores[instruction] for instruction in left}})
            if len(left) < 3 or size == len(dev):
                return rounds
            left, size = left[: math.ceil(len(left) / 2)], min(2 * size, len(dev))

    def _with(self, variant: Variant, instruction: str) -> Variant:
        return replace(variant, steps=(*variant.steps, "search"), prompt=replace(variant.prompt, instruction=instruction))


def _asked(left: int, size: int, rows: int) -> int:
    """How many answers halving asks for, of so many instructions on so many rows at first and in all."""
    size = min(size, rows)
    asked = left * size
    while left > 2 and size < rows:
        left, more = math.ceil(left / 2), min(size, rows - size)
        asked, size = asked + left * more, size + more
    return asked


def _proposal(rows: Sequence[Example]) -> Turns:
    pairs = [f"Input: {text_of(row)}\nOutput: {row.references[0]}" for row in rows]
    return (Turn("user", "\n\n".join([ASKED[0], *pairs, ASKED[1]])),)


def _naming(instruction: str, task: Task) -> str:
    """The instruction with the labels after it, where it does not name them all and several are to be written: else nobody tells
    a model what they are. One label alone is ranked, or shown with the row."""
    if not task.labels or task.prompt.parse not in ("labels", "tags") or names_all(instruction, task.labels):
        return instruction
    if task.prompt.parse == "tags":
        return f"{instruction}\n\nOne of these for each word, with blanks between: {', '.join(task.labels)}."
    return f"{instruction}\n\nAll that fit of these, or {joined((), task.labels)}: {', '.join(task.labels)}."


def _instruction(text: str) -> str:
    """The first line that says something, without the quotes or the heading that models put around it."""
    for line in text.splitlines():
        said = " ".join(line.split()).removeprefix("Instruction:").strip(" \"'*`\u201c\u201d")
        if any(letter.isalpha() for letter in said):
            return said
    return ""
