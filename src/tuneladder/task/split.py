"""Splits: drawn with a seed, in the proportions of the strata, never cutting a source, and without leaks."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from tuneladder.errors import BadInput
from tuneladder.task.leaks import Leak, find_leaks, normal, read_text
from tuneladder.types import Example, Split, Turns

K = TypeVar("K")
Drawn = tuple[tuple[Example, ...], tuple[Example, ...]]


def draw(
    examples: Sequence[Example], count: int, *, seed: int, stratum: Callable[[Example], str], whole: bool = True, keep: int = 1
) -> Drawn:
    """About `count` examples and the rest, both in their old order.

    Each stratum gives its share (the largest remainders first) but keeps at least `keep` sources. With `whole` a source is
    drawn all or not at all, in the stratum of its first row, so the count may be missed by a few rows; without it, it is exact.
    """
    sources: dict[str, list[int]] = {}
    for n, example in enumerate(examples):
        sources.setdefault((example.source or example.id) if whole else str(n), []).append(n)
    strata: dict[str, list[list[int]]] = {}
    for rows in sources.values():
        strata.setdefault(stratum(examples[rows[0]]), []).append(rows)
    names = sorted(strata)
    sizes = [sum(len(rows) for rows in strata[name]) for name in names]
    drawn: set[int] = set()
    for name, quota in zip(names, _quotas(sizes, count), strict=True):
        groups = list(strata[name])
        random.Random(f"{seed} {name}").shuffle(groups)
        taken = left = 0
        for rows in groups:
            if taken + len(rows) <= quota and len(groups) - left > keep:
                drawn.update(rows)
                taken += len(rows)
                left += 1
    return (
        tuple(example for n, example in enumerate(examples) if n in drawn),
        tuple(example for n, example in enumerate(examples) if n not in drawn),
    )


def _quotas(sizes: Sequence[int], count: int) -> list[int]:
    """`count` shared out in proportion to the sizes, in whole rows."""
    total = sum(sizes)
    count = min(count, total)
    exact = [size * count / total for size in sizes]
    quotas = [int(share) for share in exact]
    for n in sorted(range(len(sizes)), key=lambda n: (quotas[n] - exact[n], n))[: count - sum(quotas)]:
        quotas[n] += 1
    return quotas


def share_sources(examples: Mapping[K, Sequence[Example]]) -> dict[K, list[Example]]:
    """Rows that ask the same share a source: the id of the first of them."""
    first: dict[str, str] = {}
    return {
        split: [replace(example, source=first.setdefault(normal(read_text(example)), example.id)) for example in part]
        for split, part in examples.items()
    }


def put_together(examples: Sequence[Example]) -> list[Example]:
    """Rows that read the same as one, in the first one's place, with all their references, each once."""
    same: dict[Turns, list[Example]] = {}
    for example in examples:
        same.setdefault(example.turns, []).append(example)
    return [
        replace(rows[0], references=tuple(dict.fromkeys(answer for row in rows for answer in row.references)))
        for rows in same.values()
    ]


def make_splits(
    examples: Mapping[str, Sequence[Example]],
    *,
    rows: Mapping[str, int],
    seed: int,
    stratum: Callable[[Example], str],
    together: bool = False,
) -> tuple[Split[Example], list[Leak], list[str]]:
    """Draw the splits that are missing, take leaks out (test keeps its row, then dev), and cap. With `together`, the rows of dev
    and test that read the same are put together, before they are counted; those of train are not.

    Gives the splits, the leaks that were taken out, and the sentences that say what was done.
    """
    notes: list[str] = []
    parts: dict[str, Sequence[Example]] = dict(examples)
    for split in ("test", "dev") if together else ():
        if split in parts and len(merged := put_together(parts[split])) < len(parts[split]):
            notes.append(f"{split}: {len(parts[split]):,} rows are {len(merged):,} questions, each with all its references")
            parts[split] = merged
    made = [split for split in ("test", "dev") if split not in parts]
    for split in made:
        pool = put_together(parts["train"]) if together else parts["train"]
        learned = min(rows.get("train", len(pool)), len(pool))
        size = min(rows.get(split, round(0.2 * len(pool)) if split == "test" else round(0.15 * learned)), len(pool) // 2)
        size = max(1, size if split in rows else min(size, 2000 if split == "test" else 1000))
        parts[split], left = draw(pool, size, seed=seed, stratum=stratum)
        sources = {example.source for example in left}
        parts["train"] = [example for example in parts["train"] if example.source in sources] if together else left
        if not parts[split] or not parts["train"]:
            texts = len({example.source for example in examples["train"]})
            raise BadInput(
                f"{len(examples['train'])} rows with {texts} different texts are too few to draw a {split} split from",
                f"add rows, or give data: {{train: ..., {split}: ...}}",
            )
        notes.append(f"{split}: {len(parts[split]):,} rows drawn from the training rows (seed {seed})")
    leaks = find_leaks([(split, parts[split]) for split in ("test", "dev", "train")])
    for split in ("dev", "train"):
        gone = {leak.id for leak in leaks if leak.split == split}
        if gone:
            exact = sum(leak.how == "exact" for leak in leaks if leak.split == split)
            where = "test" if split == "dev" else "test or dev"
            how = f"{exact:,} word for word, {len(gone) - exact:,} nearly"
            taken = "row was taken out, because it stands" if len(gone) == 1 else "rows were taken out, because they stand"
            notes.append(f"{len(gone):,} {split} {taken} in {where} too ({how})")
            parts[split] = [example for example in parts[split] if example.id not in gone]
            if not parts[split]:
                raise BadInput(
                    f"every {split} row stands in a later split too",
                    "is the same file given twice? leave one out: it is drawn from train; `eval --data` takes rows that are new",
                )
    for split, cap in rows.items():
        if cap < len(parts[split]):
            parts[split], _ = draw(parts[split], cap, seed=seed, stratum=stratum, whole=False, keep=0)
        elif cap > len(parts[split]):
            notes.append(f"{split}: {cap:,} rows were asked for, {len(parts[split]):,} are there")
    return Split(tuple(parts["train"]), tuple(parts["dev"]), tuple(parts["test"])), leaks, notes
