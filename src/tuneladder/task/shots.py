"""Worked examples for the prompt."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tuneladder.errors import BadInput, unknown
from tuneladder.types import Example


def choose(
    examples: Sequence[Example], *, count: int, choose: str = "balanced", seed: int = 0, labels: Sequence[str] = ()
) -> tuple[Example, ...]:
    """`count` of the examples, no two of one source, drawn with the seed.

    fixed: any. balanced: one of each label in turn, the labels in a drawn order, so that no label has more than one shot
    more than another as long as it has examples; without labels the same as fixed. What else there is looks at the texts:
    `model/likeness.py`.
    """
    if choose not in ("fixed", "balanced"):
        raise unknown("way to choose shots", choose, ("fixed", "balanced"))
    if count < 0:
        raise BadInput(f"{count} shots asked for", "0 or more")
    rng = random.Random(f"{seed} shots")
    drawn = list(examples)
    rng.shuffle(drawn)
    drawn = list({source_of(example): example for example in reversed(drawn)}.values())[::-1]
    if count > len(drawn):
        raise BadInput(
            f"{count} shots asked for, but the train split has {len(drawn)} different ones to show",
            "lower `shots`, or add examples to the train split",
        )
    if choose == "fixed" or not labels:
        return tuple(drawn[:count])
    order = list(labels)
    rng.shuffle(order)
    by_label = {label: [example for example in drawn if example.references[0] == label] for label in order}
    if sum(map(len, by_label.values())) < count:
        by_label[""] = [example for example in drawn if example.references[0] not in order]
    rounds = max((len(found) for found in by_label.values()), default=0)
    return tuple(found[n] for n in range(rounds) for found in by_label.values() if n < len(found))[:count]


def different(examples: Sequence[Example]) -> int:
    """How many sources the examples come from: as many can be shown together."""
    return len({source_of(example) for example in examples})


def source_of(example: Example) -> str:
    """The row that the example came from."""
    return example.source or example.id
