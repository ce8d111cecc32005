"""LoRA (arXiv:2106.09685): low-rank updates beside frozen linear layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tuneladder.train.low_rank import ALPHA, check_low_rank, learn_low_rank, plan_low_rank
from tuneladder.train.probing import Rate
from tuneladder.types import Cost, Family, Kit, Pace, Task, Variant


@dataclass(frozen=True, kw_only=True)
class Lora:
    """`alpha` 0 is 16 whatever the rank, with `rslora` 2 times the root of 8, so that both are alike at rank 8. `targets`: auto,
    linear layers of the blocks but routers (arXiv:2305.14314), a mixture's experts among them; attention; all; or names of linear
    modules and of experts' matrices. `dora` learns magnitudes apart from directions (arXiv:2402.09353), `rslora` divides alpha by
    the root of the rank (arXiv:2312.03732). `learning_rate` 0 is the step's own: 2e-4 at a width of 4096, half of that on an
    encoder, growing as the width shrinks (3e-3 at 256), and falling with the root of the steps beyond 200, down to what grows with
    the width's root alone (8e-4 at 256 from 3,200 on); probe: what three short runs find. `max_length` 0 is the context."""

    changes: ClassVar = "adapter"
    needs: ClassVar = "examples"
    families: ClassVar[tuple[Family, ...]] = ("decoder", "encoder", "seq2seq")
    reads: ClassVar = ("train", "dev")
    version: ClassVar = 13

    r: int = 8
    alpha: float = 0.0
    dropout: float = 0.0
    targets: str | tuple[str, ...] = "auto"
    dora: bool = False
    rslora: bool = False
    learning_rate: Rate = 0.0
    epochs: float = 6.0
    batch_size: int = 16
    max_length: int = 0
    warmup: float = 0.06

    def __post_init__(self) -> None:
        check_low_rank(self, "lora")

    def plan(self, variant: Variant, task: Task, pace: Pace) -> tuple[Variant, Cost]:
        return plan_low_rank(self, variant, task, pace, step="lora", dora=self.dora)

    def apply(self, variant: Variant, task: Task, kit: Kit) -> Variant:
        alpha = self.alpha or (2 * 8**0.5 if self.rslora else ALPHA)
        return learn_low_rank(self, variant, task, kit, step="lora", alpha=alpha, dora=self.dora, rslora=self.rslora)
