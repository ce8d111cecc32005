"""pass@k: how likely one of k samples passes the row's tests, by the unbiased estimator of arXiv:2107.03374, equation 1.

An answer's programs are run, each in a sandbox of its own (evaluate/sandbox.py). The recipe's `tests` say what a row is tried with,
and `decoding: samples` how many programs are written, k or more.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
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
_OUTCOME = re.compile(r"(\d+)/(\d+)")
_WORDS = ("input", "answer", "tests")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`program` is Jinja over a row's `input`, `answer` and `tests`, and makes what is run: `{{ input }}{{ answer }}` where an
    answer goes on from its input. `seconds` and `memory` (MB) bound each. `sandbox: none` runs what a model wrote as you, on this
    machine."""

    k: int = 1
    program: str = "{{ answer }}\n\n{{ tests }}\n"
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
        """`passed/written` of each answer. Raises Refused where there is no sandbox."""
        written = [answer.samples or (answer.text,) for answer in answers]
        programs = [self._program(example, text) for example, own in zip(examples, written, strict=True) for text in own]
        passed = iter(try_all(programs, Limits(self.seconds, self.memory << 20), bubblewrap=self.sandbox == "bubblewrap"))
        return [f"{sum(next(passed) for _ in own)}/{len(own)}" for own in written]

    def items(self, answers: Sequence[str], references: Sequence[Sequence[str]], labels: Sequence[str]) -> list[float]:
        """Of outcomes; a text that is none has passed nothing."""
        found = [_OUTCOME.fullmatch(answer) for answer in answers]
        return [chance(int(match[2]), int(match[1]), self.k) if match else 0.0 for match in found]

    def _program(self, example: Example, text: str) -> str:
        if "tests" not in example.meta:
            raise BadInput(f"row {example.id} has no tests to try a program with", "task: tests: a column, or Jinja")
        fenced = _FENCED.search(text)
        asked = next((turn.text for turn in reversed(example.turns) if turn.role == "user"), "")
        code = fenced[1] if fenced else text
        return compiled(self.program).render(input=asked, answer=code, tests=example.meta["tests"])


def chance(written: int, passed: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k) for c of n samples that passed, as a product that does not overflow (arXiv:2107.03374, figure
    3)."""
    if passed == 0:
        return 0.0
    missed = 1.0
    for n in range(written - passed + 1, written + 1):
        missed *= max(0.0, 1 - k / n)
    return 1 - missed
