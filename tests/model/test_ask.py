"""Prompts rendered, answers read, ranked, calibrated and voted."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tuneladder.errors import BadInput, CannotScore, Failed
from tuneladder.model.ask import ask, parse, turns_of, turns_of_all
from tuneladder.model.fake import FakeEngine
from tuneladder.types import Answer, Decoding, Example, Prompt, Shots, Thought, Turn, Turns

LABELS = ("sports", "politics")
WHICH = "Sports or politics?"


def example(text: str, reference: str = "sports", options: tuple[str, ...] = ()) -> Example:
    return Example(text, (Turn("user", text),), (reference,), options)


class Held(FakeEngine):
    """Says of each ask what schema it is held to."""

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        field = next(iter(json.loads(decoding.schema)["properties"])) if decoding.schema else "free"
        return [[f'{{"{field}": "{turns[-1].text}"}}'] for turns in asks]


def test_each_row_is_held_to_its_own_schema() -> None:
    schemas = [json.dumps({"type": "object", "properties": {name: {"type": "string"}}}) for name in ("a", "b")]
    rows = [replace(example(f"row {n}"), meta={"schema": schemas[n % 2]}) for n in range(5)] + [example("row 5")]
    prompt = Prompt(parse="json", schema=json.dumps({"properties": {"any": {}}}))
    free = [answer.text for answer in ask(Held({}), prompt, rows)]
    assert free == [f'{{"free": "row {n}"}}' for n in range(6)]
    held = ask(Held({}), replace(prompt, decoding=Decoding(schema=prompt.schema)), rows)
    assert [answer.text for answer in held] == [f'{{"{"ab"[n % 2] if n < 5 else "any"}": "row {n}"}}' for n in range(6)]


class Biased(FakeEngine):
    """Says sports to everything, a little less to what is about a vote."""

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        self.asked += asks
        return [
            [math.log(0.7 if "vote" in turns[-1].text else 0.9) if e == "sports" else math.log(0.1) for e in own]
            for turns, own in zip(asks, endings, strict=True)
        ]


class Broken(FakeEngine):
    """Its numbers are none for what is about a vote."""

    nothing = math.nan

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[self.nothing if "vote" in turns[-1].text else -1.0 for _ in own] for turns, own in zip(asks, endings, strict=True)]


class Mute(FakeEngine):
    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        raise CannotScore("no log-probabilities here")


class Many(FakeEngine):
    """Several different samples for each ask."""

    def __init__(self, *samples: str) -> None:
        super().__init__({})
        self.samples = samples

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        assert decoding.samples == len(self.samples)
        return [list(self.samples) for _ in asks]


def test_what_is_no_number_ranks_nothing() -> None:
    prompt, engine = Prompt(ask="score"), Broken({})
    for nothing in (math.nan, -math.inf):
        engine.nothing = nothing
        with pytest.raises(Failed, match="log-probabilities of 1 of 2 rows are no numbers"):
            ask(engine, prompt, [example("a goal"), example("a vote", "politics")], ["sports", "politics"])
    assert ask(engine, prompt, [example("a goal")], ["sports", "politics"])[0].text == "sports"


def test_the_prompt_is_laid_out_in_turns() -> None:
    shots = Shots(2, chosen=(example("a goal"), example("a vote", "politics")))
    prompt = Prompt(template="Text: {{ input }}", instruction="Which fits?", system="Be brief.", shots=shots)
    assert turns_of(prompt, example("a match")) == (
        Turn("system", "Be brief.\n\nWhich fits?"),
        Turn("user", "Text: a goal"),
        Turn("assistant", "sports"),
        Turn("user", "Text: a vote"),
        Turn("assistant", "politics"),
        Turn("user", "Text: a match"),
    )


def test_an_examples_own_template_makes_its_turns_and_those_of_its_sets_shots() -> None:
    news, tales = (replace(example(text), set=text[:4], template=f"{text[:4]}: {{{{ input }}}}") for text in ("news a", "tale b"))
    prompt = Prompt(template="Text: {{ input }}", shots=Shots(2, chosen=(news, tales)))
    asked = replace(example("news c"), set="news", template="What is {{ input }}?")
    assert [turn.text for turn in turns_of(prompt, asked) if turn.role == "user"] == [
        "What is news a?",
        "tale: tale b",
        "What is news c?",
    ]
    plain = replace(asked, set="", template="")
    assert [turn.text for turn in turns_of(prompt, plain) if turn.role == "user"][-1] == "Text: news c"


def test_a_chat_keeps_its_turns_and_system() -> None:
    chat = Example(
        "1", (Turn("system", "You sell hats."), Turn("user", "Hi"), Turn("assistant", "Hello"), Turn("user", "Hats?")), ("Yes",)
    )
    assert turns_of(Prompt(), chat) == chat.turns
    told = turns_of(Prompt(system="Be brief.", instruction="Now:"), chat)
    assert told[0] == Turn("system", "Be brief.\n\nNow:\n\nYou sell hats.")
    assert [turn.text for turn in told[1:]] == ["Hi", "Hello", "Hats?"]


def test_templates_that_fail_are_bad_input() -> None:
    for template in ("{{ inptu }}", "{% if %}", "{{ input.__class__.__mro__ }}"):
        with pytest.raises(BadInput, match="template fails"):
            turns_of(Prompt(template=template), example("x"))
    assert turns_of(Prompt(template="{{ input | upper }}\n"), example("{{ x }}"))[0].text == "{{ X }}\n"


def test_ranked_answers_carry_their_probability() -> None:
    engine = FakeEngine({"a goal": "sports", "a vote": "politics"})
    answers = ask(engine, Prompt(ask="score"), [example("a goal"), example("a vote")], LABELS)
    assert [(a.text, round(a.confidence or 0, 6)) for a in answers] == [("sports", 0.9), ("politics", 0.9)]


def test_an_examples_own_options_come_first() -> None:
    engine = FakeEngine({"2 + 2?": "four"})
    [answer] = ask(engine, Prompt(ask="score"), [example("2 + 2?", options=("three", "four", "five"))], LABELS)
    assert answer.text == "four"
    with pytest.raises(BadInput, match="no options to rank"):
        ask(engine, Prompt(ask="score"), [example("2 + 2?")])


def test_calibration_takes_the_empty_input_away() -> None:
    rows = [example("a vote"), example("a goal")]
    engine = Biased({})
    assert [a.text for a in ask(engine, Prompt(ask="score"), rows, LABELS)] == ["sports", "sports"]
    engine = Biased({})
    answers = ask(engine, Prompt(ask="score", instruction="Which?", calibrate=True), rows, LABELS)
    assert [a.text for a in answers] == ["politics", "sports"]
    assert answers[0].confidence == pytest.approx(1 / (1 + 0.7 / 0.9))
    # one ask for both rows: the empty inputs are the same
    assert [turns[-1].text for turns in engine.asked] == ["a vote", "a goal", ""]


def test_an_engine_that_cannot_rank_is_asked_to_write() -> None:
    prompt = Prompt(ask="score", instruction=WHICH)
    answers = ask(Mute({"a vote": "I think: Politics."}), prompt, [example("a vote"), example("?")], LABELS)
    assert answers == [Answer("politics", None, "I think: Politics."), Answer("", None, "")]


def test_votes_are_counted() -> None:
    engine = Many("It is 4.", "so 5", "no idea", "4")
    [answer] = ask(engine, Prompt(parse="number", vote=4), [example("2 + 2?")])
    assert answer == Answer("4", 0.5, "It is 4.")
    said = ("18.", "18", "$18", "The answer is 18", "7")
    [answer] = ask(Many(*said), Prompt(parse="number", vote=5), [example("9 + 9?")])
    assert answer == Answer("18", 0.8, "18.")
    [answer] = ask(Many("x", "y"), Prompt(parse="number", vote=2), [example("2 + 2?")])
    assert answer == Answer("", 0.0, "x")


@pytest.mark.parametrize(
    ("text", "options", "expected"),
    [
        ("答案是体育。", ("体育", "政治"), "体育"),
        ("体育政策", ("体育", "体育政策"), "体育政策"),  # of two that begin at one place the longer
        ("คำตอบคือกีฬาครับ", ("กีฬา", "การเมือง"), "กีฬา"),
        ("这是sport类", ("sport", "政治"), "sport"),
        ("这是sports类", ("sport", "政治"), ""),
        ("정답은 스포츠 입니다", ("스포츠", "정치"), "스포츠"),
    ],
)
def test_a_label_is_found_where_no_blanks_stand_between_words(text: str, options: tuple[str, ...], expected: str) -> None:
    assert parse(text, "label", options) == expected
    assert parse(text, "labels", options) == (expected or "")


@pytest.mark.parametrize(
    ("text", "rule", "expected"),
    [
        ("  whole text \n", "text", "whole text"),
        ("#### 1,234", "number", "1234"),
        ("from -3 to 2.50.", "number", "2.5"),
        ("$18.00", "number", "18"),
        ("3-5", "number", "5"),
        ("none", "number", ""),
        ("SPORTS", "label", "sports"),
        ("transports", "label", ""),
        ("politics or sports", "label", "politics"),
        ("sports betting, surely", "label", "sports betting"),
        ("", "label", ""),
    ],
)
def test_answers_are_read_out_of_text(text: str, rule: str, expected: str) -> None:
    assert parse(text, rule, ("sports", "politics", "sports betting")) == expected


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("O B-PER O", "O B-PER O"),
        (" o, b-per, O.\n", "O B-PER O"),
        ("B-PER", "B-PER O O"),
        ("O O O B-PER B-PER", "O O O"),
        ("O person .", "O O ."),
        ("", "O O O"),
    ],
)
def test_tags_are_as_many_as_words(said: str, read: str) -> None:
    assert parse(said, "tags", ("O", "B-PER", "."), words=3) == read
    row = Example("1", (Turn("user", "Then Ada\u00a0Stone left"),), ("O B-PER O",))
    (answer,) = ask(FakeEngine({}, default=said), Prompt(parse="tags"), [row], ("O", "B-PER", "."))
    assert (answer.text, answer.raw) == (read, said)


THINK = Thought("Think.", "So it is", 9)


def reasoning(turns: Turns) -> str:
    """Reasons about a text, and concludes from the reasoning."""
    last = turns[-1].text
    if last.endswith("So it is"):
        return "sports" if "ball" in last.rpartition("Think.")[2] else "politics"
    return "a ball is kicked" if "goal" in last else "people vote"


def test_a_prompt_that_thinks_asks_twice() -> None:
    engine = FakeEngine(reasoning)
    answers = ask(engine, Prompt(ask="score", instruction=WHICH, think=THINK), [example("a goal"), example("a vote")], LABELS)
    assert [(answer.text, answer.confidence) for answer in answers] == [
        ("sports", pytest.approx(0.9)),
        ("politics", pytest.approx(0.9)),
    ]
    assert answers[0].raw == "a ball is kicked\nSo it is sports"
    first, second = engine.asked[0], engine.asked[2]
    assert first == (Turn("system", WHICH), Turn("user", "a goal\n\nThink."))
    assert second == (Turn("system", WHICH), Turn("user", "a goal\n\nThink.\na ball is kicked\n\nSo it is"))


def test_the_answer_after_a_thought_is_read_by_the_tasks_own_rule() -> None:
    def write(turns: Turns) -> str:
        return "1,234 or so" if turns[-1].text.endswith("So it is") else "17 and 3 make something"

    (answer,) = ask(FakeEngine(write), Prompt(parse="number", think=THINK), [example("how many?")])
    thought = "17 and 3 make something"
    assert answer == Answer("1234", None, f"{thought}\nSo it is 1,234 or so", reason=thought)
    (answer,) = ask(Mute(reasoning), Prompt(ask="score", think=THINK), [example("a goal")], LABELS)
    assert answer.text == "sports"


class Sampled(FakeEngine):
    """Reasons in several ways when asked for several, and keeps how it was asked to."""

    decodings: list[Decoding]

    def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
        self.asked += asks
        self.decodings = [*getattr(self, "decodings", []), decoding]
        ways = ("people vote", "a ball", "the ball again", "")
        return [list(ways[: decoding.samples]) for _ in asks]


def test_thoughts_vote_on_where_they_lead() -> None:
    engine = Sampled(reasoning)
    decoding = Decoding(max_new_tokens=3, temperature=0.7, stop=("\n",))
    prompt = Prompt(ask="score", think=THINK, vote=4, decoding=decoding)
    (answer,) = ask(engine, prompt, [example("a text")], LABELS)
    assert (answer.text, answer.confidence) == ("politics", 0.5)  # of equals the earlier: two of four each
    assert len(engine.asked) == 1 + 4
    assert engine.decodings == [replace(decoding, max_new_tokens=9, samples=4, stop=())]
    (answer,) = ask(Sampled(reasoning), replace(prompt, vote=3), [example("a text")], LABELS)
    assert (answer.text, round(answer.confidence or 0, 3)) == ("sports", 0.667)
    assert answer.raw.startswith("a ball")


def test_shots_with_reasons_are_reasoned_and_those_without_only_answer() -> None:
    shots = Shots(1, "fixed", (example("a ball"),), ("balls are for games",))
    prompt = Prompt(shots=shots, think=THINK)
    assert turns_of(prompt, example("x"))[:2] == (Turn("user", "a ball\n\nThink."), Turn("assistant", "balls are for games"))
    assert turns_of(prompt, example("x"), reason="why")[:2] == (
        Turn("user", "a ball\n\nThink.\nballs are for games\n\nSo it is"),
        Turn("assistant", "sports"),
    )
    bare = replace(prompt, shots=replace(shots, reasons=()))
    assert turns_of(bare, example("x")) == (Turn("user", "x\n\nThink."),)
    assert turns_of(bare, example("x"), reason="why")[:2] == (Turn("user", "a ball\n\nSo it is"), Turn("assistant", "sports"))


def test_each_row_is_asked_with_the_shots_nearest_to_it() -> None:
    pool = (example("a vote in may", "politics"), example("a goal at last"))
    prompt = Prompt(ask="score", shots=Shots(1, "nearest", pool=pool, similarity="bm25"))
    engine = FakeEngine({"the goal": "sports", "the vote": "politics"})
    ask(engine, prompt, [example("the goal"), example("the vote")], LABELS)
    assert [turns[0].text for turns in engine.asked] == ["a goal at last", "a vote in may"]
    assert turns_of(prompt, pool[0])[0].text == "a goal at last"  # never itself
    assert turns_of_all(prompt, [example("the goal")]) == [turns_of(prompt, example("the goal"))]


class Lengths(FakeEngine):
    """Every character is as likely as every other, but those of one option are a little more so; every word is a token."""

    def score(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[float]]:
        return [[-len(e) * (0.9 if e == "a longer answer" else 1.0) for e in own] for own in endings]

    def sizes(self, asks: Sequence[Turns], endings: Sequence[Sequence[str]]) -> list[list[int]]:
        return [[len(e.split()) for e in own] for own in endings]


def test_options_are_ranked_for_their_length() -> None:
    row = example("which?", options=("short", "a longer answer", "\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9\u00e9"))
    says = {
        by: ask(Lengths({}), Prompt(ask="score", normalise=by), [row])[0].text for by in ("none", "characters", "bytes", "tokens")
    }
    # -5, -13.5, -7 in all; by the character -1, -0.9, -1; by the byte, of which the last has two each, -1, -0.9, -0.5
    assert says == {"none": "short", "characters": "a longer answer", "bytes": row.options[2], "tokens": "a longer answer"}
    with pytest.raises(BadInput, match="does not say how many tokens"):
        ask(Biased({}), Prompt(ask="score", normalise="tokens"), [row])


def test_options_of_one_length_keep_their_probabilities() -> None:
    row = example("which?", options=("sports", "ballet"))
    plain, normalised = (ask(Biased({}), Prompt(ask="score", normalise=by), [row])[0] for by in ("none", "characters"))
    assert normalised.confidence == pytest.approx(plain.confidence)


def test_options_are_shown_where_an_answer_is_written() -> None:
    row = example("which?", options=("sports", "ballet"))
    listed = "which?\n\nOne of these:\n- sports\n- ballet"
    engine = Mute({listed: "It is ballet."})
    assert ask(engine, Prompt(ask="score"), [row])[0].text == "ballet"
    assert turns_of(Prompt(ask="score"), row)[-1].text == "which?"  # ranked, they are what goes on from it
    own = Prompt(template="{{ input }} {{ options | join(' or ') }}?", ask="score")
    assert turns_of(own, row)[-1].text == "which? sports or ballet?"
    assert turns_of(replace(own, ask="generate"), row)[-1].text == "which? sports or ballet?"
    thought = turns_of(Prompt(ask="score", think=Thought()), row)[-1].text
    assert listed in thought


def test_labels_are_shown_where_one_is_written_and_the_prompt_names_not_all() -> None:
    """What cannot rank is never told them else: by an instruction of the user's own, or one that `search` found."""
    listed = "\n\nOne of these:\n- sports\n- politics"
    shot = example("a goal")
    for prompt in (
        Prompt(ask="score", parse="label"),
        Prompt(ask="score", parse="label", instruction="Is it sports?"),
        Prompt(parse="label", vote=2, decoding=Decoding(temperature=1.0)),  # self_consistency that does not think
        Prompt(ask="score", parse="label", shots=Shots(1, "fixed", (shot,))),
    ):
        engine = Mute({f"a vote{listed}": "Politics."})
        assert ask(engine, prompt, [example("a vote")], LABELS)[0].text == "politics"
        asked = [turn.text for turn in engine.asked[-1] if turn.role == "user"]
        assert asked == [*(["a goal"] if prompt.shots else []), f"a vote{listed}"]  # once, where it is asked
    named = Mute({"a vote": "Politics."})
    told = Prompt(ask="score", parse="label", instruction=WHICH)
    assert ask(named, told, [example("a vote")], LABELS)[0].text == "politics"
    assert ask(Mute({"a vote": "x"}), Prompt(), [example("a vote")], LABELS)[0].text == "x"  # a text is no label
    ranking = FakeEngine({"a vote": "politics"})
    assert ask(ranking, Prompt(ask="score", parse="label"), [example("a vote")], LABELS)[0].text == "politics"
    own = Mute({f"a vote{listed.replace('politics', 'ballet')}": "ballet", f"a ball{listed}": "sports"})
    rows = [example("a vote", options=("sports", "ballet")), example("a ball")]
    assert [answer.text for answer in ask(own, Prompt(ask="score", parse="label"), rows, LABELS)] == ["ballet", "sports"]


def test_labels_are_shown_to_what_reasons_about_them() -> None:
    engine = Mute(lambda turns: "politics" if turns[-1].text.endswith("answer is") else "a parliament")
    prompt = Prompt(ask="score", think=Thought(), shots=Shots(1, "fixed", (example("a goal"),), reasons=("a ball",)))
    assert ask(engine, prompt, [example("a vote")], LABELS)[0].text == "politics"
    assert len(engine.asked) == 2
    for turns in engine.asked:
        assert ["\n- sports\n- politics" in turn.text for turn in turns if turn.role == "user"] == [False, True]
