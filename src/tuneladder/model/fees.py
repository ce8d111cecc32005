"""What an endpoint will be asked and paid, foretold: nobody here knows how it cuts a text into tokens, so all of it is about.

An answer is taken to be as long as the row's reference, reasoning as long as it may be, and labels are taken to be written, and
shown where they then are: an endpoint that ranks them reads each prompt once for every label instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tuneladder.model.ask import turns_of_all
from tuneladder.model.purse import Prices
from tuneladder.types import Base, Cost, Example, Prompt

CHARACTERS = 4  # of a token
AROUND = 4  # tokens that a chat's template puts around a turn
LOOK = 400  # rows that stand for all of them


@dataclass(frozen=True)
class Tokens:
    """Read and written, of one answer."""

    read: float
    written: float


def written_by(base: Base, prompt: Prompt) -> Prompt:
    """The prompt as an endpoint that does not rank is asked by it."""
    return replace(prompt, ask="generate", parse="label") if base.source == "url" and prompt.ask == "score" else prompt


def tokens_of(prompt: Prompt, examples: Sequence[Example], labels: Sequence[str] = ()) -> Tokens:
    """The mean over the examples; several samples of one ask read it once, and what follows from each reasoning is asked apart."""
    rows = examples[:: -(-len(examples) // LOOK)]
    asked = [sum(len(turn.text) / CHARACTERS + AROUND for turn in turns) for turns in turns_of_all(prompt, rows, labels)]
    read = sum(asked) / len(rows)
    longest = prompt.decoding.max_new_tokens
    answer = sum(min(longest, len(row.references[0]) / CHARACTERS + 1) for row in rows) / len(rows)
    samples = prompt.vote if prompt.vote > 1 else prompt.decoding.samples
    if prompt.why:  # asked when the answer stands
        asked_why = read + answer + len(prompt.why.question) / CHARACTERS + 2 * AROUND
        return Tokens(read + asked_why, samples * answer + prompt.why.tokens)
    if not prompt.think:
        return Tokens(read, samples * answer)
    thought = prompt.think.tokens
    return Tokens(read + prompt.vote * (read + thought), prompt.vote * (thought + answer))


def fee(base: Base, tokens: Tokens, answers: float) -> Cost:
    """Of so many answers: tokens of a remote base, and money where its prices are known; nothing of any other."""
    if base.source != "url":
        return Cost()
    read, written = answers * tokens.read, answers * tokens.written
    prices = base.settings.get("prices")
    money = Prices(prices["input"], prices["output"]).of(read, written) if prices else 0.0
    return Cost(money=money, tokens=read + written)
