"""Prompt search: what is proposed from which rows, how the halving goes, and that the best is kept."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
from tests.endpoint import serving

from tuneladder.errors import BadInput, CannotScore, Refused
from tuneladder.ladder.tree import key_of, lent, root_of, splits_digest
from tuneladder.model.fake import FakeEngine
from tuneladder.prompt.few_shot import FewShot
from tuneladder.prompt.search import Search, _asked, _instruction
from tuneladder.tune.lora import Lora
from tuneladder.types import Example, Pace, Prompt, Split, Task, Turn

PACE = Pace(1e9)


class Author(FakeEngine):
    """Proposes what it is told to, in turn; only under the right instruction is it right, and for every third row under another."""

    def __init__(self, proposals, task, *, right="Name the desk.", fair="Sort it."):
        super().__init__(self._say)
        self.proposals, self.right, self.fair = list(proposals), right, fair
        self.known = {row.turns[0].text: (n, row.references[0]) for n, row in enumerate((*task.examples.train, *task.examples.dev))}

    def _say(self, turns):
        if turns[0].text.startswith("Someone was given an instruction"):
            self.proposals.append(self.proposals.pop(0))
            return self.proposals[-1]
        number, answer = self.known[turns[-1].text]
        said = turns[0].text
        right = self.right in said or (self.fair in said and number % 3 == 0)
        return answer if right else "nothing"


def generated(task):
    return replace(task, prompt=replace(task.prompt, ask="generate", parse="text"), metric="accuracy")


@pytest.fixture
def task(tiny_task):
    return generated(tiny_task)


def proposed(engine):
    return [turns for turns in engine.asked if turns[0].text.startswith("Someone was given")]


def test_the_best_instruction_is_kept(tiny_base, task, lend_fake):
    engine = Author(['"Name the desk."', "Sort it.\nI am sure.", "Write a poem.", "\n Instruction: Sort  it."], task)
    kit = lend_fake(engine)
    made = Search(candidates=4, shown=2, rows=4).apply(root_of(tiny_base, task), task, kit)
    assert made.prompt == replace(task.prompt, instruction="Name the desk.")
    assert made.steps == ("search",)
    log = json.loads((kit.folder / "search.json").read_text())
    assert len(log["proposed"]) == 4
    first, second = log["rounds"]
    assert (first["rows"], second["rows"]) == (4, 8)
    assert set(first["scores"]) == {task.prompt.instruction, "Name the desk.", "Sort it.", "Write a poem."}
    assert next(iter(second["scores"])) == "Name the desk."
    assert len(second["scores"]) == 2
    (said,) = json.loads((kit.folder / "notes.json").read_text())
    assert said == (
        "3 different instructions of 4 proposed, scored with the task's own in 24 answers on dev; taken: 'Name the desk.', "
        "accuracy 1.000 on 8 rows"
    )


def test_every_answer_is_asked_once_and_counted(tiny_base, task, lend_fake):
    engine = Author(["Name the desk.", "Sort it.", "Write a poem."], task)
    Search(candidates=3, shown=2, rows=4).apply(root_of(tiny_base, task), task, lend_fake(engine))
    scored = Counter(turns for turns in engine.asked if turns not in proposed(engine))
    assert set(scored.values()) == {1}
    assert len(scored) == _asked(4, 4, len(task.examples.dev)) == 4 * 4 + 2 * 4


@pytest.mark.parametrize(("left", "size", "rows", "asked"), [(2, 4, 9, 8), (5, 4, 9, 20 + 12 + 2), (9, 20, 9, 81), (3, 1, 9, 5)])
def test_the_answers_of_halving_are_foretold(left, size, rows, asked):
    assert _asked(left, size, rows) == asked


def test_the_tasks_own_instruction_stays_where_none_is_better(tiny_base, task, lend_fake):
    engine = Author(["Write a poem.", "Sing."], task, right=task.prompt.instruction)
    kit = lend_fake(engine)
    made = Search(candidates=2, rows=4).apply(root_of(tiny_base, task), task, kit)
    assert made.prompt == task.prompt
    assert "the task keeps its own" in (kit.folder / "notes.json").read_text()
    silent = Author(["", "...\n\n"], task, right="nobody")
    assert Search(candidates=2).apply(root_of(tiny_base, task), task, lend_fake(silent)).prompt == task.prompt


def test_labels_stay_named_under_an_instruction_that_was_found(tiny_base, tiny_task, lend_fake):
    """By an endpoint that cannot rank they are written: it has to know them, and so has whoever writes several."""

    class Mute(Author):
        def score(self, asks, endings):
            raise CannotScore("no log-probabilities here")

        def _say(self, turns):
            if "- parcels\n- money\n- account" not in turns[-1].text and "?" not in turns[0].text:
                return super()._say(turns) if turns[0].text.startswith("Someone was given") else "who knows"
            return super()._say((*turns[:-1], Turn("user", turns[-1].text.partition("\n\nOne of these:")[0])))

    engine = Mute(["Name the desk.", "Sort it."], tiny_task)
    task = replace(tiny_task, metric="accuracy")
    kit = lend_fake(engine)
    made = Search(candidates=2, rows=4).apply(root_of(tiny_base, task), task, kit)
    assert made.prompt.instruction == "Name the desk."
    assert "accuracy 1.000" in (kit.folder / "notes.json").read_text()
    for parse, naming in (
        ("labels", "All that fit of these, or none"),
        ("tags", "One of these for each word, with blanks between"),
    ):
        several = replace(task, prompt=replace(task.prompt, ask="generate", parse=parse), multi_label=parse == "labels")
        author = Author(["Name the desk.", "Say account, money, parcels."], task)
        kit = lend_fake(author, parse)
        Search(candidates=2, rows=15).apply(root_of(tiny_base, several), several, kit)
        found = set(json.loads((kit.folder / "search.json").read_text())["rounds"][0]["scores"])
        named = f"Name the desk.\n\n{naming}: {', '.join(task.labels)}."
        assert found == {task.prompt.instruction, named, "Say account, money, parcels."}


def test_a_metric_that_falls_is_sought_low(tiny_base, task, lend_fake, monkeypatch):
    from tuneladder.evaluate.metrics import accuracy

    monkeypatch.setattr(accuracy, "better", "lower")
    engine = Author(["Name the desk.", "Write a poem."], task)
    made = Search(candidates=2, rows=15).apply(root_of(tiny_base, task), task, lend_fake(engine))
    assert made.prompt.instruction == task.prompt.instruction  # as wrong as the poem, and it stood first


@pytest.mark.parametrize(("metric", "taken"), [("pass_at_k {sandbox: none}", "Write code."), ("ungrounded", "Copy.")])
def test_answers_are_run_and_their_rows_read_where_the_metric_does(metric, taken, tiny_base, lend_fake):
    rows = tuple(
        Example(str(n), (Turn("user", f"square {n}"),), (f"x = {n * n}",), source=str(n), meta={"tests": f"assert x == {n * n}"})
        for n in range(8)
    )

    def write(turns):
        if turns[0].text.startswith("Someone was given"):
            return next(proposals)
        asked = turns[-1].text
        return {"Write code.": f"x = {asked.split()[1]} ** 2", "Copy.": asked}.get(turns[0].text, "a guess")

    proposals = iter(("Write code.", "Copy."))
    task = Task("t", "generate", Split(rows[:4], rows[4:]), prompt=Prompt(instruction="Guess."), metric=metric)
    made = Search(candidates=2, rows=4).apply(root_of(tiny_base, task), task, lend_fake(FakeEngine(write)))
    assert made.prompt.instruction == taken


def test_proposals_come_from_train_and_scores_from_dev_alone(tiny_base, task, lend_fake):
    engine = Author(["Name the desk."], task)
    step = Search(candidates=5, shown=3, rows=30)
    step.apply(root_of(tiny_base, task), lent(task, step), lend_fake(engine))
    train, dev = ({row.turns[0].text for row in rows} for rows in (task.examples.train, task.examples.dev))
    shown = [line.removeprefix("Input: ") for turns in proposed(engine) for line in turns[0].text.splitlines() if "Input: " in line]
    assert len(proposed(engine)) == 5
    assert len(shown) == 15
    assert set(shown) <= train
    assert {turns[-1].text for turns in engine.asked if turns not in proposed(engine)} == dev
    assert len({turns[0].text for turns in proposed(engine)}) > 1


def test_rows_with_sets_of_labels_are_proposed_from(tiny_base, tiny_task, lend_fake):
    """Not only those whose set is one label."""
    rows = tuple(
        replace(row, references=(row.references[0] if at < 6 else "parcels, money",))
        for at, row in enumerate(tiny_task.examples.train)
    )
    prompt = replace(tiny_task.prompt, ask="generate", parse="labels")
    task = replace(tiny_task, multi_label=True, prompt=prompt, examples=replace(tiny_task.examples, train=rows), metric="micro_f1")
    engine = Author(["Sing."], task)
    Search(candidates=6, shown=4, rows=2).apply(root_of(tiny_base, task), task, lend_fake(engine))
    shown = Counter(line for turns in proposed(engine) for line in turns[0].text.splitlines() if line.startswith("Output: "))
    assert shown["Output: parcels, money"] > 12


def test_the_seed_decides(tiny_base, tiny_task, lend):
    root, step = root_of(tiny_base, tiny_task), Search(candidates=3, shown=2, rows=3, tokens=6)
    logs = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        kit = lend(name, seed=seed)
        step.apply(root, tiny_task, kit)
        logs.append((kit.folder / "search.json").read_text())
    assert logs[0] == logs[1] != logs[2]


def test_shots_below_are_asked_with_and_lora_learns_under_the_winner(tiny_base, task, lend, lend_fake):
    below = FewShot(shots=2).apply(root_of(tiny_base, task), task, lend("below"))
    engine = Author(["Name the desk."], task)
    made = Search(candidates=1, rows=2).apply(below, task, lend_fake(engine))
    assert made.prompt == replace(below.prompt, instruction="Name the desk.")
    assert {len(turns) for turns in engine.asked if turns not in proposed(engine)} == {6}
    assert Lora().plan(made, task, PACE)


def test_another_base_may_propose(tiny_base, tiny_seq2seq, task, lend_fake, monkeypatch):
    root, step = root_of(tiny_base, task), Search(candidates=2, rows=2, proposer=tiny_seq2seq.location)
    kit = lend_fake(Author(["Name the desk."], task))
    step.apply(root, task, kit)
    assert [variant.base.family for variant in kit.shelf.asked] == ["seq2seq", "decoder"]
    assert kit.shelf.asked[0].prompt == Prompt()
    splits = splits_digest(task)
    before = key_of(step, "", splits, tiny_base, 0)
    monkeypatch.setattr(Search, "content", "another")
    assert key_of(step, "", splits, tiny_base, 0) != before


def test_an_endpoint_may_propose_for_a_model_that_is_here(tiny_base, tiny_task, lend):
    with serving() as server:
        root, step = root_of(tiny_base, tiny_task), Search(candidates=3, shown=2, rows=2, proposer=f"{server.url} author")
        _, cost = step.plan(root, tiny_task, PACE)
        assert cost.tokens > 0
        kit = lend()
        step.apply(root, tiny_task, kit)
    assert {body["model"] for _, body, _ in server.seen} == {"author"}
    assert len(server.seen) == 3  # what it proposes is scored here
    proposals = json.loads((kit.folder / "search.json").read_text())["proposed"]
    assert all(text.startswith("you said Someone was given") for text in proposals)


def test_what_it_costs_is_foretold(tiny_base, tiny_task):
    root = root_of(tiny_base, tiny_task)
    costs = [Search(candidates=n, shown=2).plan(root, tiny_task, PACE)[1] for n in (2, 16)]
    assert costs[1].seconds > 2 * costs[0].seconds > 0
    assert [cost.annotations for cost in costs] == [4 + 15, 30 + 15]
    thinking = replace(root, prompt=replace(root.prompt, vote=5))
    assert Search().plan(thinking, tiny_task, PACE)[1].seconds > 2 * Search().plan(root, tiny_task, PACE)[1].seconds


def test_what_cannot_be_searched_is_refused(tiny_base, tiny_task, tiny_encoder):
    root = root_of(tiny_base, tiny_task)
    for split in ("train", "dev"):
        bare = replace(tiny_task, examples=replace(tiny_task.examples, **{split: ()}))
        with pytest.raises(Refused, match=f"desks has no {split} rows"):
            Search().plan(root, bare, PACE)
    with pytest.raises(Refused, match="desks names none"):
        Search().plan(root, replace(tiny_task, metric=""), PACE)
    with pytest.raises(Refused, match="search has no proposer"):
        Search(proposer="nowhere/at/all").plan(root, tiny_task, PACE)
    with pytest.raises(Refused, match="names no model"):
        Search(proposer="https://host/v1").plan(root, tiny_task, PACE)
    with pytest.raises(Refused, match="of the encoder family, and writes no instructions"):
        Search(proposer=tiny_encoder.location).plan(root, tiny_task, PACE)
    assert Search(proposer="nowhere/at/all").content == ""
    for wrong in ({"candidates": 0}, {"shown": 0}, {"rows": 0}, {"tokens": 0}, {"temperature": 0.0}):
        with pytest.raises(BadInput, match=f"search cannot use {next(iter(wrong))}"):
            Search(**wrong)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (" “Write the plural.” ", "Write the plural."),
        ("Instruction: Write   the plural.\nThanks", "Write the plural."),
        ("\n---\n**Write the plural.**", "Write the plural."),
        ("1234 ...", ""),
    ],
)
def test_an_instruction_is_the_first_line_that_says_something(written, read):
    assert _instruction(written) == read


def test_instruction_induction(shared, tiny_base, lend_fake):
    """Each task of the set by an author who knows three things to do: the one that is meant wins."""
    known = {
        "antonyms": "Write the opposite.",
        "singular_to_plural": "Write the plural.",
        "first_word_letter": "Write the first letter.",
    }
    path = shared / "data" / "instruction" / "instruction_induction.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    for name, meant in known.items():
        own = [row["example"] for row in rows if row["task"] == name][:60]
        examples = [Example(str(n), (Turn("user", row["input"]),), (row["output"],)) for n, row in enumerate(own)]
        truth = {row.turns[0].text: row.references[0] for row in examples}
        split = Split(tuple(examples[:30]), tuple(examples[30:]))
        task = Task(name, "generate", examples=split, prompt=Prompt(), metric="exact_match")
        asked = iter([*known.values()] * 2)

        def write(turns, meant=meant, truth=truth, asked=asked):
            if turns[0].text.startswith("Someone was given"):
                return next(asked)
            return truth[turns[-1].text] if turns[0].text == meant else turns[-1].text

        made = Search(candidates=6, rows=4).apply(root_of(tiny_base, task), task, lend_fake(FakeEngine(write), name))
        assert made.prompt.instruction == meant
