"""A talk with one variant: what is asked, what was said, and what is still read of it.

A variant's prompt is frozen into it: its template, instruction and shots make every question here, and the tokenizer's chat
template renders them, so that what is asked is what was trained and measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from tuneladder.errors import BadInput, Failed, Refused
from tuneladder.model.ask import shares_of, turns_of
from tuneladder.model.local import Counts
from tuneladder.model.odds import Glass, Odds
from tuneladder.model.pieces import Cuts, Piece
from tuneladder.model.probe import open_probe
from tuneladder.store import writing
from tuneladder.task.multi_label import labels_of
from tuneladder.types import Decoding, Engine, Example, Shots, Streamer, Turn, Turns, Variant

MOST = 12  # tokens that are shown of what may come next
ARROW = "=>"  # between a question and its answer, as they are typed


class Talk:
    """`labels` are those that a model without a head of its own ranks; `history` says whether a question is asked after what was
    said before it, or alone, as the rows of most tasks are; `tell` is told what a person should know.

    `gives` is what answers are: text, one of `labels`, sets of them, tags of words, or rewards of the answers that are typed.
    `stopped` is why the last text ended, `tokens` how many it took where they are counted, `reason` what it says led there, None
    where the prompt asks for no reasoning, and `dropped` how many turns, the oldest, are no longer read.
    """

    def __init__(
        self,
        variant: Variant,
        engine: Engine,
        *,
        labels: tuple[str, ...] = (),
        history: bool = True,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.variant, self.own, self.prompt = variant, variant.prompt, variant.prompt
        self.gives, self.labels = _gives(variant, labels)
        self.history, self.tell = history, tell or (lambda said: None)
        self.turns: list[Turn] = []
        self.dropped = 0
        self.stopped: Literal["", "end", "length", "interrupted"] = ""
        self.tokens: int | None = None
        self.reason: str | None = None
        self._engine = engine

    def settle(self, system: str | None, settings: Mapping[str, Any]) -> None:
        """Take a system prompt and settings of decoding over the variant's own. Raises Refused where no text is written."""
        if system is not None or settings:
            self._writer()
        system = self.prompt.system if system is None else system
        self.prompt = replace(self.prompt, system=system, decoding=replace(self.prompt.decoding, **settings))

    def answer(self, text: str) -> Iterator[str]:
        """The answer to a question, in pieces as it is written. When it is closed before its end, what was said stays in the talk;
        after an error nothing does, and an empty answer never."""
        engine, counts = self._writer(), self._engine if isinstance(self._engine, Counts) else None
        said, self.stopped, self.tokens = "", "interrupted", None
        self.reason = self._reasoned(engine, text)
        turns = self._fitting(text, self.prompt.decoding, self.reason)
        before = (counts.calls.new_tokens, counts.calls.read_tokens) if counts else (0, 0)
        pieces = engine.stream(turns, self.prompt.decoding)
        try:
            for piece in pieces:
                said += piece
                yield piece
        except (GeneratorExit, KeyboardInterrupt):
            self._keep(text, said)
            raise
        finally:
            if isinstance(pieces, Generator):
                pieces.close()
        self.stopped = "end"
        if counts:
            self.tokens = counts.calls.new_tokens - before[0]
            # a decoder's answer stands behind what it has read; a seq2seq's begins with one token that it did not write
            ahead = counts.calls.read_tokens - before[1] if self.variant.base.family == "decoder" else 1
            room = min(self.prompt.decoding.max_new_tokens, self.variant.base.context - ahead)
            self.stopped = "length" if self.tokens >= room else "end"
        self._keep(text, said)

    def judge(self, text: str) -> list[tuple[str, float]]:
        """Each label with its probability for a text, likeliest first."""
        [scores] = self._engine.score([self.asked(text)], [self.labels])
        found = sorted(zip(self.labels, shares_of(scores, self.prompt), strict=True), key=lambda each: -each[1])
        self._keep(text, found[0][0])
        return found

    def sort(self, text: str) -> tuple[str, list[str]]:
        """The set of labels of a text, as the variant writes it and one by one."""
        [[said]] = self._engine.generate([self.asked(text)], self.prompt.decoding)
        self._keep(text, said)
        return said, labels_of(said, self.labels)

    def reward(self, text: str) -> list[tuple[str, float, float | None]]:
        """Of `QUESTION => ANSWER => ANSWER` each answer with its reward, the logit, and the probability that it is preferred to the
        others, by what pairs teach (arXiv:2203.02155, equation 1; of more than two Plackett and Luce's). One alone has none: only
        differences of rewards are learned. Raises BadInput for no answer, Failed for a reward that is no number."""
        question, *answers = (part.strip() for part in text.split(ARROW))
        if not answers or not all((question, *answers)):
            hint = f"QUESTION {ARROW} ANSWER, or several answers with {ARROW} between them"
            raise BadInput(f"'{text}' has no answer that could be rewarded", hint)
        [rewards] = self._engine.score([self.asked(question)], [answers])
        if not all(map(math.isfinite, rewards)):
            raise Failed("a reward is no number", "a model trained to NaN, or one whose weights overflow in this precision")
        powers = [math.exp(own - max(rewards)) for own in rewards]
        shares = [own / sum(powers) if len(rewards) > 1 else None for own in powers]
        return list(zip(answers, rewards, shares, strict=True))

    def tag(self, text: str) -> list[tuple[str, str]]:
        """Each word of a text with its tag."""
        words = text.split()
        [[tags]] = self._engine.generate([self.asked(" ".join(words))], self.prompt.decoding)
        self._keep(text, tags)
        return list(zip(words, tags.split(" "), strict=True))

    def asked(self, text: str, *, before: int | None = None, reason: str | None = None) -> Turns:
        """The turns that ask a question as the variant's prompt has it, after the first `before` turns of the talk (all). A
        variant that reasons first is asked for its reasoning or, with the `reason`, for the answer."""
        earlier = self.turns[self.dropped : before] if self.history and self.gives == "text" else []
        return turns_of(self.prompt, Example("talk", (*earlier, Turn("user", text)), ()), reason=reason)

    def again(self) -> Turns:
        """The last question as it was asked. Raises BadInput where there was none."""
        if not self.turns:
            raise BadInput("nothing was asked yet", "ask first, or name a question: /next QUESTION, /prompt QUESTION")
        return self.asked(self.turns[-2].text, before=len(self.turns) - 2)

    def odds(self, question: str, begun: str) -> list[Odds]:
        """What may come next in the answer to a question, or to the last one, when it begins with `begun`. Raises BadInput."""
        self._writer()
        turns = self.asked(question) if question else self.again()
        return self.glass("what may come next").odds(turns, self.prompt.decoding, begun=begun, most=MOST)

    def glass(self, what: str) -> Glass:
        """The engine, to look into. Raises Refused where `what` cannot be seen there."""
        if not isinstance(self._engine, Glass):
            kind = "a remote model" if self.variant.base.source == "url" else "this model"
            raise Refused(f"{kind} does not show {what}", "a decoder or seq2seq on this machine does")
        return self._engine

    def tokens_of(self, text: str) -> list[Piece]:
        """A text in tokens. Raises Refused where its model is elsewhere."""
        if not isinstance(self._engine, Cuts):
            raise Refused(f"{self.variant.base.name} does not show its tokens", "a model on this machine does")
        return self._engine.pieces(text)

    def reset(self) -> None:
        """Forget what was said; system, shots and settings stay."""
        self.turns.clear()
        self.dropped = 0

    def show(self, question: str, answer: str) -> None:
        """One more example in the prompt, without a reason: nobody said one."""
        chosen = self.shots()
        example = Example(f"shown {len(chosen) + 1}", (Turn("user", question),), (answer,))
        self._put((*chosen, example), (*reasons, "") if (reasons := self._reasons()) else ())

    def hide(self, number: int) -> Example:
        """Take an example out of the prompt, by its number from 1 on. Raises BadInput."""
        chosen = self.shots()
        if not 1 <= number <= len(chosen):
            raise BadInput(f"there is no shot {number}", f"/shots drop N, N from 1 to {len(chosen)}" if chosen else "none is shown")
        reasons = self._reasons()
        self._put((*chosen[: number - 1], *chosen[number:]), (*reasons[: number - 1], *reasons[number:]))
        return chosen[number - 1]

    def shots(self) -> tuple[Example, ...]:
        return self.prompt.shots.chosen if self.prompt.shots else ()

    def _reasons(self) -> tuple[str, ...]:
        return self.prompt.shots.reasons if self.prompt.shots else ()

    def save(self, file: Path) -> int:
        """Add the talk to a file of JSON lines, as `messages`, which this tool reads as data of kind `chat`. Returns the number of
        turns. Raises BadInput for a talk of nothing, or a file of another kind."""
        if not self.turns:
            raise BadInput("nothing was said that could be saved", "ask something first")
        _refuse_other(file)
        system = [Turn("system", self.prompt.system)] if self.prompt.system else []
        messages = [{"role": turn.role, "content": turn.text} for turn in (*system, *self.turns)]
        with writing(file.parent), file.open("a+", encoding="utf-8", newline="\n") as out:
            out.seek(0)
            if (there := out.read()) and not there.endswith("\n"):  # another's last line
                out.write("\n")
            out.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
        return len(messages)

    def _put(self, chosen: tuple[Example, ...], reasons: tuple[str, ...]) -> None:
        """Show these, and no others: those of a pool that are nearest to a question are not."""
        self.prompt = replace(self.prompt, shots=Shots(len(chosen), "fixed", chosen, reasons))

    def _writer(self) -> Streamer:
        if self.gives != "text" or not isinstance(self._engine, Streamer):
            raise Refused(f"{self.variant.base.name} answers with {self.gives} here and writes no text", "type a text to see them")
        return self._engine

    def _reasoned(self, engine: Streamer, text: str) -> str | None:
        """What the variant reasons before it answers, told aloud; None where its prompt does not ask for that."""
        if self.prompt.think is None:
            return None
        # as it was measured: what would end an answer does not end the reasoning
        decoding = replace(self.prompt.decoding, max_new_tokens=self.prompt.think.tokens, stop=(), schema="")
        reason = "".join(engine.stream(self._fitting(text, decoding), decoding)).strip()
        self.tell(f"it reasons: {reason}" if reason else "it gives no reason")
        return reason

    def _fitting(self, text: str, decoding: Decoding, reason: str | None = None) -> Turns:
        """What is asked, the oldest turns dropped from it, and for good, until it fits the context."""
        turns = self.asked(text, reason=reason)
        if not isinstance(self._engine, Glass):
            return turns
        before = self.dropped
        while (cut := self._engine.cut(turns, decoding)) and self.history and self.dropped < len(self.turns):
            self.dropped += 2
            turns = self.asked(text, reason=reason)
        full = f"the context of {self.variant.base.context} tokens is full"
        if self.dropped > before:
            self.tell(f"{full}: the oldest turns are read no more, {self.dropped} of {len(self.turns)} by now")
        if cut:
            shown = "examples shown first, oldest first, then " if self.shots() else ""
            self.tell(f"{full}: {cut} tokens of this question are left out, {shown}the middle of what is longest")
        return turns

    def _keep(self, text: str, said: str) -> None:
        if said:
            self.turns += [Turn("user", text), Turn("assistant", said)]


def _gives(
    variant: Variant, labels: tuple[str, ...]
) -> tuple[Literal["text", "labels", "sets", "tags", "rewards"], tuple[str, ...]]:
    """What a variant answers with, and of labels which. Raises Refused for one that says nothing a person can read."""
    head = variant.head
    if head and head.kind == "tags":
        return "tags", head.labels
    if head and head.kind == "classes":
        return "labels", head.labels
    if head and head.kind == "reward":
        return "rewards", ()
    if head and head.kind == "multi_label":
        return "sets", head.labels
    if variant.probe:
        probe = open_probe(variant.probe)
        return "sets" if probe.multi_label else "labels", probe.labels
    if variant.base.family != "encoder":
        return "text", ()
    if labels:
        return "labels", labels
    raise Refused(
        f"{variant.base.name} is an encoder without a head: it reads, and writes no text",
        "talk to a rung that learned labels, as RUN:RUNG, or to a decoder",
    )


def _refuse_other(file: Path) -> None:
    """Raises BadInput for a place where no line of JSON belongs."""
    if file.suffix != ".jsonl":
        raise BadInput(f"{file} does not end in .jsonl", "a talk is saved as a line of JSON, for example /save talk.jsonl")
    if file.is_dir() or not file.parent.is_dir():
        raise BadInput(
            f"{file} cannot be written" + (": it is a folder" if file.is_dir() else ": its folder is not there"), "name a file"
        )
    if file.exists():
        with file.open(encoding="utf-8", errors="replace") as lines:
            first = lines.readline()
        try:
            sound = not first or "messages" in json.loads(first)
        except (ValueError, TypeError):
            sound = False
        if not sound:
            raise BadInput(f"{file} holds something else than talks", "name another file")
