"""A labelling is checked before anything is served, and each of its keys changes what happens."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.studio.visiting import RUBRIC, write_labelling

from tuneladder.errors import BadInput
from tuneladder.studio.known import Right
from tuneladder.studio.labelling import Labelling, read_labelling

KNOWN = [("better", "i0", "good", "It helps."), ("right", "i1/bad", "0", "")]
RANKED = {"criteria": [{"name": "order", "asks": "rank", "means": "The best first."}]}


def read(folder: Path, **keys: Any) -> Labelling:
    return read_labelling(write_labelling(folder, **keys))


def test_the_keys(tmp_path: Path) -> None:
    plain = read(tmp_path, count=40)
    assert {name: len(asks) for name, asks in plain.asks.items()} == {"ana": 40, "ben": 40}
    assert (plain.name, plain.at_least, plain.reasons) == ("help", 0.8, frozenset())
    assert {name: len(asks) for name, asks in read(tmp_path, count=40, each=1).asks.items()} == {"ana": 20, "ben": 20}
    assert read(tmp_path, count=40, seed=1).asks != plain.asks
    assert set(read(tmp_path, labelers=["cho", "dan"]).asks) == {"cho", "dan"}
    assert read(tmp_path, **{"pass": 0.5}).at_least == 0.5
    assert read(tmp_path, reasons=["right"]).reasons == {"right"}
    whys = lambda found: Counter(ask.why for ask in found.asks["ana"])  # noqa: E731
    assert whys(read(tmp_path, count=40, repeat_share=0.1)) == {"judge": 40, "repeat": 4}
    assert whys(read(tmp_path, count=40, known=KNOWN)) == {"calibration": 2, "judge": 38}
    assert whys(read(tmp_path, count=40, known=KNOWN, warm_up=1)) == {"calibration": 1, "judge": 38}
    assert whys(read(tmp_path, count=42, hidden=KNOWN)) == {"judge": 40, "gold": 2}
    assert whys(read(tmp_path, count=42, hidden=KNOWN, gold_share=0.025)) == {"judge": 40, "gold": 1}


def test_the_digest_is_of_all_but_the_rubric(tmp_path: Path) -> None:
    plain = read(tmp_path)
    other = {"criteria": [{**RUBRIC["criteria"][0], "means": "Which is better?"}]}
    assert read(tmp_path, rubric=other).content == plain.content
    assert read(tmp_path, rubric=other).rubric.version != plain.rubric.version
    assert len({read(tmp_path, **keys).content for keys in ({}, {"count": 5}, {"seed": 1}, {"each": 1})}) == 4


def test_what_is_right_is_said_as_a_judgement_says_it(tmp_path: Path) -> None:
    known = read(tmp_path, known=KNOWN).calibration
    assert known == {"better": {"i0": Right("i0", "good", "It helps.")}, "right": {"i1/bad": Right("i1", 0)}}


def test_a_settled_pair_becomes_a_ranking(tmp_path: Path) -> None:
    rows = [
        ("order", "i0: bad over good", "no", "so"),
        ("order", "i1", '["good", "bad"]', ""),
        ("order", "i2: bad over good", "tie", ""),
    ]
    known = read(tmp_path, rubric=RANKED, known=rows).calibration["order"]
    assert {item: right.value for item, right in known.items()} == {
        "i0": ["good", "bad"],
        "i1": ["good", "bad"],
        "i2": [["bad", "good"]],
    }


def test_a_settled_pair_of_a_choice_is_a_ranking_of_the_two(tmp_path: Path) -> None:
    known = read(tmp_path, known=[("better", "i0: bad over good", "no", "so"), ("better", "i1", "tie", "")]).calibration["better"]
    assert {item: right.value for item, right in known.items()} == {"i0": ["good", "bad"], "i1": "tie"}


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a key that is not known": ({"lablers": ["ana"]}, "no key for .*'lablers': did you mean 'labelers'"),
    "labelers as a text": ({"labelers": "ana"}, "labelers is 'ana'"),
    "a labeler twice": ({"labelers": ["ana", "ana"]}, "'ana' stands twice"),
    "no labelers": ({"labelers": []}, "has no `labelers`"),
    "more judges than people": ({"each": 3}, "by 3 labelers, and there are 2"),
    "each as a word": ({"each": "two"}, "each is 'two'"),
    "a seed below 0": ({"seed": -1}, "seed is -1"),
    "a share above 1": ({"repeat_share": 2}, "repeat_share is 2"),
    "a pass mark above 1": ({"pass": 80}, "pass is 80"),
    "more to warm up with than is known": ({"known": KNOWN, "warm_up": 3}, "warm_up is 3, and of 2 items the answer is known"),
    "reasons for what is not asked": ({"reasons": ["bettr"]}, "no criterion 'bettr': did you mean 'better'"),
    "reasons as yes": ({"reasons": True}, "reasons is True"),
    "a file that is not there": ({"items": "gone.jsonl"}, "gone.jsonl"),
    "a file that is no text": ({"items": 3}, "names the file 3"),
    "all items known": ({"count": 2, "known": KNOWN}, "there are no items to assign"),
    "a known item that is not there": ({"known": [("better", "i99", "good", "")]}, "there is no item 'i99'"),
    "a known value that is not there": ({"known": [("right", "i1/bad", "7", "")]}, "no value of right"),
    "a known answer that is not there": ({"known": [("better", "i1", "god", "")]}, "no answer .*did you mean 'good'"),
    "a known criterion that is not there": ({"known": [("bettr", "i1", "good", "")]}, "no criterion in .*did you mean 'better'"),
    "a known ranking that is none": ({"rubric": RANKED, "known": [("order", "i1", "good", "")]}, "is no ranking"),
    "two pairs of a ranking": (
        {"rubric": RANKED, "known": [("", "i1: bad over good", "no", ""), ("", "i1: good over bad", "yes", "")]},
        "says twice what is right of i1",
    ),
    "an item both known and hidden": ({"known": KNOWN, "hidden": KNOWN}, "both calibration and gold"),
    "a choice of answers that the rubric does not name": (
        {"rubric": {"criteria": [{"name": "b", "asks": "choose", "values": {"good": "x", "badd": "y"}}]}},
        "no value of b .*'bad': did you mean 'badd'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str, tmp_path: Path) -> None:
    keys, said = REFUSED[case]
    with pytest.raises(BadInput, match=said):
        read(tmp_path, **keys)


def test_files_that_are_no_labelling(tmp_path: Path) -> None:
    path = write_labelling(tmp_path)
    for text, said in (
        ("", "it holds nothing"),
        ("[", "cannot be read"),
        ("task: {}", "a recipe to climb"),
        ("items: a", "no `rubric`"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match=said):
            read_labelling(path)
    with pytest.raises(BadInput, match="there is no labelling"):
        read_labelling(tmp_path / "gone.yaml")


def test_one_answer_cannot_be_chosen(tmp_path: Path) -> None:
    path = write_labelling(tmp_path)
    (tmp_path / "items.jsonl").write_text('{"item": "i0", "prompt": "Q?", "answers": {"good": "Yes."}}')
    with pytest.raises(BadInput, match="better asks to choose, and item i0 has one answer"):
        read_labelling(path)
    alone = {"criteria": [{"name": "kind", "asks": "label", "values": {"yes": "it is", "no": "it is not"}}]}
    (tmp_path / "rubric.yaml").write_text(yaml.safe_dump(alone))
    assert len(read_labelling(path).asks["ana"]) == 1
