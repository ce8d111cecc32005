from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.measure import has_rights, measure
from tuneladder.model.fake import FakeEngine
from tuneladder.store import freeze, thaw
from tuneladder.task import build as module
from tuneladder.task.build import build
from tuneladder.types import Decoding, Task, Turns

WORDS = ("river", "heron", "mill", "bridge", "stone", "market", "phone", "parcel", "refund", "goal", "vote", "minister", "chip")


def sentence(n: int) -> str:
    return " ".join(WORDS[(n * k + k * k) % len(WORDS)] for k in range(1, 9)) + f" {n}"


def table(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def labelled(count: int, *labels: Any) -> list[dict[str, Any]]:
    return [{"text": sentence(n), "label": labels[n % len(labels)]} for n in range(count)]


def make(data: Any, **options: Any) -> tuple[Task, module.Findings]:
    return build(**{"name": "t", "kind": "classify", "data": data, **options})


def test_a_classification_from_one_file(tmp_path: Path) -> None:
    task, findings = make(table(tmp_path, labelled(200, "b", "a", "a", "a")))
    assert task.labels == ("a", "b")
    assert findings.rows == {"train": 136, "dev": 24, "test": 40}
    assert findings.format == "text/label"
    for split in (task.examples.train, task.examples.dev, task.examples.test):
        counts = Counter(example.references[0] for example in split)
        assert counts["b"] == round(len(split) / 4)
    assert task.prompt.ask == "score"
    assert task.prompt.parse == "label"
    assert task.prompt.instruction == "Which of these fits the text: a, b?"
    assert task.metric == "macro_f1"
    assert freeze(thaw(Task, freeze(task))) == freeze(task)


def test_seeds_decide_the_split_and_nothing_else_does(tmp_path: Path) -> None:
    data = table(tmp_path, labelled(100, "a", "b"))
    assert make(data, seed=3) == make(data, seed=3)
    assert make(data, seed=3)[0].examples != make(data, seed=4)[0].examples


def test_no_split_cuts_a_source(tmp_path: Path) -> None:
    rows = [{"text": sentence(n % 40).upper() if n % 2 else f" {sentence(n % 40)}", "label": "ab"[n % 40 % 2]} for n in range(120)]
    task, findings = make(table(tmp_path, rows))
    sources = [{example.source for example in split} for split in (task.examples.train, task.examples.dev, task.examples.test)]
    assert not (sources[0] & sources[1] | sources[0] & sources[2] | sources[1] & sources[2])
    assert sum(map(len, sources)) == 40
    assert findings.duplicates == 80
    assert not findings.leaks


@pytest.mark.parametrize(
    ("values", "labels", "words"),
    [
        ([1, 2], {1: "politics", 2: "sports"}, ("politics", "sports")),
        (["1", 2.0], {"1": "politics", 2: "sports"}, ("politics", "sports")),
        ([0, 1], ["no", "yes"], ("no", "yes")),
        (["yes", "no"], ["no", "yes"], ("no", "yes")),
        (["Yes", "NO "], ["no", "yes"], ("no", "yes")),
        ([True, False], {True: "good", False: "bad"}, ("good", "bad")),
        (["True", "False"], {True: "good", False: "bad"}, ("good", "bad")),
        ([10, 9, 2], None, ("2", "9", "10")),
        (["b", " a "], None, ("a", "b")),
        ([1, "1", 1.0, "x"], None, ("1", "x")),
        (["new", "new york", "new york city"], None, ("new", "new york", "new york city")),
        (["Größe", "大きさ", "🎉"], None, ("Größe", "大きさ", "🎉")),
        ([1, 2, 3], {1: "low", 2: "low", 3: "high"}, ("low", "high")),
    ],
)
def test_labels_map_values_to_words(tmp_path: Path, values: list[Any], labels: Any, words: tuple[str, ...]) -> None:
    task, _ = make(table(tmp_path, labelled(60, *values)), labels=labels)
    assert task.labels == words
    assert {example.references[0] for example in task.examples.train} == set(words)


@pytest.mark.parametrize(
    ("rows", "options", "says"),
    [
        (labelled(30, "a"), {}, r"no row has another label than 'a' \(30 in all\)"),
        (labelled(1, "a"), {}, r"\(1 in all\)"),
        (labelled(2, "a", "b"), {}, "2 rows with 2 different texts are too few"),
        (labelled(30, "a", "b"), {"target": "lable"}, "no column 'lable': did you mean 'label'"),
        (labelled(30, "a", "b"), {"input": "{{ txt }}"}, "no column 'txt': did you mean 'text'"),
        (labelled(30, "a", "b"), {"input": "{{ text"}, "is not Jinja"),
        (labelled(30, 0, 1, 2), {"labels": {0: "a", 1: "b"}}, r"the value '2' \(row 3, 10 in all\) is none of the labels"),
        (labelled(30, 0, 1), {"labels": ["a", "b", "a"]}, "labels lists 'a' twice"),
        (labelled(30, 1, 2), {"labels": ["a", "b"]}, r"(?s)'2'.*say which is which of a, b: labels: \{1: WORD, 2: WORD\}"),
        (labelled(30, "true", "false"), {"labels": ["yes", "no"]}, r'(?s)the data has: false, true; .* labels: \{"false": WORD'),
        (labelled(30, *"abcdef"), {"labels": ["yes", "no"]}, r'(?s)\'a\'.*labels: \{"a": WORD, .* "e": WORD, \.\.\.\}'),
        (labelled(30, "yes", "no", "maybe"), {"labels": ["yes", "no"]}, "data has: maybe, no, yes; labels has: yes, no"),
        (labelled(30, "yes", "no"), {"labels": [True, False]}, "YAML reads a bare yes"),
        (labelled(30, "a", "b"), {"labels": "ab"}, "labels is the text"),
        (labelled(30, "a", "b"), {"labels": {"a": "", "b": "x"}}, "an empty word"),
        (labelled(30, ["a", "b"], "b"), {}, "row 1 has 2 labels: a, b"),
        (labelled(60, *range(60)), {}, "60 different values in 60 rows"),
        (labelled(30, None, ""), {}, "no row of .* has both"),
        (labelled(30, "a", "b"), {"kind": "clasify"}, "did you mean 'classify'"),
        (labelled(30, "a", "b"), {"rows": {"tran": 3}}, "did you mean 'train'"),
        (labelled(30, "a", "b"), {"rows": {"train": 0}}, "rows: train is 0"),
        (labelled(30, "a", "b"), {"template": "{{ inptu }}"}, "did you mean 'input'"),
        (labelled(30, "a", "b"), {"template": "Go!"}, "never shows the row"),
        (labelled(30, "a", "b"), {"kind": "generate", "labels": ["a"]}, "`labels` are set"),
        ([{"message": "x", "desk": "y"}] * 9, {}, "cannot tell which column"),
        ([{"message": "x", "desk": "y"}] * 9, {"input": "message"}, "not `target`"),
        ([{"message": "x", "desk": "y"}] * 9, {"target": "desk"}, "not `input`"),
        ([{"message": "same", "desk": "xy"[n % 2]} for n in range(9)], {"input": "message", "target": "desk"}, "1 different texts"),
        (
            labelled(30, {"id": 1, "name": "a"}, {"id": 2, "name": "b"}),
            {},
            r'row 1 of .*: its label is no word: \{"id": 1, "name": "a"\}',
        ),
        (labelled(30, "a", ["b", {"name": "c"}]), {}, "row 2 of .*: its label is no word"),
        (labelled(30, [["a", "b"]], ["b"]), {}, "row 1 of .*: its label is no word"),
        ([{"question": "q", "answer": "a"}] * 9, {"kind": "choose", "input": "question", "target": "answer"}, "no options"),
    ],
)
def test_what_makes_no_task_is_a_sentence_with_a_hint(tmp_path: Path, rows: list[dict[str, Any]], options: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says) as caught:
        make(table(tmp_path, rows), **options)
    assert caught.value.hint or "YAML" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"trian": "a.csv"}, "did you mean 'train'"),
        ({"test": "a.csv"}, "no train split"),
        ({"train": ["a.csv", "b.csv"]}, "not one file"),
        ({"hub": "a/b", "subste": "x"}, "did you mean 'subset'"),
    ],
)
def test_bad_data_settings(data: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        make(data)


def test_leaks_between_given_files_are_taken_from_train(tmp_path: Path) -> None:
    near = [
        {"text": f"{sentence(n)} one two three four five six seven eight nine ten eleven twelve {end}", "label": "a"}
        for n in range(3)
        for end in "x"
    ]
    also = [{**row, "text": row["text"][:-1] + "y"} for row in near]
    rows = labelled(60, "a", "b")
    task, findings = make(
        {
            "train": table(tmp_path, [*rows, *also], "train.jsonl"),
            "dev": table(tmp_path, [*rows[50:55], *labelled(70, "a", "b")[60:]], "dev.jsonl"),
            "test": table(tmp_path, [*rows[:5], rows[50], *near], "test.jsonl"),
        }
    )
    assert findings.rows == {"train": 50, "dev": 14, "test": 9}
    assert Counter((leak.split, leak.how) for leak in findings.leaks) == {
        ("dev", "exact"): 1,
        ("train", "exact"): 10,
        ("train", "near"): 3,
    }
    assert len({example.id for example in task.examples.train} & {leak.id for leak in findings.leaks}) == 0
    assert any("13 train rows were taken out" in note for note in findings.notes)


def test_the_same_file_as_train_and_test(tmp_path: Path) -> None:
    data = table(tmp_path, labelled(60, "a", "b"))
    with pytest.raises(BadInput, match="every train row stands in a later split"):
        make({"train": data, "dev": table(tmp_path, labelled(70, "a", "b")[60:], "d.jsonl"), "test": data})


def test_caps_are_exact_stratified_and_said_when_missed(tmp_path: Path) -> None:
    data = table(tmp_path, labelled(400, "a", "a", "a", "b"))
    task, findings = make(data, rows={"train": 80, "test": 60})
    assert findings.rows == {"train": 80, "dev": 12, "test": 60}
    assert Counter(example.references[0] for example in task.examples.train) == {"a": 60, "b": 20}
    assert any("train: 9,999 rows were asked for" in note for note in make(data, rows={"train": 9999})[1].notes)


def test_rare_labels_stay_in_train(tmp_path: Path) -> None:
    task, _ = make(table(tmp_path, [*labelled(200, "a", "b"), {"text": "only one of these", "label": "rare"}]))
    assert any(example.references == ("rare",) for example in task.examples.train)


def test_what_is_noteworthy_is_said(tmp_path: Path) -> None:
    rows = [
        *labelled(60, "spam", "ham"),
        {"text": sentence(0), "label": "ham"},
        {"text": " ", "label": "ham"},
        {"text": "x", "label": "Spam"},
    ]
    _, findings = make(table(tmp_path, rows))
    assert (findings.duplicates, findings.conflicts, findings.empty) == (1, 1, 1)
    said = "\n".join(findings.notes)
    for sentence_ in (
        "1 row was dropped: empty input or empty answer (62)",
        "1 texts come with different labels",
        "differ by case only",
        "test: 12 rows drawn",
    ):
        assert sentence_ in said


def test_a_label_that_only_test_has_is_kept_and_said(tmp_path: Path) -> None:
    later = [{"text": f"another thing entirely {n}", "label": "c"} for n in range(3)]
    task, findings = make({"train": table(tmp_path, labelled(40, "a", "b")), "test": table(tmp_path, later, "test.jsonl")})
    assert task.labels == ("a", "b", "c")
    assert "no training row has the label c" in findings.notes
    assert "no test row has the label a or b: how well that is found nobody can say" in findings.notes


def test_labels_that_test_lacks_are_said_of_sets_and_tags_too(tmp_path: Path) -> None:
    sets = [{"text": sentence(n), "label": [["a", "b"], ["b"], ["a"]][n % 3]} for n in range(40)]
    later = [{"text": f"another thing entirely {n}", "label": ["b"]} for n in range(3)]
    _, findings = make({"train": table(tmp_path, sets), "test": table(tmp_path, later, "test.jsonl")})
    assert "no test row has the label a: how well that is found nobody can say" in findings.notes
    words = [{"tokens": ["Ann", "waits", f"{n}"], "tags": ["PER", "O", ["O", "NUM"][n % 2]]} for n in range(40)]
    calm = [{"tokens": ["Nobody", "waits", f"long {n}"], "tags": ["O", "O", "O"]} for n in range(3)]
    data = {"train": table(tmp_path, words, "a.jsonl"), "test": table(tmp_path, calm, "b.jsonl")}
    _, findings = make(data, kind="tag")
    assert "no test row has the label NUM or PER: how well that is found nobody can say" in findings.notes


def test_an_object_as_a_label_is_told_what_to_name(tmp_path: Path) -> None:
    data = table(tmp_path, labelled(30, {"id": "x", "name": "a"}, {"id": "y", "name": "b"}))
    with pytest.raises(BadInput) as caught:
        make(data)
    assert caught.value.hint == "name what stands inside: target: '{{ label.id }}'"
    assert make(data, target="{{ label.name }}")[0].labels == ("a", "b")


HEADLESS = {
    "a label that comes again": "my parcel is late,delivery\nwhere is it,delivery\nsend it back,returns\n",
    "a number": "late,3\nearly,4\n",
    "a sentence": "when will my parcel come at last?,delivery\nsend it,returns\n",
}


@pytest.mark.parametrize("case", HEADLESS)
def test_a_table_without_a_header_is_noticed(tmp_path: Path, case: str) -> None:
    (tmp_path / "d.csv").write_text(HEADLESS[case])
    first = HEADLESS[case].split("\n")[0].replace(",", ", ")
    for options in ({"input": "text", "target": "label"}, {}):
        with pytest.raises(BadInput) as caught:
            make(str(tmp_path / "d.csv"), **options)
        assert f"reads like a row: {first}; put a header above it" in caught.value.hint
    (tmp_path / "d.csv").write_text("message,desk\nwhere is it,delivery\nsend it,returns\n")
    with pytest.raises(BadInput) as caught:
        make(str(tmp_path / "d.csv"), input="text", target="label")
    assert caught.value.hint.endswith("d.csv has: message, desk")


def test_long_rows_mixed_types_and_a_bom(tmp_path: Path) -> None:
    path = tmp_path / "odd.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        for n in range(40):
            writer.writerow([[f"{n} " + "word " * 10_000, n, 1.5 * n, f"ünï {n}"][n % 4], [1, "one"][n // 4 % 2]])
    task, findings = make(str(path))
    assert task.labels == ("1", "one")
    assert sum(findings.rows.values()) + len(findings.leaks) == 40
    assert max(len(example.turns[0].text) for example in task.examples.train) > 50_000
    rows = [{"text": [n, f"t {n}", {"a": n}, True, None, n + 0.5][n % 6], "label": ["x", 1][n % 2]} for n in range(60)]
    task, findings = make(table(tmp_path, rows))
    assert set(task.labels) == {"1", "x"}
    assert findings.empty == 10


def test_lone_surrogates_become_readable(tmp_path: Path) -> None:
    rows = [{"text": f"{sentence(n)} \ud800", "label": "ab"[n % 2]} for n in range(20)]
    task, _ = make(table(tmp_path, rows))
    json.dumps(freeze(task), ensure_ascii=False).encode()


def test_generation_chat_extraction_and_choice(tmp_path: Path) -> None:
    rows = [{"question": sentence(n), "answers": [f"a{n}", f"b{n}"], "more": {"x": n}} for n in range(40)]
    task, _ = make(table(tmp_path, rows), kind="generate", input="Q: {{ question }} {{ more.x }}", target="answers")
    first = task.examples.train[0]
    assert first.references == (f"a{int(first.id) - 1}", f"b{int(first.id) - 1}")
    assert first.turns[0].text.startswith("Q: ")
    assert (task.prompt.ask, task.metric, task.labels) == ("generate", "rouge_l", ())
    talks = [{"messages": [{"role": "user", "content": sentence(n)}, {"role": "assistant", "content": "ok"}]} for n in range(40)]
    assert make(table(tmp_path, talks), kind="chat")[0].examples.train[0].references == ("ok",)
    questions = [
        {"question": sentence(n), "choices": ["red", "green", f"b{n}"], "answer": ["green", "B", 1, "1"][n % 4]} for n in range(40)
    ]
    task, _ = make(table(tmp_path, questions), kind="choose", input="question", target="answer")
    assert {example.references for example in task.examples.train} == {("green",)}
    assert len(task.examples.train[0].options) == 3
    assert (task.prompt.ask, task.metric) == ("score", "accuracy")
    with pytest.raises(BadInput, match="the answer 'purple' is none of its options"):
        make(table(tmp_path, [{**row, "answer": "purple"} for row in questions]), kind="choose", input="question", target="answer")
    arc = [{"q": sentence(n), "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "a": "2"} for n in range(40)]
    assert make(table(tmp_path, arc), kind="choose", input="q", target="a")[0].examples.test[0].references == ("y",)
    shared = [{"q": sentence(n), "a": n % 2} for n in range(40)]
    task, _ = make(table(tmp_path, shared), kind="choose", input="q", target="a", labels=["no", "yes"])
    assert task.labels == ("no", "yes")


def test_rejected_kto_rows_are_not_learned(tmp_path: Path) -> None:
    rows = [{"prompt": sentence(n), "completion": "good" if n % 2 else "bad", "label": bool(n % 2)} for n in range(60)]
    task, findings = make(table(tmp_path, rows), kind="generate")
    assert {example.references[0] for split in (task.examples.train, task.examples.test) for example in split} == {"good"}
    assert findings.empty == 30


def test_every_setting_of_the_prompt_arrives(tmp_path: Path) -> None:
    data = table(tmp_path, labelled(40, "a", "b"))
    decoding = Decoding(max_new_tokens=3, seed=9)
    task, _ = make(data, instruction="", system="S", template="<{{ input }}>", decoding=decoding, metric="accuracy")
    assert (task.prompt.instruction, task.prompt.system, task.prompt.template) == ("", "S", "<{{ input }}>")
    assert task.prompt.decoding == decoding
    assert task.metric == "accuracy"
    many, _ = make(table(tmp_path, labelled(200, *(f"label{n}" for n in range(25)))))
    assert "label1" not in many.prompt.instruction


@pytest.mark.parametrize(("words", "most"), [(3, 64), (100, 8 + 500 // 3), (5000, 512)])
def test_an_answer_has_room_for_the_references_of_train(words: int, most: int, tmp_path: Path) -> None:
    rows = [{"text": sentence(n), "answer": "once " * (words if n % 2 else 1)} for n in range(60)]
    task, _ = make(table(tmp_path, rows), kind="generate", input="text", target="answer")
    assert task.prompt.decoding.max_new_tokens == pytest.approx(most, abs=1)


def test_hub_splits_by_their_usual_names_and_hidden_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"train": labelled(60, 0, 1), "validation": labelled(90, 0, 1)[60:], "test": labelled(100, -1)[90:]}
    monkeypatch.setattr(module, "hub_splits", lambda *_, **__: tuple(rows))
    monkeypatch.setattr(module, "read_rows", lambda *_, split, **__: rows[split])
    task, findings = make({"hub": "someone/set", "subset": "en"}, labels=["no", "yes"])
    assert findings.rows == {"train": 48, "dev": 30, "test": 12}
    assert any("answers are hidden" in note for note in findings.notes)
    assert task.labels == ("no", "yes")


def asked(questions: int, answers: int) -> list[dict[str, Any]]:
    return [{"q": sentence(n), "a": f"answer {k} of {n}"} for n in range(questions) for k in range(answers)]


def test_references_of_rows_that_read_the_same_are_put_together_in_dev_and_test_only(tmp_path: Path) -> None:
    data = {
        "train": table(tmp_path, asked(40, 3), "train.jsonl"),
        "dev": table(tmp_path, [{"q": f"dev {row['q']} new", "a": row["a"]} for row in asked(5, 4)] * 2, "dev.jsonl"),
        "test": table(tmp_path, [{"q": f"test {row['q']} else", "a": row["a"]} for row in asked(6, 2)], "test.jsonl"),
    }
    options: dict[str, Any] = {"kind": "generate", "input": "q", "target": "a"}
    task, findings = make(data, references="together", rows={"dev": 4}, **options)
    assert findings.rows == {"train": 120, "dev": 4, "test": 6}
    assert all(len(example.references) == 1 for example in task.examples.train)
    assert [example.references for example in task.examples.test] == [(f"answer 0 of {n}", f"answer 1 of {n}") for n in range(6)]
    assert {len(example.references) for example in task.examples.dev} == {4}  # each once, though the file says all twice
    assert "dev: 40 rows are 5 questions, each with all its references" in findings.notes
    apart, _ = make(data, **options)
    assert len(apart.examples.dev) == 40
    assert {len(example.references) for example in apart.examples.test} == {1}


def test_splits_that_are_drawn_have_their_references_together_too_and_cut_no_question(tmp_path: Path) -> None:
    task, findings = make(
        table(tmp_path, asked(50, 4)), kind="generate", input="q", target="a", references="together", rows={"test": 12}
    )
    assert findings.rows == {"train": 4 * 32, "dev": 6, "test": 12}
    assert {len(example.references) for example in (*task.examples.dev, *task.examples.test)} == {4}
    assert not {example.turns for example in task.examples.train} & {e.turns for e in (*task.examples.dev, *task.examples.test)}


def test_each_split_may_keep_its_answers_in_a_column_of_its_own(tmp_path: Path) -> None:
    data = {
        "train": table(tmp_path, asked(40, 1), "train.jsonl"),
        "test": table(tmp_path, [{"q": f"test {sentence(n)} else", "all": ["one", "two"]} for n in range(3)], "test.jsonl"),
    }
    task, _ = make(data, kind="generate", input="q", target={"train": "a", "test": "all"})
    assert [example.references for example in task.examples.test] == [("one", "two")] * 3
    assert task.examples.dev[0].references[0].startswith("answer")
    with pytest.raises(BadInput, match="no column 'al': did you mean 'all'"):
        make(data, kind="generate", input="q", target={"train": "a", "test": "al"})
    with pytest.raises(BadInput, match="target names train, and the data has train, test"):
        make(data, kind="generate", input="q", target={"train": "a"})


def test_answers_that_are_numbers_are_read_and_marked_as_numbers(tmp_path: Path) -> None:
    """18, $18, 18.00 and a sentence that ends in it are one answer, for the vote and for the mark."""
    said = [("$1,800.00", "1800"), ("18.00", "18"), ("so 3 and 4 make 7", "7"), ("5", "5")]
    data = table(tmp_path, [{"question": sentence(n), "answer": said[n % 4][0]} for n in range(80)])
    options = {"kind": "generate", "input": "question", "target": "answer"}
    task, findings = make(data, **options, answer="number")
    assert (task.prompt.parse, task.metric) == ("number", "exact_match")
    assert {row.references for row in task.examples.train} == {(number,) for _, number in said}
    (note,) = [note for note in findings.notes if "numbers" in note]
    assert note.startswith("answers are learned as the numbers that they come to: '")
    assert has_rights(replace(task, metric="rouge_l"))

    class Many(FakeEngine):
        def generate(self, asks: Sequence[Turns], decoding: Decoding) -> list[list[str]]:
            return [["18.", "18", "$18", "The answer is 18", "7"][: decoding.samples] for _ in asks]

    rows = [row for row in task.examples.test if row.references == ("18",)]
    measured = measure(Many({}), replace(task.prompt, vote=5), task, rows, seed=0)
    assert measured.quality["exact_match"].value == 1
    assert {marked.answer.confidence for marked in measured.answers} == {0.8}
    plain, unread = make(data, **options)
    assert (plain.prompt.parse, plain.metric) == ("text", "rouge_l")
    assert not any("`answer: number`" in note for note in unread.notes)
    numbers = table(tmp_path, [{"question": sentence(n), "answer": said[n % 2][n % 2]} for n in range(80)], "numbers.jsonl")
    plain, hinted = make(numbers, **options)
    assert plain.prompt.parse == "text"
    assert any("with `answer: number`, 18.00 or $18" in note for note in hinted.notes)


def test_answers_that_are_no_numbers_are_an_error(tmp_path: Path) -> None:
    rows = [{"question": sentence(n), "answer": str(n) if n != 6 else "plenty"} for n in range(40)]
    with pytest.raises(BadInput, match="the answer of row 7 holds none: 'plenty'"):
        make(table(tmp_path, rows), kind="generate", input="question", target="answer", answer="number")
    for kind in ("classify", "tag", "choose"):
        with pytest.raises(BadInput, match=f"answer: number reads a text that is written, and this task is of kind {kind}"):
            make(table(tmp_path, rows), kind=kind, answer="number")
    with pytest.raises(BadInput, match="answer: number, and schema is given"):
        make(table(tmp_path, rows), kind="extract", schema={"type": "object"}, answer="number")
