"""Judges of answers that are given: opened on the shelf when no other model is, and asked once for each set of answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.judge import judged
from tuneladder.evaluate.people import Opinion, agreement, drawn, read_people
from tuneladder.evaluate.verdicts import REFERENCE, Case, Judge
from tuneladder.ladder.paid import paid_once
from tuneladder.model.ask import turns_of
from tuneladder.model.kept import Kept
from tuneladder.model.shelf import Shelf
from tuneladder.store import Store, digest, freeze, thaw, write_json
from tuneladder.types import Base, Example, Judged, Marked, Measurement, Prompt, Turn, Variant, WithPeople


def with_judge(
    measurement: Measurement,
    name: str,
    base: Base,
    rivals: Mapping[str, str] | None,
    prompt: Prompt,
    shelf: Shelf,
    store: Store,
    *,
    seed: int,
) -> Measurement:
    """The measurement with what the judge of metric `name` says of its answers to the task's `prompt`. `rivals` are the answers, by
    row, that they are set against, where they are those of a rung; a judge that reads the reference knows them. Raises as `heard`
    does."""
    rules = find_metric(name).judge
    assert rules
    if rules.against == REFERENCE:
        rivals = {marked.id: marked.reference for marked in measurement.answers}
    opinions = drawn(read_people(rules.people), rules.pairs, seed=seed) if rules.people else []
    cases = cases_of(rules, measurement.answers, rivals, prompt)
    found = heard(rules, Variant(base, Prompt()), cases, opinions, shelf, store, seed=seed)
    quality = {**measurement.quality, name: found.score}
    return replace(measurement, quality=quality, judged={**measurement.judged, name: found})


def cases_of(
    rules: Judge, answers: Sequence[Marked], rivals: Mapping[str, str] | None = None, prompt: Prompt | None = None
) -> list[Case]:
    """What a judge is asked about: the answers by themselves, or against the rivals' where these answered too. A question is the
    row as the task asks it: with its options, its instruction, its system's turn and its template, and without any shots."""
    plain = Prompt(prompt.template, prompt.instruction, prompt.system) if prompt else Prompt()
    cases = []
    for marked in answers:
        if rivals is None or marked.id in rivals:
            row = Example(marked.id, (Turn("user", marked.input),), ("",), marked.options, template=marked.template)
            turns = turns_of(plain, row)
            question = "\n\n".join(turn.text for turn in turns)
            cases.append(Case(marked.id, question, read_of(rules, marked), rivals[marked.id] if rivals is not None else None))
    return cases


def read_of(rules: Judge, marked: Marked) -> str:
    """What a judge reads of an answer."""
    reason = marked.answer.reason if rules.reasons else ""
    return f"{marked.answer.text}\n\nReason: {reason}" if reason else marked.answer.text


def heard(
    rules: Judge, judge: Variant, cases: Sequence[Case], opinions: Sequence[Opinion], shelf: Shelf, store: Store, *, seed: int
) -> Judged:
    """The judge's verdicts and, where there are opinions of people, how often it says the same: that is found out first, and once.

    Raises Failed for a judge whose replies cannot be read.
    """
    agreed = agreed_with(rules, judge, opinions, shelf, store, seed=seed) if opinions else None
    key = f"judged-{digest(_meant(rules), *_who(judge, shelf), [vars(case) for case in cases], seed)}"

    def make(part: Path) -> Mapping[str, Any]:
        with shelf.engine(judge) as engine:
            found = judged(engine, rules, cases, kept=_kept(judge, shelf, store), name=judge.base.name, seed=seed)
        write_json(part / "judged.json", freeze(found))
        return {"judge": judge.base.name}

    found = thaw(Judged, json.loads((paid_once(store, shelf.purse, key, make) / "judged.json").read_text("utf-8")))
    return replace(found, against=rules.against, agreement=agreed)


def agreed_with(rules: Judge, judge: Variant, opinions: Sequence[Opinion], shelf: Shelf, store: Store, *, seed: int) -> WithPeople:
    """How often the judge says what people said. Raises Failed for a judge whose replies cannot be read."""
    key = f"agreed-{digest(2, _meant(rules), *_who(judge, shelf), [vars(each) for each in opinions], seed)}"

    def make(part: Path) -> Mapping[str, Any]:
        with shelf.engine(judge) as engine:
            kept = _kept(judge, shelf, store)
            found = agreement(engine, rules, opinions, kept=kept, name=judge.base.name, source=Path(rules.people).name, seed=seed)
        write_json(part / "agreement.json", freeze(found))
        return {"judge": judge.base.name}

    return thaw(WithPeople, json.loads((paid_once(store, shelf.purse, key, make) / "agreement.json").read_text("utf-8")))


def _meant(rules: Judge) -> tuple[Any, ...]:
    """What decides the verdicts beside who gives them."""
    return rules.rubric, rules.rank, rules.tokens, bool(rules.against)


def _who(judge: Variant, shelf: Shelf) -> tuple[Any, ...]:
    prices = [own] if (own := judge.base.settings.get("prices")) else []
    return judge.base.content, judge.stamp, shelf.device, str(shelf.dtype), *prices


def _kept(judge: Variant, shelf: Shelf, store: Store) -> Kept | None:
    """Where replies are kept as they come; an endpoint's are kept by its engine."""
    return None if judge.base.source == "url" else Kept(store, f"verdicts-{digest(*_who(judge, shelf))}")
