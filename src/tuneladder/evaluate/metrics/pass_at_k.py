"""pass@k: how likely one of k samples passes the row's tests, by the unbiased estimator of arXiv:2107.03374, equation 1.

An answer's programs are run, each in a sandbox of its own (evaluate/sandbox.py). The recipe's `tests` say what a row is tried with,
and `decoding: samples` how many programs are written, k or more. With `credit: share` a program that passes some of the tests has
something of it, and the best of k is what is estimated.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import comb
from typing import Literal

from tuneladder.errors import BadInput, unknown
from tuneladder.evaluate.sandbox import Limits, try_all
from tuneladder.task.formats import compiled, variables
from tuneladder.types import Answer, Example

better = "higher"
best = 1.0
kinds = ()
interval = "bootstrap"

_FENCED = re.compile(r"```[\w+-]*[ \t]*\n(.*?)(?:\n```|\Z)", re.DOTALL)
_OUTCOMES = re.compile(r"\d+/\d+( \d+/\d+)*")
_WORDS = ("input", "answer", "tests")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`program` is Jinja over a row's `input`, `answer` and `tests`, and makes what is run: `{{ input }}{{ answer }}` where an
    answer goes on from its input. `credit: share` gives a program the share of its tests that it passes, where `whole` asks for all
    of them: a test is an `assert` of the row's `tests`; where they do not all pass together, each is tried in a run of its own with
    the others passed over, and tests that hold none, or are no Python by themselves, are one. `seconds` and `memory` (MB) bound
    each run. `sandbox: none` runs what a model wrote as you, on this machine."""

    k: int = 1
    program: str = "{{ answer }}\n\n{{ tests }}\n"
    credit: Literal["whole", "share"] = "whole"
    seconds: float = 10.0
    memory: int = 1024
    sandbox: Literal["bubblewrap", "none"] = "bubblewrap"

    def __post_init__(self) -> None:
        if self.k < 1:
            raise BadInput(f"pass_at_k: k is {self.k}", "how many samples are tried: 1 or more")
        if not self.seconds > 0 or self.memory < 64:
            raise BadInput(f"pass_at_k: seconds is {self.seconds}, memory {self.memory}", "above 0 seconds, and 64 MB or more")
        named = variables(self.program)
        if stray := sorted(named - set(_WORDS)):
            raise unknown("variable in the program", stray[0], _WORDS)
        if missing := next((word for word in ("answer", "tests") if word not in named), ""):
            raise BadInput(f"pass_at_k: the program shows no {missing}", "put {{ answer }} and {{ tests }} into it")

    def outcomes(self, examples: Sequence[Example], answers: Sequence[Answer]) -> list[str]:
        """Of each answer's programs, one after another, `passed/tests`. Raises Refused where there is no sandbox."""
        written = [
            [self._programs(example, text) for text in answer.samples or (answer.text,)]
            for example, answer in zip(examples, answers, strict=True)
        ]
        every = [own for programs in written for own in programs]
        passed = self._passing(own[0] for own in every)
        # of the others, what does not even run to its end with no test is not tried with each
        tried = [own for own in every if own[0] not in passed and own[1:]]
        passed |= self._passing(own[1] for own in tried)
        passed |= self._passing(one for own in tried if own[1] in passed for one in own[2:])
        return [" ".join(_told(own, passed) for own in programs) for programs in written]

    def items(self, answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
        """Of outcomes; a text that is none has passed nothing."""
        return [best_of(_shares(answer), self.k) if _OUTCOMES.fullmatch(answer) else 0.0 for answer in answers]

    def _passing(self, programs: Iterable[str]) -> set[str]:
        """Those of the programs that pass."""
        own = list(dict.fromkeys(programs))
        passed = try_all(own, Limits(self.seconds, self.memory << 20), bubblewrap=self.sandbox == "bubblewrap")
        return {program for program, passes in zip(own, passed, strict=True) if passes}

    def _programs(self, example: Example, text: str) -> list[str]:
        """What an answer is run with: its tests; where each counts, then with none of them and with each alone."""
        if "tests" not in example.meta:
            raise BadInput(f"row {example.id} has no tests to try a program with", "task: tests: a column, or Jinja")
        fenced = _FENCED.search(text)
        asked = next((turn.text for turn in reversed(example.turns) if turn.role == "user"), "")
        code = fenced[1] if fenced else text
        tests = example.meta["tests"]
        program = compiled(self.program)
        parts = one_by_one(tests) if self.credit == "share" else []
        return [program.render(input=asked, answer=code, tests=own) for own in (tests, *parts)]


def one_by_one(tests: str) -> list[str]:
    """The code without its asserts, and then with each of them alone; nothing where it has fewer than two, or is no Python."""
    try:
        count = sum(isinstance(node, ast.Assert) for node in ast.walk(ast.parse(tests)))
    except (SyntaxError, ValueError, RecursionError):
        return []
    return [ast.unparse(_Only(at).visit(ast.parse(tests))) for at in range(-1, count)] if count > 1 else []


class _Only(ast.NodeTransformer):
    """Passes over every assert but one, counted from 0."""

    def __init__(self, kept: int) -> None:
        self.kept, self.seen = kept, 0

    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        self.seen += 1
        return node if self.seen - 1 == self.kept else ast.copy_location(ast.Pass(), node)


def _told(programs: Sequence[str], passed: set[str]) -> str:
    """How many tests a program passed: all, where it did together, for one may need what another did."""
    each = programs[2:]
    count = len(each) or 1
    return f"{count if programs[0] in passed else sum(own in passed for own in each)}/{count}"


def _shares(outcome: str) -> list[float]:
    return [int(passed) / int(tests) for passed, _, tests in (own.partition("/") for own in outcome.split())]


def best_of(shares: Sequence[float], k: int) -> float:
    """What the best of k samples has, in the mean over the draws of k from those there are, or of all where there are fewer; where
    each passes or does not, that is 1 - C(n - c, k) / C(n, k) for c of n that pass (arXiv:2107.03374, equation 1)."""
    ranked, k = sorted(shares), min(k, len(shares))
    # of all draws so many hold none of those above the first `at`
    lost = ((more - less) * (comb(at, k) / comb(len(ranked), k)) for at, (less, more) in enumerate(pairwise(ranked), 1))
    return ranked[-1] - sum(lost)
