"""What is said of a corpus before anything is trained on it."""

from __future__ import annotations

import gzip
import json
import lzma
import pickle
from dataclasses import replace

import numpy as np
import pyarrow.parquet
import pytest

from tuneladder.errors import BadInput
from tuneladder.model.hardware import peak_read, peak_reset
from tuneladder.store import Store, digest
from tuneladder.task import corpus as reading
from tuneladder.task.corpus import TOKEN, Source, by_source, gather, passages, sampled
from tuneladder.task.tokenizer import train_tokenizer
from tuneladder.train import tokens as writing
from tuneladder.train.tokens import token_files
from tuneladder.types import Document


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
        often = size / TOKEN / share
        said = f"{often / 1e6:.2f} million" if source.title == "large" else f"{often:,.0f}"
        assert f"{share:.1%} of the tokens seen: all of it is read once in {said} tokens" in note


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
    assert {document.text for document in corpus.replay} == {f"{name} {n}" for name in ("wide", "far") for n in range(100)}
    assert "read only where a step has `replay`: 75.0% of what it replays" in corpus.notes[1]
    assert "100.0% of the tokens seen" in corpus.notes[0]
    assert list(corpus.text.train) == list(gather([own], seed=0).text.train)
    with pytest.raises(BadInput, match="every source is marked `replay`"):
        gather(general, seed=0)


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_an_empty_cell_is_no_text(tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    rows = [{"note": note, "year": year} for note, year in (("one", 1.5), ("two", None), (None, 2.5), (None, float("nan")))]
    if suffix == "jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    text = gather([Source(str(path), text="{{ note }} {{ year }}", held_out=0.0)], seed=0).text
    assert "\n\n".join(document.text for document in text.train).split("\n\n") == ["one 1.5", "two", "2.5"]


# ---- read in passing ----


def written(path, texts, **columns):
    path.write_text("".join(json.dumps({"text": text, **columns}) + "\n" for text in texts), "utf-8")
    return Source(str(path))


def test_a_file_larger_than_what_is_held_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "WINDOW", 1_000_000)
    words = ("the heron stands in the shallow river and waits for a small silver fish " * 40)[:2000]
    source = written(tmp_path / "large.jsonl", (f"{n} {words}" for n in range(10_000)))  # 20 MB
    before = peak_reset()
    text = gather([source], seed=0).text
    count = sum(1 for _ in text.train)
    held = peak_read() - before
    assert count == len(text.train) == 10_000 - 2 * 50
    assert held < 8_000_000, f"{held:,} bytes"


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([Document("the heron waits for row 0123456789")], vocabulary=300, context=64, mixture={}, seed=0)


@pytest.mark.parametrize(("window", "batch"), [(8_000_000, 500_000), (300, 40)])
def test_the_tokens_are_those_of_the_documents_in_their_order(window, batch, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "WINDOW", window)
    monkeypatch.setattr(writing, "BATCH", batch)
    sources = [written(tmp_path / f"{name}.jsonl", [f"{name} row {n}" for n in range(200)]) for name in ("b", "a")]
    text = gather(sources, seed=0).text
    files = token_files(tokenizer, text.train, Store(tmp_path / "store"))
    whole = tuple(text.train)
    assert list(files) == ["a", "b"]
    for name, own in by_source(whole).items():
        ids = [i for document in own for i in [*tokenizer(document.text, add_special_tokens=False)["input_ids"], 0]]
        assert files[name][:].tolist() == ids
        assert (len(files[name]), files[name][:].dtype) == (len(ids), np.uint16)
        assert files[name][5:9].tolist() == ids[5:9]
        assert len(files[name][len(ids) - 2 : len(ids) + 9]) == 2
    held = token_files(tokenizer, whole, Store(tmp_path / "store"))  # documents that a program holds in memory
    assert {name: own[:].tolist() for name, own in held.items()} == {name: own[:].tolist() for name, own in files.items()}
    monkeypatch.setattr(writing, "_batches", lambda texts: pytest.fail("made again"))
    assert token_files(tokenizer, text.train, Store(tmp_path / "store"))["a"][:3].tolist() == files["a"][:3].tolist()


def test_a_special_token_that_a_document_says_is_plain_text(tokenizer, tmp_path):
    end = tokenizer.eos_token
    said = f"the heron waits {end} for row 1"
    (tokens,) = token_files(tokenizer, (Document(said, "a"),), Store(tmp_path)).values()
    ids = tokens[:].tolist()
    assert [ids.count(tokenizer.eos_token_id), ids[-1]] == [1, tokenizer.eos_token_id]
    assert tokenizer.decode(ids[:-1]) == said


def test_half_a_surrogate_pair_becomes_readable(tmp_path, tokenizer):
    place = tmp_path / "rows.jsonl"
    place.write_text("\n".join(json.dumps({"text": f"heron {n} \ud800 waits"}) for n in range(100)))
    text = gather([Source(str(place))], seed=0).text
    assert all("\ufffd" in document.text for document in (*text.train, *text.dev, *text.test))
    assert len(token_files(tokenizer, text.train, Store(tmp_path / "store"))["rows"]) > 100


def test_documents_are_held_out_by_their_own_text(tmp_path):
    texts = [f"row {n} " + "heron " * (n % 7) for n in range(500)]
    first = gather([written(tmp_path / "a.jsonl", [*texts, *texts[::3]])], seed=0).text
    train, dev, test = ({document.text for document in part} for part in (first.train, first.dev, first.test))
    assert not train & dev | train & test | dev & test  # though a third stands twice
    assert train | dev | test == {text.strip() for text in texts}
    assert len(tuple(first.train)) == len(first.train)
    size = sum(map(len, texts)) + sum(map(len, texts[::3]))
    assert sum(map(len, dev)) == pytest.approx(0.02 * size, abs=50)
    assert sum(map(len, test)) == pytest.approx(0.02 * size, abs=50)
    again, other = (gather([Source(str(tmp_path / "a.jsonl"))], seed=seed).text for seed in (0, 1))
    assert (list(again.train), again.dev, again.test) == (list(first.train), first.dev, first.test)
    assert other.dev != first.dev
    few = gather([written(tmp_path / "few.jsonl", [f"row {n:03}" for n in range(20)])], seed=0).text
    assert [len(part) for part in (few.train, few.dev, few.test)] == [18, 1, 1]  # one of each at the least
    assert len(gather([replace(Source(str(tmp_path / "a.jsonl")), held_out_at_most=0)], seed=0).text.dev) == 0
    short = gather([replace(Source(str(tmp_path / "a.jsonl")), held_out=0.4, held_out_at_most=30)], seed=0).text
    assert sum(len(document.text) for document in short.dev) == 30
    assert len(short.train) > 650  # what could not be held out is there to learn


def test_the_same_text_twice_and_nothing_else(tmp_path):
    text = gather([written(tmp_path / "a.jsonl", ["the heron"] * 30)], seed=0).text
    assert (len(text.train), text.dev, text.test) == (30, (), ())


def test_few_documents_are_held_out_by_their_closing_passages(tmp_path):
    books = [" ".join(f"book {n} word {at}" for at in range(3000)) for n in range(3)]
    text = gather([replace(written(tmp_path / "a.jsonl", books), held_out=0.1)], seed=0).text
    pieces = [piece for book in books for piece in passages(book)]
    (train,) = text.train
    kept = train.text.split("\n\n")
    assert kept == pieces[: len(kept)]
    assert [document.text for document in (*text.dev, *text.test)]
    assert {document.text for document in (*text.dev, *text.test)} == set(pieces[len(kept) :])


def test_rows_kept_together_stay_in_their_order(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"row {n}", "place": n // 10}) for n in range(400)), "utf-8")
    source = Source(str(path), together="place", held_out=0.1)
    numbers = [int(document.text.split()[1]) for document in gather([source], seed=0).text.train]
    assert numbers == sorted(numbers)
    joined = replace(source, episode=5)
    whole = list(gather([joined], seed=0).text.train)
    assert sorted(int(word) for each in whole for word in each.text.split() if word != "row") == numbers
    monkeypatch.setattr(reading, "WINDOW", 300)  # of so many characters at once
    windows = list(gather([joined], seed=0).text.train)
    assert windows != whole
    assert sorted(int(word) for each in windows for word in each.text.split() if word != "row") == numbers


def test_a_stream_is_known_by_what_it_holds(tmp_path):
    texts = [f"row {n}" for n in range(100)]
    plain = written(tmp_path / "a.jsonl", texts)
    data = (tmp_path / "a.jsonl").read_bytes()
    for name, packed in (("a.jsonl.gz", gzip.compress(data)), ("a.jsonl.xz", lzma.compress(data))):
        (tmp_path / name).write_bytes(packed)
    (tmp_path / "a.txt").write_text("\n\n".join(texts), "utf-8")
    known = {
        digest(gather([Source(str(tmp_path / f"a.{end}"))], seed=0).text.train) for end in ("jsonl", "jsonl.gz", "jsonl.xz", "txt")
    }
    assert len(known) == 1
    kept = replace(plain, together="text")
    others = [
        gather([plain], seed=1),
        gather([replace(plain, name="b")], seed=0),
        gather([replace(plain, held_out=0.1)], seed=0),
        gather([kept], seed=0),
        gather([replace(kept, held_out=0.1)], seed=0),
        gather([written(tmp_path / "a.jsonl", [*texts[:-1], "row"])], seed=0),
    ]
    assert len(known | {digest(each.text.train) for each in others}) == 7


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path, tokenizer):
    texts = [f"row {n}" for n in range(100)]
    text = gather([written(tmp_path / "a.jsonl", texts)], seed=0).text
    written(tmp_path / "a.jsonl", [*texts[:50], "row x", *texts[51:]])
    with pytest.raises(BadInput, match="has changed since"):
        token_files(tokenizer, text.train, Store(tmp_path / "store"))
    written(tmp_path / "a.jsonl", texts)
    assert token_files(tokenizer, text.train, Store(tmp_path / "store"))["a"]


def test_a_stream_reads_as_a_sequence(tmp_path):
    train = gather([written(tmp_path / "a.jsonl", [f"row {n}" for n in range(50)])], seed=0).text.train
    whole = list(train)
    assert (train[0], train[-1], train[3:40:7]) == (whole[0], whole[-1], whole[3:40:7])
    assert whole[5] in train
    assert pickle.loads(pickle.dumps(train))[7] == whole[7]


def test_a_sample_is_all_where_it_may_be_and_whole_texts_where_not():
    documents = [Document(f"{n:03} heron") for n in range(100)]
    assert sampled(documents, characters=10_000, seed="a") == [document.text for document in documents]
    some = sampled(documents, characters=90, seed="a")
    assert len(some) == 10
    assert some == sorted(some)
    assert some == sampled(iter(documents), characters=90, seed="a") != sampled(documents, characters=90, seed="b")


def test_rows_with_an_answer_are_lessons(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"said": f"dialogue {n}", "gist": f"gist {n}" if n else " ", "shard": n % 3} for n in range(13)]
    path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    split = gather([Source(str(path), text="Sum up.\n\n{{ said }}", answer="gist", held_out=0.1)], seed=0).text
    assert len(split.train) + len(split.dev) + len(split.test) == 12  # a row without an answer asks nothing
    for lesson in split.train:
        number = lesson.answer.split()[1]
        assert (lesson.ask, lesson.answer) == (f"Sum up.\n\ndialogue {number}", f"gist {number}")
        assert lesson.text == f"{lesson.ask}\nAnswer: {lesson.answer}"
    assert {type(document) for part in (split.dev, split.test) for document in part} == {Document}
    split = gather([Source(str(path), text="said", answer="{{ gist }}", group="shard", episode=2, held_out=0)], seed=0).text
    assert all(lesson.ask.count("\nAnswer: gist") <= 1 and not lesson.answer.count("\n") for lesson in split.train)
    assert sum(lesson.ask.count("\nAnswer: gist") for lesson in split.train) == 6  # the shots of an episode are read
    plain = gather([Source(str(path), text="{{ said }} {{ gist }}", held_out=0.1)], seed=0).text
    assert {type(document) for document in plain.train} == {Document}


def test_an_answer_that_cannot_be_made_says_so(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"said": "a", "gist": "b"}), "utf-8")
    with pytest.raises(BadInput, match="source 'rows' cannot be made"):
        gather([Source(str(path), text="said", answer="{{ summary }}")], seed=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"text": "{{ said.split('')[0] }}"}, "cannot be made: empty separator"),
        ({"text": "said", "where": "said.index('zz') > 1"}, "cannot be made: substring not found"),
        (
            {"text": "{{ cycler.__init__.__globals__ }}"},
            "cannot be made: access to attribute '__init__' of 'type' object is unsafe",
        ),
    ],
)
def test_whatever_a_template_of_a_text_does_is_said_of_its_source(settings, said, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"said": "a b"}), "utf-8")
    with pytest.raises(BadInput, match=said) as caught:
        gather([Source(str(path), **settings)], seed=0)
    assert "its columns: said" in caught.value.hint
