"""What is said of a corpus before anything is trained on it."""

from __future__ import annotations

import gzip
import json

import pytest

from tuneladder.errors import BadInput
from tuneladder.task.corpus import TOKEN, Source, gather
from tuneladder.types import Document


def test_the_notes_say_how_soon_a_source_comes_round(tmp_path):
    places = {}
    for name, count in (("small", 100), ("large", 400)):
        rows = [json.dumps({"text": f"{name} {n:06} " + "heron " * 1_000}) for n in range(count)]
        places[name] = tmp_path / f"{name}.jsonl.gz"
        places[name].write_bytes(gzip.compress("\n".join(rows).encode()))
    sources = [Source(str(places["small"]), weight=3), Source(str(places["large"]), weight=1)]
    split, mixture, notes = gather(sources, seed=0)
    assert mixture == {"small": 3, "large": 1}
    for note, source, share in zip(notes, sources, (0.75, 0.25), strict=True):
        size = sum(len(document.text) for document in split.train if document.source == source.title)
        assert f"{share:.1%} of the tokens seen, so that it is read once in every {size / TOKEN / share / 1e6:.2f} million" in note


def test_what_is_kept_together_is_held_out_together(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"row {n}", "place": n // 10}) for n in range(400)), "utf-8")
    split, _, _ = gather([Source(str(path), together="place", held_out=0.1)], seed=0)
    places = [{int(document.text.split()[1]) // 10 for document in part} for part in (split.train, split.dev, split.test)]
    assert all(places)
    assert not places[0] & places[1] | places[0] & places[2] | places[1] & places[2]


def test_rows_with_an_answer_are_lessons(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"said": f"dialogue {n}", "gist": f"gist {n}" if n else " ", "shard": n % 3} for n in range(13)]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    split, _, _ = gather([Source(str(path), text="Sum up.\n\n{{ said }}", answer="gist", held_out=0.1)], seed=0)
    assert len(split.train) + len(split.dev) + len(split.test) == 12  # a row without an answer asks nothing
    for lesson in split.train:
        number = lesson.answer.split()[1]
        assert (lesson.ask, lesson.answer) == (f"Sum up.\n\ndialogue {number}", f"gist {number}")
        assert lesson.text == f"{lesson.ask}\nAnswer: {lesson.answer}"
    assert {type(document) for part in (split.dev, split.test) for document in part} == {Document}
    split, _, _ = gather([Source(str(path), text="said", answer="{{ gist }}", group="shard", episode=2, held_out=0)], seed=0)
    assert all(lesson.ask.count("\nAnswer: gist") <= 1 and not lesson.answer.count("\n") for lesson in split.train)
    assert sum(lesson.ask.count("\nAnswer: gist") for lesson in split.train) == 6  # the shots of an episode are read
    plain, _, _ = gather([Source(str(path), text="{{ said }} {{ gist }}", held_out=0.1)], seed=0)
    assert {type(document) for document in plain.train} == {Document}


def test_an_answer_that_cannot_be_made_says_so(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"said": "a", "gist": "b"}), "utf-8")
    with pytest.raises(BadInput, match="source 'rows' cannot be made"):
        gather([Source(str(path), text="said", answer="{{ summary }}")], seed=0)
