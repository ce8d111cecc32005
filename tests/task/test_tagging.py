"""Words with tags: the shapes that such rows have, what is refused, and how entities are counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.task.build import build
from tuneladder.task.formats import Format, recognise
from tuneladder.task.guess import guess
from tuneladder.task.lint import lint
from tuneladder.task.tagging import entities, metric_of, to_tagged

SENTENCES = [
    (["Ada", "Stone", "lives", "in", "Oslo"], ["B-PER", "I-PER", "O", "O", "B-LOC"]),
    (["Acme", "sold", "Globex"], ["B-ORG", "O", "B-ORG"]),
    (["Nothing", "here"], ["O", "O"]),
    (["Bo", "flew", "to", "New", "York"], ["B-PER", "O", "O", "B-LOC", "I-LOC"]),
]
CONLL = "-DOCSTART- -X- O\n\n" + "\n\n".join(
    "\n".join(f"{word} NN {tag}" for word, tag in zip(*sentence, strict=True)) for sentence in SENTENCES
)


def rows(count: int = 40) -> list[dict[str, Any]]:
    return [{"tokens": [f"w{n}", *SENTENCES[n % 4][0]], "ner_tags": ["O", *SENTENCES[n % 4][1]]} for n in range(count)]


def write(folder: Path, found: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("row", "name", "words", "tags"),
    [
        ({"id": 1, "tokens": ["Ada", "ran"], "ner_tags": [1, 0]}, "words/tags", "Ada ran", "1 0"),
        ({"words": ["Ada", "ran"], "pos_tags": ["NNP", "VBD"], "ner": ["B-PER", "O"]}, "words/tags", "Ada ran", "B-PER O"),
        ({"Tokens": "Ada ran", "Tags": "B-PER O"}, "words/tags", "Ada ran", "B-PER O"),
        ({"tokens": "['Ada', 'ran']", "tags": '["B-PER", "O"]'}, "words/tags", "Ada ran", "B-PER O"),
        ({"tokens": ["Ada", " ", "New York"], "tags": ["O", "O", "B-big city"]}, "words/tags", "Ada New\u00a0York", "O B-big_city"),
        (
            {"text": "Ada Stone, of Oslo.", "entities": [{"start": 0, "end": 9, "label": "PER"}, [14, 18, "LOC"]]},
            "text/spans",
            "Ada Stone , of Oslo .",
            "B-PER I-PER O O B-LOC O",
        ),
        ({"text": "In Oslo.", "label": [[3, 7, "LOC"]]}, "text/spans", "In Oslo .", "O B-LOC O"),
        ({"text": "In Oslo.", "label": '[[3, 7, "LOC"]]'}, "text/spans", "In Oslo .", "O B-LOC O"),
        (
            {"text": "In Oslo.", "spans": [{"start_offset": 3, "end_offset": 7, "type": "a place"}]},
            "text/spans",
            "In Oslo .",
            "O B-a_place O",
        ),
        ({"text": "Wir e\u0301tudes 東京", "entities": [[0, 3, "X"]]}, "text/spans", "Wir e\u0301tudes 東 京", "B-X O O O"),
    ],
)  # fmt: skip
def test_columns_tell_the_format(row: dict[str, Any], name: str, words: str, tags: str) -> None:
    format = recognise(list(row), [row])
    assert format is not None
    assert (format.name, format.kind) == (name, "tag")
    example = to_tagged(format, row, "1")
    assert example is not None
    assert (example.turns[0].text, example.references) == (words, (tags,))


@pytest.mark.parametrize("name", ["train.txt", "train.conll", "train.iob2"])
def test_a_conll_file_is_a_sentence_a_paragraph(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("# id 7\n" + CONLL.removeprefix("-DOCSTART- -X- O\n\n") + "\n\n" + CONLL.replace("Ada", "Eve"))
    format = recognise(["text"], [{"text": part} for part in CONLL.split("\n\n")])
    assert format is not None
    assert format.name == "conll"
    task, findings = build(name="t", kind="tag", data=str(tmp_path / name), rows={"dev": 1, "test": 1})
    examples = [*task.examples.train, *task.examples.dev, *task.examples.test]
    found = {example.turns[0].text: example.references[0] for example in examples}
    assert found == {
        **{" ".join(words): " ".join(tags) for words, tags in SENTENCES},
        "Eve Stone lives in Oslo": "B-PER I-PER O O B-LOC",
    }
    assert findings.empty == 1  # the mark of a document
    assert task.labels == ("O", "B-LOC", "I-LOC", "B-ORG", "B-PER", "I-PER")


@pytest.mark.parametrize("name", ["train.txt", "train.conll"])
def test_a_line_without_a_tag_is_told_by_its_number(name: str, tmp_path: Path) -> None:
    broken = f"\n{CONLL}\n \n\n{CONLL}".replace("Bo NN B-PER\nflew NN O", "Bo NN B-PER\nflew", 1)
    (tmp_path / name).write_text(broken)
    line = broken.split("\n").index("flew") + 1
    said = rf"row 5: the line 'flew' \(line {line} of .*{name}\) is not a word and its tag"
    with pytest.raises(BadInput, match=said):
        build(name="t", kind="tag", data={"train": str(tmp_path / name)}, input="text", target="text")


def test_a_line_without_a_tag_in_a_file_without_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("flew NN O\n" * 110_000 + "flew\n" + "flew NN O\n" * 10)
    with pytest.raises(BadInput, match=r"row 2: the line 'flew' is not a word and its tag"):
        build(name="t", kind="tag", data={"train": str(tmp_path / "train.txt")}, input="text", target="text")


def test_prose_and_labels_are_no_tags() -> None:
    prose = [{"text": "It rained all day.\nNobody came to the mill."}, {"text": "A heron waits.\nIt stands in the shallows."}]
    format = recognise(["text"], prose)
    assert format is not None
    assert format.kind == "text"
    format = recognise(["text", "label"], [{"text": "a b", "label": "x"}])
    assert format is not None
    assert format.kind == "classify"
    assert recognise(["words", "tags"], [{"words": "a b c", "tags": "news"}]) is None


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "row 7 has 2 words and 1 tags"),
        ({"tokens": ["a", "b"], "tags": ["O", ""]}, "row 7: the word 'b' has an empty tag"),
        ({"text": "Oslo", "entities": [{"start": 2, "end": 9, "label": "LOC"}]}, "does not lie in its text of 4 characters"),
        ({"text": "Oslo", "entities": [{"start": 2, "end": 2, "label": "LOC"}]}, "does not lie in its text"),
        ({"text": "Oslo", "entities": [{"start": 0, "end": 4}]}, "has no label"),
        ({"text": "Oslo"}, "the line 'Oslo' is not a word and its tag"),
    ],
)
def test_a_row_that_cannot_be_understood_is_named(row: dict[str, Any], said: str) -> None:
    read, *marks = row
    with pytest.raises(BadInput, match="row 7") as caught:
        to_tagged(Format("columns", "tag", read, marks[0] if marks else read), row, "7")
    assert said in caught.value.message
    assert caught.value.hint


def test_spans_are_mended_aloud(tmp_path: Path) -> None:
    text = "Ada Stone of North Mill"
    spans = [[0, 9, "PER"], [0, 3, "FIRST"], [13, 21, "ORG"]]  # one inside another, one that ends in a word
    data = [{"text": f"{text} {n}", "entities": spans} for n in range(20)]
    task, findings = build(name="t", kind="tag", data=write(tmp_path, data))
    assert task.examples.train[0].references == ("B-PER I-PER O B-ORG I-ORG O",)
    assert any("20 spans begin or end within a word" in note for note in findings.notes)
    assert any("20 spans lie over a longer one" in note for note in findings.notes)


def test_a_row_nobody_tagged_is_dropped(tmp_path: Path) -> None:
    data = [{"text": f"Oslo {n}", "entities": [[0, 4, "LOC"]]} for n in range(20)]
    _, findings = build(name="t", kind="tag", data=write(tmp_path, [*data, {"text": "Oslo", "entities": None}]))
    assert findings.empty == 1


@pytest.mark.parametrize(
    ("given", "labels", "reference"),
    [
        ([0, 1, 2], ["O", "B-PER", "I-PER"], "O B-PER I-PER"),
        (["O", "B-PER", "I-PER"], {"O": "O", "B-PER": "B-person", "I-PER": "I-person"}, "O B-person I-person"),
        (["O", "B-PER", "I-PER"], {"PER": "big person"}, "O B-big_person I-big_person"),
        (["O", "B-PER", "I-PER"], ["PER", "LOC"], "O B-PER I-PER"),
    ],
)
def test_labels_name_the_tags(given: list[Any], labels: Any, reference: str, tmp_path: Path) -> None:
    data = write(tmp_path, [{"tokens": [f"w{n}", "a", "b"], "ner_tags": given} for n in range(20)])
    task, _ = build(name="t", kind="tag", data=data, labels=labels)
    assert task.examples.train[0].references == (reference,)
    assert set(reference.split()) <= set(task.labels)
    assert task.metric == "span_f1"
    if labels == ["PER", "LOC"]:
        assert task.labels == ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@pytest.mark.parametrize(
    ("tags", "labels", "said"),
    [
        (["O", "B-PER"], ["O", "B-LOC", "I-LOC"], "the tag 'B-PER' (row 1, 20 in all) is none of the labels"),
        ([0, 3], ["O", "B-LOC"], "the tag '3'"),
        (["O", "O"], None, "all 40 words have the tag 'O'"),
        (["O", "O"], ["O", "B-PER"], "all 40 words have the tag 'O'"),
        (["O", "B-PER"], "PER", "labels is the text 'PER'"),
        (["O", "B-PER"], {"O": "O", "B-PER": " "}, "an empty word"),
        (["NO", "YES"], [False, True], "is none of the labels"),
    ],
)
def test_tags_that_no_label_names(tags: list[Any], labels: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        build(
            name="t", kind="tag", data=write(tmp_path, [{"tokens": [f"w{n}", "a"], "tags": tags} for n in range(20)]), labels=labels
        )
    assert said in caught.value.message
    assert caught.value.hint


def test_what_is_no_tag(tmp_path: Path) -> None:
    data = write(tmp_path, [{"tokens": [f"w{n}", "a"], "tags": [f"t{n}", f"u{n}"]} for n in range(40)])
    with pytest.raises(BadInput, match="these are no tags"):
        build(name="t", kind="tag", data=data)
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    with pytest.raises(BadInput, match="kind tag reads words with their tags"):
        build(name="t", kind="tag", data=write(tmp_path, [{"messages": talk}] * 20))


def test_swapped_columns_are_said(tmp_path: Path) -> None:
    names = [f"{first}{last}" for first in "BCDFGHKLM" for last in ("en", "ora", "ustav")]
    swapped = [
        {"words": ["B-PER", *["O"] * (n % 9 + 2), "B-LOC"], "tags": [names[n % 27], *["lives"] * (n % 9 + 1), "in", names[n // 3]]}
        for n in range(60)
    ]
    data = write(tmp_path, swapped)
    with pytest.raises(BadInput, match=r"(?s)29 different tags for 3 different words.*swapped"):
        build(name="t", kind="tag", data=data, input="words", target="tags")
    named = [*names, "lives", "in"]  # whoever says that these are the tags means it
    assert build(name="t", kind="tag", data=data, input="words", target="tags", labels=named)[0].labels == tuple(named)
    build(name="t", kind="tag", data=data, input="tags", target="words")


def test_what_is_noteworthy(tmp_path: Path) -> None:
    one = [{"tokens": [f"w{n}", "Ada", "Bo"], "ner_tags": ["O", "I-PER", "I-LOC"]} for n in range(20)]
    task, findings = build(name="t", kind="tag", data=write(tmp_path, one))
    assert any("40 entities open with I- and no B- (the first in row 1)" in note for note in findings.notes)
    numbers = [{"tokens": [f"w{n}", "a"], "ner_tags": [0, 1]} for n in range(20)]
    counted, found = build(name="t", kind="tag", data=write(tmp_path, numbers))
    assert any("the tags are numbers" in note for note in found.notes)
    assert counted.metric == "tag_accuracy"
    report = lint(task, findings, None)
    assert report.balance["train"] == dict.fromkeys(("O", "I-PER", "I-LOC"), findings.rows["train"])
    few, findings = build(name="t", kind="tag", data=write(tmp_path, rows(12)))
    assert any("fewer than 5 training words" in warning for warning in lint(few, findings, None).warnings)


def test_one_text_with_two_readings_is_said(tmp_path: Path) -> None:
    data = [*rows(20), {"tokens": rows(1)[0]["tokens"], "ner_tags": ["O"] * 6}]
    _, findings = build(name="t", kind="tag", data=write(tmp_path, data))
    assert findings.conflicts == 1


def test_the_prompt_of_a_decoder(tmp_path: Path) -> None:
    task, _ = build(name="t", kind="tag", data=write(tmp_path, rows()))
    assert (task.prompt.ask, task.prompt.parse) == ("generate", "tags")
    assert "B-LOC" in task.prompt.instruction
    longest = max(len(example.references[0]) for example in task.examples.train)
    assert task.prompt.decoding.max_new_tokens == longest + 8


@pytest.mark.parametrize(("tags", "metric"), [(["B-PER", "O", "I-PER"], "span_f1"), (["NOUN", "VERB", "NOUN"], "tag_accuracy")])
def test_a_first_recipe(tags: list[str], metric: str, tmp_path: Path) -> None:
    data = write(tmp_path, [{"id": n, "tokens": [f"w{n}", "b", "c"], "tags": tags} for n in range(20)])
    recipe, why = guess(data)
    assert recipe["task"] == {"kind": "tag", "data": data, "metric": metric}
    assert recipe["bar"][metric] == 0.8
    assert any("words/tags" in said for said in why)
    assert build(name="t", **recipe["task"])[0].metric == metric


@pytest.mark.parametrize(
    ("tags", "found"),
    [
        ("O O", []),
        ("B-A I-A O B-B", [("A", 0, 2), ("B", 3, 4)]),
        ("B-A B-A", [("A", 0, 1), ("A", 1, 2)]),
        ("I-A I-A O", [("A", 0, 2)]),  # IOB1
        ("I-A B-A I-A", [("A", 0, 1), ("A", 1, 3)]),
        ("B-A I-B", [("A", 0, 1), ("B", 1, 2)]),
        ("B-A O I-A", [("A", 0, 1), ("A", 2, 3)]),
        ("B-A I-A E-A S-A E-A", [("A", 0, 3), ("A", 3, 4), ("A", 4, 5)]),  # IOBES
        ("B-A L-A U-A", [("A", 0, 2), ("A", 2, 3)]),  # BILOU
        ("B I O B", [("", 0, 2), ("", 3, 4)]),
        ("NOUN NOUN O", [("NOUN", 0, 1), ("NOUN", 1, 2)]),
    ],
)
def test_entities_are_counted_as_conll_counts_them(tags: str, found: list[tuple[str, int, int]]) -> None:
    assert entities(tags.split()) == found


def test_metric_of_tags() -> None:
    assert metric_of(["O", "B-PER"]) == "span_f1"
    assert metric_of(["O", "NOUN"]) == "tag_accuracy"
