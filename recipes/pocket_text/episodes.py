"""Worked examples as documents: what a base must have read to know what a prompt with shots asks of it.

An episode is several examples of one small task, written exactly as `few_shot` writes a prompt and its answer. Every example in
it is answered, so one document trains each number of shots from none to all of them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuneladder.model.ask import turns_of
from tuneladder.task.template import PlainTemplate
from tuneladder.types import Example, Prompt, Shots, Turn

from .words import SYMBOLS

LONGEST = 1_900  # characters: with the base's own pieces, an episode fits into a context of 512


@dataclass(frozen=True)
class Drill:
    """One small task. `draw` gives an input and its answer; `labels` are all answers, none where they are open.

    `asks` are ways to put it in words, in which {labels} stands for the options; `plain` says that the labels explain themselves,
    so that the words may be left to the tool's own instruction; `repeats`, that an input may come twice.
    """

    draw: Callable[[random.Random], tuple[str, str]]
    asks: tuple[str, ...]
    labels: tuple[str, ...] = ()
    plain: bool = True
    repeats: bool = False


def compose(drill: Drill, rng: random.Random) -> list[Turn]:
    """An episode of 1 to 9 examples, or fewer where they would be too long; labels are drawn evenly by `drill.draw`.

    In a quarter of the episodes the labels are swapped for words that mean nothing (arXiv:2305.08298), and only the shots
    tell what is asked. Labels are drawn for each example apart: had every label its fixed share, the last could be counted out.
    """
    labels = drill.labels
    symbols = len(labels) > 1 and rng.random() < 0.25
    count = rng.choice((5, 7, 9)) if symbols else rng.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9))
    called = dict(zip(labels, rng.sample(SYMBOLS, len(labels)), strict=True)) if symbols else {}
    examples: list[Example] = []
    instruction = _instruction(drill, count, tuple(called.get(label, label) for label in labels), rng)
    room = LONGEST - len(instruction)
    seen: set[str] = set()
    for number in range(count):
        text, answer = drill.draw(rng)
        room -= len(text) + len(answer) + 12
        if room < 0 and examples:
            break
        if text not in seen or drill.repeats:
            seen.add(text)
            examples.append(Example(str(number), (Turn("user", text),), (called.get(answer, answer),)))
    *shown, asked = examples
    turns = turns_of(Prompt(instruction=instruction, shots=Shots(len(shown), "fixed", tuple(shown))), asked)
    return [*turns, Turn("assistant", asked.references[0])]


def rendered(turns: Sequence[Turn]) -> str:
    """A talk that ends with an answer, as text."""
    template = PlainTemplate("")
    return "".join(part.text for part in template.parts(turns[:-1])) + template.lead + turns[-1].text


def _instruction(drill: Drill, count: int, labels: Sequence[str], rng: random.Random) -> str:
    """The tool's own words for a classification in half of the cases, else the drill's; sometimes none, where shots can tell."""
    shuffled = rng.sample(labels, len(labels))
    if count > 3 and rng.random() < 0.15:
        return ""
    if labels and drill.plain and rng.random() < 0.5:
        return f"Which of these fits the text: {', '.join(shuffled)}?"
    said = rng.choice(drill.asks)
    if "{labels}" in said:
        return said.replace("{labels}", ", ".join(shuffled))
    if labels and rng.random() < 0.4:
        return said + rng.choice((" Options: {}.", " Answer with one of: {}.", " ({})")).format(", ".join(shuffled))
    return said
