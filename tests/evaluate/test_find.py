from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tuneladder.errors import BadInput
from tuneladder.evaluate.find import find_metric


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("my_marks", "my_broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def write(folder: Path, text: str, name: str = "my_marks") -> None:
    (folder / f"{name}.py").write_text(text)


def test_unknown_name_is_guessed() -> None:
    with pytest.raises(BadInput, match="no metric 'macrof1': did you mean 'macro_f1'"):
        find_metric("macrof1")


@pytest.mark.parametrize(
    ("name", "meant"), [("token_f1", "squad_f1"), ("f1", "macro_f1"), ("em", "exact_match"), ("ppl", "perplexity")]
)
def test_names_of_others_lead_to_ours(name: str, meant: str) -> None:
    with pytest.raises(BadInput, match=f"no metric '{name}'") as error:
        find_metric(name)
    assert error.value.hint.startswith(meant)
    assert find_metric(meant).name == meant


def test_users_metric_is_the_mean_of_the_best_reference(here: Path) -> None:
    write(here, "def near(answer, reference):\n    return 1.0 if answer == reference else 0.25\n")
    metric = find_metric("my_marks:near")
    find_metric("my_marks:near")
    assert sys.path.count(str(here)) == 1
    assert (metric.better, metric.best) == ("higher", 1.0)
    assert metric.score(["a", "b"], [["x", "a"], ["c"]]) == pytest.approx(0.625)


def test_users_metric_says_its_best_and_direction(here: Path) -> None:
    write(here, "def wrong(answer, reference):\n    return abs(len(answer) - len(reference))\nwrong.better = 'lower'\n")
    metric = find_metric("my_marks:wrong")
    assert (metric.better, metric.best) == ("lower", 0.0)
    assert metric.score(["abc"], [["a", "abcd"]]) == 1


@pytest.mark.parametrize(
    ("text", "name", "says"),
    [
        ("def near(a, b): return 1", "my_marks:neer", "no metric in my_marks 'neer': did you mean 'near'"),
        ("near = 3", "my_marks:near", "no metric in my_marks 'near'"),
        ("", "my_absent:near", "cannot import 'my_absent': ModuleNotFoundError"),
        ("import no_such_thing", "my_marks:near", "cannot import 'my_marks': ModuleNotFoundError: No module named 'no_such_thing'"),
        ("def near(a, b)", "my_marks:near", "cannot import 'my_marks': SyntaxError"),
        ("import sys\nsys.exit(1)", "my_marks:near", "cannot import 'my_marks': SystemExit: 1"),
        ("def near(a, b): return 1\nnear.better = 'up'", "my_marks:near", "my_marks:near.better is 'up'"),
        ("", ":near", "cannot import ''"),
        ("", "my_marks:", "no metric in my_marks ''"),
    ],
)
def test_errors_of_loading_are_sentences(here: Path, text: str, name: str, says: str) -> None:
    write(here, text)
    with pytest.raises(BadInput, match=says) as error:
        find_metric(name)
    assert error.value.hint


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return 1 / len(a)", "ZeroDivisionError"),
        ("return 'good'", "ValueError"),
        ("return float('nan')", "returned nan"),
        ("raise SystemExit(2)", "raised SystemExit: 2"),
    ],
)
def test_errors_of_running_name_the_texts(here: Path, body: str, says: str) -> None:
    write(here, f"def near(a, b):\n    {body}\n")
    with pytest.raises(BadInput, match=says) as error:
        find_metric("my_marks:near").score([""], [["gold"]])
    assert "'gold'" in str(error.value)
