"""Turns to text: the base's own chat template where it has one, a plain one otherwise.

A prompt is a list of parts, each either one turn's text or the template's own marks, so that whoever counts characters
knows whose they are. Where the turns lie in a chat template's output is found by rendering it with placeholders, never by
searching for what the turns say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from tuneladder.errors import BadInput
from tuneladder.types import Turn, Turns

# how a base without a chat template is asked, and shown how it was answered, by whose turn it is
PLAIN = {"system": "{}\n\n", "user": "{}\nAnswer:", "assistant": " {}\n\n"}
ASKS = PLAIN["user"].removeprefix("{}")


@dataclass(frozen=True)
class Part:
    """A stretch of a prompt. `role` is that of the turn whose text it is, "" for the template's own marks."""

    text: str
    role: str = ""


class PlainTemplate:
    """For bases that were never taught a chat: a question, `Answer:`, the answer.

    `lead` is what stands between a prompt and its answer, `end` what ends an answer.
    """

    lead = " "

    def __init__(self, end: str) -> None:
        self.end = end

    def parts(self, turns: Turns) -> list[Part]:
        parts: list[Part] = []
        for turn in turns:
            before, after = PLAIN.get(turn.role, PLAIN["system"]).split("{}")
            parts += [*([Part(before)] if before else []), Part(turn.text, turn.role), Part(after)]
        return parts

    def stops(self, turns: Turns) -> tuple[str, ...]:
        """A blank line ends an answer where the prompt shows answers that end so."""
        shown = [turn.text for turn in turns if turn.role == "assistant"]
        return ("\n\n",) if shown and not any("\n\n" in text for text in shown) else ()


class ChatTemplate:
    """A tokenizer's chat template. A role that it refuses or leaves out is folded into the user's turns."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._skeletons: dict[tuple[str, ...], list[str] | None] = {}
        self._opening = ""
        question, answer = _mark(0), _mark(1)
        asked = self._render((Turn("user", question),))
        bare = self._render((Turn("user", question),), ask=False)
        full = self._render((Turn("user", question), Turn("assistant", answer)), ask=False)
        before, _, after = full.partition(answer)
        between = before[len(asked) :] if before.startswith(asked) else ""
        if asked == bare and between.strip():
            self._opening, between = between, ""
        self.lead = between if between.isspace() else ""
        specials = sorted((t for t in tokenizer.all_special_tokens if t), key=len, reverse=True)
        tail = after.lstrip()
        self.end = next((token for token in specials if tail.startswith(token)), tokenizer.eos_token or "")

    def parts(self, turns: Turns) -> list[Part]:
        if self._skeleton(tuple(turn.role for turn in turns)) is None:
            turns = _fold(turns)
        skeleton = self._skeleton(tuple(turn.role for turn in turns))
        if skeleton is None:
            roles = ", ".join(turn.role for turn in turns)
            message = f"the chat template of this base refuses turns in the order {roles}"
            raise BadInput(message, "let users and assistants take turns, users first")
        direct = self._render(turns)
        parts = [_part(piece, turns) for piece in skeleton]
        if "".join(part.text for part in parts) != direct:
            parts = self._by_difference(turns, direct)
        return [*parts, Part(self._opening)]

    def stops(self, turns: Turns) -> tuple[str, ...]:
        return ()

    def _skeleton(self, roles: tuple[str, ...]) -> list[str] | None:
        """The rendering of placeholders, cut at them; None where the template refuses these roles or leaves one out."""
        if roles not in self._skeletons:
            marks = [_mark(number) for number in range(len(roles))]
            try:
                text = self._render(tuple(Turn(role, mark) for role, mark in zip(roles, marks, strict=True)))
                fits = all(text.count(mark) == 1 for mark in marks)
            except TemplateError:
                fits = False
            self._skeletons[roles] = _MARK.split(text) if fits else None
        return self._skeletons[roles]

    def _by_difference(self, turns: Turns, direct: str) -> list[Part]:
        """Where the template's output depends on what turns say: put a placeholder into one turn at a time, and compare."""
        parts: list[Part] = []
        done = 0
        for number, turn in enumerate(turns):
            other = self._render((*turns[:number], Turn(turn.role, _mark(number)), *turns[number + 1 :]))
            before, _, after = other.partition(_mark(number))
            end = len(direct) - len(after)
            if direct.startswith(before) and direct.endswith(after) and done <= len(before) <= end:
                parts += [Part(direct[done : len(before)]), Part(direct[len(before) : end], turn.role)]
                done = end
        return [*parts, Part(direct[done:])]

    def _render(self, turns: Turns, *, ask: bool = True) -> str:
        """A model that can think first (Qwen3 and its kin) is told not to: what it is asked for is the answer, and for reasoning
        there are steps. Other templates do not know the word."""
        messages = [{"role": turn.role, "content": turn.text} for turn in turns]
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask, enable_thinking=False))


def goes_on(turns: Turns) -> bool:
    """Whether an ask is plain text and no talk: it stands without any template, and nothing ends its answer."""
    return all(turn.role == "text" for turn in turns)


def template_of(tokenizer: Any) -> PlainTemplate | ChatTemplate:
    return ChatTemplate(tokenizer) if tokenizer.chat_template else PlainTemplate(tokenizer.eos_token or "")


# Characters of a private use plane: no template changes them, and no text holds them.
_MARK = re.compile("(\U0010f8f0\\d+\U0010f8f1)")


def _mark(number: int) -> str:
    return f"\U0010f8f0{number}\U0010f8f1"


def _part(piece: str, turns: Turns) -> Part:
    if _MARK.fullmatch(piece):
        turn = turns[int(piece[1:-1])]
        return Part(turn.text, turn.role)
    return Part(piece)


def _fold(turns: Sequence[Turn]) -> Turns:
    """System and tool turns said by the user, neighbours of one role joined by a blank line."""
    folded: list[Turn] = []
    for turn in turns:
        role = "assistant" if turn.role == "assistant" else "user"
        if folded and folded[-1].role == role:
            folded[-1] = Turn(role, f"{folded[-1].text}\n\n{turn.text}")
        else:
            folded.append(Turn(role, turn.text))
    return tuple(folded)
