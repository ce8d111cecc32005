"""The text that the pocket decoder's recipe makes: episodes in the prompt's own form, and nothing of what a base is judged on."""

from __future__ import annotations

import json
import random
import re
from collections import Counter

import numpy as np
import pytest
import yaml
from recipes.pocket_text import __main__ as making
from recipes.pocket_text import found, gists, named, written
from recipes.pocket_text.episodes import LONGEST, compose, rendered
from recipes.pocket_text.found import Passage, Pool
from recipes.pocket_text.wikipedia import plain

from recipes import ship_pocket
from tuneladder.ladder.tree import root_of
from tuneladder.model import pocket
from tuneladder.model.ask import turns_of
from tuneladder.prompt.few_shot import FewShot
from tuneladder.task.encode import Coder
from tuneladder.task.read import read_rows
from tuneladder.types import Document, Example, Prompt, Split, Task, Turn

GLAD = "Nora smiled with delight when the happy children came home to Bergen"
GRIM = "The cruel winter brought misery and death to the 40 farms of Holm"
TEAMS = "The coach said that the players had scored twice for the team in {}"
SALES = "The company told investors that its profits had fallen in {}"


@pytest.fixture(scope="module")
def pool():
    passages = []
    for corpus in ("news", "wikipedia", "stories", "books"):
        for town in ("Oslo", "Turin", "Cork", "Graz"):
            said = (
                f"{GLAD}, and {town} was quiet.",
                f"{GRIM}, which {town} had feared.",
                f"{TEAMS}.",
                f"{SALES}, and they agreed.",
            )
            passages.append(Passage(corpus, f"{corpus} {town}", tuple(each.format(town) for each in said)))
    places = [({"name": "The Gull", "food": "French", "area": "riverside"}, "The Gull cooks French food by the river.")]
    return Pool(passages, places, [f"message {n} that was reported" for n in range(4)], ["Write a list of trees."])


def families(pool):
    yield from ((family.__name__, family) for family in making.WRITTEN)
    yield from ((family.__name__, lambda rng, family=family: family(rng, pool)) for family in making.FOUND)


def test_the_same_seed_makes_the_same_episodes(pool):
    first, again = ([*making.episodes([pool, pool], characters=200_000, seed=3)] for _ in range(2))
    assert first == again
    assert first != [*making.episodes([pool, pool], characters=200_000, seed=4)]
    assert {row["shard"] for row in first} == {0, 1}
    assert {row["family"] for row in first} == {name for name, _ in families(pool)}
    assert all(len(row["text"]) < LONGEST + 500 for row in first)


def test_labels_are_balanced_in_every_family(pool):
    for name, family in families(pool):
        said: Counter[str] = Counter()
        for seed in range(300):
            rng = random.Random(seed)
            drill = family(rng)
            if drill is None or len(drill.labels) != 2 or drill.repeats:
                continue
            said.update(drill.labels.index(drill.draw(rng)[1]) for _ in range(4))
        assert not said or abs(said[0] - said[1]) < 0.15 * said.total(), name


def test_an_answer_is_one_of_the_labels(pool):
    for name, family in families(pool):
        for seed in range(40):
            rng = random.Random(seed)
            drill = family(rng)
            if drill is not None and drill.labels:
                assert drill.draw(rng)[1] in drill.labels, name
                assert len(set(drill.labels)) == len(drill.labels), name


def test_an_episode_reads_as_few_shot_writes_it(lend, tiny_base):
    from transformers import AutoTokenizer

    rows = tuple(Example(str(n), (Turn("user", f"text {n}"),), (("good", "bad")[n % 2],)) for n in range(10))
    prompt = Prompt(instruction="Which of these fits the text: good, bad?", ask="score", parse="label")
    task = Task("check", "classify", Split(rows[:8], rows[8:]), prompt=prompt, labels=("good", "bad"))
    shown = FewShot(shots=4).apply(root_of(tiny_base, task), task, lend()).prompt
    coder = Coder(AutoTokenizer.from_pretrained(pocket.folder("pocket-decoder")), 512)
    text = coder.render(turns_of(shown, rows[8]), rows[8].references[0])
    assert text == rendered([*turns_of(shown, rows[8]), Turn("assistant", rows[8].references[0])]) + coder.template.end


def test_the_words_of_an_episode(pool):
    texts = [rendered(compose(written.opinions(rng), rng)) for rng in map(random.Random, range(60))]
    own = re.compile(r"Which of these fits the text: (\w+), (\w+)\?\n\n")
    assert sum(bool(own.match(text)) for text in texts) > 15  # the tool's own words are the commonest
    shots = Counter(text.count("\nAnswer: ") for text in texts)
    assert min(shots) == 1
    assert max(shots) == 9
    assert not any(text.endswith("\n") or "\n\n\n" in text for text in texts)


def test_words_that_mean_nothing_stand_for_labels_in_a_quarter():
    labels = {label for names in written.FEELINGS for label in names}
    texts = [rendered(compose(written.opinions(rng), rng)) for rng in map(random.Random, range(400))]
    strange = sum(text.rpartition(" ")[2] not in labels for text in texts)
    assert 60 < strange < 140


def test_running_text_is_sorted_by_its_words(pool):
    assert found.topic_of(["the", "coach", "praised", "the", "players"]) == "sports"
    assert found.topic_of(["the", "coach", "met", "the", "judge"]) is None
    assert found.feeling_of(["happy", "and", "delighted"]) is True
    assert found.feeling_of(["not", "happy", "or", "delighted"]) is None
    assert found.feeling_of(["misery", "and", "death"]) is False
    assert set(pool.by_topic) >= {"sports", "business"}


def test_sentences_of_a_paragraph():
    said = 'Mr. Hale came late\nto the fair. "I saw nobody there," he said. And? Then the rain began to fall on them.'
    assert found.sentences(said) == (
        "Mr. Hale came late to the fair.",
        '"I saw nobody there," he said.',
        "Then the rain began to fall on them.",
    )


def test_a_spoiled_sentence_is_never_the_sentence():
    sentence = "The boys who live in the mill will visit her on Monday."
    made = {found.spoiled(sentence, random.Random(seed)) for seed in range(100)}
    assert len(made) > 20
    assert sentence not in made


def test_claims_and_what_denies_them():
    claim = found.claim_from("The miller of Ansty was ill for 3 days, but nobody came.")
    assert claim == "The miller of Ansty was ill for 3 days."
    denied = {found.denied(claim, "We saw Marta there.", random.Random(seed)) for seed in range(40)}
    assert "The miller of Ansty was not ill for 3 days." in denied
    assert "The miller of Marta was ill for 3 days." in denied
    assert claim not in denied
    assert found.claim_from("It rained.") is None


def test_wikipedia_is_put_together():
    apart = """He ( born 1 @,@ 900 ) said " it isn 't 5 @.@ 5 % of the players ' pay " , and left . Kurt 's well @-@ known"""
    assert plain(apart) == """He (born 1,900) said "it isn't 5.5% of the players' pay", and left. Kurt's well-known"""
    assert plain('one " open\n" two " and " three "') == 'one "open\n"two" and "three"'


def sources_of(name):
    return yaml.safe_load((making.RECIPE.parent / f"{name}.yaml").read_text("utf-8"))["task"]["data"]


def test_the_recipes_and_the_cards_name_the_same_sources():
    assert set(pocket.MADE) == set(ship_pocket.WORDS)
    sources = [source for name in pocket.MADE for source in sources_of(name)]
    assert {source["name"] for source in sources} == set(ship_pocket.SOURCES)
    for source in sources:
        assert "classification" not in source["data"]
        assert "noncommercial" not in source["data"]


def test_what_the_decoder_holds_out_the_seq2seq_holds_out():
    """Gists and episodes are made of the train side of the decoder's sources, so these must be the same."""
    ours, theirs = ({source["name"]: source for source in sources_of(f"pocket-{family}")} for family in ("seq2seq", "decoder"))
    for name in making.PROSE:
        assert {**ours[name], "weight": 1} == {**theirs[name], "weight": 1}


def test_a_gist_is_the_sentence_that_shares_most_and_leaves_no_mark():
    said = [
        "The mill stood by the river, and the river turned its wheel all day long and all night.",
        "Marta went to town on Monday with her brother to buy a horse and a new saddle for it.",
        "At the river the wheel of the mill turned, and Marta heard the mill from the town.",
        "Her brother was tired, and the horse that they had bought was slow and would not walk.",
    ]
    assert gists.central(said) == 2
    assert gists.central(["Nothing here.", "Another word."]) is None
    text = "\n\n".join(" ".join(f"{one[:-1]} again." if turn else one for one in said) for turn in range(2))
    (row,) = gists.gists([Document(f"{text}\n\nno sentence\n\nIt was late.", "stories")], seed=0)
    assert row["gist"] not in row["text"]
    assert row["gist"] in text
    assert row["ask"] in gists.ASKS
    assert [*gists.gists([Document(text, "stories")], seed=0)] == [{**row}]
    assert [*gists.gists([Document("", "news"), Document(text, "books")], seed=0)] == []  # of books one passage in eight


def test_no_text_of_the_sets_that_judge_a_base(pool, shared, monkeypatch):
    monkeypatch.setenv("TUNELADDER_SHARED", str(shared))
    opened = []
    monkeypatch.setattr(making, "read_rows", lambda place: opened.append(place) or read_rows(place))
    pools = [Pool(pool.passages, pool.places, *making.messages())]
    assert opened
    assert not any("classification" in place for place in opened)
    unseen = set()
    for path in sorted((shared / "data" / "classification").glob("*/*.jsonl")):
        for line in path.read_text("utf-8").splitlines():
            unseen |= {value.strip() for value in json.loads(line).values() if isinstance(value, str) and len(value) > 25}
    read = {line for row in making.episodes(pools, characters=400_000, seed=0) for line in re.split(r"\n|Answer: ", row["text"])}
    assert len(unseen) > 20_000
    assert not read & unseen


@pytest.fixture(scope="module")
def naming():
    """Forty texts on ten words: the text of number n lies at word n % 10, a little nearer or further."""
    texts = [f"Text {n} of its kind" for n in range(40)]
    rng = np.random.default_rng(0)
    near = np.where(np.arange(40)[:, None] % 10 == np.arange(10), 4.0, 0.0) + rng.uniform(-0.3, 0.3, (40, 10))
    return named.Naming(texts, [f"word{n}" for n in range(10)], near)


def test_what_the_teacher_names_is_what_lies_nearest(naming):
    rows = [*naming.lessons(random.Random(0))]
    assert rows == [*naming.lessons(random.Random(0))]
    assert len(rows) >= 2 * len(naming.texts)
    for row in rows:
        own = f"word{naming.texts.index(row['text']) % 10}"
        if row["ask"] in named.KEYWORD_ASKS:
            assert row["answer"].split(", ")[0] == own
            assert len(row["answer"].split(", ")) == 3
        else:
            assert row["answer"] == own
            assert own in row["ask"]


def test_a_text_that_belongs_to_no_word_is_not_shown(naming):
    near = naming.near.copy()
    near[0] = 0.0  # near to nothing
    near[1, 2] = near[1, 1]  # near to two
    shy = named.Naming(naming.texts, naming.words, near)
    asked = [row for row in shy.lessons(random.Random(1)) if row["ask"] not in named.KEYWORD_ASKS]
    assert not any(row["text"] == naming.texts[0] for row in asked)
    assert not any(row["text"] == naming.texts[1] and "word1" in row["ask"] and "word2" in row["ask"] for row in asked)


def test_episodes_of_named_texts_are_as_long_as_asked_and_in_the_tools_own_form(naming):
    rows = [*naming.episodes(random.Random(0), characters=20_000)]
    assert 20_000 <= sum(len(row["text"]) for row in rows) < 20_000 + LONGEST + 500
    assert {row["family"] for row in rows} == {"named", "keywords"}
    assert all("\nAnswer: " in row["text"] for row in rows)


def test_what_is_named_is_drawn_from_every_corpus_but_the_plays(pool, monkeypatch):
    monkeypatch.setattr(named, "TEXTS", 30)
    texts = named.drawn(pool, [f"list of words {n}" for n in range(40)], random.Random(0))
    assert len(texts) == len(set(texts)) == 30
    assert any(text.startswith("list of words") for text in texts)
    assert all(len(text) <= named.LONGEST for text in texts)
