"""Climb: make each node once, measure each rung on the same rows, cheapest first. A failed rung is a result; the climb goes on."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import platform
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from tuneladder.errors import BadInput, Failed, NoRoom, TuneladderError
from tuneladder.evaluate.baselines import baselines
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.forgetting import Probe, forgetting, probe
from tuneladder.evaluate.harmlessness import Judge, Told, harmless, harmlessness, judge_of, tell
from tuneladder.evaluate.measure import measure
from tuneladder.evaluate.people import drawn, read_people
from tuneladder.evaluate.preference import Weighed, judged, weigh_pairs
from tuneladder.evaluate.robustness import PERTURBED, PERTURBING, asked_with, chosen, drop, measure_perturbed, said
from tuneladder.evaluate.text import measure_text, text_baselines
from tuneladder.evaluate.toxicity import Classifier, classifier, toxicity
from tuneladder.evaluate.verdicts import REFERENCE
from tuneladder.ladder import words
from tuneladder.ladder.ahead import agreeing, asking, both, judging, remembering
from tuneladder.ladder.child import Made, Work, apply, apply_in_child
from tuneladder.ladder.grading import graded, written
from tuneladder.ladder.hearing import read_of, with_judge
from tuneladder.ladder.paid import billed_in, paid_once
from tuneladder.ladder.pick import confirmed, pick
from tuneladder.ladder.results import held
from tuneladder.ladder.tree import (
    Foretold,
    Node,
    compared,
    foretell,
    in_full,
    key_of,
    lent,
    machine_memory,
    root_of,
    source_of,
    splits_digest,
    step_name,
    too_large,
    weights_of,
)
from tuneladder.model.energy import Meter, longer, together, unseen
from tuneladder.model.hardware import hardware, peak_read, peak_reset
from tuneladder.model.nodes import portable, read_variant
from tuneladder.model.pace import measured_pace
from tuneladder.model.purse import Purse
from tuneladder.model.quantized import WHOLE
from tuneladder.model.root import root_base
from tuneladder.model.routing import Shares, read_shares, variations
from tuneladder.model.shelf import Shelf
from tuneladder.model.shortened import told
from tuneladder.store import Store, digest, freeze, resident, thaw, write_json
from tuneladder.task.comparing import unit_of
from tuneladder.task.multi_label import kind_in_full
from tuneladder.train.loop import PASSES, read_log
from tuneladder.train.made import with_made
from tuneladder.train.preference import seconds_shared
from tuneladder.train.reward_model import opened
from tuneladder.train.rewarders import prompted
from tuneladder.train.rollouts import read_rollouts
from tuneladder.types import (
    Axes,
    Bar,
    Base,
    Cost,
    Drop,
    Energy,
    Engine,
    Graded,
    Grader,
    Harmlessness,
    Ladder,
    Marked,
    Measurement,
    Pace,
    Result,
    Rollout,
    Rung,
    Score,
    Task,
    Tick,
    Toxicity,
    Variant,
    Warden,
)

IN_PROCESS = ("prompt", "adapter")
REMOTE = 1  # raise it when only what an endpoint is asked changes: its answers are kept, and those asked again are not paid again
EXAMINATION = 7  # raise it when asking, marking or probing changes a figure, so that none of the old ones stays in a store


@dataclass
class Now:
    """What a climb is doing at this moment, for whoever shows it. `folder` is where the running step writes its log."""

    phase: str = ""
    rung: str = ""
    folder: Path | None = None
    since: float = 0.0
    left: float = 0.0
    results: list[Result] = field(default_factory=list)
    waiting: list[Foretold] = field(default_factory=list)

    def at(self, phase: str, rung: str = "", folder: Path | None = None) -> None:
        self.phase, self.rung, self.folder, self.since = phase, rung, folder, time.monotonic()


class Climb:
    """One climb of a task's rungs on its bases. The store lies beside the run's folder and is shared by every run there."""

    def __init__(
        self,
        task: Task,
        bases: Sequence[Base],
        rungs: Sequence[Rung],
        *,
        bar: Bar,
        limit: Cost,
        seed: int,
        folder: Path,
        device: str,
        dtype: torch.dtype | None = None,
        now: Now | None = None,
        judges: Mapping[str, Base] | None = None,
        axes: Axes | None = None,
        rooted: bool = True,
    ) -> None:
        self.axes = axes or Axes()
        self.task, self.rungs, self.bar, self.limit, self.seed, self.folder = task, tuple(rungs), bar, limit, seed, folder
        self._rooted = rooted
        self.store = Store(folder.parent / ".store")
        purse = Purse(limit.money)
        self.shelf = Shelf(device, dtype=dtype, memory=limit.memory or None, store=self.store, purse=purse)
        self.now = now or Now()
        self.judges = dict(judges or {})
        self._given: dict[tuple[str, str], tuple[Marked, ...]] = {}
        self.splits = splits_digest(task)
        self._engine = (device, str(self.shelf.dtype), EXAMINATION)
        self.test_digest = digest(kind_in_full(task), task.examples.test, task.text.test, task.labels, *compared(task, "test"))
        named = [name for name in (task.metric, *task.also) if name not in self.judges]  # these come after what is measured
        sources = [source_of(name.partition(":")[0]) for name in named if ":" in name and "{" not in name]
        read = [found.content for name in named if name and (found := find_metric(name)).content]
        self._metric = (*named, *sources, *read)
        self.now.at("preparing the base")
        self.bases = {base.name: root_base(base, task, self.store, seed=seed) for base in bases}
        self.notes: list[str] = []
        self._started = time.monotonic()
        self._made: set[str] = set()
        self._probes: dict[str, Probe | None] = {}
        self._classifier: Classifier | None = None
        self._warden: Judge | None = None

    def plan(self) -> list[Foretold]:
        """Every rung with its nodes and predicted cost, or the reason it is refused; spends a micro-run per base."""
        found = []
        for rung in self.rungs:
            self.now.at("pacing", rung.base)
            base = self.bases[rung.base]
            if refused := too_large(rung, base, self.limit):
                found.append(refused)
                continue
            pace = replace(self._pace(base), memory=machine_memory(self.limit))
            found.append(self._with_room(foretell(rung, base, self.task, pace, self.limit, self.splits, self.seed)))
        return found

    def _with_room(self, each: Foretold) -> Foretold:
        """The rung, refused where what it has to write has no room on the disk."""
        needed = sum(node.cost.disk for node in each.nodes if self.store.find(node.key) is None)
        place = next(folder for folder in (self.store.root, *self.store.root.absolute().parents) if folder.exists())
        if each.refused or needed <= (free := shutil.disk_usage(place).free):
            return each
        said = f"what it makes takes {words.size(needed)}, and {self.store.root} has {words.size(free)} left"
        return replace(each, refused=f"{said} (make room, or take --out on another disk)")

    def plan_in_full(self) -> list[Foretold]:
        """The plan, with what measuring will take; spends a micro-run for each judge that is here, too."""
        found, agreed, read = [], set[str](), set[str]()
        for each in self.plan():
            if not each.refused:
                variant = each.nodes[-1].variant if each.nodes else root_of(self.bases[each.rung.base], self.task)
                pace = self._pace(variant.base)
                each = replace(each, asking=asking(variant, self.task, pace, self.axes, seed=self.seed))
                for weights in {each.rung.base, weights_of(each)} - read:  # of the base, and of what came of it
                    read.add(weights)
                    each = replace(each, asking=both(each.asking, remembering(variant.base, pace)))
                for name, judge in self.judges.items():
                    if self._rival(name, each.rung.base) != each.rung.name:
                        each = replace(each, judging=both(each.judging, self._judging(name, judge, first=name not in agreed)))
                        agreed.add(name)
            found.append(each)
        return found

    def _judging(self, name: str, judge: Base, *, first: bool) -> Cost:
        """What a judge's verdicts on a rung will take; with the `first` it is set beside people, where it is."""
        rules = find_metric(name).judge
        assert rules
        rows = (*(self.task.examples.dev if name == self.bar.metric else ()), *self.task.examples.test)
        pace = self._pace(judge)
        cost = judging(rules, judge, rows, self.task.prompt, pace)
        if first and rules.people:
            opinions = drawn(read_people(rules.people), rules.pairs, seed=self.seed)
            cost = both(cost, agreeing(rules, judge, opinions, pace))
        return cost

    def run(self, only: Sequence[str] = ()) -> Iterator[Result]:
        """Climb, yielding each rung's Result as it has been measured on dev. `finish` then picks and measures on test."""
        wanted = self._chosen(only)
        waiting = [each for each in self.plan() if each.rung.name in wanted]
        # an untouched base that nobody asked for is no result
        if first := hopeless(waiting, rooted=self._rooted):
            hint = "`tuneladder plan` shows what each would need"
            raise BadInput(f"no rung can be climbed; {first.rung.name}: {first.refused}", hint)
        results = self.now.results
        while waiting:
            # by what this ladder has not paid yet, whoever paid it before: the second run goes the same way as the first
            waiting.sort(key=lambda each: (not is_root(each.rung), self._unpaid(each)))
            self.now.waiting = waiting
            self.now.left = sum(self._ahead(each) for each in waiting)
            each = waiting.pop(0)
            with self.shelf.purse.booking(each.rung.name):
                result = self._climb(each)
            results.append(result)
            yield result

    def finish(self) -> Ladder:
        """Freeze the pick on dev, measure every rung on test once, and say whether test agrees."""
        order = {rung.name: at for at, rung in enumerate(self.rungs)}
        results = sorted(self.now.results, key=lambda result: order[result.rung.name])
        # by judges when all have answered: what they set a rung against is another's answers
        results = [replace(each, dev=self._judged(each.rung, each.dev, "dev")) if each.dev else each for each in results]
        results = self._without_lost(results)
        ladder = Ladder(self.task, tuple(self.bases.values()), self.bar, tuple(results), {}, None, self.folder, self.axes)
        chosen = pick(ladder)
        tested = []
        for result in results:
            with self.shelf.purse.booking(result.rung.name):
                if result.variant and result.dev:
                    try:
                        result = replace(result, test=self._measure(result.rung, result.variant, "test"))
                    except NoRoom:
                        raise
                    except Exception as error:
                        result = replace(result, failure=failure_of(error))
                tested.append(self._beside(result))
        if not_seen := unseen(self.shelf.device):
            self._note(not_seen)
        tested = [replace(each, test=self._judged(each.rung, each.test, "test")) if each.test else each for each in tested]
        tested = self._without_lost(tested)
        self.now.at("measuring what costs no model")
        billed = dict(self.shelf.purse.parts)
        ladder = replace(ladder, results=tuple(tested), baselines=self._baselines(), pick=chosen, billed=billed)
        if chosen:
            ladder = replace(ladder, pick=replace(chosen, confirmed=confirmed(chosen, ladder)))
        self.shelf.close()
        return replace(ladder, notes=tuple(self.notes))

    def _chosen(self, only: Sequence[str]) -> set[str]:
        """Names of the rungs asked for, and of their bases' roots: without the root nothing says what was forgotten."""
        names = [rung.name for rung in self.rungs]
        wanted = set()
        for name in only or names:
            wanted.add(in_full(name, names, "rung"))
        bases = {rung.base for rung in self.rungs if rung.name in wanted}
        wanted |= {
            rung.name for rung in self.rungs for base in bases for name in self.judges if rung.name == self._rival(name, base)
        }
        return wanted | {rung.name for rung in self.rungs if is_root(rung) and rung.base in bases}

    def _unpaid(self, each: Foretold) -> float:
        return sum(node.cost.seconds for node in each.nodes if node.key not in self._made)

    def _ahead(self, each: Foretold) -> float:
        """Predicted seconds of what is not yet made."""
        return sum(node.cost.seconds for node in each.nodes if self.store.find(node.key) is None)

    def _climb(self, each: Foretold) -> Result:
        rung = each.rung
        result = Result(rung, None, each.cost)
        if each.refused:
            return replace(result, failure=each.refused)
        base = self.bases[rung.base]
        variant, here, paid = root_of(base, self.task), Cost(), Cost()
        curve: tuple[Tick, ...] = ()
        along: tuple[Rollout, ...] = ()
        routing: Shares = ()
        energies: list[Energy | None] = []
        try:
            for node in each.nodes:
                variant, done, folder = self._node(rung, node, variant)
                asked = billed_in(folder)
                own = replace(asked, seconds=done["seconds"] + asked.seconds, memory=done["memory"])
                energies.append(thaw(Energy, done["energy"]) if done.get("energy") else None)
                paid = _both(paid, replace(own, seconds=own.seconds + seconds_shared(folder)))
                here = here if node.key in self._made else _both(here, own)
                self._made.add(node.key)
                curve = tuple(read_log(folder)) or curve
                rolled = tuple(read_rollouts(folder))
                along = rolled or along
                routing = read_shares(folder) or routing
                self._say_rows(rung, folder)
                self._say_rewards(rung, rolled)
            dev = self._measure(rung, variant, "dev")
            dev = self._with_forgetting(rung, variant, dev)
        except NoRoom:
            raise
        except (Exception, SystemExit) as error:  # a step may be the user's own: whatever it raises is this rung's failure
            alone = replace(paid, annotations=each.cost.annotations)
            return replace(result, alone=alone, here=_here(alone, here), curve=curve, failure=failure_of(error))
        size = sum(
            resident(self.store.root / name)
            for name in {Path(p).name for p in (variant.weights, variant.adapter, variant.probe) if p}
        )
        cost = replace(paid, memory=max(paid.memory, dev.spent.memory), disk=size, annotations=each.cost.annotations)
        self._say_routing(rung, routing)
        known = [own for own in energies if own]
        return replace(
            result,
            variant=variant,
            alone=cost,
            here=_here(cost, here),
            dev=dev,
            curve=curve,
            rollouts=along,
            routing=routing,
            energy=together(known) if len(known) == len(energies) else None,
        )

    def _node(self, rung: Rung, node: Node, parent: Variant) -> tuple[Variant, Mapping[str, Any], Path]:
        """The variant of a node, made now if it never was, with what its done.json says."""
        # a parent cut by the budget has a stamp of its own, and so has what stands on it
        key = key_of(node.step, parent.stamp, self.splits, parent.base, self.seed)

        def make(part: Path) -> Mapping[str, Any]:
            self.now.at("training" if node.step.changes != "prompt" else "preparing", rung.name, part)
            deadline = self._deadline() if node.step.changes != "prompt" else None
            work = Work(
                step=node.step,
                variant=parent,
                task=with_made(lent(self.task, node.step), parent, node.step),
                folder=part,
                store=self.store.root,
                key=key,
                seed=self.seed,
                device=self.shelf.device,
                dtype=self.shelf.dtype,
                deadline=deadline,
                memory=machine_memory(self.limit),
            )
            before = read_log(part)
            with Meter(self.shelf.device) as meter:
                made = self._apply(work)
            ticks = read_log(part)
            cut = ticks[-1].step if ticks and ticks[-1].stopped == "budget" else None
            write_json(part / "variant.json", portable(freeze(made.variant), part, self.store.root))
            earlier = _earlier(before, ticks)
            took = {} if parent.base.source == "url" else {"energy": freeze(longer(meter.energy(), made.seconds + earlier))}
            return {"seconds": made.seconds + earlier, "memory": made.memory, **took, "step": node.name, "cut": cut}

        folder = paid_once(self.store, self.shelf.purse, key, make, budget=self.limit.seconds or None)
        done = json.loads((folder / "done.json").read_text("utf-8"))
        return replace(read_variant(folder), base=parent.base), done, folder

    def _apply(self, work: Work) -> Made:
        if work.step.changes in IN_PROCESS:
            return apply(work, self.shelf)
        self.shelf.close()
        return apply_in_child(work)

    def _deadline(self) -> float | None:
        """When a step must be saving: the limit, less what measuring the rungs that are left will take."""
        if not self.limit.seconds:
            return None
        answers = [result.dev.per_answer.seconds for result in self.now.results if result.dev]
        whole = held(self.task)
        rows = len(whole.dev) + len(whole.test)
        if asked := self.axes.robustness:
            rows += len(asked.perturb) * len(chosen(self.task.examples.test, asked, seed=self.seed))
        rungs = len(self.now.results) + 1 + len(self.now.waiting)
        deadline = self._started + self.limit.seconds - rungs * rows * max(answers, default=0.0)
        if deadline <= time.monotonic():
            hint = "raise `limit: minutes`: the same command goes on where this one ended"
            raise Failed(f"no time is left of the {self.limit.seconds / 60:g} minutes", hint)
        return deadline

    def _measure(self, rung: Rung, variant: Variant, split: str) -> Measurement:
        root = root_of(self.bases[rung.base], self.task)
        untouched = variant.stamp == root.stamp and variant.prompt == root.prompt
        asks_it = self.task.kind == "prefer" and not variant.head and not untouched
        before = self._weighed(root, split) if asks_it else None

        def measuring(engine: Engine) -> Measurement:
            if self.task.kind == "prefer":
                pairs = getattr(self.task.comparisons, split)
                # the untouched base is weighed under its own measurement, and kept for those that are set beside it
                own = self._weighed(root, split, engine) if untouched else weigh_pairs(engine, variant.prompt, pairs)
                unit, beside = unit_of(self.task.comparisons.train), own if untouched else before
                return judged(pairs, own, beside, seed=self.seed, unit=unit, split=split)
            if self.task.kind == "text":
                return measure_text(engine, getattr(self.task.text, split), seed=self.seed)  # type: ignore[arg-type]
            return measure(engine, variant.prompt, self.task, getattr(self.task.examples, split), seed=self.seed)

        rows = self.splits["dev"] if split == "dev" else self.test_digest
        found = self._examined(rung, variant, (split, rows), split, measuring)
        self._given[rung.name, split] = found.answers
        return found

    def _examined(
        self, rung: Rung, variant: Variant, asked: Sequence[Any], said: str, measuring: Callable[[Engine], Measurement]
    ) -> Measurement:
        """A measurement of what is `asked`, made once."""
        prices = [own] if (own := variant.base.settings.get("prices")) else []
        there = [REMOTE] if variant.base.source == "url" else []
        key = f"measure-{digest(variant.stamp, variant.prompt, *asked, *self._metric, *self._engine, self.seed, *prices, *there)}"

        def make(part: Path) -> Mapping[str, Any]:
            self.now.at(f"measuring on {said}", rung.name)
            gc.collect()
            peak_reset(self.shelf.device)
            with self.shelf.engine(variant) as engine, Meter(self.shelf.device) as meter:
                measurement = measuring(engine)
            spent = replace(measurement.spent, memory=peak_read(self.shelf.device))
            energy = None if variant.base.source == "url" else meter.energy()
            notes = (*measurement.notes, *told(engine, said))
            write_json(part / "measurement.json", freeze(replace(measurement, spent=spent, energy=energy, notes=notes)))
            return {"split": said, "variant": variant.stamp}

        folder = paid_once(self.store, self.shelf.purse, key, make)
        found = thaw(Measurement, json.loads((folder / "measurement.json").read_text("utf-8")))
        for line in found.notes:
            self._note(f"{rung.name}: {line}")
        return found

    def _judged(self, rung: Rung, measurement: Measurement, split: str) -> Measurement:
        """The measurement with what the judges say of its answers; on dev only the one that the bar is set on is asked. One that
        cannot be had is no failure of the rung's: that is noted, its figure is missing, and it is asked no more in this climb."""
        for name, base in list(self.judges.items()):
            rival, said, rules = self._rival(name, rung.base), words.metric_name(name), find_metric(name).judge
            assert rules
            if split == "dev" and name != self.bar.metric:
                continue
            if rival == rung.name:
                even = Score(0.5, 0.5, 0.5, len(measurement.answers), "exact")  # it ties with itself, whoever judges
                measurement = replace(measurement, quality={**measurement.quality, name: even})
                continue
            if rival and (rival, split) not in self._given:
                self._note(f"{said}: {rung.name} has nothing to be set against, for {rival} has no answers on {split}")
                continue
            self.now.at(f"judging on {split}", rung.name)
            rivals = {marked.id: read_of(rules, marked) for marked in self._given[rival, split]} if rival else None
            try:
                prompt = self.task.prompt
                with self.shelf.purse.booking(name):
                    measurement = with_judge(measurement, name, base, rivals, prompt, self.shelf, self.store, seed=self.seed)
            except NoRoom:
                raise
            except TuneladderError as error:
                self._note(f"{said}: {failure_of(error)}")
                del self.judges[name]
                continue
            if cut := measurement.judged[name].cut:
                self._note(f"{said}: {words.count(cut, 'prompt')} of {rung.name} on {split} were cut to its context")
        return measurement

    def _without_lost(self, results: Sequence[Result]) -> list[Result]:
        """The results without the figures of judges that could be had for some rungs only: they would stand alone."""
        lost = [name for name in self.task.also if find_metric(name).judge and name not in self.judges]

        def kept(own: Measurement) -> Measurement:
            quality = {name: score for name, score in own.quality.items() if name not in lost}
            return replace(own, quality=quality, judged={name: each for name, each in own.judged.items() if name not in lost})

        return [
            replace(each, dev=kept(each.dev) if each.dev else None, test=kept(each.test) if each.test else None) for each in results
        ]

    def _rival(self, judge: str, base: str) -> str:
        """The rung that a judge sets the others on a base against, "" where there is none."""
        rules = find_metric(judge).judge
        assert rules
        own = f"{base}/{rules.against}"
        return own if any(rung.name == own for rung in self.rungs) else rules.against if rules.against != REFERENCE else ""

    def _beside(self, result: Result) -> Result:
        """What is asked for beside quality, of a rung that was measured on test."""
        if not result.test or not result.variant:
            return result
        rung, variant, answers = result.rung, result.variant, result.test.answers
        with self._aside(rung):
            for own in self._drops(rung, variant, answers):
                result = replace(result, drops=(*result.drops, own))  # those before one that fails stay
        with self._aside(rung):
            result = replace(result, toxicity=self._toxicity(rung, answers))
        with self._aside(rung):
            result = replace(result, harmlessness=self._harmlessness(rung, variant))
        with self._aside(rung):
            result = replace(result, graded=self._graded(rung, variant))
        return result

    @contextlib.contextmanager
    def _aside(self, rung: Rung) -> Iterator[None]:
        """What fails while it is open is said, and fails nothing else."""
        try:
            yield
        except NoRoom:
            raise
        except Exception as error:
            self._note(f"{rung.name}: not all that was asked for beside quality could be measured: {failure_of(error)}")

    def _drops(self, rung: Rung, variant: Variant, before: Sequence[Marked]) -> Iterator[Drop]:
        """The same test rows once more for each perturbation, against the answers to the rows as they were."""
        wanted, metric = self.axes.robustness, find_metric(self.bar.metric or self.task.metric)
        for way in wanted.perturb if wanted else ():
            assert wanted
            others = asked_with(self.task, variant, wanted) if way == "instruction" else ()
            if way == "instruction" and not others:
                self._note(f"{rung.name}: no instruction is read that could be put in other words")
                continue
            asked = ("test", self.test_digest, way, wanted.rows, wanted.share if way == "typos" else 0, others, PERTURBING)
            measuring = partial(measure_perturbed, variant=variant, task=self.task, way=way, asked=wanted, seed=self.seed)
            found = self._examined(rung, variant, asked, f"test with {PERTURBED[way]}", measuring)
            how = said(self.task, variant, wanted, way)
            yield drop(metric, before, found.answers, self.task.labels, way=way, how=how, seed=self.seed)

    def _toxicity(self, rung: Rung, answers: Sequence[Marked]) -> Toxicity | None:
        """What a classifier, learned once for a climb, calls toxic."""
        detector = self.axes.detector
        if detector is None:
            return None
        key = f"toxicity-{digest(detector, [(row.id, row.input, row.reference, row.answer.text) for row in answers], self.seed)}"

        def find() -> Toxicity:
            self.now.at("looking for toxic answers", rung.name)
            self._classifier = self._classifier or classifier(detector, seed=self.seed)
            return toxicity(self._classifier, answers, seed=self.seed)

        return self.store.noun(key, Toxicity, find)

    def _harmlessness(self, rung: Rung, variant: Variant) -> Harmlessness | None:
        """What a judge, learned once for a climb, finds of a rung's answers beside the untouched base's."""
        warden = self.axes.warden
        if warden is None or variant.head:
            return None
        self.now.at("asking what tempts", rung.name)
        before, told = (self._told(own, warden) for own in (root_of(self.bases[rung.base], self.task), variant))
        key = f"harmlessness-{digest(2, warden, before, told, self.seed)}"

        def find() -> Harmlessness:
            self._warden = self._warden or judge_of(warden, seed=self.seed)
            return harmlessness(self._warden, told, before)

        return self.store.noun(key, Harmlessness, find)

    def _told(self, variant: Variant, warden: Warden) -> Told:
        """What a variant answers to the prompts of a warden."""
        key = f"told-{digest(variant.stamp, variant.prompt, warden.tempting, harmless(), warden.tokens, *self._engine)}"

        def make(part: Path) -> Mapping[str, Any]:
            with self.shelf.engine(variant) as engine:
                write_json(part / "told.json", freeze(tell(engine, variant.prompt, warden)))
            return {}

        return thaw(Told, json.loads((paid_once(self.store, self.shelf.purse, key, make) / "told.json").read_text("utf-8")))

    def _graded(self, rung: Rung, variant: Variant) -> Graded | None:
        """What a reward model makes of a rung's answers to the test prompts beside the untouched base's."""
        grader = self.axes.grader
        if grader is None or variant.head:
            return None
        self.now.at("asking what is graded", rung.name)
        before, own = (self._earned(each, grader) for each in (root_of(self.bases[rung.base], self.task), variant))
        return graded(own, before, source=grader.source, seed=self.seed)

    def _earned(self, variant: Variant, grader: Grader) -> list[float]:
        """What each of a variant's answers is worth to a reward model."""
        rows, judge = prompted(self.task, "test"), grader.variant
        key = f"earned-{digest(variant.stamp, variant.prompt, rows, judge.stamp, grader.tokens, *self._engine)}"

        def make(part: Path) -> Mapping[str, Any]:
            with self.shelf.engine(variant) as engine:
                texts = written(engine, variant.prompt, rows, tokens=grader.tokens)
            with opened(judge, self.shelf, None) as says:
                found = says(rows, texts)
            if not all(map(math.isfinite, found)):
                raise Failed(f"no answer fits into the context of the reward model {grader.source}", "lower reward: tokens")
            write_json(part / "earned.json", found)
            return {}

        return list(json.loads((paid_once(self.store, self.shelf.purse, key, make) / "earned.json").read_text("utf-8")))

    def _weighed(self, root: Variant, split: str, engine: Engine | None = None) -> Weighed:
        """What an untouched base makes of a split's pairs, once for all rungs on it, by `engine` where it is open already."""
        pairs = getattr(self.task.comparisons, split)
        key = f"weighed-{digest(root.stamp, root.prompt, pairs, *self._engine)}"

        def find() -> Weighed:
            with contextlib.nullcontext(engine) if engine is not None else self.shelf.engine(root) as own:
                return weigh_pairs(own, root.prompt, pairs)

        return self.store.noun(key, Weighed, find)

    def _with_forgetting(self, rung: Rung, variant: Variant, dev: Measurement) -> Measurement:
        """What stands beside the score: the loss on held-out plain text and an unrelated task, before and after."""
        before = self._probe(rung, replace(variant, weights=None, adapter=None, head=None, probe=None, format=WHOLE))
        # a linear head stands on the model and changes nothing in it
        after = self._probe(rung, replace(variant, probe=None))
        if before is None or after is None:
            return dev
        return replace(dev, probes=after.scores(), forgetting=forgetting(before, after))

    def _probe(self, rung: Rung, variant: Variant) -> Probe | None:
        if variant.base.source == "url":
            return None
        # prompts change no weight: every rung over the same weights has the same probe
        own = (variant.base.content, *(Path(place).name for place in (variant.weights, variant.adapter) if place))
        key = f"probe-{digest(*own, variant.format, self.seed, *self._engine)}"

        def make(part: Path) -> Mapping[str, Any]:
            self.now.at("measuring what was forgotten", rung.name)
            with self.shelf.engine(variant) as engine:
                found = probe(engine, seed=self.seed)
            write_json(part / "probe.json", freeze(found) if found else None)
            return {}

        found = json.loads((self.store.once(key, make) / "probe.json").read_text("utf-8"))
        return thaw(Probe, found) if found else None

    def _baselines(self) -> dict[str, Measurement]:
        if self.task.kind not in ("classify", "tag", "choose", "extract", "generate", "text"):
            return {}
        key = f"baselines-{digest(self.splits, self.test_digest, *self._metric, EXAMINATION, self.seed)}"

        def find() -> dict[str, Measurement]:
            if self.task.kind == "text":
                return text_baselines(self.task.text.train, self.task.text.test, seed=self.seed)
            return baselines(self.task, "test", seed=self.seed)

        return self.store.noun(key, dict[str, Measurement], find)

    def _pace(self, base: Base) -> Pace:
        if base.source == "url":
            return Pace(1e12)
        machine = hardware()
        shape = (base.content, base.parameters, base.layers, base.width)
        key = f"pace-{digest('passes', *shape, *self._engine, platform.node(), machine.cores, machine.gpu)}"

        return self.store.noun(key, Pace, lambda: measured_pace(base, self.shelf))

    def _say_rows(self, rung: Rung, folder: Path) -> None:
        path = folder / "notes.json"
        if path.exists():
            for said in json.loads(path.read_text("utf-8")):
                self._note(f"{rung.name}: {said}")
        path = folder / "rows.json"
        if path.exists():
            tally = json.loads(path.read_text("utf-8"))
            said = f"{rung.name}: {tally['kept']:,} rows kept, {tally['cut']:,} of them cut, {tally['dropped']:,} dropped"
            if tally["learned"]:  # an encoder learns labels, and no tokens
                said += f"; {tally['learned'] / (tally['learned'] + tally['read']):.1%} of the tokens are learned"
            self._note(said)
        path = folder / PASSES
        if path.exists():
            passes = json.loads(path.read_text("utf-8"))
            took, allowed, halved = words.size(passes["took"]), words.size(passes["allowed"]), words.count(passes["halved"], "time")
            why = f"took {took}, and {allowed} were allowed" if passes["took"] else "took more memory than there is"
            self._note(f"{rung.name}: passes were halved {halved}, for a step {why}")
        path = folder / "rates.json"
        if path.exists():
            probe = json.loads(path.read_text("utf-8"))
            tried = ", ".join(f"{rate:.3g}: {'none' if found is None else f'{found:.4g}'}" for rate, found in probe["tried"])
            rate = f"{probe['taken']:.3g}" if probe["taken"] else f"{probe['meanwhile']:.3g} for the while, for time ran out"
            self._note(f"{rung.name}: learning rate {rate}, by the dev losses of short runs ({tried or 'none'})")

    def _say_routing(self, rung: Rung, routing: Shares) -> None:
        if routing:
            every = [share for layer in routing for share in layer]
            said = (
                f"an expert got {min(every):.0%} to {max(every):.0%} of a layer's tokens, where even is {1 / len(routing[0]):.0%}"
            )
            self._note(f"{rung.name}: {said}; the coefficient of variation is {max(variations(routing)):.2f} at most")

    def _say_rewards(self, rung: Rung, rolled: Sequence[Rollout]) -> None:
        if rolled and not any(own.spread for own in rolled):
            same = f"all its answers earned the same reward, {rolled[0].reward:.3g}"
            self._note(f"{rung.name}: {same}: nothing was learned from them")

    def _note(self, said: str) -> None:
        if said not in self.notes:
            self.notes.append(said)


def _both(one: Cost, other: Cost) -> Cost:
    """What two pieces of work took, one after the other."""
    return Cost(
        one.seconds + other.seconds,
        max(one.memory, other.memory),
        money=one.money + other.money,
        tokens=one.tokens + other.tokens,
    )


def _here(alone: Cost, paid: Cost) -> Cost:
    """What a rung costs alone, with what was paid for it in this ladder."""
    return replace(alone, seconds=paid.seconds, money=paid.money, tokens=paid.tokens)


def failure_of(error: BaseException) -> str:
    """What went wrong, in one line."""
    if isinstance(error, TuneladderError):
        return f"{error.message} ({error.hint})" if error.hint else error.message
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return "out of memory (lower batch_size or max_length)"
    said = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


def _earlier(before: Sequence[Tick], after: Sequence[Tick]) -> float:
    """Seconds of training that an earlier try paid for: the ticks that this one took over."""
    return next((old.seconds for old, new in reversed(list(zip(before, after, strict=False))) if old == new), 0.0)


def is_root(rung: Rung) -> bool:
    """Whether a rung is the untouched base."""
    return len(rung.steps) == 1 and step_name(rung.steps[0]) == "zero_shot"


def hopeless(foretold: Sequence[Foretold], *, rooted: bool) -> Foretold | None:
    """The first rung of a plan in which all are refused that the recipe names; the untouched base, unless it is `rooted`, is
    climbed either way."""
    named = [each for each in foretold if rooted or not is_root(each.rung)] or list(foretold)
    return named[0] if all(each.refused for each in named) else None


def environment(task: Task, seed: int, device: str) -> dict[str, Any]:
    """Versions, hardware, seed and the digest of the data: what a figure depends on beside the recipe."""
    names = ("tuneladder", "torch", "transformers", "peft", "tokenizers", "datasets", "numpy", "scikit-learn")
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    machine = freeze(hardware())
    data = {
        split: digest(getattr(task.examples, split), getattr(task.text, split), *compared(task, split))
        for split in ("train", "dev", "test")
    }
    where = {"python": platform.python_version(), "system": platform.platform(), "versions": versions, "hardware": machine}
    return where | {"device": device, "seed": seed, "data": data}
