"""A constitution (arXiv:2212.08073): the model answers prompts that tempt it, its answers are criticised and revised by principles,
it learns the revisions, and of two new answers to each prompt a critic says which keeps a principle better. These comparisons are
what the next step learns from: `[lora, constitution, dpo]`."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

from tuneladder.errors import BadInput, Refused
from tuneladder.model.addressed import Named, named, placed
from tuneladder.model.fees import Tokens, fee
from tuneladder.store import digest, resident, write_json
from tuneladder.train.constitution import (
    Preferred,
    Principle,
    Revised,
    compared,
    once_in,
    preferred,
    read_principles,
    read_prompts,
    revised,
)
from tuneladder.train.loop import tidy
from tuneladder.train.low_rank import lora_course
from tuneladder.train.made import foretell_made, write_made
from tuneladder.train.preference import check_rank, cost_of_answers, learner, plan_learner
from tuneladder.train.supervised import check, fit, refuse_asking
from tuneladder.types import Base, Cost, Decoding, Example, Family, Kit, Pace, Prompt, Split, Task, Tick, Turn, Variant

TOKENS = 4  # characters that are a token, about


@dataclass(frozen=True, kw_only=True)
class Constitution:
    """`principles` is a YAML file of rules ({name, says}) and `prompts` one with a column `prompt`; "" is ours. `rows` prompts of
    the task are tempting too. `rounds` of critique and revision are by `critic`: another base by the name that a recipe gives it,
    an endpoint and its model, as "https://host/v1 MODEL" or by the keys of a recipe's base ({url: ..., model: ..., prices: ...}),
    or the model itself; so is the preference. Each text has at most `tokens` tokens, drawn at `temperature`. What learns is the
    LoRA below, or a new one of rank `r` (0: 8). `learning_rate` 0 is the step's own: that of `lora`."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "nothing"
    families: ClassVar[tuple[Family, ...]] = ("decoder",)
    reads: ClassVar = ("train",)
    version: ClassVar = 6
    places: ClassVar = dict.fromkeys(("principles", "prompts", "critic"), placed)

    principles: str = ""
    prompts: str = ""
    rows: int = 0
    critic: Named = ""
    rounds: int = 1
    tokens: int = 128
    temperature: float = 0.8
    r: int = 0
    learning_rate: float = 0.0
    epochs: float = 2.0
    batch_size: int = 16
    max_length: int = 0
    warmup: float = 0.06

    def __post_init__(self) -> None:
        for name in ("rounds", "tokens"):
            if getattr(self, name) < 1:
                raise BadInput(f"constitution cannot use {name} {getattr(self, name)}", f"{name} is 1 or more")
        check_rank(self.r, "constitution")
        above = ("temperature", "epochs", "batch_size")
        check(self, "constitution", above=above, at_least=("rows", "max_length", "learning_rate"), shares=("warmup",))

    @property
    def content(self) -> str:
        """What the files say, and what the critic is. Nothing where there is none."""
        try:
            critic = self._critic()
            return digest(read_principles(self.principles), read_prompts(self.prompts), critic.content if critic else "")
        except BadInput:
            return ""

    @property
    def keyed(self) -> dict[str, str]:
        if not self.content:  # what cannot be read is known by its name alone
            return {}
        return {"principles": "", "prompts": ""} | ({"critic": ""} if isinstance(self.critic, str) else {})

    @property
    def asks(self) -> Named:
        return self.critic

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        refuse_asking(variant, "constitution")
        critic = self._critic() or variant.base
        rules, rows = self._read(task, seed=0)
        trainable = plan_learner(self.r, variant, "constitution")
        asks = [turn.text for row in rows for turn in row.turns]
        read = sum(map(len, asks)) / TOKENS + len(rows) * (self.tokens + len(rules[0].says) / TOKENS)
        written = len(rows) * self.tokens
        # answers at first and two more; a critique and a revision a round, and each pair read in both orders
        answered, criticised = 3 * (read + written), 2 * self.rounds * (read + written) + 2 * (read + written)
        taught = [replace(row, references=("a" * TOKENS * self.tokens,)) for row in rows]
        wanted = min(self.batch_size, len(rows))
        cost = cost_of_answers(self, variant, taught, pace, trainable=trainable, passes=4 * self.epochs, wanted=wanted)
        asking = 2 * (variant.base.active * answered + critic.active * criticised) / pace.flops
        steps = (*variant.steps, "constitution")
        made = replace(variant, steps=steps, adapter="foretold", made=foretell_made(len(rows)))
        # two texts a round, and a letter for each order
        texts = Tokens(read / len(rows) + self.tokens, self.tokens)
        asked = fee(critic, texts, (2 * self.rounds + 2) * len(rows))
        return made, replace(cost, seconds=cost.seconds + asking, money=asked.money, tokens=asked.tokens)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        rules, rows = self._read(task, seed=kit.seed)
        found = self._critic()
        critic = Variant(found, Prompt()) if found else variant
        decoding = Decoding(max_new_tokens=self.tokens, temperature=self.temperature, seed=kit.seed)
        lend = partial(partial, kit.shelf.engine)

        def revising() -> list[Revised]:
            lent = {"answering": lend(variant), "criticising": lend(critic)}
            return revised(rows, variant.prompt, rules, rounds=self.rounds, decoding=decoding, seed=kit.seed, **lent)

        kept = once_in(kit.folder / "revisions.json", list[Revised], revising)
        learned = [replace(row, references=(own.last,)) for row, own in zip(rows, kept, strict=True) if own.last]
        if not learned:
            raise BadInput("nothing was written: every answer and every revision is empty", "raise `tokens`, or name a `critic`")
        tuned, ticks = self._tuned(variant, task, kit, learned)

        def preferring() -> list[Preferred]:
            lent = {"answering": lend(tuned), "criticising": lend(critic if found else tuned)}
            again = replace(decoding, seed=kit.seed + 1)
            ranks = not found or found.source != "url"
            return preferred(rows, variant.prompt, rules, decoding=again, seed=kit.seed, ranks=ranks, **lent)

        # what a budget cut goes on from here, and prefers anew
        step = max((tick.step for tick in ticks), default=0)
        said = once_in(kit.folder / f"preferences-{step}.json", list[Preferred], preferring)
        comparisons = compared(said)
        changed = sum(own.last != own.answer for own in kept)
        notes = [
            f"{changed:,} of {len(kept):,} answers were revised by {len(rules)} principles; {len(comparisons):,} pairs of answers "
            f"were told apart, {len(rows) - len(comparisons):,} were not: equal, empty, or as good"
        ]
        write_json(kit.folder / "notes.json", notes)
        made = write_made(kit.folder / "made.jsonl", comparisons)
        tidy(kit.folder, ticks)
        return replace(tuned, made=made, bytes=resident(kit.folder))

    def _tuned(self, variant: Variant, task: Task, kit: Kit, learned: list[Example]) -> tuple[Variant, list[Tick]]:
        """The variant that learned the revisions, and how. Its checkpoint stays, for what comes after may fail."""
        own = Task(task.name, "chat", examples=Split(tuple(learned)))
        course = lora_course(variant.base, warmup=self.warmup)
        with kit.shelf.live(variant) as live:
            made = learner(self.r, live, variant, kit)
            ticks = fit(self, made.model, replace(live, model=made.model, soft=made.soft), variant, own, kit, course=course)
            made.save(kit.folder, variant.weights or variant.base.location)
        return replace(variant, steps=(*variant.steps, "constitution"), adapter=str(kit.folder)), ticks

    def _read(self, task: Task, *, seed: int) -> tuple[tuple[Principle, ...], list[Example]]:
        """The principles, and the prompts as rows. Raises Refused for files that hold none."""
        try:
            rules, texts = read_principles(self.principles), read_prompts(self.prompts)
        except BadInput as error:
            raise Refused(f"constitution cannot be read: {error.message}", error.hint) from error
        own = [row for row in task.examples.train if row.turns]
        drawn = random.Random(f"{seed} tempting").sample(own, min(self.rows, len(own)))
        tempting = [Example(f"tempting {number}", (Turn("user", text),), ()) for number, text in enumerate(texts, start=1)]
        return rules, [*tempting, *(replace(row, references=()) for row in drawn)]

    def _critic(self) -> Base | None:
        if not self.critic:
            return None
        try:
            found = named(self.critic)
        except BadInput as error:
            raise Refused(f"constitution has no critic: {error.message}", error.hint) from error
        if found.family != "decoder":
            raise Refused(f"{found.name} is of the {found.family} family, and criticises nothing", "take a decoder")
        return found
