"""The verbs of the door, as functions: what the command line calls, and what a notebook imports."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tuneladder import recipe as recipes
from tuneladder.chat.talk import Talk
from tuneladder.errors import BadInput, Failed, unknown
from tuneladder.evaluate.adjudicate import changed, corrected, read_adjudicated, rulings
from tuneladder.evaluate.compare import Contest, Difference, difference, refuse_other_rows
from tuneladder.evaluate.compare import compare as contest
from tuneladder.evaluate.disagreements import View
from tuneladder.evaluate.disagreements import disagreements as doubted
from tuneladder.evaluate.examine import Examined, average, examined
from tuneladder.evaluate.find import Metric, find_metric, metrics_of
from tuneladder.evaluate.gold import doubts
from tuneladder.evaluate.intervals import holm
from tuneladder.evaluate.measure import measure, told_again
from tuneladder.evaluate.people import drawn, read_people
from tuneladder.evaluate.preference import judged, weigh_pairs
from tuneladder.evaluate.questions import questions_of
from tuneladder.evaluate.sitting import sit
from tuneladder.evaluate.suite import find_suites, is_averaged
from tuneladder.evaluate.talks import Question, answered, read_questions
from tuneladder.evaluate.text import measure_text
from tuneladder.evaluate.verdicts import REFERENCE, Judge
from tuneladder.feedback.agreement import Agreement
from tuneladder.feedback.agreement import agreement as agreement_of
from tuneladder.feedback.changes import Change, changes
from tuneladder.feedback.disputes import read_settled, refuse_to_lose_settled, write_disputes
from tuneladder.feedback.items import Item, as_rankings, gathered, rankings_right, read_items, read_prompts, write_items
from tuneladder.feedback.judgements import JudgementFile, last_versions, one_criterion, read_judgements
from tuneladder.feedback.pairs import Exported, Rated, rated, to_pairs, write_comparisons, write_rated
from tuneladder.feedback.rubric import as_asked, check_judgement, of_version, read_rubric, unstamped
from tuneladder.feedback.under import by_rubric
from tuneladder.ladder.climb import Climb, Now, environment
from tuneladder.ladder.hearing import agreed_with, cases_of, heard, read_of, with_judge
from tuneladder.ladder.outsiders import embeddings, pool, views
from tuneladder.ladder.report import glance, results, write_answers, write_card, write_report
from tuneladder.ladder.results import file_name
from tuneladder.ladder.review import Review, refuse_to_lose, write_review
from tuneladder.ladder.reviewed import FOLDER, link
from tuneladder.ladder.tree import Foretold, in_full, root_of
from tuneladder.model import bill as bills
from tuneladder.model import pocket
from tuneladder.model.addressed import is_address, remote
from tuneladder.model.ask import turns_of, turns_of_all
from tuneladder.model.budget import BOUNDS, Budget, budgets, number, pace_near, shapes
from tuneladder.model.energy import Meter
from tuneladder.model.hardware import device, has_bf16
from tuneladder.model.inspect import inspect
from tuneladder.model.local import LocalEngine
from tuneladder.model.nodes import read_variant
from tuneladder.model.precision import Precision
from tuneladder.model.purse import Purse
from tuneladder.model.shelf import Shelf, open_tokenizer
from tuneladder.model.shortened import told
from tuneladder.model.suggest import Suggestion, kind_of
from tuneladder.model.suggest import suggest as suggest_for
from tuneladder.model.whole import weighed
from tuneladder.store import Store, digest, freeze, thaw, write_json, write_text, writing
from tuneladder.task.comparing import asked, unit_of
from tuneladder.task.encode import Coder, Tally
from tuneladder.task.lint import AnyCoder, Report, lint, tally_of
from tuneladder.task.pairs import PairCoder
from tuneladder.task.passages import TextCoder
from tuneladder.task.read import check_file
from tuneladder.tune.pretrain import Pretrain
from tuneladder.types import (
    Answer,
    Base,
    Cost,
    Decoding,
    Document,
    Engine,
    Example,
    Family,
    Judged,
    Judgement,
    Ladder,
    Marked,
    Measurement,
    Prompt,
    Result,
    Score,
    Split,
    Task,
    Text,
    Variant,
    WithPeople,
)
from tuneladder.written import Given, bytes_of

SAID = 256  # the most tokens that a base says at once in a talk

CORRECTION = "Holm"  # of p where several pairs are compared

# a notebook asks an object for this; the noun itself holds no logic
Ladder._repr_html_ = glance  # type: ignore[attr-defined]


def load(recipe: Given = None, *overrides: str) -> recipes.Recipe:
    """Read a recipe: a YAML file, a mapping, or None for the embedded example."""
    return recipes.load(recipe, overrides)


def climb(
    recipe: Given | recipes.Recipe = None,
    *overrides: str,
    rungs: Sequence[str] = (),
    out: str | Path | None = None,
    now: Now | None = None,
    each: Callable[[Result], None] | None = None,
) -> Ladder:
    """Climb a recipe and write its folder, `runs/<name>` unless `out` says otherwise; `each` sees the Results as they come."""
    read = recipe if isinstance(recipe, recipes.Recipe) else recipes.load(recipe, overrides)
    folder = _folder(read, out)
    read = replace(read, notes=(*read.notes, *doubts(read.task, read.bar)))
    _check_whole(read)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    climbing = _climb_of(read, folder, now)
    for result in climbing.run([rungs] if isinstance(rungs, str) else rungs):
        if each:
            each(result)
    return _finish(climbing, read, folder)


def _folder(read: recipes.Recipe, out: str | Path | None) -> Path:
    """Where a run goes. Raises BadInput for where one stands: its store would lie outside."""
    folder = (Path("runs") / read.name if out is None else Path(out)).absolute()
    if folder == Path.cwd() or folder == folder.parent:
        raise BadInput(f"the run would be written into {folder} itself", f"name a folder of its own, as --out runs/{read.name}")
    return folder


def replaced(folder: Path, rungs: Sequence[str], only: Sequence[str]) -> list[str]:
    """The rungs in a folder's results that a climb of these rungs would leave out of them."""
    try:
        kept = [str(each["name"]) for each in json.loads((folder / "results.json").read_text("utf-8"))["rungs"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return [name for name in kept if name not in rungs or (only and name != "zero_shot" and name not in only)]


def another(folder: Path, read: recipes.Recipe) -> str:
    """Of what the run in a folder is, where that is another task than the recipe's; "" where it is not, or no run is there."""
    try:
        kept = yaml.safe_load((folder / "recipe.yaml").read_text("utf-8"))["task"]
        of, data = kept["kind"], kept["data"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return ""
    own = read.resolved["task"]
    return "" if (of, data) == (own["kind"], own["data"]) else f"{of} of {json.dumps(data, ensure_ascii=False)[:200]}"


def plan(recipe: Given | recipes.Recipe = None, *overrides: str, out: str | Path | None = None) -> list[Foretold]:
    """Predicted cost of every rung, of measuring it, or why it is refused, before any work."""
    read = recipe if isinstance(recipe, recipes.Recipe) else recipes.load(recipe, overrides)
    _check_whole(read)
    return _climb_of(read, _folder(read, out), None).plan_in_full()


def refusals(recipe: Given | recipes.Recipe = None, *overrides: str) -> list[Foretold]:
    """The rungs that `plan` refuses, each with the reason."""
    read = recipe if isinstance(recipe, recipes.Recipe) else recipes.load(recipe, overrides)
    return [each for each in _climb_of(read, _folder(read, None), None).plan() if each.refused]


def check(recipe: Given | recipes.Recipe = None, *overrides: str) -> Report:
    """Lint a task's data: leaks, duplicates, truncation, what is learned and what is only read. A task/lint.Report."""
    read = recipe if isinstance(recipe, recipes.Recipe) else recipes.load(recipe, overrides)
    if read.task.kind == "text":
        return Report(read.notes, ())
    doubted = doubts(read.task, read.bar)
    local = next((base for base in read.bases if base.source in ("folder", "hub")), None)
    # the token that a seq2seq's decoder begins with stands in no row
    kinds: dict[Family, Callable[..., AnyCoder]] = {"encoder": TextCoder, "seq2seq": partial(PairCoder, start=0), "decoder": Coder}
    made = partial(kinds[local.family], open_tokenizer(local)) if local else None
    coder = made(local.context) if local and made else None
    task = read.task
    if task.kind == "prefer":  # every answer is looked at, whatever learns from it
        rows = Split(*(tuple(map(asked, getattr(task.comparisons, split))) for split in ("train", "dev", "test")))
        task = replace(task, examples=rows)
    report = lint(task, read.findings, coder, asked=lambda example: turns_of(task.prompt, example))
    shorter = _shortened(read, made, report.tallies["train"]) if made and task.kind != "prefer" else ()
    return replace(report, warnings=(*report.warnings, *shorter, *doubted), reader=local.name if local else "")


def _shortened(read: recipes.Recipe, made: Callable[[int], AnyCoder], whole: Tally) -> Iterator[str]:
    """What a rung's own `max_length` takes of training rows beside what the base's context does, which left `whole`."""
    task, rows = read.task, read.task.examples.train
    asked = partial(turns_of, task.prompt)
    limits = {limit: rung.name for rung in reversed(read.rungs) for step in rung.steps if (limit := getattr(step, "max_length", 0))}
    for limit, name in sorted(limits.items()):
        try:
            found = tally_of(task, made(limit), rows, asked)
        except BadInput:
            yield f"{name}: max_length {limit} leaves nothing of the training rows to learn from"
            continue
        cut, dropped = found.cut - whole.cut, found.dropped - whole.dropped
        if lost := [f"{does} {count:,}" for does, count in (("cuts", cut), ("drops", dropped)) if count > 0]:
            why = ": what it drops has an answer that does not fit" if dropped > 0 else ""
            yield f"{name}: max_length {limit} {' and '.join(lost)} of {len(rows):,} training rows{why}"


@dataclass(frozen=True)
class Sized:
    """A shape near the size that a budget allows, and what `pretrain` would cost on this machine."""

    base: Base
    cost: Cost


def budget(**given: str | float | None) -> tuple[tuple[Budget, Budget], tuple[Sized, ...]]:
    """What compute-optimal pretraining says of one of `flops`, `parameters` and `tokens`, a number or words such as 10M: by the
    fit and by the rule of 20; and of each family a shape of the fit's size, with the cost of pretraining it on the fit's tokens."""
    if strange := next((kind for kind in given if kind not in BOUNDS), ""):
        raise unknown("kind of budget", strange, BOUNDS)
    asked = {kind: str(value) for kind, value in given.items() if value is not None}
    if len(asked) != 1:
        several = f"{' and '.join(f'--{kind}' for kind in asked)} are given" if asked else "no budget is given"
        raise BadInput(f"{several}, and one of them decides the rest", "--flops 1e19, --parameters 10M or --tokens 60M")
    ((kind, text),) = asked.items()
    laws = budgets(kind, number(text, kind))
    step = Pretrain(tokens=round(laws[0].tokens))
    task = Task("budget", "text", text=Text((Document("text"),)))
    sized = []
    for base in shapes(laws[0].parameters):
        _, cost = step.plan(Variant(base, Prompt()), task, pace_near(base))
        sized.append(Sized(base, cost))
    return laws, tuple(sized)


def bill(base: str, *, rows: int = bills.ROWS, length: int | None = None) -> bills.Bill:
    """What a base takes to hold, to answer and to train, by method and precision, and on how many cards: a hub id, a folder, or a
    name that the catalogue knows, which needs no network."""
    return bills.bill(bills.known(base), rows=rows, length=length)


def suggest(kind: str, memory: str | int, *, rows: int = bills.ROWS, length: int | None = None) -> list[Suggestion]:
    """Bases of the catalogue that learn tasks of a kind within so much memory (`16GB`, or bytes) of a machine like this one, by
    family and size, each with the cheapest method that fits and the strongest."""
    if rows < 1 or (length is not None and length < 1):
        raise BadInput(f"{'--rows' if rows < 1 else '--length'} is {rows if rows < 1 else length}", "1 or more")
    here = device()
    precision: Precision = "bf16" if has_bf16(here) else "fp32"
    allowed = bytes_of(memory, "--memory")
    return suggest_for(kind_of(kind), allowed, rows=rows, length=length, precision=precision, device=here)


@dataclass(frozen=True)
class Corrected:
    """p of the difference and of the contest, corrected for so many comparisons (Holm 1979): each test has a family of its own."""

    difference: float | None
    contest: float | None
    comparisons: int
    correction: str = CORRECTION


@dataclass(frozen=True)
class Compared:
    """Two variants on the same rows: the task's metric, and where answers are simply right or wrong, who won which. `corrected` are
    the two tests' p by Holm, where the pair is one of several."""

    a: str
    b: str
    difference: Difference | None
    contest: Contest | None
    corrected: Corrected | None = None


def compare(a: str, b: str) -> Compared:
    """The difference between two variants, `RUN:RUNG` or `RUN` for its pick, and items won and lost, with the paired tests.

    Answers of plain text keep no whole text to be marked against: those raise BadInput.
    """
    first, second = answers_of(a), answers_of(b)
    refuse_other_rows(first, second)
    task, other = (_results(split_variant(each)[0])["task"] for each in (a, b))
    apart = None
    if task["kind"] != "text" and (task["metric"], task["labels"]) == (other["metric"], other["labels"]):
        metric = find_metric(task["metric"])
        # what was kept by an older edition holds a row's first reference only, and cannot be marked anew
        if all(_as_measured(metric, variant, own, task["labels"]) for variant, own in ((a, first), (b, second))):
            apart = difference(metric, first, second, task["labels"], seed=0)
    judged = any(marked.correct is not None for marked in (*first, *second))
    return Compared(a, b, apart, contest(first, second) if judged or apart is None else None)


def compare_all(variants: Sequence[str]) -> list[Compared]:
    """Every pair of several variants, with the p of all pairs corrected together (Holm). Raises BadInput for one named twice."""
    if twice := next((each for at, each in enumerate(variants) if each in variants[:at]), None):
        raise BadInput(f"{twice} is named twice", "name each variant once")
    pairs = [compare(a, b) for at, a in enumerate(variants) for b in variants[at + 1 :]]
    differences = [pair.difference.p if pair.difference else None for pair in pairs]
    contests = [pair.contest.p if pair.contest else None for pair in pairs]
    whole = zip(pairs, _holm(differences), _holm(contests), strict=True)
    return [replace(pair, corrected=Corrected(p, q, len(pairs))) for pair, p, q in whole]


def _holm(given: Sequence[float | None]) -> list[float | None]:
    """Of a family the tests that there are, corrected together."""
    found = iter(holm([p for p in given if p is not None]))
    return [None if p is None else next(found) for p in given]


def _as_measured(metric: Metric, variant: str, answers: Sequence[Marked], labels: Sequence[str]) -> bool:
    """Whether the kept answers, marked against the kept references, have the score that the run's results say."""
    run, rung = split_variant(variant)
    own = next(each for each in _results(run)["rungs"] if each["name"] == rung)
    quality = own["test"] or own["dev"]  # whose answers are kept
    references = [(marked.reference, *marked.others) for marked in answers]
    found = metric.score(told_again(metric, answers), references, labels)
    return math.isclose(found, quality[metric.name]["value"], rel_tol=1e-6, abs_tol=1e-9)


def answers_of(variant: str) -> tuple[Marked, ...]:
    """The kept answers of `RUN:RUNG`, or of a run's pick."""
    run, rung = split_variant(variant)
    path = run / "answers" / f"{file_name(rung)}.jsonl"
    if not path.exists():
        raise BadInput(f"{run} kept no answers of {rung}", "a failed rung has none; climb it again")
    rows = [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]  # other line ends may stand in a text
    return tuple(
        Marked(
            row["id"],
            row["input"],
            row["reference"],
            Answer(row["answer"], row["confidence"], reason=row.get("reason", "")),
            row["correct"],
            tuple(row.get("others", ())),
            row.get("told"),
            tuple(row.get("options", ())),
            row.get("template", ""),
            row.get("group", ""),
        )
        for row in rows
    )


def disagreements(variant: str, *, adjudicated: str | Path | None = None, out: str | Path | None = None) -> Review:
    """Where a rung's kept answers and the references of its labels differ, and which of the two to doubt; `adjudicated` is the CSV
    of an earlier call, ruled on. A page and a CSV are written into the run's folder `disagreements`, unless `out` says otherwise.

    Raises BadInput for a task of another kind, or whose rows bring options of their own, rows that are no longer those that were
    answered, and rulings that cannot be.
    """
    run, rung = split_variant(variant)
    answers = answers_of(variant)
    kind, common = (_results(run)["task"][key] for key in ("kind", "labels"))
    if kind == "choose" and not common:
        # of a row's own options other rows say nothing, and rungs that share a base share its errors
        said = (
            f"no row of {run.name} has another's options: neither a classifier nor its neighbours can say which of its own is right"
        )
        raise BadInput(said, "`tuneladder compare` pairs its rungs; a choice among `labels` that all rows share has its witnesses")
    if kind not in ("classify", "choose"):
        raise BadInput(f"disagreements are of labels, and {run.name} is a task of kind {kind}", "`tuneladder compare` knows it")
    read = recipes.load(run / "recipe.yaml")
    if read.task.multi_label:
        hint = "`tuneladder compare` knows sets of labels"
        raise BadInput(f"disagreements are of one label a row, and rows of {run.name} may have several", hint)
    labels = read.task.labels
    ruled = read_adjudicated(Path(adjudicated), answers, labels) if adjudicated else {}
    folder = Path(out) if out else run / FOLDER
    refuse_to_lose(folder, rung, ruled)
    others = _other_rungs(run, rung, answers)
    seen = _witnessed(read, answers, run)
    anew = corrected(answers, ruled)
    names = dict.fromkeys([read.task.metric, *read.task.also, *(metric.name for metric in metrics_of(kind))])
    metrics = rulings(answers, anew, [*names], labels, seed=read.seed) if ruled else ()
    rungs = {rung: metrics[0]} if ruled else {}
    if ruled:
        for name, own in others.items():
            rungs[name] = rulings(own, corrected(own, ruled), [read.task.metric], labels, seed=read.seed)[0]
    found = doubted(answers, seen, others, labels)
    review = Review(
        variant=f"{run.name}:{rung}",
        rung=rung,
        task=read.task.name,
        labels=labels,
        count=len(answers),
        rows=found,
        ruled=ruled,
        changed=changed(answers, ruled),
        metrics=metrics,
        rungs=rungs,
        report=run / "report.html" if (run / "report.html").is_file() else None,
    )
    written = write_review(review, answers, folder)
    link(run)
    return written


def _other_rungs(run: Path, rung: str, answers: Sequence[Marked]) -> dict[str, tuple[Marked, ...]]:
    """The answers of the run's other rungs that were asked the same rows."""
    rows = {(marked.id, marked.input) for marked in answers}
    names = [str(each["name"]) for each in _results(run)["rungs"] if each["name"] != rung and (each["test"] or each["dev"])]
    kept = [name for name in names if (run / "answers" / f"{file_name(name)}.jsonl").exists()]
    found = {name: answers_of(f"{run}:{name}") for name in kept}
    return {name: own for name, own in found.items() if {(marked.id, marked.input) for marked in own} == rows}


def _witnessed(read: recipes.Recipe, answers: Sequence[Marked], run: Path) -> tuple[View, ...]:
    """What the outsiders make of the rows answered, by all labelled rows of the task."""
    whole = read.task.examples
    given = {marked.id: (marked.reference, *marked.others) for marked in answers}
    rows: list[Example] = []
    for split in (whole.test, whole.dev):
        own = {row.id: row for row in split if row.references == given.get(row.id)}
        if len(own) == len(given):
            rows = [own[marked.id] for marked in answers]
            break
    if not rows:
        raise BadInput(f"the rows of {run.name} are not those that were answered: its data have changed", "climb again")
    ids = {id(row) for row in rows}
    others = [row for row in (*whole.train, *whole.dev, *whole.test) if id(row) not in ids]
    learned = pool(rows, others, seed=read.seed)
    encoder = next((base for base in read.bases if base.family == "encoder"), None)
    if encoder is None and "pocket-encoder" in pocket.names():
        encoder = inspect("pocket-encoder")
    embedded = None
    if encoder:
        embedded = embeddings(root_of(encoder, read.task), learned, Shelf(device()), Store(run.parent / ".store"))
    return views(learned, len(rows), read.task.labels, embedded, seed=read.seed)


@dataclass(frozen=True)
class Agreed:
    """What a file of judgements says, by rubric, what new versions of a guideline did to it, and how the file was read."""

    found: tuple[Agreement, ...]
    changes: tuple[Change, ...]
    read: JudgementFile


def agreement(
    file: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    criterion: str = "",
    level: str | None = None,
    rubrics: Sequence[str | Path] = (),
    items: str | Path | None = None,
    settled: str | Path | None = None,
    disputes: str | Path | None = None,
    seed: int = 0,
) -> Agreed:
    """How far labelers agree, who stands out and why, and what their judgements come to.

    The file has the columns item, labeler and value, and where there are any rubric, at, gold and why, or is an export from Argilla
    or Label Studio; `columns` says what it calls them, `criterion` which alone is measured, `level` how values differ (nominal,
    ordinal, interval). What the `rubrics`, versions of one guideline, do not define is refused, and their labels are words, though
    they be called 1 and 2. Choices of `items` are measured on pairs of the answers that there were. Items in dispute are written
    to `disputes`, a new CSV; settled there and handed in as `settled` they are items whose right value is known."""
    for named in (file, *(each for each in (items, settled) if each is not None)):
        check_file(str(named))
    if disputes is not None:
        refuse_to_lose_settled(Path(disputes))
    read = read_judgements(str(file), columns=columns)
    judgements = _as_defined(read.judgements, rubrics)
    answers = {each.id: each for each in read_items(str(items))} if items is not None else {}
    if answers and not any(each.item in answers for each in judgements):
        raise BadInput(f"{file} judges no item of {items}", "choices and rankings are of an item; scores and labels need none")
    known = read_settled(str(settled)) if settled is not None else {}
    if strays := sorted(set(known) - {unstamped(each.rubric)[0] for each in read.judgements}):
        raise BadInput(f"{settled} settles items of '{strays[0]}', under which {file} has no judgement", "hand in both of one task")
    under = by_rubric(as_rankings(answers, one_criterion(judgements, criterion) if criterion else judgements), level)
    found = []
    for each in under:
        ruled = {item: own.value for item, own in known.get(unstamped(each.rubric)[0], {}).items()}
        right = rankings_right(answers, dict(read.gold.get(each.rubric, {})) | ruled)
        found.append(agreement_of(each, right, unnamed=read.unnamed, seed=seed))
    if disputes is not None:
        write_disputes(Path(disputes), {each.rubric: each.disputes for each in found})
    return Agreed(tuple(found), changes(under, seed=seed), read)


def pairs(
    file: str | Path,
    items: str | Path,
    out: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    criterion: str = "",
    rubrics: Sequence[str | Path] = (),
    at_least: float = 0.0,
    leave_out: Sequence[str] = (),
) -> Exported:
    """Write the comparisons that judgements of `items` come to.

    Rankings and choices are of an item, scores of `ITEM/ANSWER`; of several versions of a guideline the last counts that a labeler
    judged an item under; pairs of scores no further than `at_least` apart are tied. Of
    several criteria one is named; the judgements of labelers in `leave_out` do not count. The `rubrics` say which numbers are
    labels, of which no pairs are made."""
    check_file(str(items))
    found = to_pairs(read_items(str(items)), _judged(file, columns, criterion, rubrics, leave_out), at_least=at_least)
    write_comparisons(Path(out), found.comparisons)
    return found


def scores(
    file: str | Path,
    items: str | Path,
    out: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    criterion: str = "",
    rubrics: Sequence[str | Path] = (),
    leave_out: Sequence[str] = (),
) -> tuple[Rated, ...]:
    """Write the answers of `items` with the mean of their scores, as `pairs` takes them."""
    check_file(str(items))
    found = rated(read_items(str(items)), _judged(file, columns, criterion, rubrics, leave_out))
    write_rated(Path(out), found)
    return found


def _judged(
    file: str | Path,
    columns: Mapping[str, str] | None,
    criterion: str,
    rubrics: Sequence[str | Path],
    leave_out: Sequence[str],
) -> Sequence[Judgement]:
    check_file(str(file))
    said = one_criterion(read_judgements(str(file), columns=columns).judgements, criterion, leave_out)
    return _as_defined(last_versions(said), rubrics)


def _as_defined(judgements: Sequence[Judgement], rubrics: Sequence[str | Path]) -> Sequence[Judgement]:
    """The judgements as the versions of their guideline define them; where none is handed in as they are."""
    if not rubrics:
        return judgements
    guides = [read_rubric(Path(each)) for each in rubrics]
    found = []
    for said in judgements:
        rubric = of_version(guides, said)
        check_judgement(rubric, said)
        found.append(as_asked(rubric, said))
    return found


def split_variant(variant: str) -> tuple[Path, str]:
    """A run's folder and a rung's name in full."""
    if not isinstance(variant, str):
        raise BadInput(f"{variant!r} is no variant", "a text, as RUN:RUNG or RUN for its pick")
    run, _, rung = variant.partition(":")
    folder = Path(run) if Path(run).is_dir() else Path("runs") / run
    if not (folder / "results.json").is_file():
        raise _no_run(run, "name a run's folder, as RUN:RUNG or RUN for its pick")
    found = _results(folder)
    names = [each["name"] for each in found["rungs"]]
    if not rung:
        if not found["pick"]:
            raise BadInput(f"{run} has no pick", f"name a rung, as {run}:{names[0]}")
        return folder, found["pick"]["rung"]
    return folder, in_full(rung, names, f"rung in {run}")


def _no_run(name: str, hint: str) -> BadInput:
    """What to say of a run that is not there: the runs that are."""
    folder = Path(name) if Path(name).is_dir() or len(Path(name).parts) > 1 else Path("runs") / name
    known = sorted(path.parent.name for path in Path("runs").glob("*/results.json"))
    some = ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
    there = f"runs here: {some}" if known else "`tuneladder climb` makes one"
    return BadInput(f"'{name}' is no run: there is no {folder / 'results.json'}", f"{hint}; {there}")


def _results(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise BadInput(f"{path} is broken: {error}", "climb again: what is in the store is not made anew") from error
    return found


def _check_whole(read: recipes.Recipe) -> None:
    """Raises BadInput for a base or a judge whose folder is not whole, or has no weights, before the machine's pace is measured."""
    for base in (*read.bases, *read.judges.values()):
        weighed(base)


def _climb_of(read: recipes.Recipe, folder: Path, now: Now | None) -> Climb:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    return Climb(
        read.task,
        read.bases,
        read.rungs,
        bar=read.bar,
        limit=read.limit,
        seed=read.seed,
        folder=folder,
        device=device(),
        now=now,
        judges=read.judges,
        axes=read.axes,
        rooted=read.rooted,
    )


def _finish(climbing: Climb, read: recipes.Recipe, folder: Path) -> Ladder:
    ladder = climbing.finish()
    climbing.now.at("writing the report")
    with writing(folder):
        if another(folder, read):  # the answers of its rungs are to other rows
            shutil.rmtree(folder / "answers", ignore_errors=True)
        write_text(folder / "recipe.yaml", recipes.resolved_yaml(read))
        write_json(folder / "environment.json", environment(read.task, read.seed, climbing.shelf.device))
        for result in ladder.results:
            write_answers(result, folder)
        write_json(folder / "results.json", results(ladder))
        write_report(ladder, folder, notes=read.notes)
        if ladder.pick:
            write_card(ladder, folder)
    if ladder.results and all(result.failure for result in ladder.results):
        first = ladder.results[0]
        raise Failed(f"no rung could be climbed; {first.rung.name}: {first.failure}", f"the report is {folder / 'report.html'}")
    return ladder


def evaluate(variant: str, recipe: Given | recipes.Recipe, *overrides: str, rows: int = 0) -> Measurement:
    """Measure a variant on the test rows of a recipe's task: `RUN:RUNG` with the prompt it was made with, or a base by its name,
    folder or hub id with the task's plain prompt. `rows` takes the first so many. Its `notes` are of the rows, too."""
    read = recipe if isinstance(recipe, recipes.Recipe) else recipes.load(recipe, overrides)
    examples = read.task.examples.test[: rows or None]
    found = open_variant(variant, read)
    # what an endpoint was asked in the climb is not paid for again
    store = _store_of(variant) if found.base.source == "url" or read.judges else None
    shelf = Shelf(device(), store=store, purse=Purse(read.limit.money))
    if read.task.kind == "prefer":
        pairs = read.task.comparisons.test[: rows or None]
        before = None
        with shelf.engine(found) as engine:
            own = weigh_pairs(engine, found.prompt, pairs)
            notes = (*read.notes, *told(engine, "test"))
        if not found.head:
            root = root_of(found.base, read.task)
            with shelf.engine(root) as engine:
                before = weigh_pairs(engine, root.prompt, pairs)
        measured = judged(pairs, own, before, seed=read.seed, unit=unit_of(read.task.comparisons.train))
        return replace(measured, notes=(*notes, *measured.notes))
    with shelf.engine(found) as engine, Meter(device()) as meter:
        if read.task.kind == "text":
            measured = measure_text(engine, read.task.text.test[: rows or None], seed=read.seed)  # type: ignore[arg-type]
        else:
            measured = measure(engine, found.prompt, read.task, examples, seed=read.seed)
        notes = (*read.notes, *measured.notes, *told(engine, "test"))
    measured = replace(measured, energy=None if found.base.source == "url" else meter.energy(), notes=notes)
    for name, base in read.judges.items():
        assert store
        rivals = _rivals(variant, name)
        measured = with_judge(measured, name, base, rivals, read.task.prompt, shelf, store, seed=read.seed)
    return measured


def _rivals(variant: str, judge: str) -> dict[str, str] | None:
    """The kept answers of the rung that a judge sets a variant against, None where it is none's."""
    rules = find_metric(judge).judge
    if rules is None or rules.against in ("", REFERENCE):
        return None
    if not _is_run(variant):
        hint = "name RUN:RUNG, or judge `against: reference`"
        raise BadInput(f"'{variant}' is no run, and has no rung {rules.against} to be judged against", hint)
    run, rung = split_variant(variant)
    names = [f"{rung.rpartition('/')[0]}/{rules.against}", rules.against]
    kept = next((name for name in names if (run / "answers" / f"{file_name(name)}.jsonl").exists()), rules.against)
    return {marked.id: read_of(rules, marked) for marked in answers_of(f"{run}:{kept}")}


def _store_of(*variants: str) -> Store:
    """The store beside the first run that is named, else that of the runs here."""
    run = next((split_variant(each)[0] for each in variants if each and _is_run(each)), Path("runs") / "none")
    return Store(run.parent / ".store")


@dataclass(frozen=True)
class Hearing:
    """What a judge says of a variant's answers, by themselves or against another's, and how often it says what people said; None
    where it was not asked."""

    a: str
    b: str
    judge: str
    judged: Judged | None
    agreement: WithPeople | None


def judge(
    a: str = "",
    b: str = "",
    *,
    by: str,
    model: str = "",
    key_env: str = "",
    questions: str = "",
    people: str = "",
    pairs: int = Judge.pairs,
    rubric: str = Judge.rubric,
    rank: bool = False,
    reasons: bool = False,
    tokens: int = Judge.tokens,
    rows: int = 0,
    seed: int = 0,
) -> Hearing:
    """The kept answers of a variant, `RUN:RUNG` or RUN for its pick, judged by another: each by a mark or, with `b`, against that
    one's, in both orders; with `reasons` those of the answers are read, too. With `questions` both are asked those of a file.
    `people` is a file of opinions, on which it is measured how often the judge says the same. `by` is named as `chat` names who is
    talked to. The replies are kept: what a killed call was told is not asked again. The least `limit: money` of
    the recipes of the runs that are asked holds here, too.

    Raises BadInput for what cannot be judged, and Failed for a judge whose replies cannot be read.
    """
    if not a and not people:
        raise BadInput("nothing is named to judge", "a variant, as RUN:RUNG, or a file of opinions with --people")
    if rows < 0:
        raise BadInput(f"rows is {rows}", "0 or more")
    against = b or ("" if a else "another")
    rules = Judge(by=by, rubric=rubric, against=against, people=people, pairs=pairs, rank=rank, reasons=reasons, tokens=tokens)
    opinions = drawn(read_people(people), pairs, seed=seed) if people else []
    asked = read_questions(questions)[: rows or None] if questions else []
    found = _talked_to(by, model, key_env)
    _refuse_mute(by, found)
    store = _store_of(a, b, by)
    shelf = Shelf(device(), store=store, purse=Purse(_allowed(by, *((a, b) if asked else ()))))
    if not a:
        agreed = agreed_with(rules, found, opinions, shelf, store, seed=seed)
        return Hearing(a, b, found.base.name, None, agreed)
    first, second = (_to_judge(each, asked, shelf, store) if each else None for each in (a, b))
    assert first
    if second:
        refuse_other_rows(first, second)
    rivals = {marked.id: read_of(rules, marked) for marked in second} if second else None
    cases = cases_of(rules, first, rivals, None if asked else _prompt_of(a))[: rows or None]
    judged = heard(rules, found, cases, opinions, shelf, store, seed=seed)
    return Hearing(a, b, found.base.name, judged, judged.agreement)


@dataclass(frozen=True)
class Sampled:
    """What is to be judged. `left_out` counts the prompts to which the same was said each time: there is nothing to choose."""

    items: tuple[Item, ...]
    left_out: int


def sample(
    prompts: str,
    by: Sequence[str],
    out: str | Path,
    *,
    samples: int = 2,
    temperature: float = 1.0,
    tokens: int = SAID,
    rows: int = 0,
    seed: int = 0,
    model: str = "",
    key_env: str = "",
) -> Sampled:
    """Write what is to be judged: the prompts of a file, each with `samples` answers by every variant, which is named as `chat`
    names one and asked with the prompt that it was made with. The least `limit: money` of runs' recipes holds here, too.

    Raises BadInput before any is opened that cannot write, and where one said the same to every prompt, each time.
    """
    if not by:
        raise BadInput("nobody is named to answer", "--by VARIANT, once for each")
    if twice := next((each for each in by if by.count(each) > 1), ""):
        raise BadInput(f"{twice} is named twice", "--by VARIANT, once for each")
    for name, value, least in (("samples", samples, 1), ("tokens", tokens, 1), ("rows", rows, 0), ("seed", seed, 0)):
        if value < least:
            raise BadInput(f"{name} is {value}", f"{least} or more")
    if not 0 <= temperature < math.inf:
        raise BadInput(f"temperature is {temperature:g}", "a number, 0 or more")
    if samples > 1 and temperature == 0:
        raise BadInput("temperature is 0", "every sample would be the same: above 0, or one sample")
    check_file(prompts)
    asked = dict(list(read_prompts(prompts).items())[: rows or None])
    writers = {name: _talked_to(name, model, key_env) for name in by}
    for name, found in writers.items():
        _refuse_mute(name, found)
    shelf = Shelf(device(), store=_store_of(*by), purse=Purse(_allowed(*by)))
    examples = [Example(id, turns, ()) for id, turns in asked.items()]
    written = {}
    for name, found in writers.items():
        asks = turns_of_all(found.prompt, examples)
        own = replace(found.prompt.decoding, samples=samples, temperature=temperature, max_new_tokens=tokens, seed=seed)
        with shelf.engine(found) as engine:
            written[name] = engine.generate(asks, own)
    every = gathered(asked, written)
    several = len(by) * samples > 1
    items = tuple(item for item in every if len(item.answers) > 1 or not several)
    if not items:
        raise BadInput(
            f"the same was said each time to each of {len(every):,} prompts", "a higher temperature, or a second variant"
        )
    write_items(Path(out), items)
    return Sampled(items, len(every) - len(items))


def _prompt_of(variant: str) -> Prompt:
    """What a run's task says around its rows."""
    said = yaml.safe_load((split_variant(variant)[0] / "recipe.yaml").read_text("utf-8"))["task"]
    return Prompt(said["template"] or Prompt.template, said["instruction"] or "", said["system"] or "")


def _allowed(*variants: str) -> float:
    """The money that the recipes of runs let be spent, of several the least; 0 is no limit."""
    places = {split_variant(each)[0] / "recipe.yaml" for each in variants if each and _is_run(each)}
    said = [yaml.safe_load(place.read_text("utf-8"))["limit"]["money"] for place in places if place.is_file()]
    return float(min(filter(None, said), default=0))


def _to_judge(variant: str, questions: Sequence[Question], shelf: Shelf, store: Store) -> tuple[Marked, ...]:
    """A variant's kept answers, or those that it gives to the questions, in plain talk: the prompt that it was made with is left
    aside. They are kept, too."""
    if not questions:
        return answers_of(variant)
    found, decoding = _unprompted(variant), Decoding(max_new_tokens=SAID)
    own = (found.base.content, found.stamp, shelf.device, str(shelf.dtype))

    def make(part: Path) -> Mapping[str, Any]:
        with shelf.engine(found) as engine:
            write_json(part / "answers.json", [freeze(marked) for marked in answered(engine, questions, decoding)])
        return {"variant": variant}

    folder = store.once(f"talks-{digest(*own, [vars(each) for each in questions], decoding)}", make)
    return tuple(thaw(Marked, each) for each in json.loads((folder / "answers.json").read_text("utf-8")))


@dataclass(frozen=True)
class Examination:
    """A variant by several suites; `averages` are those of the suites whose parts are known by their mean, and were all asked."""

    variant: str
    suites: tuple[Examined, ...]
    averages: Mapping[str, Score]


def examine(
    variant: str,
    suites: Sequence[str],
    *,
    data: str = "",
    shots_data: str = "",
    rows: int = 0,
    shots: int | None = None,
    chat: bool = False,
    model: str = "",
    key_env: str = "",
    seed: int = 0,
) -> Examination:
    """A variant, named as `chat` names one, by published suites: `mmlu`, `glue`, or a part as `glue/cola`. They are read from the
    hub, or one from the file `data` and its shots from the file `shots_data`; `rows` takes the first so many of each subject,
    `shots` shows so many. The `limit: money` of a run's recipe holds here, too.

    A suite asks in its own words: as plain text or, for a `chat` and at an endpoint, by the chat template. The prompt that a
    rung was made with is left aside. Raises BadInput before any model is opened where the rows make no such questions.
    """
    suites = [name.strip() for name in suites]
    if (data or shots_data) and len(suites) != 1:
        raise BadInput(f"{data or shots_data} is given for {len(suites)} suites", "name one suite for each file")
    if twice := next((name for at, name in enumerate(suites) if name in suites[:at]), None):
        raise BadInput(f"the suite {twice} is named twice", "name each once")
    if rows < 0 or (shots is not None and shots < 0):
        raise BadInput(f"{'rows' if rows < 0 else 'shots'} is {rows if rows < 0 else shots}", "0 or more")
    parts = {name: find_suites(name) for name in suites}
    found = _unprompted(variant, model, key_env)
    asked = {
        name: [questions_of(suite, data=data, shown=shots_data, rows=rows, shots=shots) for suite in own]
        for name, own in parts.items()
    }
    store = _store_of(variant) if found.base.source == "url" else None
    with Shelf(device(), store=store, purse=Purse(_allowed(variant))).engine(found) as engine:
        template = _chat_template(found.base, engine, chat)
        sittings = {name: [sit(engine, own, template=template) for own in group] for name, group in asked.items()}
    return Examination(
        variant,
        tuple(examined(sitting, seed=seed) for group in sittings.values() for sitting in group),
        {name: average(group, seed=seed) for name, group in sittings.items() if "/" not in name and is_averaged(name)},
    )


def _unprompted(variant: str, model: str = "", key_env: str = "") -> Variant:
    """The variant, whose own prompt no suite asks for. Raises BadInput for one that answers by labels, not by text."""
    found = _talked_to(variant, model, key_env)
    _refuse_mute(variant, found)
    return found


def _refuse_mute(variant: str, found: Variant) -> None:
    if found.base.family == "encoder" or found.head or found.probe:
        what = "is an encoder" if found.base.family == "encoder" else "answers by a head that knows its own labels only"
        raise BadInput(
            f"{variant} {what}, and what is asked here is to be written", "name a decoder or a seq2seq, or a rung of one"
        )


def _chat_template(base: Base, engine: Engine, chat: bool) -> str:
    """The name of the template that a suite's questions are put into, "" where they stay plain text."""
    if base.source == "url":  # an endpoint writes to talks only
        return "the endpoint's"
    if not chat:
        return ""
    own = engine.coder.tokenizer.chat_template if isinstance(engine, LocalEngine) else None
    if not own:
        raise BadInput(f"{base.name} has no chat template", "leave --chat out")
    return f"chat {digest(own)}"


def recipe_of(variant: str) -> str:
    """The recipe that a run was climbed by. Raises BadInput for a base, which has none, and for what is neither."""
    if not _is_run(variant):
        base = "name a task with --recipe RECIPE, or published rows with --suite NAME"
        if Path(variant).exists() or variant in pocket.names() or ("/" in variant and not variant.startswith("runs/")):
            raise BadInput(f"'{variant}' is no run, so that no task's rows stand by it", base)
        raise _no_run(variant.partition(":")[0], f"RUN:RUNG, or RUN for its pick; for a base, {base}")
    return str(split_variant(variant)[0] / "recipe.yaml")


def _is_run(variant: str) -> bool:
    run = variant.partition(":")[0]
    return any((Path(place) / "results.json").is_file() for place in (run, Path("runs") / run))


@contextmanager
def chat(variant: str, *, model: str = "", key_env: str = "", history: bool | None = None) -> Iterator[Talk]:
    """A talk with `RUN:RUNG`, RUN for its pick, a node's or a base's folder, a pocket base, a hub id, or the `model` at an address
    (its key in the environment variable `key_env`). Unless `history` says so, what a run's task asks of rows alone is asked alone.
    The `limit: money` of a run's recipe is what one talk may spend.

    with chat("runs/news:lora") as talk:
        print("".join(talk.answer("Which desk is this for?")))
    """
    run = _results(split_variant(variant)[0])["task"] if _is_run(variant) else None
    found = _talked_to(variant, model, key_env)
    if history is None:
        history = run is None or run["kind"] in ("chat", "text")
    labels = tuple(run["labels"]) if run and run["kind"] == "classify" else ()
    with Shelf(device(), purse=Purse(_allowed(variant))).engine(found) as engine:
        yield Talk(found, engine, labels=labels, history=history)


def _talked_to(variant: str, model: str, key_env: str) -> Variant:
    """The variant itself: a run's rung as it was made, else one with a plain prompt."""
    address = is_address(variant)
    if (model or key_env) and not address:
        raise BadInput(
            f"{'--model' if model else '--key-env'} is given, and {variant} is no address", "leave it out, or name http://..."
        )
    if address and not model:
        raise BadInput(f"no model is named at {variant}", "--model NAME, as the address calls it")
    if _is_run(variant) or (":" in variant and not address and not Path(variant).exists()):
        return _rung_of(variant)
    if (Path(variant) / "variant.json").is_file():
        return read_variant(Path(variant).absolute())
    if address:
        settings = {"url": variant, "model": model} | ({"key_env": key_env} if key_env else {})
        base = remote(settings)
    else:
        base = weighed(inspect(variant))
    return Variant(base, Prompt(decoding=Decoding(max_new_tokens=SAID)))


def open_variant(variant: str, read: recipes.Recipe) -> Variant:
    """The variant of a run's rung, else the base of that name with the task's plain prompt."""
    named = ":" in variant and not Path(variant).exists()  # as no base is
    return _rung_of(variant) if named or _is_run(variant) else root_of(weighed(inspect(variant)), read.task)


def _rung_of(variant: str) -> Variant:
    folder, rung = split_variant(variant)
    entry = next(each for each in _results(folder)["rungs"] if each["name"] == rung)
    if not entry["node"]:
        raise BadInput(f"{rung} was not climbed: {entry['failure']}", "name another rung")
    node = folder.parent / ".store" / entry["node"]
    if not (node / "variant.json").is_file():
        raise BadInput(f"the store holds {rung} no longer: there is no {node}", "climb again")
    return read_variant(node)
