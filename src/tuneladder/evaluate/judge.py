"""Answers judged by an engine: marks, or pairs in both orders, with what the order alone decided and what nobody could read.

A reply that cannot be read is no tie: it is counted, and where more than a fifth are, the judge is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from tuneladder.errors import BadInput, CannotScore, Failed
from tuneladder.evaluate.find import mean_metric
from tuneladder.evaluate.intervals import bootstrap, wilson
from tuneladder.evaluate.measure import rate
from tuneladder.evaluate.verdicts import MARKS, SIDES, Case, Judge, asks_of, read_mark, read_side, verdict_of, worth
from tuneladder.model.ask import ranked_by
from tuneladder.model.batching import regroup
from tuneladder.model.kept import Kept, Paid
from tuneladder.model.purse import paid_so_far, spent_since
from tuneladder.model.shortened import shortened
from tuneladder.store import digest
from tuneladder.types import Cost, Decoding, Engine, Judged, Score, Turns, Verdict

UNREAD = 0.2  # the most replies of all that may not be read
TOGETHER = 32  # asks between two looks at whether the replies can be read, and what a kill may lose of an engine here

_METRIC = mean_metric("judge", "higher", 1.0, (), "bootstrap", lambda verdicts, references, labels: [*map(worth, verdicts)])


def judged(engine: Engine, rules: Judge, cases: Sequence[Case], *, kept: Kept | None = None, name: str, seed: int) -> Judged:
    """The judge `name`'s verdicts and what they come to; its agreement with people is left out. `kept` holds the replies of an
    engine that does not keep them itself. Raises Failed where too many replies cannot be read."""
    cut = shortened(engine)
    found, spent = hear(engine, rules, cases, kept=kept, name=name)
    cut = shortened(engine) - cut
    read = [verdict for verdict in found if verdict.outcome]
    score = rate(_METRIC, [verdict.outcome for verdict in read], [()] * len(read), seed=seed)
    flips, bias = by_order(found, seed)
    return Judged(name, rules.against, score, tuple(found), flips, bias, None, spent, cut)


def by_order(verdicts: Sequence[Verdict], seed: int) -> tuple[Score | None, Score | None]:
    """How often the order changed the verdict, and how much more often for the answer that stood first than for the second; of
    those that could be read, and were asked for in both orders."""
    swapped = [verdict for verdict in verdicts if verdict.outcome and len(verdict.said) == 2]
    if not swapped:
        return None, None
    count, flipped = len(swapped), sum(verdict.flipped for verdict in swapped)
    flips = Score(flipped / count, *wilson(flipped, count), count, "wilson")
    sides = np.array([{"first": 1.0, "second": -1.0, "": 0.0}[verdict.decided] for verdict in swapped])
    if len(set(sides.tolist())) == 1:  # nothing for the bootstrap to vary
        low, high = wilson(abs(float(sides.sum())), count)
        ends = (low, high) if sides[0] > 0 else (-high, -low) if sides[0] < 0 else (-high, high)
    else:
        ends = bootstrap(np.column_stack([sides, np.ones(count)]), lambda sums: sums[:, 0] / sums[:, 1], seed=seed)
    return flips, Score(float(sides.mean()), *ends, count, "bootstrap")


def hear(engine: Engine, rules: Judge, cases: Sequence[Case], *, kept: Kept | None = None, name: str) -> tuple[list[Verdict], Cost]:
    """The judge `name`'s verdict on every case, and what they cost. Two answers that are the same are a tie, which nobody is asked
    about."""
    if not cases:
        raise BadInput("there is no answer to judge", "name a variant that answered, or a file of questions")
    before = paid_so_far(engine)
    start = time.perf_counter()
    asks = [[] if _same(case) else asks_of(case, rules) for case in cases]
    paired = cases[0].other is not None
    replies, earlier = _replies(engine, rules, [ask for own in asks for ask in own], paired=paired, kept=kept, name=name)
    groups = regroup(replies, [len(own) for own in asks])
    found = [verdict_of(case, own) if own else Verdict(case.id, "tie", ()) for case, own in zip(cases, groups, strict=True)]
    return found, spent_since(before, engine, time.perf_counter() - start + earlier)


def _same(case: Case) -> bool:
    return case.other is not None and case.answer.strip() == case.other.strip()


def _replies(
    engine: Engine, rules: Judge, asks: Sequence[Turns], *, paired: bool, kept: Kept | None, name: str
) -> tuple[list[str], float]:
    """A reply to each ask, and the seconds that those took which an earlier run had. A judge that nobody can read is found out
    before all is asked, and paid."""
    endings, read = (SIDES, read_side) if paired else (MARKS, read_mark)
    found: dict[Turns, str] = {}
    earlier, unread = 0.0, list[str]()
    ask = _ranking(engine, endings, name) if rules.rank else _writing(engine, rules.tokens)
    different = list(dict.fromkeys(asks))
    for start in range(0, len(different), TOGETHER):
        some = different[start : start + TOGETHER]
        keys = {turns: digest(turns, rules.rank, rules.tokens) for turns in some}
        known = {turns: paid for turns in some if kept and (paid := kept.find(keys[turns]))}
        fresh = [turns for turns in some if turns not in known]
        began = time.perf_counter()
        said = ask(fresh) if fresh else []
        one = (time.perf_counter() - began) / max(1, len(fresh))
        for turns, reply in zip(fresh, said, strict=True):
            found[turns] = reply
            if kept:
                kept.keep(keys[turns], Paid(reply, None, None, one))
        for turns, paid in known.items():
            found[turns] = str(paid.reply)
            earlier += paid.seconds
        unread += [found[turns] for turns in some if not read(found[turns])]
        if len(unread) > UNREAD * len(different):
            raise Failed(
                f"{name} is no judge: {len(unread):,} of {len(found):,} replies hold no verdict, as {_clip(unread[0])!r}",
                "name a judge that follows instructions, give it more `tokens`, or let it rank the verdicts (`rank`)",
            )
    return [found[turns] for turns in asks], earlier


def _writing(engine: Engine, tokens: int) -> Callable[[Sequence[Turns]], list[str]]:
    decoding = Decoding(max_new_tokens=tokens)
    return lambda asks: [texts[0] for texts in engine.generate(asks, decoding)]


def _ranking(engine: Engine, endings: Sequence[str], name: str) -> Callable[[Sequence[Turns]], list[str]]:
    def ask(asks: Sequence[Turns]) -> list[str]:
        try:
            scores = ranked_by(engine, asks, [endings] * len(asks))
        except CannotScore as error:
            raise BadInput(f"{name} cannot rank verdicts: {error.message}", "leave `rank` out: it writes them") from None
        return [endings[int(np.argmax(row))] for row in scores]

    return ask


def _clip(reply: str) -> str:
    return " ".join(reply.split())[:100]
