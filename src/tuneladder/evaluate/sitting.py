"""Ask a variant a suite's questions."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tuneladder.errors import BadInput, Failed
from tuneladder.evaluate.questions import Questions
from tuneladder.evaluate.shown import Ask, fitted, laid_out
from tuneladder.evaluate.suite import Said
from tuneladder.model.ask import rankable
from tuneladder.model.purse import paid_so_far, spent_since
from tuneladder.model.shortened import shortened, unfinished
from tuneladder.types import Cost, Engine


@dataclass(frozen=True)
class Sitting:
    """What was asked, in full, and what was said to it. Of each ask so many shots were left out to make it fit (`dropped`); `cut`
    counts those that were too long without any, `unfinished` answers that an endpoint did not give to their end. `template` names
    the base's chat template, "" for plain text."""

    questions: Questions
    asks: tuple[Ask, ...]
    said: tuple[Said, ...]
    dropped: tuple[int, ...]
    cut: int
    unfinished: Mapping[str, int]
    template: str
    engine: str
    spent: Cost


def sit(engine: Engine, questions: Questions, *, template: str = "") -> Sitting:
    """Ask the questions as plain text or, where the base's chat `template` is named, as a talk.

    Questions that begin alike are asked together, and what they begin with is computed once. Raises BadInput on no questions, and
    Failed for log-probabilities that are no numbers.
    """
    suite, examples = questions.suite, questions.examples
    if not examples:
        raise BadInput(f"{suite.name} has no rows", "give it rows with --data, or another split")
    asks = [
        laid_out(suite, example, questions.leads[example.set], questions.shots[example.set], chat=bool(template))
        for example in examples
    ]
    cut, lost = shortened(engine), unfinished(engine)
    before, start = paid_so_far(engine), time.perf_counter()
    kept, dropped = fitted(engine, asks, new_tokens=0 if examples[0].options else suite.decoding.max_new_tokens)
    said = _answers(engine, questions, kept)
    spent = spent_since(before, engine, time.perf_counter() - start)
    cut = shortened(engine) - cut
    lost = {why: count - lost.get(why, 0) for why, count in unfinished(engine).items()}
    return Sitting(questions, tuple(asks), tuple(said), tuple(dropped), cut, lost, template, engine.name, spent)


def _answers(engine: Engine, questions: Questions, asks: Sequence[Ask]) -> list[Said]:
    groups: dict[tuple[str, bool], list[int]] = {}
    for at, ask in enumerate(asks):
        groups.setdefault((ask.before, bool(ask.options)), []).append(at)
    said = [Said()] * len(asks)
    for (_, choosing), own in groups.items():
        turns = [asks[at].turns for at in own]
        if choosing:
            found = [Said(scores) for scores in engine.score(turns, [asks[at].endings for at in own])]
        else:
            found = [Said(text=samples[0]) for samples in engine.generate(turns, questions.suite.decoding)]
        for at, one in zip(own, found, strict=True):
            said[at] = one
    broken = [row.id for row, one in zip(questions.examples, said, strict=True) if one.scores and not rankable(one.scores)]
    if broken:
        rows = f"{len(broken):,} of {len(said):,} rows of {questions.suite.name}"
        raise Failed(
            f"log-probabilities of {rows} are no numbers that options could be ranked by, row {broken[0]} first",
            "weights that overflow or hold NaN do that: look at the base, or how it was trained",
        )
    return said
