"""A constitution: what is asked of which engine, what is kept, what is learned, and what the next step learns from."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace

import pytest
import yaml
from tests.endpoint import serving

from tuneladder.errors import BadInput, Refused
from tuneladder.ladder.tree import foretell, key_of, root_of, splits_digest
from tuneladder.model.fake import FakeEngine
from tuneladder.task.comparisons import read_comparisons
from tuneladder.train.constitution import SAID, Principle, compared, preferred, read_principles, read_prompts, revised
from tuneladder.train.loop import read_log, saved_step
from tuneladder.train.low_rank import lora_course
from tuneladder.train.made import with_made, write_made
from tuneladder.tune import constitution
from tuneladder.tune.constitution import Constitution
from tuneladder.tune.dpo import Dpo
from tuneladder.tune.reward import Reward
from tuneladder.types import Comparison, Cost, Decoding, Example, Pace, Prompt, Rung, Split, Turn

PACE = Pace(1e9)
RULES = (Principle("kind", "The answer is kind."), Principle("short", "The answer is short."))
ROWS = [Example(str(at), (Turn("user", f"Question {at}?"),), ()) for at in range(4)]
SMALL = Constitution(tokens=4, r=2, epochs=1, batch_size=8, learning_rate=1e-2)


def lending(engine):
    @contextmanager
    def lend():
        yield engine

    return lend


def critic(turns):
    """Says what is wrong, and then the better answer."""
    last = turns[-1].text
    return "It is rude." if "breaks this rule" in last else f"Kindly: {len(turns)}"


def test_every_answer_is_criticised_and_revised_by_a_principle_that_is_kept():
    answering, criticising = FakeEngine(lambda turns: f"Go away, {turns[-1].text}"), FakeEngine(critic)
    prompt = Prompt(instruction="Be brief.")
    lent = {"answering": lending(answering), "criticising": lending(criticising)}
    found = revised(ROWS, prompt, RULES, rounds=2, decoding=Decoding(), seed=0, **lent)
    assert all("Be brief." in turns[-1].text or turns[0].text == "Be brief." for turns in answering.asked)
    assert [own.answer for own in found] == [f"Go away, {turns[-1].text}" for turns in answering.asked]
    names = {rule.name for rule in RULES}
    for own in found:
        assert [each.critique for each in own.rounds] == ["It is rude."] * 2
        assert {each.principle for each in own.rounds} <= names
        assert own.last == "Kindly: 3"
    assert {each.principle for own in found for each in own.rounds} == names
    first = criticising.asked[0]
    rule = next(rule for rule in RULES if rule.name == found[0].rounds[0].principle)
    assert all(said in first[0].text for said in ("Question 0?", found[0].answer, rule.says))
    second = criticising.asked[len(ROWS)]  # the revision sees the critique
    assert [turn.role for turn in second] == ["user", "assistant", "user"]
    assert second[1].text == "It is rude."


def test_a_revision_without_a_word_leaves_the_answer():
    lent = {"answering": lending(FakeEngine({}, default="As it was.")), "criticising": lending(FakeEngine({}, default=" "))}
    found = revised(ROWS, Prompt(), RULES, rounds=1, decoding=Decoding(), seed=0, **lent)
    assert {own.last for own in found} == {"As it was."}


class Two(FakeEngine):
    """Writes a longer and a shorter answer; of some questions twice the same."""

    def generate(self, asks, decoding):
        assert decoding.samples == 2
        return [["Yes.", "Yes."] if "2" in turns[-1].text else ["A long answer, kindly meant.", "No."] for turns in asks]


class Choosing(FakeEngine):
    """Finds the longer answer likelier, and whatever stands first a little."""

    def score(self, asks, endings):
        self.asked += asks
        places = [turns[0].text.index("A long answer") < turns[0].text.index("No.") for turns in asks]
        return [[1.0 + 0.2, 0.0] if first else [0.2, 1.0] for first in places]


def test_preferences_are_asked_in_both_orders_and_ties_left_out():
    asked = Choosing({})
    lent = {"answering": lending(Two({})), "criticising": lending(asked)}
    found = preferred(ROWS, Prompt(), RULES, decoding=Decoding(), seed=0, **lent)
    assert len(found) == 3  # one question was answered twice alike
    assert len(asked.asked) == 6
    for own in found:
        assert own.first == pytest.approx((1 / (1 + 2.718281828**-1.2) + 1 / (1 + 2.718281828**-0.8)) / 2, abs=1e-6)
    pairs = compared(found)
    assert {(own.chosen, own.rejected) for own in pairs} == {("A long answer, kindly meant.", "No.")}
    assert all(own.weight == pytest.approx(2 * found[0].first - 1) for own in pairs)
    assert compared([replace(found[0], first=0.5)]) == []


def test_a_critic_that_cannot_rank_writes_a_letter():
    longer = FakeEngine(lambda turns: "**Answer A**" if turns[0].text.index("A long answer") < turns[0].text.index("No.") else "B.")
    lent = {"answering": lending(Two({})), "criticising": lending(longer)}
    found = preferred(ROWS, Prompt(), RULES, decoding=Decoding(), seed=0, ranks=False, **lent)
    assert [own.first for own in found] == [1.0] * 3
    # whoever always says A, or nothing that can be read, prefers nothing
    for said in ("A", "Both are fine.", "A clear winner is B.", "Answering this is hard.", ""):
        lent["criticising"] = lending(FakeEngine({}, default=said))
        assert compared(preferred(ROWS, Prompt(), RULES, decoding=Decoding(), seed=0, ranks=False, **lent)) == []


@pytest.mark.parametrize(
    ("said", "letter"),
    [
        ("A", "A"), ("B.", "B"), ("**A**", "A"), ("(B) keeps it", "B"), ("A: it is kind", "A"), ("B, for it is kind", "B"),
        ("A\n\nIt is kind.", "A"), ("A is better", "A"), ("Answer: B", "B"), ("Answer A keeps it", "A"), ("The answer is B", "B"),
        ("A clear winner is B", None), ("A bit of both", None), ("Both", None), ("Answers A", None), ("", None),
    ],
)  # fmt: skip
def test_a_letter_is_no_article(said, letter):
    found = SAID.match(said)
    assert (found and found[1]) == letter


def test_an_endpoint_criticises(tiny_base, tiny_task, lend, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps({"prompt": f"Say {word}."}) for word in ("yes", "no")))
    with serving() as server:
        step = replace(SMALL, prompts=str(prompts), critic=f"{server.url} judge")
        _, cost = step.plan(root_of(tiny_base, tiny_task), tiny_task, PACE)
        assert cost.tokens > 0
        kit = lend()
        made = step.apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    assert {body["model"] for _, body, _ in server.seen} == {"judge"}
    kept = json.loads((kit.folder / "revisions.json").read_text())
    assert all(each["critique"].startswith("you said") for own in kept for each in own["rounds"])
    assert made.made  # it repeats what it is asked, which is no letter
    assert (kit.folder / "made.jsonl").read_text() == ""


def test_what_is_ours_is_read():
    assert len(read_principles("")) == 8
    assert len(set(read_prompts(""))) == 32


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no principles"),
        ("kind: yes", "holds no principles"),
        ("- Be kind.", "principle 1 of .* is 'Be kind.'"),
        ("- {name: kind}", "principle 1"),
        ("- {name: kind, says: ' '}", "principle 1"),
        ("- {name: a, says: b}\n- {name: a, says: c}", "have one name"),
        ("- [", "are not YAML"),
    ],
)
def test_principles_that_are_none(text, says, tmp_path, tiny_base, tiny_task):
    place = tmp_path / "rules.yaml"
    place.write_text(text)
    with pytest.raises(BadInput, match=says) as error:
        read_principles(str(place))
    assert error.value.hint
    rung = Rung("r", tiny_base.name, (replace(SMALL, principles=str(place)),))
    assert foretell(rung, tiny_base, tiny_task, PACE, Cost(), splits_digest(tiny_task), 0).refused  # before any work


def test_files_and_critic_are_in_the_key_by_what_they_hold(tmp_path, tiny_base, tiny_encoder, tiny_task):
    rules, prompts = tmp_path / "rules.yaml", tmp_path / "prompts.jsonl"
    keys = []
    for rule, prompt in (("a", "b"), ("c", "b"), ("c", "d")):
        rules.write_text(yaml.safe_dump([{"name": "one", "says": rule}]))
        prompts.write_text(json.dumps({"prompt": prompt}))
        step = replace(SMALL, principles=str(rules), prompts=str(prompts))
        keys.append(key_of(step, "", splits_digest(tiny_task), tiny_base, 0))
    keys.append(key_of(replace(step, critic=tiny_base.location), "", splits_digest(tiny_task), tiny_base, 0))
    assert len(set(keys)) == 4

    def refusal(**changed):
        rung = Rung("r", tiny_base.name, (replace(SMALL, **changed),))
        return foretell(rung, tiny_base, tiny_task, PACE, Cost(), splits_digest(tiny_task), 0).refused

    assert "criticises nothing" in refusal(critic=tiny_encoder.location)
    assert "has no critic" in refusal(critic="no/such/base")
    assert "names no model" in refusal(critic="https://host/v1")
    secret = refusal(critic="https://me:word@host/v1 m")
    assert "a password" in secret
    assert "word@" not in secret
    prompts.write_text(json.dumps({"text": "b"}))
    assert "holds no prompts" in refusal(prompts=str(prompts))


def test_the_next_step_learns_from_what_was_made(tiny_base, tiny_task, lend, tmp_path):
    """[constitution, dpo] on a task that compares nothing: the step's own comparisons are learned, by the critic named."""
    rules, prompts = tmp_path / "rules.yaml", tmp_path / "prompts.jsonl"
    rules.write_text(yaml.safe_dump([{"name": "one", "says": "The answer is kind."}]))
    prompts.write_text("\n".join(json.dumps({"prompt": f"Say {word}."}) for word in ("yes", "no", "much", "little", "it", "that")))
    task = replace(tiny_task, comparisons=Split())
    step = replace(SMALL, principles=str(rules), prompts=str(prompts), critic=tiny_base.location, rows=2)
    dpo = Dpo(epochs=1, batch_size=4, learning_rate=1e-2)
    found = foretell(Rung("r", tiny_base.name, (step, dpo)), tiny_base, task, PACE, Cost(), splits_digest(task), 0)
    assert found.refused == ""
    kit = lend("constitution")
    made = step.apply(root_of(tiny_base, task), task, kit)
    kept = json.loads((kit.folder / "revisions.json").read_text())
    assert len(kept) == 8
    assert {each["principle"] for own in kept for each in own["rounds"]} == {"one"}
    assert made.made
    pairs = read_comparisons(made.made).comparisons
    taught = with_made(task, made, dpo)
    assert [own.chosen for own in taught.comparisons.train] == [own.chosen for own in pairs]
    onward = lend("dpo")
    assert dpo.apply(made, taught, onward).steps == ("constitution", "dpo")
    assert json.loads((onward.folder / "rows.json").read_text())["kept"] == len(pairs)
    assert read_log(onward.folder)[0].loss > 0
    # a reward of them is a model of its own, of a task that compares answers
    reward = Reward(epochs=1, batch_size=4)
    with pytest.raises(Refused, match="this task's answers are texts"):
        reward.plan(made, taught, PACE)
    with pytest.raises(Refused, match="cannot lie over another adapter"):
        reward.plan(replace(made, made=None), replace(taught, kind="prefer"), PACE)
    assert reward.plan(made, replace(taught, kind="prefer"), PACE)[0].head
    judge = reward.apply(made, replace(taught, kind="prefer"), lend("reward"))
    assert judge.steps == ("constitution", "reward")
    assert judge.head.kind == "reward"
    # taken up again, nothing is written anew
    before = (kit.folder / "revisions.json").stat().st_mtime_ns
    again = step.apply(root_of(tiny_base, task), task, kit)
    assert (kit.folder / "revisions.json").stat().st_mtime_ns == before
    assert again.made == made.made


def test_what_was_learned_outlives_a_critic_that_goes_away(monkeypatch, tiny_base, tiny_task, lend, tmp_path):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(json.dumps({"prompt": f"Say {word}."}) for word in ("yes", "no", "much", "little")))
    step = replace(SMALL, prompts=str(prompts), epochs=8, batch_size=2)
    kit, real = lend("constitution"), constitution.preferred

    def gone(*args, **named):
        raise ConnectionError

    monkeypatch.setattr(constitution, "preferred", gone)
    course = replace(lora_course(tiny_base, warmup=0.1), save_every=0.0)  # a checkpoint after every step
    monkeypatch.setattr(constitution, "lora_course", lambda base, warmup: course)
    with pytest.raises(ConnectionError):
        step.apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    learned, steps = read_log(kit.folder), saved_step(kit.folder)
    assert steps >= learned[-1].step - 1
    monkeypatch.setattr(constitution, "preferred", real)
    made = step.apply(root_of(tiny_base, tiny_task), tiny_task, kit)
    assert made.made
    assert [(tick.step, tick.loss) for tick in read_log(kit.folder)] == [(tick.step, tick.loss) for tick in learned]
    assert not list(kit.folder.glob("checkpoint.*"))


def test_a_tenth_of_what_was_made_is_held_out(tmp_path, tiny_task, tiny_base):
    own = [Comparison(str(at), (Turn("user", f"Q{at}"),), "good", "bad", 0.5, source=str(at)) for at in range(20)]
    variant = replace(root_of(tiny_base, tiny_task), made=write_made(tmp_path / "made.jsonl", own))
    split = with_made(tiny_task, variant, Dpo()).comparisons
    assert (len(split.train), len(split.dev), split.train[0].weight) == (18, 2, 0.5)
    assert with_made(tiny_task, variant, SMALL) == tiny_task  # only what learns from comparisons
    write_made(tmp_path / "made.jsonl", [])
    with pytest.raises(BadInput):
        with_made(tiny_task, variant, Dpo())
