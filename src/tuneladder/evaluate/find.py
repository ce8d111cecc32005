"""A metric by its name: a file of `metrics/`, or `my_module:fn` of the user's own."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import TypeAdapter, ValidationError

from tuneladder.errors import BadInput, unknown
from tuneladder.evaluate.intervals import Array
from tuneladder.evaluate.verdicts import Judge
from tuneladder.own import own_code, own_content
from tuneladder.types import Answer, Example

HINTS = {  # what people call the metrics elsewhere
    "token_f1": "squad_f1 is the F1 of the tokens of an answer",
    "f1": "macro_f1 and micro_f1 of labels, squad_f1 of the tokens of an answer",
    "em": "exact_match, or squad_exact without articles and punctuation",
    "ppl": "perplexity of plain text",
}

References = Sequence[Sequence[str]]
Outcomes = Callable[[Sequence[Example], Sequence[Answer]], Sequence[str]]
Items = Callable[[Sequence[str], References, Sequence[str]], Sequence[float]]


@dataclass(frozen=True)
class Metric:
    """A metric that can be bootstrapped: `statistics` (rows, S) add up over rows, `combine` makes (R, S) sums into (R,) values.

    `items` gives the rows' own values where the metric is their mean, else it is None. Of a `relative` metric it depends on the
    rows what perfect answers have: something above 0, and `best` is no more than a bound, inf where there is none. `worst` is the
    value that nothing passes, inf where there is none, of a metric that is better the lower, and `least` that of one that is better
    the higher. `outcomes` makes what such a metric marks in place of the answers' texts, where these have to be run or their rows
    read; `samples` of each are run, 0 where none is.
    `content` is the digest of what it reads beside the texts, such as an encoder. What a `judge` has to be asked for is not marked
    with the rest (evaluate/judge.py).
    """

    name: str
    better: Literal["higher", "lower"]
    best: float
    kinds: tuple[str, ...]
    interval: Literal["wilson", "bootstrap"]
    statistics: Callable[[Sequence[str], References, Sequence[str]], Array]
    combine: Callable[[Array], Array]
    items: Items | None = None
    relative: bool = False
    worst: float = math.inf
    least: float = 0.0
    outcomes: Outcomes | None = None
    samples: int = 0
    content: str = ""
    judge: Judge | None = None

    def score(self, answers: Sequence[str], references: References, labels: Sequence[str] = ()) -> float:
        """The metric over all rows."""
        return float(self.combine(self.statistics(answers, references, labels).sum(0, keepdims=True))[0])


def names() -> list[str]:
    """The metrics in the folder."""
    return sorted(path.stem for path in (Path(__file__).parent / "metrics").glob("*.py") if path.stem != "__init__")


def find_metric(name: str) -> Metric:
    """The metric called `name`, with its settings where it takes some: `length {at_most: 40}`. One whose values mean nothing
    without its settings is called by all of them, also by those that were not given.

    Raises BadInput for a name that is neither in the folder nor an importable `module:function`, and for settings that it does not
    take.
    """
    bare, given = parted(name)
    if ":" in bare:
        return _users(name)
    known = names()
    if bare not in known:
        raise unknown(
            "metric", bare, known, HINTS.get(bare, f"known: {', '.join(known)}; or a function of your own as my_module:fn")
        )
    module = _module(bare)
    more: dict[str, Any] = {"relative": False, "worst": math.inf, "least": 0.0, "outcomes": None}
    more |= {fact: vars(module)[fact] for fact in more if fact in vars(module)}
    if "Settings" in vars(module):
        checked = _set(module.Settings, given, bare)
        own = vars(module.Settings)
        called = metric_named({bare: checked.full}) if "full" in own else name
        made = mean_metric(called, module.better, module.best, module.kinds, module.interval, checked.items)
        if isinstance(checked, Judge):
            return replace(made, judge=checked)
        if "outcomes" in own:
            more |= {"outcomes": checked.outcomes, "samples": checked.k}
        return replace(made, **more, content=checked.content if "content" in own else "")
    if given:
        raise BadInput(f"{bare} takes no settings, and {given} are given", f"write {bare} alone")
    if "items" in vars(module):
        return replace(mean_metric(name, module.better, module.best, module.kinds, module.interval, module.items), **more)
    facts = (module.better, module.best, module.kinds, module.interval)
    return Metric(name, *facts, module.statistics, module.combine, **more)


def metrics_of(kind: str) -> list[Metric]:
    """The metrics that stand in the table of every task of this kind; `multi_label` is one, as task/multi_label.py has it."""
    return [find_metric(name) for name in names() if kind in _module(name).kinds]


def metric_named(given: Any) -> str:
    """A metric as a recipe names it, `bleu` or `length: {at_most: 40}`, in one line: `length {at_most: 40}`."""
    if not isinstance(given, dict):
        return str(given)
    name, settings = next(iter(given.items()), ("", None))
    if len(given) != 1 or not isinstance(settings, dict):
        raise BadInput(f"{given!r} is no metric", "write a name, or name: {setting: value}")
    return f"{name} {yaml.safe_dump(settings, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**6).strip()}"


def parted(name: str) -> tuple[str, dict[str, Any]]:
    """A name in one line, as `metric_named` writes it, and its settings."""
    bare, brace, rest = name.partition(" {")
    if not brace:
        return name, {}
    try:
        given = yaml.safe_load("{" + rest)
    except yaml.YAMLError as error:
        raise BadInput(f"the settings of {name!r} cannot be read", f"write {bare} {{setting: value}}") from error
    return bare, given if isinstance(given, dict) else {}


def metric_content(name: str) -> str:
    """What stands for a metric in a key beside its name: the source of a function of the user's, or what the metric reads."""
    return own_content(name, "metric") if ":" in parted(name)[0] else find_metric(name).content


def _module(name: str) -> Any:
    return importlib.import_module(f"tuneladder.evaluate.metrics.{name}")


def _set(kind: Any, given: dict[str, Any], name: str) -> Any:
    """A metric's settings, each of the type that it should have."""
    known = [field.name for field in fields(kind)]
    if stray := next((key for key in given if key not in known), None):
        raise unknown(f"setting of {name}", stray, known)
    try:
        return TypeAdapter(kind).validate_python(given)
    except ValidationError as error:
        first = error.errors()[0]
        place = str(first["loc"][0]) if first["loc"] else name
        raise BadInput(f"{name}: {place} is {first['input']!r}", first["msg"].lower()) from error


def mean_metric(name: str, better: Any, best: float, kinds: tuple[str, ...], interval: Any, items: Items) -> Metric:
    """The metric that is the mean of what `items` gives each row."""

    def statistics(answers: Sequence[str], references: References, labels: Sequence[str]) -> Array:
        return np.column_stack([np.asarray(items(answers, references, labels), dtype=np.float64), np.ones(len(answers))])

    def combine(sums: Array) -> Array:
        return np.asarray(sums[:, 0] / sums[:, 1])

    return Metric(name, better, best, kinds, interval, statistics, combine, items)


def _users(name: str) -> Metric:
    """`fn(answer, reference) -> float`, the mean over rows, the best over a row's references.

    Its best value is 1 and higher is better, unless the function carries the attributes `best` and `better`. Nothing is known
    of its least.
    """
    function: Any = own_code(name, "metric")
    better = getattr(function, "better", "higher")
    if better not in ("higher", "lower"):
        raise BadInput(f"{name}.better is {better!r}", 'set it to "higher" or "lower"')
    choose = max if better == "higher" else min

    def one(answer: str, reference: str) -> float:
        try:
            value = float(function(answer, reference))
        except (Exception, SystemExit) as error:  # the user's code: whatever it raises
            raise BadInput(
                f"metric {name} raised {type(error).__name__}: {error}, on answer {answer[:80]!r} and reference {reference[:80]!r}",
                "it must return a number for any two texts, an empty answer included",
            ) from error
        if not math.isfinite(value):
            where = f"answer {answer[:80]!r} and reference {reference[:80]!r}"
            raise BadInput(f"metric {name} returned {value} for {where}", "return a finite number")
        return value

    def items(answers: Sequence[str], references: References, labels: Sequence[str]) -> list[float]:
        return [choose(one(answer, reference) for reference in row) for answer, row in zip(answers, references, strict=True)]

    best = float(getattr(function, "best", 1.0 if better == "higher" else 0.0))
    return replace(mean_metric(name, better, best, (), "bootstrap", items), least=-math.inf)
