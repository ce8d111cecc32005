"""How a suite's question is laid out as an ask: what stands before all, the shots, the question; and how it is made to fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from tuneladder.evaluate.suite import APART, Suite
from tuneladder.model.local import LocalEngine
from tuneladder.model.seq2seq import Seq2seqEngine
from tuneladder.task.encode import Coder
from tuneladder.types import Engine, Example, Turn, Turns

SLACK = 4  # tokens by which a text may be longer than its parts


@dataclass(frozen=True)
class Ask:
    """One question as it is asked. Plain text unless it is a `chat`, where the shots are earlier turns."""

    lead: str
    shots: tuple[tuple[str, str], ...]
    question: str
    options: tuple[str, ...]
    gap: str
    chat: bool = False

    @cached_property
    def before(self) -> str:
        """What all questions after the same shots begin with."""
        return self.lead + "".join(f"{question}{self.gap}{answer}{APART}" for question, answer in self.shots)

    @property
    def turns(self) -> Turns:
        if not self.chat:
            return (Turn("text", self.before + self.question),)
        said = (Turn("system", self.lead.strip()),) if self.lead.strip() else ()
        shown = [(Turn("user", question.strip()), Turn("assistant", answer.strip())) for question, answer in self.shots]
        return (*said, *(turn for pair in shown for turn in pair), Turn("user", self.question.strip()))

    @property
    def endings(self) -> tuple[str, ...]:
        return tuple(option.strip() if self.chat else f"{self.gap}{option}" for option in self.options)


def laid_out(suite: Suite, example: Example, lead: str, shots: Sequence[Example], *, chat: bool) -> Ask:
    shown = tuple((shot.turns[0].text, str(shot.meta.get("worked", shot.references[0]))) for shot in shots)
    return Ask(lead, shown, example.turns[0].text, example.options, suite.gap, chat)


def fitted(engine: Engine, asks: Sequence[Ask], *, new_tokens: int) -> tuple[list[Ask], list[int]]:
    """The asks with the oldest shots left out, one by one, until each fits in the engine's context, and how many were left out of
    each. What is too long without any shot, and what another kind of engine is asked, stays as it is."""
    if isinstance(engine, LocalEngine):
        room = engine.coder.context if new_tokens == 0 else max(engine.coder.context - new_tokens, engine.coder.context // 2)
        rule = _Rule(engine.coder, room)
    elif isinstance(engine, Seq2seqEngine):  # its decoder has a context of its own for what is ranked or written
        rule = _Rule(engine.coder.prompts, engine.coder.room, alone=True)
    else:
        return list(asks), [0] * len(asks)
    found = [rule.fit(ask) for ask in asks]
    return found, [len(ask.shots) - len(kept.shots) for ask, kept in zip(asks, found, strict=True)]


class _Rule:
    """Fits asks into so much room, `alone` or with their endings; of what many have in common the tokens are counted once."""

    def __init__(self, coder: Coder, room: int, *, alone: bool = False) -> None:
        self._coder, self._room, self._alone = coder, room, alone
        self._sizes: dict[str, int] = {}

    def fit(self, ask: Ask) -> Ask:
        if not ask.shots or self._surely(ask):
            return ask
        while ask.shots and self._tokens(ask) > self._room:
            ask = replace(ask, shots=ask.shots[1:])
        return ask

    def _surely(self, ask: Ask) -> bool:
        """Whether the parts alone say that it fits; a template's marks are in none of them."""
        if ask.chat:
            return False
        if ask.before not in self._sizes:
            self._sizes[ask.before] = len(self._coder.encode_whole(ask.before)) + len(self._coder.soft)
        last = max((len(self._coder.encode_whole(ending)) for ending in self._endings(ask)), default=0)
        return self._sizes[ask.before] + len(self._coder.encode_whole(ask.question)) + last + 2 * SLACK <= self._room

    def _endings(self, ask: Ask) -> set[str]:
        return set() if self._alone else set(ask.endings)

    def _tokens(self, ask: Ask) -> int:
        pairs: list[tuple[Turns, str | None]] = [(ask.turns, ending) for ending in self._endings(ask)]
        return max(len(laid.ids) for laid in self._coder.lay(pairs or [(ask.turns, None)], every=False, close=False))
