"""The talk: what is asked, what is dropped, what commands change, and what a script is given line by line."""

from __future__ import annotations

import io
import json
import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from tuneladder import api, cli
from tuneladder.chat import loop
from tuneladder.chat.commands import COMMANDS, Page, Told, tell
from tuneladder.chat.picture import bar, label_lines, odds_lines, percent, piece_lines
from tuneladder.chat.settings import SETTINGS, changed, read, shown
from tuneladder.chat.talk import Talk
from tuneladder.errors import BadInput, Failed, Refused, TuneladderError
from tuneladder.evaluate.preference import weigh_pairs
from tuneladder.model.fake import FakeEngine
from tuneladder.model.odds import Odds
from tuneladder.model.pieces import Piece
from tuneladder.model.probe import Linear, save_probe
from tuneladder.model.shelf import Shelf
from tuneladder.store import freeze
from tuneladder.types import Base, Comparison, Decoding, Engine, Example, Head, Prompt, Shots, Thought, Turn, Turns, Variant

BASE = Base("fake", "folder", "nowhere", "decoder", 1, 1, 1, 1, 1, 64)
SHOT = Example("s", (Turn("user", "1+1"),), ("2",))


def talk_to(answers: Callable[[Turns], str], prompt: Prompt | None = None, **options: Any) -> tuple[Talk, FakeEngine]:
    engine = FakeEngine(answers)
    return Talk(Variant(BASE, prompt or Prompt()), engine, **options), engine


def said(talk: Talk, text: str) -> str:
    return "".join(talk.answer(text))


@pytest.fixture
def tiny_talk(tiny_base: Base) -> Iterator[Talk]:
    variant = Variant(tiny_base, Prompt(decoding=Decoding(max_new_tokens=8)))
    with Shelf("cpu").engine(variant) as engine:
        yield Talk(variant, engine)


# ---- what is asked ----


def test_a_question_is_asked_after_what_was_said_as_the_variants_prompt_has_it() -> None:
    prompt = Prompt("Q: {{ input }}", "Add.", "Be brief.", Shots(1, "fixed", (SHOT,)))
    talk, engine = talk_to(lambda turns: f"answer {len(turns)}", prompt)
    assert said(talk, "2+2") == "answer 4"
    assert said(talk, "3+3") == "answer 6"
    assert [(turn.role, turn.text) for turn in engine.asked[1]] == [
        ("system", "Be brief.\n\nAdd."),
        ("user", "Q: 1+1"),
        ("assistant", "2"),
        ("user", "Q: 2+2"),
        ("assistant", "answer 4"),
        ("user", "Q: 3+3"),
    ]


def test_without_history_each_question_is_asked_alone() -> None:
    talk, engine = talk_to(lambda turns: "yes", history=False)
    said(talk, "a")
    said(talk, "b")
    assert engine.asked == [(Turn("user", "a"),), (Turn("user", "b"),)]


def test_a_variant_that_reasons_does_so_before_it_answers() -> None:
    told: list[str] = []
    written: list[Decoding] = []

    class Reasoner(FakeEngine):
        def stream(self, turns: Turns, decoding: Decoding) -> Iterator[str]:
            written.append(decoding)
            return super().stream(turns, decoding)

    engine = Reasoner(lambda turns: "four" if turns[-1].text.endswith("answer is") else " two and two ")
    decoding = Decoding(max_new_tokens=3, temperature=0.7, stop=("\n",))
    talk = Talk(Variant(BASE, Prompt(think=Thought(tokens=50), vote=5, decoding=decoding)), engine, tell=told.append)
    assert said(talk, "2+2") == "four"
    assert (talk.reason, told) == ("two and two", ["it reasons: two and two"])
    first, second = engine.asked
    assert first[-1].text == "2+2\n\nLet's think step by step."
    assert second[-1].text == f"{first[-1].text}\ntwo and two\n\nTherefore, the answer is"
    assert written == [replace(decoding, max_new_tokens=50, stop=()), decoding]
    assert talk.turns == [Turn("user", "2+2"), Turn("assistant", "four")]


def test_an_answer_that_is_stopped_stays_and_one_that_fails_does_not() -> None:
    talk, _ = talk_to(lambda turns: "one two three")
    pieces = talk.answer("count")
    assert next(pieces) == "one"
    pieces.close()  # type: ignore[attr-defined]
    assert talk.turns == [Turn("user", "count"), Turn("assistant", "one")]
    assert talk.stopped == "interrupted"

    def broken(turns: Turns) -> str:
        raise Failed("the line is dead")

    talk, _ = talk_to(broken)
    with pytest.raises(Failed):
        said(talk, "hello")
    assert talk.turns == []
    talk, _ = talk_to(lambda turns: "")
    assert said(talk, "hello") == ""
    assert talk.turns == []


def test_a_full_context_drops_the_oldest_turns_and_says_so(tiny_base: Base) -> None:
    told: list[str] = []
    variant = Variant(replace(tiny_base, context=128), Prompt(decoding=Decoding(max_new_tokens=8)))
    with Shelf("cpu").engine(variant) as engine:
        talk = Talk(variant, engine, tell=told.append)
        for number in range(8):
            said(talk, f"{number}: the river runs past the mill")
        assert 0 < talk.dropped < 14
        assert talk.dropped % 2 == 0
        assert len(talk.turns) == 16
        assert "oldest turns are read no more" in told[-1]
        assert not any("left out" in line for line in told)
        assert engine.calls.cut == 0  # type: ignore[attr-defined]
        assert next(turn.text[0] for turn in talk.asked("x") if turn.role == "user") == str(talk.dropped // 2)
        said(talk, "漢" * 200)
        assert talk.dropped == 16
        assert "of this question are left out" in told[-1]
        talk.reset()
        assert talk.dropped == 0


@pytest.mark.parametrize(("most", "told"), [(3, "length"), (120, "length")], ids=["max_new_tokens", "context"])
def test_an_answer_that_is_cut_off_says_so(most: int, told: str, tiny_base: Base) -> None:
    variant = Variant(replace(tiny_base, context=64), Prompt(decoding=Decoding(max_new_tokens=most)))
    with Shelf("cpu").engine(variant) as engine:
        talk = Talk(variant, engine)
        said(talk, "The river runs past the mill")
        assert talk.stopped == told
        assert talk.tokens is not None
        assert talk.tokens <= most
        assert any("cut off" in line for line in loop._ended(talk, "x", 1.0, False, True))


# ---- settings ----


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("temperature", "-1"),
        ("temperature", "nan"),
        ("temperature", "inf"),
        ("temperature", "hot"),
        ("top_k", "-1"),
        ("top_k", "2.5"),
        ("top_p", "0"),
        ("top_p", "1.01"),
        ("repetition", "0"),
        ("max_new_tokens", "0"),
        ("seed", "-3"),
        ("stop", " "),
        ("samples", "2"),
        ("temprature", "1"),
    ],
)
def test_values_that_make_no_sense_are_refused_with_a_hint_and_nothing_changes(name: str, text: str) -> None:
    talk, _ = talk_to(lambda turns: "yes")
    said(talk, "a")
    before = (talk.prompt, list(talk.turns))
    with pytest.raises(BadInput) as refused:
        read(name, text)
    assert refused.value.hint
    if text.strip():
        with pytest.raises(BadInput):
            tell(talk, f"/set {name} {text}", Page())
    assert (talk.prompt, talk.turns) == before


def test_every_setting_is_typed_shown_and_put_back() -> None:
    typed = {"max_new_tokens": "9", "temperature": "0.5", "top_k": "3", "top_p": "0.9", "repetition": "1.2"}
    typed |= {"stop": "\\n\\n END\\sHERE", "seed": "7"}
    assert set(typed) == set(SETTINGS)
    own, decoding = Decoding(), Decoding()
    for name, text in typed.items():
        decoding = changed(decoding, name, text, own=own)
        assert shown(decoding, name) == text
    assert decoding == Decoding(9, 0.5, 3, 0.9, 1.2, ("\n\n", "END HERE"), 1, 7)
    for name in SETTINGS:
        decoding = changed(decoding, name, "default", own=own)
    assert decoding == own
    assert changed(Decoding(stop=("x",)), "stop", "-", own=own).stop == ()
    talk, _ = talk_to(lambda turns: "yes")
    tell(talk, "/set stop a=b c", Page())
    assert talk.prompt.decoding.stop == ("a=b", "c")


@pytest.mark.parametrize(
    "line",
    [
        "temperature 2",
        "temperature=2",
        "temperature = 2",
        "top_k 3",
        "top_p 0.5",
        "repetition 3",
        "max_new_tokens 3",
        "stop e",
        "seed 5",
    ],
)
def test_every_setting_changes_the_answer(line: str, tiny_talk: Talk) -> None:
    tiny_talk.settle(None, {"temperature": 1.0, "max_new_tokens": 24})
    before = said(tiny_talk, "The river runs past")
    tiny_talk.reset()
    told = tell(tiny_talk, f"/set {line}", Page())
    assert told is not None
    assert told.data is None
    assert said(tiny_talk, "The river runs past") != before


def test_history_is_a_setting_too() -> None:
    talk, engine = talk_to(lambda turns: "yes")
    said(talk, "a")
    tell(talk, "/set history off", Page())
    said(talk, "b")
    assert len(engine.asked[-1]) == 1
    with pytest.raises(BadInput, match="history"):
        tell(talk, "/set history maybe", Page())


# ---- commands ----


def lines(talk: Talk, line: str) -> tuple[str, ...]:
    told = tell(talk, line, Page())
    assert isinstance(told, Told)
    return told.lines


def test_shots_are_added_listed_and_dropped() -> None:
    talk, engine = talk_to(lambda turns: "yes", Prompt(shots=Shots(1, "fixed", (SHOT,))))
    lines(talk, "/shots add 2+2 => 4")
    assert lines(talk, "/shots") == ("1  1+1 => 2", "2  2+2 => 4")
    said(talk, "3+3")
    assert [turn.text for turn in engine.asked[-1]] == ["1+1", "2", "2+2", "4", "3+3"]
    lines(talk, "/shots drop 1")
    said(talk, "4+4")
    assert [turn.text for turn in engine.asked[-1]] == ["2+2", "4", "3+3", "yes", "4+4"]
    assert talk.own.shots is not None
    assert talk.own.shots.chosen == (SHOT,)
    for wrong in ("/shots add x", "/shots add => y", "/shots drop 2", "/shots drop x", "/shots drop 0", "/shots show"):
        with pytest.raises(BadInput) as refused:
            tell(talk, wrong, Page())
        assert refused.value.hint
    assert len(talk.shots()) == 1


def test_shots_beside_worked_out_ones_and_in_place_of_the_nearest() -> None:
    worked = Prompt(shots=Shots(1, "fixed", (SHOT,), ("one more than one",)), think=Thought())
    talk, engine = talk_to(lambda turns: "it follows", worked)
    lines(talk, "/shots add 2+2 => 4")
    said(talk, "3+3")
    reasoned, answered = ([turn.text for turn in turns if turn.role == "assistant"] for turns in engine.asked)
    assert reasoned == ["one more than one"]  # nobody said what leads to 4
    assert answered == ["2", "4"]
    lines(talk, "/shots drop 1")
    assert talk.prompt.shots == Shots(1, "fixed", talk.shots(), ("",))
    talk, engine = talk_to(lambda turns: "yes", Prompt(shots=Shots(1, "nearest", pool=(SHOT,), similarity="bm25")))
    assert lines(talk, "/shots")[0].startswith("each question is shown the 1 of 1 most like it")
    lines(talk, "/shots add 2+2 => 4")
    said(talk, "1+1+1")
    assert [turn.text for turn in engine.asked[-1]] == ["2+2", "4", "1+1+1"]


def test_system_is_set_shown_taken_away_and_put_back() -> None:
    talk, engine = talk_to(lambda turns: "yes", Prompt(system="Be kind.", instruction="Sort."))
    lines(talk, "/system Be brief.")
    said(talk, "a")
    assert engine.asked[-1][0] == Turn("system", "Be brief.\n\nSort.")
    assert lines(talk, "/system") == ("system: Be brief.", "the variant's own instruction: Sort.")
    lines(talk, "/system -")
    assert talk.asked("b")[0] == Turn("system", "Sort.")
    lines(talk, "/system default")
    assert talk.prompt.system == "Be kind."


def test_a_talk_is_saved_as_data_that_the_tool_reads(tmp_path: Path, tiny_folder: Path) -> None:
    talk, _ = talk_to(lambda turns: f"Guten Tag, 漢 {turns[-1].text}!", Prompt(system="Speak German."))
    file = tmp_path / "talk.jsonl"
    with pytest.raises(BadInput, match="nothing was said"):
        tell(talk, f"/save {file}", Page())
    for number in range(12):
        talk.reset()
        said(talk, f"Good day {number}")
        said(talk, f"Again {number}")
        assert lines(talk, f"/save {file}")[0].startswith("5 turns")
    task = api.load({"task": {"kind": "chat", "data": str(file)}, "base": str(tiny_folder), "rungs": ["zero_shot"]}).task
    rows = [row for split in (task.examples.train, task.examples.dev, task.examples.test) for row in split]
    assert len(rows) == 12
    assert [turn.role for turn in rows[0].turns] == ["system", "user", "assistant", "user"]
    assert {row.references[0] for row in rows} == {f"Guten Tag, 漢 Again {number}!" for number in range(12)}
    file.write_text('{"messages": []}', "utf-8")  # no end of line
    tell(talk, f"/save {file}", Page())
    assert len(file.read_text("utf-8").splitlines()) == 2
    other = tmp_path / "other.jsonl"
    other.write_text("name,price\n", "utf-8")
    for wrong in (other, tmp_path, tmp_path / "talk.txt", tmp_path / "no" / "talk.jsonl"):
        with pytest.raises(BadInput):
            tell(talk, f"/save {wrong}", Page())
    assert other.read_text("utf-8") == "name,price\n"
    with pytest.raises(BadInput, match="no file"):
        tell(talk, "/save", Page())


def test_tokens_and_what_comes_next_of_a_real_model(tiny_talk: Talk) -> None:
    with pytest.raises(BadInput, match="nothing was said"):
        tell(tiny_talk, "/tokens", Page())
    with pytest.raises(BadInput, match="nothing was asked"):
        tell(tiny_talk, "/next", Page())
    told = tell(tiny_talk, "/tokens The river 漢", Page())
    assert told is not None
    assert told.data is not None
    tokens = told.data["tokens"]
    assert "".join(own["text"] for own in tokens) == "The river \\xe6\\xbc\\xa2"
    assert "漢" not in told.lines[0]
    answer = said(tiny_talk, "The river")
    told = tell(tiny_talk, "/tokens", Page())
    assert told is not None
    assert told.data is not None
    assert f"{len(answer)} characters" in told.lines[-1]
    told = tell(tiny_talk, "/next", Page())
    assert told is not None
    assert told.data is not None
    assert told.data["asked"] == "The river"
    assert told.data["next"][0]["after"] == 1.0  # greedy
    assert told.data["next"][0]["text"].strip()[:1] == answer[:1]
    begun = tell(tiny_talk, "/next The river => sports", Page())
    assert begun is not None
    assert begun.data is not None
    assert begun.data["begun"] == "sports"
    assert begun.data["next"] != told.data["next"]
    assert tiny_talk.turns[-1].text == answer
    assert lines(tiny_talk, "/prompt A heron") == (f"The river\nAnswer: {answer}\n\nA heron\nAnswer:",)


def test_unknown_commands_and_engines_that_show_nothing_are_refused() -> None:
    talk, _ = talk_to(lambda turns: "yes")
    with pytest.raises(BadInput, match="did you mean '/tokens'"):
        tell(talk, "/token x", Page())
    said(talk, "a")
    for line in ("/tokens", "/next", "/prompt"):
        with pytest.raises(Refused):
            tell(talk, line, Page())
    assert tell(talk, "/quit", Page()) is None


def test_help_names_every_command_in_80_columns() -> None:
    talk, _ = talk_to(lambda turns: "yes")
    found = lines(talk, "/help")
    assert [line.split()[0] for line in found] == [f"/{name}" for name in COMMANDS]
    tell(talk, "/set top_k 5", Page())
    assert max(map(len, [*found, *lines(talk, "/set")])) <= 80
    assert "change nothing" in lines(talk, "/set")[-1]


# ---- classifiers ----


def test_a_head_answers_with_its_labels_and_their_probabilities(tiny_encoder: Base) -> None:
    variant = Variant(tiny_encoder, Prompt(), head=Head("classes", ("parcels", "money")))
    with Shelf("cpu").engine(variant) as engine:
        talk = Talk(variant, engine)
        found = talk.judge("Where did my parcel go?")
        assert {label for label, _ in found} == {"parcels", "money"}
        assert sum(share for _, share in found) == pytest.approx(1)
        assert found[0][1] >= found[1][1]
        assert talk.tokens_of("Where did my parcel go?")
        for line in ("/set temperature 1", "/next x", "/shots add a => b", "/system x", "/prompt x"):
            with pytest.raises(Refused):
                tell(talk, line, Page())
        with pytest.raises(Refused):
            talk.settle(None, {"seed": 1})


def test_a_reward_says_what_answers_are_worth_and_how_likely_each_is_to_be_preferred(
    tiny_encoder: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    variant = Variant(tiny_encoder, Prompt(), head=Head("reward", ("reward",)))
    with Shelf("cpu").engine(variant) as engine:
        talk = Talk(variant, engine)
        assert talk.gives == "rewards"
        both = talk.reward("Where is it? => On its way. => Who knows?")
        [rewards] = engine.score([talk.asked("Where is it?")], [["On its way.", "Who knows?"]])
        assert [own[:2] for own in both] == list(zip(["On its way.", "Who knows?"], rewards, strict=True))
        assert both[0][2] == pytest.approx(1 / (1 + math.exp(rewards[1] - rewards[0])))
        assert sum(own[2] for own in both) == pytest.approx(1)
        [(_, reward, share)] = talk.reward("Where is it?=>On its way.")
        assert (reward, share) == (pytest.approx(rewards[0]), None)
        pair = Comparison("p", (Turn("user", "Where is it?"),), "On its way.", "Who knows?")
        assert weigh_pairs(engine, Prompt(), [pair]).pairs == (tuple(rewards),)  # asked as pairs are
        for typed in ("Where is it?", "Where is it? => ", "=> On its way."):
            with pytest.raises(BadInput, match="has no answer that could be rewarded"):
                talk.reward(typed)
        with pytest.raises(Refused, match="answers with rewards here"):
            tell(talk, "/next x", Page())
        monkeypatch.setattr("sys.stdin", io.StringIO("a => b => c\n"))
        assert loop.hold(talk, aside=Console(stderr=True), refuse=print, as_json=True) == 0
        found = json.loads(capsys.readouterr().out)["rewards"]
        monkeypatch.setattr("sys.stdin", io.StringIO("Where is it? => On its way. => Who knows?\n"))
        assert loop.hold(talk, aside=Console(stderr=True), refuse=print) == 0
        assert [float(own) for own in capsys.readouterr().out.split()] == pytest.approx(rewards, rel=1e-4)
        monkeypatch.setattr(engine, "score", lambda asks, endings: [[math.nan]])
        with pytest.raises(Failed, match="a reward is no number"):
            talk.reward("a => b")
        assert [set(own) for own in found] == [{"answer", "reward", "probability"}] * 2


def test_a_head_that_tags_says_a_tag_for_each_word(tiny_encoder: Base) -> None:
    variant = Variant(tiny_encoder, Prompt(), head=Head("tags", ("O", "B-PER")))
    with Shelf("cpu").engine(variant) as engine:
        assert [word for word, _ in Talk(variant, engine).tag(" Ada  met Bo ")] == ["Ada", "met", "Bo"]


@pytest.mark.parametrize("as_probe", [True, False])
def test_a_head_of_several_labels_answers_with_all_that_are_likely(tiny_encoder: Base, tmp_path: Path, as_probe: bool) -> None:
    variant = Variant(tiny_encoder, Prompt(), head=Head("multi_label", ("parcels", "money")))
    if as_probe:
        width = tiny_encoder.width
        zeros = np.zeros((2, width), np.float32)
        likely = Linear(("parcels", "money"), zeros[0], zeros[0] + 1, zeros, np.ones(2, np.float32), multi_label=True)
        save_probe(likely, tmp_path, {})
        variant = Variant(tiny_encoder, Prompt(), probe=str(tmp_path))
    with Shelf("cpu").engine(variant) as engine:
        talk = Talk(variant, engine)
        assert talk.gives == "sets"
        said, found = talk.sort("Where did my parcel go?")
        assert [[said]] == engine.generate([talk.asked("Where did my parcel go?")], talk.prompt.decoding)
        assert set(found) <= {"parcels", "money"}
        assert not as_probe or found == ["parcels", "money"]
        with pytest.raises(Refused, match="answers with sets here"):
            talk.settle("Be brief.", {})


def test_an_encoder_without_a_head_is_refused_unless_its_run_has_labels(tiny_encoder: Base) -> None:
    variant = Variant(tiny_encoder, Prompt())
    with Shelf("cpu").engine(variant) as engine:
        with pytest.raises(Refused, match="without a head"):
            Talk(variant, engine)
        assert len(Talk(variant, engine, labels=("a", "b")).judge("text")) == 2


# ---- pictures ----


def test_pictures_fit_80_columns_and_read_without_colour() -> None:
    odds = [Odds(Piece(n, text), share, after) for n, (text, share, after) in enumerate(
        [(" the", 0.5, 0.75), ("漢字漢字漢字漢字漢字", 0.25, 0.25), ("\n", 0.0001, 0.0), ("x" * 40, 0.1, 0.0)]
    )]  # fmt: skip
    for blocks in (True, False):
        found = list(odds_lines(odds, width=80, blocks=blocks))
        assert max(map(cell_len, found)) <= 80
        assert "·the" in found[1]
        assert "50.0%" in found[1]
        assert "75.0%" in found[1]
        assert "<0.1%" in found[3]
        assert found[3].endswith("-")
        assert found[5].startswith("all others")
        assert ("█" in found[1]) == blocks
        assert ("#" in found[1]) != blocks
    labels = list(label_lines([("b", 0.25), ("a", 0.75)], width=80))
    assert labels[0].startswith("a  75.0% ")
    assert labels[0].count("█") > 2.5 * labels[1].count("█")
    pieces = list(piece_lines([Piece(n * 100, "word ") for n in range(40)], width=80))
    assert max(map(len, pieces)) <= 80
    assert len(pieces) % 2 == 0
    assert [int(id) for line in pieces[1::2] for id in line.split()] == [n * 100 for n in range(40)]


def test_bars_are_in_proportion_and_what_is_not_nothing_is_seen() -> None:
    assert bar(1, 10) == "█" * 10
    assert bar(0.5, 10) == "█" * 5
    assert bar(1e-6, 10) == "▏"
    assert bar(0, 10) == ""
    assert bar(0.5, 10, blocks=False) == "#####"
    assert [len(percent(share)) for share in (0, 1e-9, 0.1, 1)] == [6] * 4


# ---- lines in, answers out ----


def held(text: str, talk: Talk, monkeypatch: pytest.MonkeyPatch, **options: Any) -> tuple[int, list[TuneladderError]]:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    refused: list[TuneladderError] = []
    return loop.hold(talk, aside=Console(stderr=True), refuse=refused.append, **options), refused


def test_without_a_standard_input_nothing_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(BadInput, match="standard input is closed"):
        loop.hold(talk_to(lambda turns: "")[0], aside=Console(stderr=True), refuse=lambda error: None)


def test_a_script_gets_a_line_for_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    talk, _ = talk_to(lambda turns: turns[-1].text.upper())
    assert held("one\n\n/set seed 4\n//slash\n/quit\nnever\n", talk, monkeypatch) == (0, [])
    out, err = capsys.readouterr()
    assert out == "ONE\n\n/SLASH\n"  # the empty line's too, or the next would be read as its
    assert "seed" in err


def test_json_is_an_object_per_answer_refused_lines_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk, _ = talk_to(lambda turns: "fine")
    code, refused = held("how are you\n/set top_p 7\n/set\n\nand now\n", talk, monkeypatch, as_json=True)
    assert code == 2
    assert len(refused) == 1
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[0] | {"seconds": 0} == {"input": "how are you", "answer": "fine", "stopped": "end", "tokens": None, "seconds": 0}
    assert found[1]["error"] == "top_p is '7'"
    assert found[1]["hint"]
    assert found[2]["settings"]["top_p"] == 1.0
    assert found[3] == {"input": "", "answer": "", "stopped": "", "tokens": 0, "seconds": 0.0}
    assert found[4]["answer"] == "fine"


def test_reasons_and_votes_that_are_not_taken_are_said_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    talk, _ = talk_to(lambda turns: "as\x1b[2J is", Prompt(think=Thought(), vote=9))
    assert held("why\n", talk, monkeypatch, as_json=True) == (0, [])
    out, err = capsys.readouterr()
    assert json.loads(out)["reason"] == "as\x1b[2J is"
    assert "measured by the vote of 9 answers" in err
    assert "it reasons: as[2J is" in err


class Keys(io.StringIO):
    """A keyboard: lines, and what Ctrl-C and Ctrl-D do."""

    def isatty(self) -> bool:
        return True


def test_ctrl_c_stops_an_answer_and_not_the_talk(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Interrupted(FakeEngine):
        def stream(self, turns: Turns, decoding: Decoding) -> Iterator[str]:
            yield "one "
            if turns[-1].text == "long":
                raise KeyboardInterrupt
            yield "two"

    typed = iter(["long", KeyboardInterrupt, "short", "two \\", "lines", EOFError])

    def keyboard(prompt: str = "") -> str:
        key = next(typed)
        if isinstance(key, str):
            return key
        raise key

    engine: Engine = Interrupted(lambda turns: "")
    talk = Talk(Variant(BASE, Prompt()), engine)
    monkeypatch.setattr(sys, "stdin", Keys())
    monkeypatch.setattr("builtins.input", keyboard)
    assert loop.hold(talk, aside=Console(stderr=True), refuse=lambda error: None) == 0
    out, err = capsys.readouterr()
    assert "one two" in out
    assert "what was said stays in the talk" in err
    assert "Ctrl-D leaves" in err
    assert [turn.text for turn in talk.turns] == ["long", "one ", "short", "one two", "two \nlines", "one two"]


# ---- the door ----


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def call(*words: object, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tuneladder", "chat", *map(str, words)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        with pytest.raises(SystemExit) as left:
            cli.main()
        code = left.value.code
        return (code if isinstance(code, int) else 0, *capsys.readouterr())

    return call


def test_flags_are_settings_and_are_refused_before_a_model_opens(
    door: Callable[..., tuple[int, str, str]], tiny_folder: Path
) -> None:
    flags = {"max-new-tokens": 5, "temperature": 1.5, "top-k": 40, "top-p": 0.9, "repetition": 1.1, "seed": 2}
    words = [word for name, value in flags.items() for word in (f"--{name}", value)]
    code, out, _ = door(
        tiny_folder, *words, "--stop", "\\n\\n", "--stop", "the end", "--system", "Hi", "--json", typed="/set\n/system\n"
    )
    settings, system = map(json.loads, out.splitlines())
    assert code == 0
    assert settings["settings"] == {
        "max_new_tokens": 5, "temperature": 1.5, "top_k": 40, "top_p": 0.9, "repetition": 1.1,
        "stop": ["\n\n", "the end"], "seed": 2, "history": True,
    }  # fmt: skip
    assert system["system"] == "Hi"
    code, _, err = door("no-such-model-anywhere", "--top-p", "7")
    assert code == 2
    assert "top_p is '7'" in err
    for wrong, told in (
        (("http://127.0.0.1:1/v1",), "no model is named"),
        ((tiny_folder, "--model", "m"), "is no address"),
        (("runs/none:lora",), "is no run"),
        ((tiny_folder / "none",), "no base at"),
    ):
        code, _, err = door(*wrong)
        assert code == 2
        assert told in err
        assert "hint" in err


def write_run(variant: Variant, kind: str = "classify") -> str:
    """A run of one rung beside its store, as a climb leaves them. Returns `RUN:RUNG`."""
    for folder, name, held in (
        (Path("runs/.store/few_shot-1"), "variant.json", freeze(variant)),
        (
            Path("runs/own"),
            "results.json",
            {
                "task": {"kind": kind, "labels": ["team", "bank"]},
                "rungs": [{"name": "few_shot(shots=1)", "node": "few_shot-1", "failure": ""}],
                "pick": {"rung": "few_shot(shots=1)"},
            },
        ),
    ):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(held), "utf-8")
    return "runs/own:few_shot(shots=1)"


def test_a_runs_rung_is_asked_as_it_was_measured(
    door: Callable[..., tuple[int, str, str]], tiny_base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prompt = Prompt(instruction="Which?", shots=Shots(1, "fixed", (SHOT,)), decoding=Decoding(max_new_tokens=3), ask="score")
    variant = Variant(tiny_base, prompt, ("few_shot",))
    with api.chat(write_run(variant)) as talk:
        assert talk.prompt == prompt
        assert not talk.history
        said(talk, "row 6")
        assert [turn.text for turn in talk.asked("row 7")] == ["Which?", "1+1", "2", "row 7"]
    with api.chat("own", history=True) as talk:
        assert talk.history
    with api.chat("runs/.store/few_shot-1") as talk:
        assert talk.prompt == prompt
    with api.chat(write_run(variant, "chat")) as talk:
        assert talk.history
    code, out, _ = door("runs/own", "--alone", "--json", typed="row 7\nrow 7\n")
    answers = [json.loads(line)["answer"] for line in out.splitlines()]
    assert code == 0
    assert len(answers) == 2
    assert answers[0] == answers[1]


def test_an_encoders_run_names_the_labels_that_it_ranks(
    door: Callable[..., tuple[int, str, str]], tiny_encoder: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = write_run(Variant(tiny_encoder, Prompt(ask="score")))
    code, out, _ = door(run, "--json", typed="the team won\n")
    found = json.loads(out)
    assert code == 0
    assert set(found["probabilities"]) == {"team", "bank"}
    assert found["answer"] in ("team", "bank")
    assert door(run, typed="the team won\n")[1] == found["answer"] + "\n"
    code, _, err = door(run, "--seed", "1")
    assert code == 2
    assert "writes no text" in err
