"""pass@k by its definition, and programs that are run apart."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from math import comb

import pytest

from tuneladder.errors import BadInput, Refused
from tuneladder.evaluate import sandbox
from tuneladder.evaluate.find import find_metric
from tuneladder.evaluate.gold import check_gold
from tuneladder.evaluate.measure import measure
from tuneladder.evaluate.metrics.pass_at_k import best_of, one_by_one
from tuneladder.evaluate.sandbox import Limits, command, try_all
from tuneladder.model.fake import FakeEngine
from tuneladder.types import Answer, Decoding, Example, Prompt, Split, Task, Thought, Turn, Turns

PLAIN = "pass_at_k {sandbox: none}"
LIMITS = Limits(seconds=20.0, memory=1 << 30)


def test_the_estimator_is_the_mean_of_the_best_over_all_draws() -> None:
    for shares, k in (([1, 1, 0, 0, 0], 1), ([1, 1, 0, 0, 0], 3), ([0.5, 0.25, 1, 0.25], 2), ([0.2] * 3, 2), ([0.75, 0.5], 2)):
        draws = list(itertools.combinations(shares, k))
        assert best_of(shares, k) == pytest.approx(sum(map(max, draws)) / len(draws))
    for n, c, k in ((5, 2, 3), (6, 1, 4), (4, 4, 2), (3, 0, 2)):
        assert best_of([1.0] * c + [0.0] * (n - c), k) == pytest.approx(1 - comb(n - c, k) / comb(n, k))
    assert best_of([0.0], 10) == 0.0
    assert best_of([1.0] * 2000, 1000) == 1.0  # more draws than a float counts


def row(id: str, code: str) -> Example:
    return Example(id, (Turn("user", f"Write {id}."),), (code,), source=id, meta={"tests": f"assert {id}(3) == 9"})


SQUARE = "def square(x):\n    return x * x"
TASK = Task(
    "code",
    "generate",
    examples=Split(test=(row("square", SQUARE), row("other", SQUARE.replace("square", "other")))),
    prompt=Prompt(decoding=Decoding(samples=2, temperature=0.8)),
    metric=PLAIN,
)


class Writer(FakeEngine):
    """Two programs for each ask: of `square` one is right, of `other` none."""

    def __init__(self) -> None:
        super().__init__({})

    def generate(self, asks: list[Turns], decoding: Decoding) -> list[list[str]]:  # type: ignore[override]
        good = f"Here:\n```python\n{SQUARE}\n```\nDone."
        both = [[good, "def square(x):\n    return x"] if "square" in ask[-1].text else ["1 +", SQUARE] for ask in asks]
        return [own[: decoding.samples] for own in both]


def test_samples_are_tried_with_their_rows_tests() -> None:
    found = measure(Writer(), TASK.prompt, TASK, TASK.examples.test, seed=0)
    assert found.quality[PLAIN].value == pytest.approx(0.25)  # (1/2 + 0) / 2
    task = replace(TASK, metric="pass_at_k {k: 2, sandbox: none}")
    assert measure(Writer(), task.prompt, task, task.examples.test, seed=0).quality[task.metric].value == pytest.approx(0.5)
    assert len(found.answers[0].answer.samples) == 2
    with pytest.raises(BadInput, match="takes 2 samples of an answer, and 1 is written"):  # it is no pass@1
        measure(Writer(), replace(task.prompt, think=Thought()), task, task.examples.test, seed=0)


CHECKS = """import math
def check(f):
    assert f(3) == 9
    for x in (0, 1):
        assert f(x) == x, "each"
    assert f(-2) == 4
check(square)
"""


def test_tests_are_taken_one_by_one() -> None:
    none, *each = one_by_one(CHECKS)
    assert "assert" not in none
    assert [own.count("assert") for own in each] == [1, 1, 1]
    assert all("import math" in own and own.endswith("check(square)") for own in each)
    for whole in ("assert f(3) == 9", "check(f)", "    assert f(", ""):
        assert not one_by_one(whole)


def test_tests_of_which_one_needs_another_are_worth_all_to_what_passes_them() -> None:
    stack = "class Stack(list):\n    push = list.append"
    tests = "s = Stack()\nassert s.push(1) is None\nassert s.pop() == 1\nassert not s"
    example = replace(row("stack", stack), meta={"tests": tests})
    metric = find_metric("pass_at_k {sandbox: none, seconds: 20, credit: share}")
    assert metric.outcomes
    lost = "class Stack(list):\n    push = lambda self, own: None"
    assert metric.outcomes([example], [Answer("", samples=(stack, lost))]) == ["3/3 2/3"]


def test_a_share_of_the_tests_is_worth_something_where_it_is_asked_for() -> None:
    example = replace(row("square", SQUARE), meta={"tests": CHECKS})
    written = (
        SQUARE,
        "def square(x):\n    return x * abs(x)",
        "def square(x):\n    return 9",
        "def other(x):\n    return x",
        "1 +",
    )
    for credit, worth in (("whole", [1, 0, 0, 0, 0]), ("share", [1, 2 / 3, 1 / 3, 0, 0])):
        metric = find_metric(f"pass_at_k {{sandbox: none, seconds: 20, credit: {credit}}}")
        assert metric.outcomes
        assert metric.items
        told = metric.outcomes([example] * 5, [Answer(text) for text in written])
        assert metric.items(told, [()] * 5, ()) == pytest.approx(worth)
    best = find_metric("pass_at_k {sandbox: none, seconds: 20, credit: share, k: 2}")
    assert best.outcomes
    assert best.items
    told = best.outcomes([example], [Answer("", samples=written[1:3])])
    assert told == ["2/3 1/3"]
    assert best.items(told, [()], ()) == pytest.approx([2 / 3])


def test_a_test_that_never_ends_takes_nothing_from_the_others() -> None:
    example = replace(row("square", SQUARE), meta={"tests": "assert square(2) == 4\nassert square(3) == 9"})
    slow = "def square(x):\n    while x == 3: pass\n    return x * x"
    metric = find_metric("pass_at_k {sandbox: none, seconds: 1, credit: share}")
    assert metric.outcomes
    assert metric.outcomes([example], [Answer(slow)]) == ["1/2"]


def test_references_pass_their_own_tests_or_it_is_said() -> None:
    check_gold(PLAIN, TASK)
    wrong = replace(TASK, examples=Split(test=(*TASK.examples.test, row("cube", "def cube(x):\n    return x ** 3"))))
    with pytest.raises(BadInput, match="row cube") as caught:
        check_gold(PLAIN, wrong)
    assert "tests" in caught.value.hint


def test_a_row_without_tests_is_named() -> None:
    bare = replace(TASK.examples.test[0], meta={})
    with pytest.raises(BadInput, match="row square has no tests"):
        check_gold(PLAIN, replace(TASK, examples=Split(test=(bare,))))


def test_a_program_passes_when_it_runs_to_its_end() -> None:
    programs = [
        "x = 1",
        "raise ValueError",
        "import sys; sys.exit(0)",  # before the tests
        "import os; os._exit(0)",
        "this is no program",
        "print('x' * 10 ** 6)",
        "x = 'x' * (1 << 32)",
    ]
    assert try_all(programs, LIMITS, bubblewrap=False) == [True, False, False, False, False, True, False]
    assert try_all(["while True: pass"], Limits(0.5, 1 << 30), bubblewrap=False) == [False]


def test_without_a_sandbox_nothing_runs_unless_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    sandbox._no_sandbox.cache_clear()
    try:
        with pytest.raises(Refused, match="bubblewrap is not installed") as caught:
            check_gold("pass_at_k", TASK)
    finally:
        sandbox._no_sandbox.cache_clear()
    assert "sandbox: none" in caught.value.hint


def test_the_sandbox_has_no_network_and_a_root_that_is_read_only() -> None:
    apart = command(LIMITS, bubblewrap=True)
    assert apart[0] == "bwrap"
    assert "--unshare-all" in apart
    assert apart[apart.index("--ro-bind") :][:3] == ["--ro-bind", "/", "/"]
    assert "--bind" not in apart
    assert command(LIMITS, bubblewrap=False) == apart[-len(command(LIMITS, bubblewrap=False)) :]


@pytest.mark.skipif(bool(sandbox._no_sandbox()), reason="bubblewrap makes no sandbox here")
def test_what_runs_in_the_sandbox_touches_nothing() -> None:
    programs = [
        "open('/tmp/here', 'w').write('x')",
        "open('/usr/here', 'w')",
        "import socket; socket.create_connection(('127.0.0.1', 22), 1)",
        "import os; assert not os.environ.get('HOME')",
    ]
    assert try_all(programs, LIMITS, bubblewrap=True) == [True, False, False, True]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("{k: 0}", "k is 0"),
        ("{seconds: 0}", "seconds is 0"),
        ("{memory: 1}", "memory 1"),
        ("{sandbox: docker}", "sandbox is 'docker'"),
        ("{credit: some}", "credit is 'some'"),
        ("{program: '{{ answer }}'}", "shows no tests"),
        ("{program: '{{ answer }}{{ tests }}{{ code }}'}", "'code'"),
    ],
)
def test_settings_that_make_no_sense_are_said(given: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        find_metric(f"pass_at_k {given}")
    assert said in caught.value.message


def test_every_setting_changes_what_passes() -> None:
    example = replace(row("square", ""), turns=(Turn("user", "def square(x):"),))
    task = replace(TASK, examples=Split(test=(replace(example, references=("\n    return x * x",)),)))
    with pytest.raises(BadInput, match="scores the gold answers"):
        check_gold(PLAIN, task)
    check_gold(
        "pass_at_k {sandbox: none, program: '{{ input }}{{ answer }}\n\n{{ tests }}'}".replace("\n", "\\n").replace("'", '"'), task
    )
    slow = replace(task, examples=Split(test=(row("square", "import time; time.sleep(2)\n" + SQUARE),)))
    with pytest.raises(BadInput, match="scores the gold answers"):
        check_gold("pass_at_k {sandbox: none, seconds: 0.5}", slow)
    large = replace(task, examples=Split(test=(row("square", "x = bytearray(100 << 20)\n" + SQUARE),)))
    with pytest.raises(BadInput, match="scores the gold answers"):
        check_gold("pass_at_k {sandbox: none, memory: 64}", large)
