"""Who judges what, in which order: blind, balanced, and the same again for the same seed."""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Literal

from tuneladder.errors import BadInput

UNSEEN = ("Cc", "Cf", "Zl", "Zp")  # Unicode's categories of what no name shows: two people could look like one
GAP = 5  # asks that lie at least between an item and its hidden repeat

Why = Literal["calibration", "judge", "gold", "repeat"]


@dataclass(frozen=True)
class Ask:
    """One item for one labeler. `why` is the owner's to know: the labeler sees the item alone."""

    item: str
    why: Why


def assign(
    items: Sequence[str],
    labelers: Sequence[str],
    *,
    each: int,
    seed: int,
    calibration: Sequence[str] = (),
    warm_up: int = 0,
    gold: Sequence[str] = (),
    gold_share: float = 0.1,
    repeat_share: float = 0.05,
) -> dict[str, tuple[Ask, ...]]:
    """For every labeler the asks in their order: `warm_up` of `calibration` first (0: all), then the items, each for `each`
    labelers, with `gold` items and hidden repeats among them, so many as their shares of a labeler's mean load, as far as there is
    room to hide them.

    Items go to those who have least so far, drawn where several have as little, so that loads differ by one at most and no two
    labelers see the same items throughout.
    """
    _check(items, labelers, each, calibration, gold, {"gold_share": gold_share, "repeat_share": repeat_share})
    _check_warm_up(warm_up, calibration)
    draw = random.Random(seed)
    own: dict[str, list[str]] = {name: [] for name in labelers}
    for item in _shuffled(items, draw):
        by_load = sorted(_shuffled(labelers, draw), key=lambda name: len(own[name]))
        for name in by_load[:each]:
            own[name].append(item)
    load = len(items) * each / len(labelers)
    golds, repeats = min(len(gold), round(gold_share * load)), round(repeat_share * load)
    return {name: _ordered(own[name], calibration, warm_up, gold, golds, repeats, draw) for name in labelers}


@dataclass(frozen=True)
class Work:
    """A labeler's work: the asks in their order, how many items of it are `left` to judge, and which of these are `free` to be
    handed over, for they are neither begun nor on the screen."""

    asks: tuple[Ask, ...]
    left: int
    free: Set[str]


@dataclass(frozen=True)
class Joined:
    """What a new labeler is asked, and by labeler the items that are no longer theirs, hidden repeats among them."""

    asks: tuple[Ask, ...]
    taken: Mapping[str, frozenset[str]]


def join(
    works: Mapping[str, Work],
    name: str,
    *,
    seed: int,
    calibration: Sequence[str] = (),
    warm_up: int = 0,
    gold: Sequence[str] = (),
    gold_share: float = 0.1,
    repeat_share: float = 0.05,
) -> Joined:
    """What a labeler who comes later is asked: one item after the other from whoever has most left, until nobody who could give
    another has more than one above the new one. Each item stays with as many labelers as before, and nobody has it twice; the seed
    and the name draw which. Calibration, gold and repeats are as in `assign`, by shares of the new load. Raises BadInput where
    nobody can give any.
    """
    _check_name(name, works)
    draw = random.Random(f"{seed}/{name}")
    givers = _shuffled(sorted(works), draw)
    left = {giver: works[giver].left for giver in givers}
    asks = {giver: list(works[giver].asks) for giver in givers}
    pools = {giver: _shuffled(sorted(works[giver].free), draw) for giver in givers}
    taken: dict[str, set[str]] = {giver: set() for giver in givers}
    own: list[str] = []
    while pools:
        giver = max(pools, key=lambda one: left[one])
        if left[giver] <= len(own) + 1:
            break
        given = next((item for item in pools[giver] if item not in own and _hidden(_less(asks[giver], item))), None)
        if given is None:
            del pools[giver]
            continue
        asks[giver] = _less(asks[giver], given)
        pools[giver].remove(given)
        taken[giver].add(given)
        own.append(given)
        left[giver] -= 1
    if not own:
        raise BadInput(f"nothing is left to hand over to {name}", "what is judged, begun or on a screen stays with its labeler")
    golds, repeats = min(len(gold), round(gold_share * len(own))), round(repeat_share * len(own))
    made = _ordered(own, calibration, warm_up, gold, golds, repeats, draw)
    return Joined(made, {giver: frozenset(items) for giver, items in taken.items() if items})


def _less(asks: Sequence[Ask], item: str) -> list[Ask]:
    return [ask for ask in asks if ask.item != item]


def _hidden(asks: Sequence[Ask]) -> bool:
    """Whether every repeat lies far enough behind what it repeats."""
    first = {ask.item: at for at, ask in enumerate(asks) if ask.why == "judge"}
    return all(at - first[ask.item] > GAP for at, ask in enumerate(asks) if ask.why == "repeat")


def _ordered(
    own: Sequence[str],
    calibration: Sequence[str],
    warm_up: int,
    gold: Sequence[str],
    golds: int,
    repeats: int,
    draw: random.Random,
) -> tuple[Ask, ...]:
    asks = [Ask(item, "judge") for item in own] + [Ask(item, "gold") for item in draw.sample(list(gold), golds)]
    draw.shuffle(asks)
    roomy = [ask.item for at, ask in enumerate(asks) if ask.why == "judge" and at + GAP < len(asks)]
    for item in draw.sample(roomy, min(repeats, len(roomy))):
        first = next(at for at, ask in enumerate(asks) if ask.item == item)
        asks.insert(draw.randint(first + 1 + GAP, len(asks)), Ask(item, "repeat"))
    warming = _shuffled(calibration, draw)[: warm_up or None]
    return (*(Ask(item, "calibration") for item in warming), *asks)


def anew(calibration: Sequence[str], before: Sequence[str], many: int, *, seed: str) -> list[str]:
    """So many items for another round of the calibration: first those that were not asked `before`, drawn by the seed, for of the
    others the labeler was shown what is right; then those whose turn lies furthest back."""
    last = {item: at for at, item in enumerate(before)}
    fresh = _shuffled([item for item in calibration if item not in last], random.Random(seed))
    return [*fresh, *sorted(last, key=last.__getitem__)][:many]


def seen(names: Sequence[str], *, item: str, labeler: str, seed: int) -> Mapping[str, str]:
    """The answers of an item by the letters under which a labeler sees them, in an order of that labeler's own: no name tells who
    wrote which, and no place is the same model's throughout."""
    drawn = _shuffled(sorted(names), random.Random(f"{seed}/{item}/{labeler}"))
    return {_letter(at): name for at, name in enumerate(drawn)}


def _letter(at: int) -> str:
    """A, B, ... Z, AA, AB."""
    return (_letter(at // 26 - 1) if at >= 26 else "") + chr(ord("A") + at % 26)


def _shuffled(names: Sequence[str], draw: random.Random) -> list[str]:
    return draw.sample(list(names), len(names))


def _check_name(name: str, works: Mapping[str, Work]) -> None:
    if not name.strip() or any(unicodedata.category(letter) in UNSEEN for letter in name):
        raise BadInput(f"a labeler cannot be called {name!r}", "a name that people would know them by")
    if name in works:
        raise BadInput(f"there is a labeler {name} already", "each has a link of their own, which the owner's page can renew")


def _check_warm_up(warm_up: int, calibration: Sequence[str]) -> None:
    if not 0 <= warm_up <= len(calibration):
        raise BadInput(f"warm_up is {warm_up}, and of {len(calibration)} items the answer is known", "as many at most; 0 asks all")


def _check(
    items: Sequence[str],
    labelers: Sequence[str],
    each: int,
    calibration: Sequence[str],
    gold: Sequence[str],
    shares: Mapping[str, float],
) -> None:
    named = {"labelers": labelers, "items": items, "calibration": calibration, "gold": gold}
    for what, names in named.items():
        if twice := next((name for name, count in Counter(names).items() if count > 1), None):
            raise BadInput(f"'{twice}' stands twice among the {what}", "name each once")
    for name in labelers:
        _check_name(name, {})
    if not items or not labelers:
        raise BadInput(f"there are no {'labelers' if items else 'items'} to assign", "name one or more")
    if not 1 <= each <= len(labelers):
        hint = "ask fewer of each item, or more people"
        raise BadInput(f"each item is to be judged by {each} labelers, and there are {len(labelers)}", hint)
    for known in (calibration, gold):
        if both := sorted(set(known) & set(items)):
            raise BadInput(f"'{both[0]}' has a known answer and is to be judged too", "leave it out of the items")
    if both := sorted(set(calibration) & set(gold)):
        raise BadInput(f"'{both[0]}' is both calibration and gold", "whoever was told its answer is not tested by it")
    if bad := next((name for name, share in shares.items() if not 0 <= share <= 1), ""):
        raise BadInput(f"{bad} is {shares[bad]}", "a share, from 0 to 1")
