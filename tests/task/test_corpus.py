"""What is said of a corpus before anything is trained on it."""

from __future__ import annotations

import gzip
import json

import pytest

from tuneladder.errors import BadInput
from tuneladder.task.corpus import TOKEN, Source, gather


def test_the_notes_say_how_soon_a_source_comes_round(tmp_path):
    places = {}
    for name, count in (("small", 100), ("large", 400)):
        rows = [json.dumps({"text": f"{name} {n:06} " + "heron " * 1_000}) for n in range(count)]
        places[name] = tmp_path / f"{name}.jsonl.gz"
        places[name].write_bytes(gzip.compress("\n".join(rows).encode()))
    sources = [Source(str(places["small"]), weight=3), Source(str(places["large"]), weight=1)]
    corpus = gather(sources, seed=0)
    split, mixture, notes = corpus.text, corpus.mixture, corpus.notes
    assert mixture == {"small": 3, "large": 1}
    for note, source, share in zip(notes, sources, (0.75, 0.25), strict=True):
        size = sum(len(document.text) for document in split.train if document.source == source.title)
        assert f"{share:.1%} of the tokens seen, so that it is read once in every {size / TOKEN / share / 1e6:.2f} million" in note


def test_what_is_kept_together_is_held_out_together(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"row {n}", "place": n // 10}) for n in range(400)), "utf-8")
    split = gather([Source(str(path), together="place", held_out=0.1)], seed=0).text
    places = [{int(document.text.split()[1]) // 10 for document in part} for part in (split.train, split.dev, split.test)]
    assert all(places)
    assert not places[0] & places[1] | places[0] & places[2] | places[1] & places[2]


def test_text_to_replay_stands_apart_and_none_of_it_is_held_out(tmp_path):
    for name in ("own", "wide", "far"):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(json.dumps({"text": f"{name} {n}"}) for n in range(100)), "utf-8")
    own = Source(str(tmp_path / "own.jsonl"))
    general = [Source(str(tmp_path / f"{name}.jsonl"), replay=True, weight=weight) for name, weight in (("wide", 3), ("far", 1))]
    corpus = gather([own, *general], seed=0)
    assert {document.source for part in (corpus.text.train, corpus.text.dev, corpus.text.test) for document in part} == {"own"}
    assert [document.source for document in corpus.replay] == ["wide"] * 100 + ["far"] * 100
    assert "read only where a step has `replay`: 75.0% of what it replays" in corpus.notes[1]
    assert "100.0% of the tokens seen" in corpus.notes[0]
    assert corpus.text == gather([own], seed=0).text
    with pytest.raises(BadInput, match="every source is marked `replay`"):
        gather(general, seed=0)
