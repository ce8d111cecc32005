"""What measuring a rung will take, foretold: its answers to dev, to test and to test's rows perturbed, what is read to see what was
forgotten, and a judge's verdicts.

All of it is about: 4 characters a token, answers as long as their references, reasoning and verdicts as long as they may be. How
long an endpoint takes nobody here knows: its seconds are 0, its tokens and money are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tuneladder.evaluate.forgetting import tokens_read
from tuneladder.evaluate.people import Opinion
from tuneladder.evaluate.robustness import asked_with, chosen
from tuneladder.evaluate.verdicts import Case, Judge, asks_of
from tuneladder.ladder.hearing import cases_of
from tuneladder.model.fees import AROUND, CHARACTERS, LOOK, Tokens, fee, tokens_of, written_by
from tuneladder.types import Answer, Axes, Base, Cost, Example, Marked, Pace, Prompt, Task, Variant


def asking(variant: Variant, task: Task, pace: Pace, axes: Axes, *, seed: int) -> Cost:
    """Every row of dev and test is asked once, and those of test once more for each perturbation; where answers are no text to be
    asked for (plain text, preferences) nothing is foretold."""
    rows = (*task.examples.dev, *task.examples.test)
    if not rows or not task.examples.test:
        return Cost()
    count = len(rows)
    if wanted := axes.robustness:
        ways = [way for way in wanted.perturb if way != "instruction" or asked_with(task, variant, wanted)]
        count += len(ways) * len(chosen(task.examples.test, wanted, seed=seed))
    prompt = written_by(variant.base, variant.prompt)
    return _work(variant.base, tokens_of(prompt, rows, task.labels), count, pace)


def remembering(base: Base, pace: Pace) -> Cost:
    """What is read of the probe of forgetting, once for each set of weights."""
    return Cost(seconds=2 * base.active * tokens_read(base) / pace.flops)


def judging(rules: Judge, judge: Base, rows: Sequence[Example], prompt: Prompt, pace: Pace) -> Cost:
    """A verdict on an answer to each of the rows; a pair is asked about in both orders."""
    if not rows:
        return Cost()
    some = rows[:: -(-len(rows) // LOOK)]
    answers = [
        Marked(
            row.id,
            "\n\n".join(turn.text for turn in row.turns),
            row.references[0],
            Answer(row.references[0]),
            None,
            options=row.options,
            template=row.template,
        )
        for row in some
    ]
    rivals = {marked.id: marked.reference for marked in answers} if rules.against else None
    return _heard(rules, judge, cases_of(rules, answers, rivals, prompt), len(rows), pace)


def agreeing(rules: Judge, judge: Base, opinions: Sequence[Opinion], pace: Pace) -> Cost:
    """A verdict on each pair that people gave theirs on, or a mark for each of its answers: once in a climb."""
    if rules.against:
        cases = [Case("", each.question, each.first, each.second) for each in opinions]
    else:
        cases = [Case("", each.question, text) for each in opinions for text in (each.first, each.second)]
    return _heard(rules, judge, cases, len(cases), pace) if cases else Cost()


def both(one: Cost, other: Cost) -> Cost:
    """Two pieces of measuring together."""
    return replace(one, seconds=one.seconds + other.seconds, money=one.money + other.money, tokens=one.tokens + other.tokens)


def _heard(rules: Judge, judge: Base, cases: Sequence[Case], count: int, pace: Pace) -> Cost:
    asks = [asks_of(case, rules) for case in cases]
    read = sum(len(turn.text) / CHARACTERS + AROUND for own in asks for turns in own for turn in turns) / len(cases)
    written = len(asks[0]) * (1 if rules.rank else rules.tokens)
    return _work(judge, Tokens(read, written), count, pace)


def _work(base: Base, tokens: Tokens, answers: int, pace: Pace) -> Cost:
    """Seconds of a base that is here, money and tokens of an endpoint."""
    if base.source == "url":
        return fee(base, tokens, answers)
    return Cost(seconds=2 * base.active * answers * (tokens.read + tokens.written) / pace.flops)
