"""The report on a ladder as a real climb makes it: six labels, rungs that worked, one that failed and one that was refused."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import unquote

import pytest
import yaml
from rich.console import Console

from tuneladder.api import answers_of
from tuneladder.errors import BadInput
from tuneladder.evaluate.disagreements import disagreements
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.measure import mark, rate
from tuneladder.ladder import plots, words
from tuneladder.ladder.figures import duels, rewarded
from tuneladder.ladder.report import _doubt, glance, results, sentence, table, why, write_answers, write_card, write_report
from tuneladder.ladder.results import below, cut_short, file_name, took, total
from tuneladder.ladder.review import Review, write_review
from tuneladder.ladder.reviewed import FOLDER, link
from tuneladder.store import write_json
from tuneladder.tune.linear_probe import LinearProbe
from tuneladder.types import (
    Answer,
    Bar,
    Base,
    Cost,
    Decoding,
    Document,
    Example,
    Judged,
    Ladder,
    Marked,
    Measurement,
    Pick,
    Prompt,
    Result,
    Rollout,
    Rung,
    Score,
    Shots,
    Split,
    Task,
    Text,
    Thought,
    Tick,
    Turn,
    Variant,
    Verdict,
    WithPeople,
)

MESSAGES = {
    "billing": ("I was charged twice for order {n}, please put one of them back.", "Why is there a 4.90 fee on invoice {n}?"),
    "delivery": (
        "Tracking for {n} has said 'out for delivery' since Monday.",
        "The courier left parcel {n} with a neighbour I do not have.",
    ),
    "returns": ("Wrong size again, how do I send {n} back?", "The lamp from order {n} is chipped, I'd like to swap it."),
    "technical": ("The speaker blinks red and won't pair, serial {n}.", "Error {n} each time I open the app, even after a reset."),
    "account": ("I can't log in, it says user {n} does not exist.", "Please change the e-mail on account {n}, I lost the old one."),
    "sales": ("Do you have the oak desk in 160 cm? Article {n}.", "We are a school, is there a discount on {n} chairs?"),
}
LABELS = tuple(MESSAGES)
BASE = Base(
    "pocket-decoder", "folder", "/models/pocket-decoder", "decoder", 9_800_000, 9_800_000, 8, 288, 8192, 512, licence="Apache-2.0"
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    changes: ClassVar = "prompt"
    shots: int = 8


@dataclass(frozen=True, kw_only=True)
class Adapted:
    changes: ClassVar = "adapter"
    r: int = 8
    learning_rate: float = 2e-4


@dataclass(frozen=True, kw_only=True)
class Tuned:
    changes: ClassVar = "weights"
    epochs: int = 4


def rows(split: str, count: int) -> tuple[Example, ...]:
    chance = random.Random(split)
    made = []
    for n in range(count):
        label = LABELS[n % 6]
        text = chance.choice(MESSAGES[label]).format(n=chance.randrange(1000, 9999))
        made.append(Example(f"{split}{n}", (Turn("user", text),), (label,)))
    return tuple(made)


def task() -> Task:
    prompt = Prompt(instruction=f"Which desk is this for: {', '.join(LABELS)}?", ask="score", parse="label")
    return Task(
        "desks",
        "classify",
        Split(rows("train", 420), rows("dev", 150), rows("test", 300)),
        prompt=prompt,
        labels=LABELS,
        metric="macro_f1",
    )


def examine(task: Task, split: str, share: float, *, each: float, lost: float | None = None, seed: int = 0) -> Measurement:
    """Right for a `share` of the rows; the harder a row, the more variants get it wrong, as in life."""
    answers = []
    examples = getattr(task.examples, split)
    for at, example in enumerate(examples):
        hard = random.Random(f"{split}{at}").random()
        right = hard + 0.12 * random.Random(f"{seed}{split}{at}").uniform(-1, 1) < share
        wrong = {"billing": "returns", "returns": "delivery", "delivery": "returns", "technical": "account"}.get(
            example.references[0], "billing"
        )
        answers.append(Answer(example.references[0] if right else wrong, 0.5 + hard / 2, ""))
    found = mark(task, examples, answers, seconds=each * len(examples), engine="local", seed=0)
    probes = {
        "bits_per_byte": Score(1.42 * (1 + (lost or 0)), 1.38, 1.47, 60, "bootstrap"),
        "unrelated": Score(0.41 - (lost or 0), 0.33, 0.49, 120, "wilson"),
    }
    return replace(found, probes=probes, forgetting=lost)


def curve(steps: int, start: float, end: float, *, stopped: Any = "done") -> tuple[Tick, ...]:
    chance, ticks = random.Random(steps), []
    for step in range(1, steps + 1):
        fall = math.exp(-4 * step / steps)
        loss = end + (start - end) * fall + chance.uniform(-0.06, 0.06) * (0.5 + fall)
        dev = end + 0.09 + (start - end) * fall + 0.1 * max(0, step / steps - 0.7) if step % (steps // 8) == 0 else None
        ticks.append(Tick(step, steps, loss, step * 0.4, step * 900, 2e-4, dev, stopped if step == steps else ""))
    return tuple(ticks)


def climbed(
    task: Task,
    name: str,
    steps: tuple[Any, ...],
    share: float,
    *,
    seconds: float,
    memory: float,
    each: float,
    lost: float,
    ticks: Any = (),
) -> Result:
    variant = Variant(
        BASE, task.prompt, tuple(type(step).__name__.lower() for step in steps), stamp=f"{abs(hash(name)) % 10**8:08d}"
    )
    disk = 0
    if steps and isinstance(steps[0], Adapted):
        variant, disk = replace(variant, adapter="/runs/.store/ab12", bytes=1_150_000), 1_150_000
    elif steps and isinstance(steps[0], Tuned):
        variant, disk = replace(variant, weights="/runs/.store/cd34", bytes=19_600_000), 19_600_000
    seed = round(share * 1000)
    return Result(
        Rung(name, "pocket-decoder", steps),
        variant,
        Cost(seconds=seconds * 0.8 + 0.2, memory=int(memory * 1.15e6), disk=disk),
        alone=Cost(seconds=seconds, memory=int(memory * 1e6), disk=disk),
        here=Cost(seconds=seconds * (0.1 if "+" in name else 1), memory=int(memory * 1e6), disk=disk),
        dev=examine(task, "dev", share + 0.01, each=each, lost=lost, seed=seed),
        test=examine(task, "test", share, each=each, lost=lost, seed=seed),
        curve=ticks,
    )


def make_ladder() -> Ladder:
    made = task()
    worked = [
        climbed(made, "zero_shot", (), 0.38, seconds=0, memory=210, each=0.004, lost=0.0),
        climbed(made, "few_shot(shots=8)", (Asked(),), 0.61, seconds=0.02, memory=260, each=0.009, lost=0.0),
        climbed(
            made, "lora(r=8)", (Adapted(),), 0.90, seconds=47, memory=480, each=0.0045, lost=0.012, ticks=curve(320, 2.1, 0.32)
        ),
        climbed(
            made, "lora(r=8)+few_shot(shots=4)", (Adapted(), Asked(shots=4)), 0.905, seconds=48, memory=490, each=0.008, lost=0.012
        ),
        climbed(
            made,
            "full",
            (Tuned(),),
            0.93,
            seconds=152,
            memory=890,
            each=0.004,
            lost=0.078,
            ticks=curve(640, 2.3, 0.2, stopped="plateau"),
        ),
    ]
    worked.append(
        Result(
            Rung("full(learning_rate=0.5)", "pocket-decoder", (Tuned(),)),
            None,
            Cost(seconds=120),
            failure="the loss was no number at step 14 of 640 <nan>\n  hint: lower `learning_rate`",
        )
    )
    refused = "4096 is more than this base's width of 288, so the adapter would be larger than what it adapts"
    worked.append(Result(Rung("lora(r=4096)", "pocket-decoder", (Adapted(r=4096),)), None, Cost(), failure=refused))
    baselines = {
        "majority": examine(made, "test", 0.0, each=1e-6),
        "tfidf": replace(examine(made, "test", 0.83, each=4e-5), spent=Cost(seconds=0.3)),
    }
    pick = Pick("lora(r=8)", "Its dev score's lower bound, 0.87, clears the bar, and nothing cheaper does.", True, True)
    return Ladder(made, (BASE,), Bar("macro_f1", 0.85, 0.05, 10_000), tuple(worked), baselines, pick)


@pytest.fixture(scope="module")
def ladder() -> Ladder:
    return make_ladder()


NOTES = ("3 rows of train were in test too; test keeps them.", "2 rows say the same and are labelled differently.")


class Reader(HTMLParser):
    """Checks that tags close, and collects the text and whatever would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "wbr", "br"):
            self.open.append(tag)
        self.fetched += [value or "" for name, value in attrs if name == "src" or (name == "href" and tag != "a")]
        self.links += [value or "" for name, value in attrs if name == "href" and tag == "a"]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        assert tag not in ("script", "link", "iframe")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if self.open and self.open[-1] != "style" else ""


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text("utf-8"))
    assert reader.open == []
    assert reader.fetched == []
    assert len(reader.ids) == len(set(reader.ids))
    for way in reader.links:  # within the page, or to a page of the run's own folder
        assert way.removeprefix("#") in reader.ids if way.startswith("#") else (path.parent / unquote(way)).is_file(), way
    assert "url(" not in path.read_text("utf-8")
    return reader


def test_results_have_the_blueprints_shape(ladder: Ladder) -> None:
    found = json.loads(json.dumps(results(ladder), allow_nan=False))
    assert set(found) == {"task", "bases", "bar", "baselines", "rungs", "billed", "notes", "pick"}
    assert set(found["pick"]) == {"rung", "why", "dev", "test"}
    lora = next(rung for rung in found["rungs"] if rung["name"] == "lora(r=8)")
    assert set(lora) == {
        "name",
        "steps",
        "dev",
        "test",
        "probes",
        "forgetting",
        "calibration",
        "explanations",
        "judged",
        "robustness",
        "fairness",
        "toxicity",
        "harmlessness",
        "reward",
        "efficiency",
        "cost_alone",
        "cost_here",
        "predicted",
        "per_answer",
        "cut",
        "routing",
        "failure",
        "node",
    }
    assert set(lora["test"]["macro_f1"]) == {"value", "low", "high", "count"}
    assert set(lora["predicted"]) == {"seconds", "memory", "disk", "annotations", "money", "tokens"}
    assert lora["steps"][0]["r"] == 8
    assert lora["calibration"]["error"]["count"] == lora["test"]["macro_f1"]["count"]
    assert lora["calibration"]["error"]["value"] > lora["calibration"]["by_chance"] > 0
    assert sum(own["right"]["count"] for own in lora["calibration"]["bins"]) == lora["calibration"]["error"]["count"]
    assert lora["node"] == ladder.results[2].variant.stamp
    assert found["pick"]["test"] == lora["test"]
    failed = next(rung for rung in found["rungs"] if rung["name"] == "full(learning_rate=0.5)")
    assert failed["test"] is None
    assert "no number" in failed["failure"]


JUDGE = "judge {by: some-model, against: zero_shot}"
MEASURED = "judge {by: some-model, rubric: Only rhymes count., people: people.jsonl}"


def judged(name: str, marked: Sequence[Marked], seed: int) -> Judged:
    """Verdicts of a judge who cannot be read now and then, and half of whose ties are the order's."""
    chance, rules = random.Random(seed), find_metric(name).judge
    assert rules
    found = []
    for own in marked:
        outcome = chance.choice(["win", "win", "tie", "loss", ""] if rules.against else ["3", "7", "9"])
        flipped = outcome == "tie" and chance.random() < 0.5
        found.append(Verdict(own.id, outcome, ("",) * (2 if rules.against else 1), flipped, "first" if flipped else ""))
    read = [own.outcome for own in found if own.outcome]
    score = rate(find_metric(name), read, [()] * len(read), seed=0)
    pairs = Score(0.12, 0.08, 0.17, len(read), "wilson") if rules.against else None
    people = WithPeople(
        Score(0.71, 0.62, 0.79, 100, "bootstrap over questions"), Score(0.78, 0.7, 0.85, 300), 0.55, 2, "people.jsonl"
    )
    spent = Cost(seconds=12.5, tokens=81_000, money=0.31)
    return Judged("some-model", rules.against, score, tuple(found), pairs, pairs, people if rules.people else None, spent)


REASONS = (
    "The message speaks of {label}, so it is {label}.",
    "The customer wrote 12 times to Priya Nair <b>already</b>; it is {label}.",
    "It is about returns rather than {label}.",
    "Something was charged, which is a matter of money.",
)


@pytest.fixture(scope="module")
def heard(ladder: Ladder) -> Ladder:
    """The ladder with reasons for the pick's answers, and two judges of every rung but the root."""
    results = []
    for number, result in enumerate(ladder.results):
        test = result.test
        if test and result.rung.name != "zero_shot":
            both = {name: judged(name, test.answers, number) for name in (JUDGE, MEASURED)}
            quality = {**test.quality, **{name: own.score for name, own in both.items()}}
            answers = test.answers
            if result.rung.name in ("lora(r=8)", "few_shot(shots=8)"):
                said = [REASONS[at % len(REASONS)].format(label=own.answer.text) for at, own in enumerate(answers)]
                pairs = zip(answers, said, strict=True)
                answers = tuple(replace(own, answer=replace(own.answer, reason=reason)) for own, reason in pairs)
            result = replace(result, test=replace(test, quality=quality, judged=both, answers=answers))
        results.append(result)
    return replace(ladder, results=tuple(results))


def test_judges_and_reasons_are_shown_and_a_judge_nobody_measured_is_marked(heard: Ladder, tmp_path: Path) -> None:
    page = read(write_report(heard, tmp_path)).text
    assert "wins over zero_shot, judged by some-model" in page
    assert page.count("! not set beside people") == 1
    assert "agreement with people 0.710 (0.620 to 0.790) on 100 pairs of people.jsonl" in page
    assert "wins over zero_shot, judged by some-model (agreement with people not measured)" in page  # in the table of all metrics
    assert "mark by some-model for 'Only rhymes count.'" in page
    assert "No verdict" in page
    assert page.count("12.0 %8.0 % to 17.0 %") == 4
    assert "The reasons that lora(r=8) gives" in page
    assert "comes to returns" in page
    assert "<mark>Nair</mark>" in (tmp_path / "report.html").read_text("utf-8")
    assert "&lt;b&gt;already" in (tmp_path / "report.html").read_text("utf-8")
    found = json.loads(json.dumps(results(heard), allow_nan=False))
    lora = next(rung for rung in found["rungs"] if rung["name"] == "lora(r=8)")
    assert lora["test"][JUDGE]["agreement"] == lora["judged"][JUDGE]["agreement"] == "agreement with people not measured"
    assert "agreement" not in lora["test"][MEASURED]
    assert lora["judged"][MEASURED]["agreement"]["judge"]["value"] == 0.71
    assert lora["judged"][JUDGE]["unread"] > 0
    assert sum(lora["judged"][JUDGE][name] for name in ("win", "tie", "loss", "unread")) == 300
    assert lora["explanations"]["inventing"]["value"] == 0.25
    assert 0 < lora["explanations"]["contradicting"]["value"] < 0.3
    card = write_card(heard, tmp_path)
    assert card is not None
    said = card.read_text("utf-8")
    assert "judge {by" not in said
    assert "judged by some-model (agreement with people not measured)" in said
    path = write_answers(heard.results[2], tmp_path)
    assert path is not None
    assert "reason" in json.loads(path.read_text("utf-8").splitlines()[0])


def test_what_the_climb_was_billed_is_shown_where_prices_are_known(ladder: Ladder, tmp_path: Path) -> None:
    paid = {"zero_shot": Cost(money=0.25, tokens=1_000), JUDGE: Cost(money=1.5, tokens=20_500)}
    billed = replace(ladder, billed=paid)
    text = " ".join(read(write_report(billed, tmp_path)).text.split())
    assert "What this climb was billed" in text
    assert "47 s paid in this ladder; all of it was billed 1.75" in text
    assert f"Its steps, its answers and its judges took {words.duration(took(billed))}." in text
    rows = re.search(r"ForMoneyTokens(.*?)What one rung higher", text)
    assert rows
    judge, _, rest = rows[1].rpartition("zero_shot")  # the dearest first
    assert "judged by some-model" in judge
    assert judge.rstrip().endswith("1.5020,500")
    assert rest.strip().endswith("0.251,000 In all1.7521,500")
    found = results(billed)["billed"]
    assert (found["money"], found["tokens"]) == (1.75, 21_500)
    for unpriced in (ladder, replace(ladder, billed={"zero_shot": Cost(tokens=1_000)})):
        text = read(write_report(unpriced, tmp_path)).text
        assert "What this climb was billed" not in text
        assert "all of it was billed" not in text
    assert results(ladder)["billed"] is None


def test_the_time_of_a_climb_is_of_its_steps_and_of_measuring(ladder: Ladder) -> None:
    one = ladder.results[2]
    assert one.dev
    assert one.test
    alone = replace(ladder, results=(one,))
    assert took(alone) == pytest.approx(one.here.seconds + one.dev.spent.seconds + one.test.spent.seconds)


def test_without_judges_or_reasons_the_page_says_nothing_of_them(ladder: Ladder, tmp_path: Path) -> None:
    page = read(write_report(ladder, tmp_path)).text
    assert "What a judge says" not in page
    assert "The reasons that" not in page


def test_numbers_that_json_does_not_have_become_null(ladder: Ladder) -> None:
    broken = replace(ladder.results[2], alone=Cost(seconds=float("inf")))
    found = results(replace(ladder, results=(broken,)))
    assert found["rungs"][0]["cost_alone"]["seconds"] is None


def test_the_sentence_names_the_rung_and_its_numbers(ladder: Ladder) -> None:
    said = sentence(ladder)
    score = ladder.results[2].test.quality["macro_f1"]
    assert said.startswith("Take lora(r=8), the cheapest rung that clears the bar of macro-F1 0.85 and 5 % forgetting: ")
    assert f"{score.value:.3f} ({score.low:.3f} to {score.high:.3f}) macro-F1 on 300 test rows" in said
    assert "47 s to climb" in said
    sure = Score(0.9, 0.88, 0.92, 300)
    easy = {name: replace(each, quality={**each.quality, "macro_f1": sure}) for name, each in ladder.baselines.items()}
    said = sentence(replace(ladder, baselines=easy))
    assert "is needed; of the rungs lora(r=8) is the cheapest that does: " in said
    assert " clears the bar of macro-F1 0.85 and 5 % forgetting: no language model is needed" in said


def test_the_sentence_says_when_nothing_clears_and_when_test_disagrees(ladder: Ladder) -> None:
    assert sentence(replace(ladder, pick=Pick("full", "", False, None))).startswith("No rung clears the bar of")
    assert "the test rows do not confirm it" in sentence(replace(ladder, pick=Pick("full", "", True, False)))
    assert "all 2 failed" in sentence(replace(ladder, results=ladder.results[-2:], pick=None))
    assert sentence(replace(ladder, bar=Bar())).startswith("Take lora(r=8): ")


def test_what_gets_nowhere_is_not_recommended(ladder: Ladder, tmp_path: Path) -> None:
    def with_score(result: Result, value: float) -> Result:
        score = Score(value, value, value + 0.02, 300)
        dev, test = (own and replace(own, quality={**own.quality, "macro_f1": score}) for own in (result.dev, result.test))
        return replace(result, dev=dev, test=test)

    pick = Pick("zero_shot", "the recipe sets no bar; on dev no rung has a better macro_f1", True, None)
    none = replace(ladder, results=tuple(with_score(each, 0.0) for each in ladder.results), bar=Bar(), pick=pick)
    assert sentence(none) == (
        "There is nothing to recommend, no rung gets anywhere: 0.000 (0.000 to 0.020) macro-F1 on 300 test rows."
    )
    assert "Its answers show whether it understands what is asked" in " ".join(why(none))
    tuned = next(each for each in none.results if any(step.changes != "prompt" for step in each.rung.steps))
    assert "what is asked" not in " ".join(why(replace(none, pick=replace(pick, rung=tuned.rung.name))))
    write_report(none, tmp_path)
    assert "nothing to recommend" in read(tmp_path / "report.html").text
    some = replace(none, results=(none.results[0], *ladder.results[1:]))
    assert sentence(some).startswith("There is nothing to recommend, zero_shot was picked on dev and gets nowhere: 0.000")
    barred = replace(none, bar=ladder.bar, pick=replace(pick, cleared=False))
    assert sentence(barred).startswith("No rung clears the bar of macro-F1 0.85 and 5 % forgetting, and none gets anywhere: 0.000")
    little = replace(none, results=tuple(with_score(each, 0.001) for each in ladder.results))
    worse = "TF-IDF with logistic regression does no worse: no language model is needed; of the rungs take zero_shot: 0.001"
    assert sentence(little).startswith(worse)
    assert sentence(replace(little, baselines={})).startswith("Take zero_shot: 0.001")


def test_without_a_bar_what_needs_no_model_is_enough_where_it_does_no_worse(ladder: Ladder) -> None:
    picked = next(each for each in ladder.results if ladder.pick and each.rung.name == ladder.pick.rung)
    assert picked.test
    ours, simple = picked.test.quality["macro_f1"], ladder.baselines["tfidf"]

    def found(value: float) -> tuple[str, str]:
        score = replace(ours, value=value)
        made = replace(ladder, bar=Bar("macro_f1"), baselines={"tfidf": replace(simple, quality={"macro_f1": score})})
        return sentence(made), " ".join(why(made))

    assert found(ours.value - 0.01)[0].startswith(f"Take {picked.rung.name}: ")
    assert f"0.010 behind {picked.rung.name}." in found(ours.value - 0.01)[1]
    for value, said in ((ours.value, f", as does {picked.rung.name}."), (ours.value + 0.01, f"0.010 ahead of {picked.rung.name}.")):
        claim, reasons = found(value)
        assert claim.startswith(
            f"TF-IDF with logistic regression does no worse: no language model is needed; of the rungs take {picked.rung.name}: "
        )
        assert said in reasons


def test_a_doubt_of_one_side_is_told_as_one() -> None:
    assert _doubt(Score(1.0, 0.758, 1.0, 30)) == "−.242"
    assert _doubt(Score(0.0, 0.0, 0.242, 30)) == "+.242"
    assert _doubt(Score(0.5, 0.4, 0.62, 30)) == "±.110"


def test_why_says_plainly_whether_tfidf_is_enough(ladder: Ladder) -> None:
    said = " ".join(why(ladder))
    assert "TF-IDF with logistic regression, which is no language model, reaches" in said
    assert "and does not clear the bar." in said
    assert "2 rungs of 7 could not be climbed" in said
    assert "7.8 % is forgotten, more than the bar allows" in said
    low = " ".join(why(replace(ladder, bar=replace(ladder.bar, at_least=0.6))))
    assert "and clears the bar by itself; lora(r=8) has" in low
    score = ladder.baselines["tfidf"].quality["macro_f1"]
    near = " ".join(why(replace(ladder, bar=replace(ladder.bar, at_least=score.low + 4e-5))))
    assert f"and does not clear the bar, {score.low:.5f} being short of" in near  # as they are shown, the two are the same


def test_why_says_what_is_better_on_test_and_cheaper_and_was_not_chosen(ladder: Ladder) -> None:
    def with_dev(name: str, low: float, test: float, seconds: float) -> Result:
        own = next(each for each in ladder.results if each.rung.name == name)
        assert own.dev
        assert own.test
        on_dev, on_test = Score(0.91, low, 0.95, 300), Score(test, test - 0.03, test + 0.03, 300)
        dev, there = (replace(each, quality={"macro_f1": by}) for each, by in ((own.dev, on_dev), (own.test, on_test)))
        cost = Cost(seconds=seconds)
        return replace(own, dev=dev, test=there, alone=cost, here=cost)

    two = (with_dev("lora(r=8)", 0.87, 0.90, 9000.0), with_dev("full", 0.84996, 0.93, 9.0))
    chosen = Pick("lora(r=8)", "it clears the bar on dev", True, True)
    said = " ".join(why(replace(ladder, bar=replace(ladder.bar, forget_at_most=None), results=two, pick=chosen)))
    best = r"full has the best figure on test: 0\.930, 0\.030 better than lora\(r=8\) \(paired, p = [\d.e-]+\), for less; "
    assert re.search(best, said), said
    reaches = "its value reaches the bar and its interval does not"
    assert f"on dev, where rungs are chosen, {reaches}: 0.910 (0.850 to 0.950), 0.84996 being short of 0.85." in said
    # what timing cannot tell is not called less
    near = (with_dev("lora(r=8)", 0.87, 0.90, 20.0), with_dev("full", 0.84996, 0.93, 9.0))
    said = " ".join(why(replace(ladder, bar=replace(ladder.bar, forget_at_most=None), results=near, pick=chosen)))
    assert "at a cost that timing cannot tell from its own; " in said


def test_the_rung_below_is_the_next_cheaper_one(ladder: Ladder) -> None:
    by_name = {result.rung.name: result for result in ladder.results}
    under = below(ladder, by_name["lora(r=8)"])
    assert under is not None
    assert total(under, ladder) < total(by_name["lora(r=8)"], ladder)
    assert below(ladder, by_name["zero_shot"]) is None
    # 100,000 answers make the long prompt dearer than training once
    many = replace(ladder, bar=replace(ladder.bar, volume=1_000_000))
    assert total(by_name["few_shot(shots=8)"], many) > total(by_name["full"], many)


def test_a_linear_head_is_called_no_adapter(ladder: Ladder, tmp_path: Path) -> None:
    changed = [
        replace(each, rung=replace(each.rung, steps=(LinearProbe(),))) if each.rung.name == "lora(r=8)" else each
        for each in ladder.results
    ]
    text = write_report(replace(ladder, results=tuple(changed)), tmp_path).read_text("utf-8")
    assert "<small>a linear head" in text
    assert "changes a linear head or an adapter" in text
    assert "linear head" not in write_report(ladder, tmp_path).read_text("utf-8")


def test_the_report_stands_alone_and_shows_everything(ladder: Ladder, tmp_path: Path) -> None:
    versions = {"torch": "2.13.0", "peft": "0.20.0", "datasets": "not installed"}
    machine = {"cores": 2, "memory": 8_000_000_000, "bf16": False, "device": "cpu"}
    facts = {"versions": versions, "hardware": machine, "device": "cpu", "data": {"train": "ab12", "test": "cd34"}}
    (tmp_path / "environment.json").write_text(json.dumps(facts))
    path = write_report(ladder, tmp_path, notes=NOTES)
    text = " ".join(read(path).text.split())
    for result in ladder.results:
        assert result.rung.name in text
    for expected in (
        *NOTES,
        "the loss was no number at step 14 of 640 <nan>",
        "TF-IDF with logistic regression",
        "What one rung higher costs and buys",
        "corrected for 5 comparisons (Holm)",
        "p < 0.001",
        "Which answers or labels to doubt",
        f"tuneladder disagreements {tmp_path.name} sorts the rows",
        "Most confused",
        "taken for",
        "How sure, and how right",
        "more than chance",
        "What was forgotten",
        "How it learned",
        "ended on a plateau",
        "Predicted beside measured",
        "bfloat16 in hardware",
        "torch 2.13.0, peft 0.20.0",
        "train ab12, test cd34",
        "Apache-2.0",
    ):
        assert expected in text, expected
    assert path.stat().st_size < 300_000


def test_the_report_escapes_what_data_and_users_wrote(ladder: Ladder, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> & 'x' \"y\" \ud800 {{ 7 * 7 }}"
    bad = ladder.results[2]
    marked = tuple(replace(row, input=evil, answer=Answer(evil), correct=False) for row in bad.test.answers)
    bad = replace(bad, rung=replace(bad.rung, name=evil), test=replace(bad.test, answers=marked))
    hostile = replace(
        ladder,
        results=(*ladder.results[:2], bad),
        pick=replace(ladder.pick, rung=evil, why=evil),
        task=replace(ladder.task, name=evil),
    )
    path = write_report(hostile, tmp_path, notes=(evil,))
    assert "alert(1)" in read(path).text  # and no script tag: Reader refuses one
    assert "{{ 7 * 7 }}" in path.read_text("utf-8")
    assert "<script" not in glance(hostile)
    write_answers(bad, tmp_path)
    write_card(hostile, tmp_path)


@pytest.mark.parametrize("keep", [slice(0, 1), slice(5, 7), slice(2, 3), slice(0, 0)])
def test_the_report_of_a_small_or_failed_ladder(ladder: Ladder, tmp_path: Path, keep: slice) -> None:
    few = ladder.results[keep]
    pick = Pick(few[0].rung.name, "", False, None) if few and few[0].test else None
    path = write_report(replace(ladder, results=few, pick=pick, baselines={}), tmp_path)
    assert read(path).text
    assert results(replace(ladder, results=few, pick=pick))["task"]["name"] == "desks"


def generated(ladder: Ladder) -> Ladder:
    examples = tuple(
        Example(f"g{n}", (Turn("user", f"Summarise: the report of {n} March says that it rained."),), (f"Rain on {n} March.",))
        for n in range(1, 20)
    )
    made = Task("summaries", "generate", Split(examples, examples, examples), metric="rouge_l")
    found = mark(made, examples, [Answer(f"Rain on {n} April.") for n in range(1, 20)], seconds=9.0, engine="local", seed=0)
    base = replace(ladder.results[0], dev=found, test=found)
    return Ladder(made, (BASE,), Bar(), (base,), {}, Pick("zero_shot", "It is the only one.", False, None))


def test_the_report_of_generated_text_shows_answers_instead_of_a_confusion(ladder: Ladder, tmp_path: Path) -> None:
    made = generated(ladder)
    text = read(write_report(made, tmp_path)).text
    assert "ROUGE-L" in text
    assert "What zero_shot answers" in text
    assert "April" in text
    assert "How sure" not in text
    assert results(made)["rungs"][0]["calibration"] is None
    assert "Most confused" not in text
    assert "What one rung higher" not in text
    assert "labels to doubt" not in text


def test_a_metric_that_should_fall_is_read_the_other_way(ladder: Ladder, tmp_path: Path) -> None:
    def bits(value: float) -> Measurement:
        return Measurement(
            {"bits_per_byte": Score(value, value - 0.02, value + 0.02, 80, "bootstrap")},
            {},
            None,
            Cost(),
            Cost(seconds=0.1),
            "local",
        )

    made = Task("corpus", "text", text=Text(tuple(Document("a b c", "books") for _ in range(5))), metric="bits_per_byte")
    two = [replace(r, dev=bits(v), test=bits(v)) for r, v in ((ladder.results[0], 2.9), (ladder.results[4], 1.7))]
    corpus = Ladder(
        made, (BASE,), Bar("bits_per_byte", 1.8, None, 100), tuple(two), {"xz": bits(2.3)}, Pick("full", "", True, True)
    )
    assert "the bar of bits per byte at most 1.8" in sentence(corpus)
    assert "xz, which is no neural network, reaches 2.300 (2.280 to 2.320) and does not clear the bar." in why(corpus)
    assert "lower is better" in read(write_report(corpus, tmp_path)).text


def test_the_card_has_front_matter_and_loads_with_peft_alone(ladder: Ladder, tmp_path: Path) -> None:
    text = write_card(ladder, tmp_path).read_text("utf-8")
    _, front, body = text.split("---\n", 2)
    front = yaml.safe_load(front)
    assert front["base_model"] == "pocket-decoder"
    assert front["license"] == "apache-2.0"
    assert front["library_name"] == "peft"
    assert front["metrics"][0] == "macro_f1"
    code = re.search(r"```python\n(.*?)```", body, re.S)
    assert code is not None
    compile(code[1], "card", "exec")
    assert "PeftModel.from_pretrained(model, " in code[1]
    assert "Which desk is this for" in code[1]
    assert "| macro-F1 |" in body
    full = write_card(replace(ladder, pick=Pick("full", "", True, True)), tmp_path).read_text("utf-8")
    assert "library_name: transformers" in full
    assert "PeftModel" not in full


@pytest.mark.parametrize(("dtype", "said"), [("bfloat16", True), ("float32", False)])
def test_the_card_says_in_what_numbers_it_was_measured(
    dtype: str, said: bool, ladder: Ladder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuneladder.ladder.card.computed_in", lambda device: dtype)
    assert ("It was measured in bfloat16" in write_card(ladder, tmp_path).read_text("utf-8")) == said


def test_the_card_asks_as_a_data_set_is_asked_and_says_how_the_others_are(ladder: Ladder, tmp_path: Path) -> None:
    ways = (("calls", "The caller: {{ input }}"), ("mails", 'A "mail": {{ input }}'))
    rows = tuple(replace(row, set=ways[at % 2][0], template=ways[at % 2][1]) for at, row in enumerate(ladder.task.examples.test))
    task = replace(ladder.task, examples=replace(ladder.task.examples, dev=(), test=rows), mixture={"calls": 1.0, "mails": 2.0})
    text = write_card(replace(ladder, task=task), tmp_path).read_text("utf-8")
    assert '"The caller: YOUR TEXT"' in text
    assert 'asked in its own way, as here `calls`; `mails` by "A \\"mail\\": {{ input }}".' in text
    assert "Data sets: `calls`, `mails`." in text


def test_the_card_leaves_out_worked_examples_that_are_too_long(ladder: Ladder, tmp_path: Path) -> None:
    long = Example("x", (Turn("user", "z" * 50_000),), ("billing",))
    result = ladder.results[1]
    prompt = replace(result.variant.prompt, shots=Shots(2, "balanced", (long, long)))
    made = replace(
        ladder,
        results=(replace(result, variant=replace(result.variant, prompt=prompt)),),
        pick=Pick(result.rung.name, "", False, None),
    )
    text = write_card(made, tmp_path).read_text("utf-8")
    assert len(text) < 8_000
    assert "worked examples are too long" in text


def test_the_card_says_what_a_prompt_asks_besides(ladder: Ladder, tmp_path: Path) -> None:
    result = ladder.results[1]
    row = Example("x", (Turn("user", "a row of the pool"),), ("billing",))
    shots = Shots(1, "nearest", pool=(row, row), similarity="bm25")
    decoding = Decoding(temperature=0.7, max_new_tokens=5)
    prompt = replace(result.variant.prompt, shots=shots, think=Thought("Think.", "So", 77), vote=3, decoding=decoding)
    variant = replace(result.variant, prompt=prompt)
    made = replace(ladder, results=(replace(result, variant=variant),), pick=Pick(result.rung.name, "", False, None))
    text = write_card(made, tmp_path).read_text("utf-8")
    assert "the 1 most like it of 2 labelled rows (bm25)" in text
    assert "a row of the pool" not in text
    assert "YOUR TEXT\\n\\nThink." in text
    assert "This writes the reasoning." in text
    assert "max_new_tokens=77" in text
    assert "3 samples at temperature 0.7" in text


def test_no_pick_has_no_card(ladder: Ladder, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no rung was picked"):
        write_card(replace(ladder, pick=None), tmp_path)


def test_kept_answers_are_read_as_they_were(ladder: Ladder, tmp_path: Path) -> None:
    result = ladder.results[2]
    assert result.test
    first, *rest = result.test.answers
    whole = replace(first, others=("or this",), options=("a", "b"), template="Which? {{ input }}", told="ran")
    kept = replace(result, test=replace(result.test, answers=(replace(whole, answer=replace(whole.answer, reason="so")), *rest)))
    write_json(tmp_path / "results.json", results(ladder))
    assert kept.test
    write_answers(kept, tmp_path)
    assert answers_of(f"{tmp_path}:{result.rung.name}")[:2] == kept.test.answers[:2]


def test_answers_are_kept_under_names_that_any_disk_takes(ladder: Ladder, tmp_path: Path) -> None:
    result = replace(ladder.results[2], rung=replace(ladder.results[2].rung, name="a/b/lora(r=8)"))
    path = write_answers(result, tmp_path)
    assert path is not None
    assert path.parent == tmp_path / "answers"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert len(lines) == 300
    assert set(lines[0]) == {"id", "input", "reference", "answer", "confidence", "correct"}
    assert lines[0]["correct"] == (lines[0]["answer"] == lines[0]["reference"])
    assert write_answers(ladder.results[-1], tmp_path) is None
    names = ["lora", "a/b", "a(b", "a b", "../..", "", "ü" * 300, "a?b", "con|"]
    files = [file_name(name) for name in names]
    assert files[0] == "lora"
    assert len(set(files)) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_=,+.-]{1,120}", each) and not each.startswith(".") for each in files)


def test_the_terminal_table_fits_and_tells_failures(ladder: Ladder) -> None:
    console = Console(width=100, no_color=True, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(ladder))
    text = console.export_text()
    assert "→" in text
    assert "lora(r=4096) failed: 4096 is more than" in " ".join(text.split())
    assert "TF-IDF" in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_rung_that_the_limit_cut_short_says_so_everywhere(ladder: Ladder, tmp_path: Path) -> None:
    cut = [replace(each, curve=curve(16, 2.0, 1.0, stopped="budget")) if each.curve else each for each in ladder.results]
    short = replace(ladder, results=tuple(cut))
    page = Console(width=80, record=True)
    page.print(table(short))
    said = cut_short(next(each for each in cut if each.curve))
    assert re.fullmatch(r"cut at step [\d,]+ of [\d,]+ by limit: minutes", said)
    assert "cut at step" in page.export_text()
    assert said in write_report(short, tmp_path).read_text("utf-8")
    assert [each["cut"] for each in results(short)["rungs"]] == [said if each.curve else "" for each in cut]
    assert not any(each["cut"] for each in results(ladder)["rungs"])


def test_rungs_with_long_names_stand_under_their_base(ladder: Ladder) -> None:
    named = [replace(each, rung=replace(each.rung, name=f"pocket-decoder/rung{at}")) for at, each in enumerate(ladder.results)]
    page = Console(width=80, record=True)
    page.print(table(replace(ladder, results=tuple(named), pick=None)))
    lines = [line.split() for line in page.export_text().splitlines()]
    under = [line[0] for line in lines if line and line[0] in {"pocket-decoder", *(f"rung{at}" for at in range(len(named)))}]
    assert under == ["pocket-decoder", *(f"rung{at}" for at in range(len(named)))]


def test_a_base_is_said_once_for_its_rungs_and_again_where_others_stand_between() -> None:
    rungs = [Rung(f"{base}/{own}", base, ()) for base, own in (("a", "x"), ("a", "y"), ("b", "x"), ("a", "z"))]
    assert list(words.under_bases(rungs, long=True)) == [("  x", "a"), ("  y", ""), ("  x", "b"), ("  z", "a")]
    assert list(words.under_bases(rungs, long=False)) == [(rung.name, "") for rung in rungs]
    assert list(words.under_bases([Rung("x", "a", ())], long=True)) == [("x", "")]  # of one base a name does not say which


def test_the_table_of_short_names_fits_in_eighty_columns(ladder: Ladder) -> None:
    named = [replace(each, rung=replace(each.rung, name=f"rung{at}")) for at, each in enumerate(ladder.results)]
    page = Console(width=80, record=True)
    page.print(table(replace(ladder, results=tuple(named), pick=None)))
    text = page.export_text()
    assert "an answer" in text
    assert "memory" in text
    assert all(len(line) <= 80 for line in text.splitlines())


def test_the_terminal_shows_what_was_foretold_beside_what_was_measured(ladder: Ladder) -> None:
    page = Console(width=80, record=True)
    page.print(table(ladder))
    lines = [line.split() for line in page.export_text().splitlines()]
    assert ["rung", "to", "climb", "foretold", "memory", "foretold"] in lines
    assert "lora(r=8) 47 s 38 s 480 MB 552 MB" in [" ".join(line) for line in lines]
    assert sum(line[0].startswith("few_shot(shots=8") for line in lines if line) == 1  # which takes no time
    none = replace(ladder, results=tuple(replace(each, predicted=Cost()) for each in ladder.results))
    page.print(table(none))
    assert "foretold" not in page.export_text()


def test_the_glance_is_a_table(ladder: Ladder) -> None:
    text = glance(ladder)
    assert text.count("<tr>") == 8
    assert "→ lora(r=8)" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.000041, "0.041 ms"),
        (0.0004, "0.4 ms"),
        (0.012, "12 ms"),
        (0.9999, "1.0 s"),
        (2.44, "2.4 s"),
        (59.7, "1 min"),
        (144, "2 min 24 s"),
        (3599.8, "1 h"),
        (11_520, "3 h 12 min"),
        (300_000, "3.5 days"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_durations_read_well(seconds: float | None, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "0.00"), (3e-5, "0.00003"), (0.000114, "0.00011"), (0.5, "0.5"), (0.999, "1"), (12.345, "12.35"), (4e6, "4,000,000.00")],
)
def test_money_reads_well(amount: float, text: str) -> None:
    assert words.money(amount) == text


def boxes(svg: str) -> Iterator[plots.Box]:
    for x, y, text in re.findall(r'<text class="label(?: strong)?" x="([\d.-]+)" y="([\d.-]+)" text-anchor="start">([^<]*)<', svg):
        yield plots.Box(float(x), float(y) - 11, float(x) + plots.LETTER * len(text), float(y) + 3)


@pytest.mark.parametrize("width", [400, 1000])
def test_labels_of_the_scatter_do_not_overlap(width: int) -> None:
    chance = random.Random(3)
    points = []
    for n in range(18):
        y = chance.uniform(0.8, 0.9)
        points.append(
            plots.Point(
                str(n + 1), f"pocket-decoder/lora(r={2**n})", 10 ** chance.uniform(1, 3), y, y - 0.02, y + 0.02, "square", n == 4
            )
        )
    svg = plots.scatter(
        points,
        [plots.Line("the bar", 0.85, bar=True), plots.Line("TF-IDF", 0.852), plots.Line("majority", 0.05)],
        width=width,
        height=430,
        rising=True,
        x_title="time",
        y_title="macro-F1",
        ticks=lambda low, high: [(low, "a"), (high, "b")],
        figure=words.figure,
    )
    found = list(boxes(svg))
    assert len(found) == 18
    names = re.findall(r'<text class="label(?: strong)?"[^>]*>(\d+)\u2002pocket-decoder', svg)
    assert names == ([] if width == 400 else ["5"])  # on a phone even the pick's name would end at another's mark
    clashes = [(a, b) for at, a in enumerate(found) for b in found[:at] if a.overlap(b) > 1]
    assert not clashes
    assert all(box.left >= 0 and box.right <= width for box in found)
    assert "↓ majority" in svg


def test_marks_of_the_cost_axis_do_not_overlap() -> None:
    points = [plots.Point(str(n), f"r{n}", 10.0 ** (4 * n), 0.5, 0.4, 0.6, "circle", False) for n in range(2)]
    drawn = plots.scatter(
        points,
        [],
        width=400,
        height=380,
        rising=True,
        x_title="time",
        y_title="f1",
        ticks=lambda low, high: [(1.3**n, f"{n} minutes") for n in range(30)],
        figure=str,
    )
    places = [float(x) for x in re.findall(r'<text class="tick" x="([0-9.]+)" y="[0-9.]+" text-anchor="middle">', drawn)]
    assert len(places) > 2
    assert all(b - a >= plots.LETTER * len("1 minutes") for a, b in pairwise(places))


def test_what_a_rung_buys_is_said_with_its_doubt(ladder: Ladder) -> None:
    found = duels(ladder)
    rows = {(row["name"], row["other"]): row for row in found["rows"]}
    row = rows["lora(r=8)", "few_shot(shots=8)"]
    assert re.fullmatch(r"macro-F1 \+0\.\d{3}, 1\.02 times the cost", row["bought"])
    assert row["under"] == "hardly chance"
    close = [row for row in found["rows"] if row["under"] != "hardly chance"]
    assert close
    assert all(re.fullmatch(r"could be chance(; about [\d,]+ rows would tell)?", row["under"]) for row in close)
    assert found["tests"] == len(found["rows"]) == 5


def test_what_was_looked_at_is_linked_before_and_after_the_report(ladder: Ladder, tmp_path: Path) -> None:
    run = tmp_path / "a run"
    run.mkdir()
    for result in ladder.results:
        write_answers(result, run)
    write_report(ladder, run)
    (run / "results.json").write_text(json.dumps(results(ladder)))
    pick = next(result for result in ladder.results if result.rung.name == "lora(r=8)")
    assert pick.test
    found = disagreements(pick.test.answers, [], {}, LABELS)
    review = Review("a run:lora(r=8)", "lora(r=8)", "desks", LABELS, 300, found, report=run / "report.html")
    written = write_review(review, pick.test.answers, run / FOLDER)
    link(run)
    reader = read(run / "report.html")
    (way,) = [each for each in reader.links if not each.startswith("#")]
    assert (run / unquote(way)).resolve() == (written.page or run).resolve()
    assert str(len(found)) in reader.text
    assert "Nobody has looked yet" not in reader.text
    back = re.search(r'<a href="([^"]+)">the report</a>', written.page.read_text("utf-8") if written.page else "")
    assert back
    assert ((run / FOLDER) / unquote(back[1])).resolve() == (run / "report.html").resolve()
    linked = (run / "report.html").read_text("utf-8")
    assert write_report(ladder, run).read_text("utf-8") == linked  # the next climb finds the page as well
    assert "of an earlier climb" not in linked
    other = replace(pick.test, answers=(replace(pick.test.answers[0], correct=False), *pick.test.answers[1:]))
    write_answers(replace(pick, test=other), run)
    assert "of an earlier climb" in write_report(ladder, run).read_text("utf-8")
    (run / "report.html").write_text("of an older edition")
    link(run)
    assert (run / "report.html").read_text() == "of an older edition"


def test_in_a_browser_nothing_is_asked_for_and_paper_holds_every_column(heard: Ladder, browser: Any, tmp_path: Path) -> None:
    path = write_report(heard, tmp_path, notes=NOTES)
    asked: list[str] = []
    for width, media, scheme in ((390, "screen", "light"), (1280, "screen", "dark"), (695, "print", "dark")):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.emulate_media(media=media)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if media == "print":  # 184 mm at 96 dots an inch: nothing may lie beside the sheet, and ink is dark
            shown = "[...document.querySelectorAll('table')].filter(e => e.offsetParent)"
            wide = f"{shown}.filter(e => e.scrollWidth > e.parentElement.clientWidth + 1)"
            assert page.evaluate(f"{wide}.length") == 0
            assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 31, 36)"
        page.close()
    assert asked == [path.as_uri()] * 3
    assert path.stat().st_size < 3_000_000


def test_a_level_axis_has_round_marks() -> None:
    assert plots.nice(0.31, 0.97, 5) == [0.4, 0.6, 0.8]
    assert plots.spread([10, 11, 12], 16) == pytest.approx([-5, 11, 27], abs=0.5)


def test_a_policy_that_went_too_far_is_told_apart_from_what_is_kept() -> None:
    along = tuple(Rollout(step, step / 10, 0.1, step * 2.0, 3.0, 5.0) for step in range(4))
    for stopped, ends in (("kl", "KL 4 nats an answer"), ("done", "KL 6 nats an answer")):
        curve = (Tick(3, 9, 0.1, 1.0, 10, 1e-3, stopped=stopped),)
        ladder: Any = SimpleNamespace(results=[SimpleNamespace(rung=SimpleNamespace(name="grpo"), curve=curve, rollouts=along)])
        (found,) = rewarded(ladder)
        assert ends in found["under"]
        assert ("what it wrote last was too far, at 6 nats, and is not kept" in found["under"]) == (stopped == "kl")
