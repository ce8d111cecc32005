"""Rows with several labels or none: how their sets are found in data, written, read back, split and linted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.gold import check_gold
from tuneladder.task.build import build
from tuneladder.task.guess import guess
from tuneladder.task.lint import lint
from tuneladder.task.multi_label import joined, labels_of, look_like_sets, rarest, read_labels, separator_of
from tuneladder.types import Example

LABELS = ("health", "money", "sport")
SETS = ([], ["money"], ["sport", "money"], ["sport", "health", "money"], ["health"])


def rows(count: int = 60) -> list[dict[str, Any]]:
    return [{"text": f"note {n}: " + " ".join(f"w{n * k % 89}" for k in range(1, 8)), "labels": SETS[n % 5]} for n in range(count)]


def data(folder: Path, made: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    path = folder / name
    if name.endswith(".csv"):
        lines = [",".join(f'"{cell}"' for cell in row.values()) for row in made]
        path.write_text("\n".join([",".join(made[0]), *lines]) + "\n")
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return str(path)


def every(task: Any) -> list[Example]:
    return [*task.examples.train, *task.examples.dev, *task.examples.test]


def sets_of(task: Any) -> dict[str, list[str]]:
    """The labels of each row by its text."""
    return {row.turns[0].text: labels_of(row.references[0], task.labels) for row in every(task)}


def test_a_set_is_written_in_the_tasks_order_and_read_back() -> None:
    assert joined({"sport", "health"}, LABELS) == "health, sport"
    assert labels_of("health, sport", LABELS) == ["health", "sport"]
    assert joined((), LABELS) == "none"
    assert labels_of("none", LABELS) == []
    assert labels_of("sport", LABELS) == ["sport"]


def test_labels_with_commas_or_called_none_are_told_apart_still() -> None:
    commas = ("arts, letters", "none", "sport")
    assert joined(commas, commas) == "arts, letters; none; sport"
    assert labels_of("arts, letters; sport", commas) == ["arts, letters", "sport"]
    assert labels_of("arts, letters", commas) == ["arts, letters"]
    assert joined((), commas) == "no label"
    all_marks = ("a, b", "c; d", "e | f")
    assert labels_of(joined(all_marks, all_marks), all_marks) == list(all_marks)
    assert read_labels(joined(all_marks[:2], all_marks), all_marks) == joined(all_marks[:2], all_marks)


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("sport, health", "health, sport"),
        ("Sport,HEALTH.", "health, sport"),
        ("sport\nmoney", "money, sport"),
        ("It is about money and sport.", "money, sport"),
        ("sport, sport", "sport"),
        ("sports, weather", ""),
        ("sport, weather", "sport"),
        ("None.", "none"),
        ("nonesuch", ""),
        ("", ""),
    ],
)
def test_what_a_model_wrote_is_read_as_a_set(said: str, read: str) -> None:
    assert read_labels(said, LABELS) == read


def test_of_two_labels_at_one_place_the_longer_is_meant() -> None:
    assert read_labels("it is data science here", ("data", "data science")) == "data science"
    assert read_labels("data science, data", ("data", "data science")) == "data, data science"


def test_lists_are_seen_without_being_told(tmp_path: Path) -> None:
    task, findings = build(name="t", kind="classify", data=data(tmp_path, rows()), input="text", target="labels")
    assert task.multi_label
    assert task.labels == LABELS
    assert (task.metric, task.prompt.ask, task.prompt.parse) == ("micro_f1", "generate", "labels")
    assert sets_of(task) == {row["text"]: sorted(row["labels"]) for row in rows()}
    assert "Name all that do, or say none." in task.prompt.instruction
    assert any("1.40 labels on average, and 3 at most; 12 of 60 have none" in note for note in findings.notes)
    for metric in ("micro_f1", "macro_f1", "accuracy", "hamming_loss"):
        check_gold(metric, task)
    with pytest.raises(BadInput, match="one label each"):
        check_gold("matthews", task)


@pytest.mark.parametrize("separator", ["|", ";", ",", " + ", " "])
def test_texts_are_parted_by_what_stands_between_labels(tmp_path: Path, separator: str) -> None:
    written = [{**row, "labels": separator.join(row["labels"])} for row in rows()]
    place = data(tmp_path, written, "rows.csv")
    said = {"multi_label": True} if separator in "|;," else {"separator": separator}
    task, _ = build(name="t", kind="classify", data=place, input="text", target="labels", **said)
    assert sets_of(task) == {row["text"]: sorted(row["labels"]) for row in rows()}
    if separator in "|;,":
        alone, _ = build(name="t", kind="classify", data=place, input="text", target="labels")
        assert not alone.multi_label  # a text may be one label with a mark in it: that is said, or `init` says it


@pytest.mark.parametrize("write", [json.dumps, str])
def test_lists_written_out_in_a_csv_are_lists(tmp_path: Path, write: Any) -> None:
    written = [{**row, "labels": write(row["labels"]).replace('"', '""')} for row in rows()]
    task, _ = build(name="t", kind="classify", data=data(tmp_path, written, "rows.csv"), input="text", target="labels")
    assert sets_of(task) == {row["text"]: sorted(row["labels"]) for row in rows()}


@pytest.mark.parametrize(("yes", "no"), [(1, 0), (True, False), ("yes", "no"), (1.0, 0.0)])
def test_a_column_for_each_label(tmp_path: Path, yes: Any, no: Any) -> None:
    flagged = [{"text": row["text"], **{name: yes if name in row["labels"] else no for name in LABELS[::-1]}} for row in rows()]
    task, _ = build(name="t", kind="classify", data=data(tmp_path, flagged), input="text", target=list(LABELS[::-1]))
    assert task.labels == LABELS[::-1]  # the order of the columns
    assert {text: sorted(own) for text, own in sets_of(task).items()} == {row["text"]: sorted(row["labels"]) for row in rows()}
    flagged[3]["sport"] = 0.4
    with pytest.raises(BadInput, match=r"row 4 of .*: `sport` is '0.4'"):
        build(name="t", kind="classify", data=data(tmp_path, flagged), input="text", target=list(LABELS))


def test_labels_are_named_and_numbers_counted_from_0(tmp_path: Path) -> None:
    numbered = [{**row, "labels": [LABELS.index(name) for name in row["labels"]]} for row in rows()]
    place = data(tmp_path, numbered)
    task, _ = build(name="t", kind="classify", data=place, input="text", target="labels", labels=list(LABELS))
    assert sets_of(task) == {row["text"]: sorted(row["labels"]) for row in rows()}
    with pytest.raises(BadInput, match=r"'2' .* is none of the labels"):
        build(name="t", kind="classify", data=place, input="text", target="labels", labels=["health", "money"])


def test_what_was_never_labelled_is_dropped_and_one_label_a_row_stays_so(tmp_path: Path) -> None:
    some = [*rows(), {"text": "nobody looked at this", "labels": None}]
    task, findings = build(name="t", kind="classify", data=data(tmp_path, some), input="text", target="labels")
    assert len(every(task)) == 60
    assert findings.empty == 1
    single = [{**row, "labels": row["labels"][:1] or ["other"]} for row in rows()]
    place = data(tmp_path, single)
    assert not build(name="t", kind="classify", data=place, input="text", target="labels")[0].multi_label
    assert build(name="t", kind="classify", data=place, input="text", target="labels", multi_label=True)[0].multi_label
    with pytest.raises(BadInput, match="kind classify takes one label a row"):
        build(name="t", kind="classify", data=data(tmp_path, rows()), input="text", target="labels", multi_label=False)
    bare = data(tmp_path, [{**row, "labels": []} for row in rows()])
    with pytest.raises(BadInput, match="no row has any label"):
        build(name="t", kind="classify", data=bare, input="text", target="labels")


def test_splits_leave_a_rare_label_on_both_sides(tmp_path: Path) -> None:
    """Each of its sets stands once: drawn by sets, all would stay in train."""
    made = rows(200)
    for at in range(16):
        made[at] = {**made[at], "labels": ["rare", *(name for bit, name in enumerate("wxyz") if at >> bit & 1)]}
        made[at + 100] = {**made[at + 100], "labels": list("wxyz")}
    task, _ = build(name="t", kind="classify", data=data(tmp_path, made), input="text", target="labels")
    for split in (task.examples.train, task.examples.test):
        assert any("rare" in labels_of(row.references[0], task.labels) for row in split)
    assert rarest(task.examples.train, task.labels)["money"] == "money"
    assert rarest([Example("1", (), ("none",))], LABELS) == {"none": ""}


def test_the_decoding_has_room_for_the_longest_set(tmp_path: Path) -> None:
    task, _ = build(name="t", kind="classify", data=data(tmp_path, rows()), input="text", target="labels")
    assert task.prompt.decoding.max_new_tokens == 8 + len("health, money, sport")


def test_check_counts_each_label(tmp_path: Path) -> None:
    task, findings = build(name="t", kind="classify", data=data(tmp_path, rows()), input="text", target="labels")
    report = lint(task, findings, None)
    assert sum(report.balance[split]["money"] for split in report.balance) == 36
    assert sum(report.balance[split]["none"] for split in report.balance) == 12
    common = [{**row, "labels": ["money", *({"sport"} & set(row["labels"]))]} for row in rows()]
    common[0]["labels"] = ["sport"]
    task, findings = build(name="t", kind="classify", data=data(tmp_path, common), input="text", target="labels")
    assert any("% of the training rows are 'money'" in warning for warning in lint(task, findings, None).warnings)


def test_init_sees_them(tmp_path: Path) -> None:
    recipe, why = guess(data(tmp_path, rows()))
    assert recipe["task"] | {"data": ""} == {
        "kind": "classify", "data": "", "input": "text", "target": "labels", "multi_label": True, "metric": "micro_f1",
    }  # fmt: skip
    assert recipe["bar"]["micro_f1"] == 0.8
    assert any("lists a row's labels" in said for said in why)
    parted = [{"body": row["text"], "topics": ";".join(row["labels"])} for row in rows()]
    recipe, _ = guess(data(tmp_path, parted, "rows.csv"))
    assert (recipe["task"]["input"], recipe["task"]["target"], recipe["task"]["separator"]) == ("body", "topics", ";")
    flagged = [{"text": row["text"], **{name: int(name in row["labels"]) for name in LABELS}} for row in rows()]
    recipe, _ = guess(data(tmp_path, flagged, "flags.csv"))
    assert recipe["task"]["target"] == list(LABELS)
    for made in (recipe, guess(data(tmp_path, parted, "rows.csv"))[0]):
        task, _ = build(name="t", **made["task"])
        assert task.multi_label
    two = [{**row, "label": "ab"[n % 2], "tags": row["labels"], "labels": ""} for n, row in enumerate(rows())]
    assert guess(data(tmp_path, two))[0]["task"]["target"] == "label"  # a column of one label, called so, comes first
    assert guess(data(tmp_path, two), target="tags")[0]["task"]["multi_label"]


@pytest.mark.parametrize(
    ("cells", "sets"),
    [
        (["a;b", "a", "b;c", "c", "a;c", "b"], True),
        ([["a", "b"], ["a"], [], ["b"]], True),
        ([["a"], ["b"], ["a"], ["b"]], False),
        ([[{"start": 0, "end": 1}], [], [{"start": 0, "end": 2}], []], False),
        ([[f"a long reference {n}", f"another {n}"] for n in range(9)], False),
        (["Albany, NY", "Buffalo, NY", "Boston, MA", "Salem, MA", "Utica, NY", "Lowell, MA"], False),
        ([f"Well, {n} of them came, and went" for n in range(9)], False),
        (["a", "b", "a", "b"], False),
    ],
)
def test_what_looks_like_sets(cells: list[Any], sets: bool) -> None:
    assert look_like_sets(cells) is sets


def test_the_mark_that_leaves_the_fewest_labels_is_taken() -> None:
    assert separator_of(["arts, letters|sport", "sport", "arts, letters"]) == "|"
    assert separator_of(["a", "b"]) is None
