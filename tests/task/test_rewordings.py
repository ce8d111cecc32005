"""An instruction in other words: ours are said anew, a person's are framed, and each says all that the first did."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tuneladder.task.build import RECORD, prompt_of
from tuneladder.task.rewordings import rewordings
from tuneladder.types import Kind, Prompt, Task

LABELS = ("politics", "sports")
MANY = tuple(f"label {n}" for n in range(30))


def task(kind: Kind, labels: tuple[str, ...], *, several: bool = False) -> Task:
    prompt = prompt_of(kind, labels, None, "", None, None, 0, multi_label=several)
    return Task("t", kind, prompt=prompt, labels=labels, multi_label=several)


@pytest.mark.parametrize(
    ("own", "named"),
    [
        (task("classify", LABELS), True),
        (task("tag", LABELS), True),
        (task("classify", LABELS, several=True), True),
        (task("classify", MANY), False),
        (task("classify", MANY, several=True), False),
    ],
    ids=["classify", "tag", "several", "many", "many several"],
)
def test_ours_are_other_words_that_name_the_labels_as_it_does(own: Task, named: bool) -> None:
    found = rewordings(own, own.prompt)
    assert len(set(found)) == len(found) >= 2
    assert own.prompt.instruction not in found
    assert all((", ".join(own.labels) in said) == named for said in found)


def test_what_a_person_wrote_is_kept_word_for_word_inside_a_frame() -> None:
    own = task("classify", LABELS)
    found = rewordings(own, replace(own.prompt, instruction="Sort {this}!"))
    assert len(found) >= 2
    assert all("Sort {this}!" in said and said != "Sort {this}!" for said in found)
    objects = rewordings(task("extract", ()), Prompt(instruction=RECORD))
    assert RECORD not in objects
    assert all("JSON" in said for said in objects)


def test_nothing_is_said_where_nothing_was() -> None:
    assert rewordings(task("generate", ()), Prompt()) == ()
