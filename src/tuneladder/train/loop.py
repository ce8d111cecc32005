"""The one loop. A generator: it yields a Tick a step and ends normally; the caller's `for` body logs and decides.

    for tick in train(model, batches, loss=next_token, course=course, folder=folder, seed=0):
        ...

When it ends, the model holds the weights of the best dev loss (or of what is `refined` of it), or of the best that `look` found,
the start among them; the last where there is neither. Why it ended stands in the last tick: done, budget, plateau, nan, or what
`halt` says. No `with` spans a yield, or autocast would leak into the caller.
"""

from __future__ import annotations

import contextlib
import json
import math
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from tuneladder.errors import Failed
from tuneladder.model.chance import Dropout
from tuneladder.model.hardware import peak_read
from tuneladder.model.lanes import Lanes, dealt, in_half
from tuneladder.model.quantized import WHOLE
from tuneladder.store import resident, whole, write_lines
from tuneladder.train.batches import Batches, Micro
from tuneladder.types import Kit, Stopped, Tick, Variant

Loss = Callable[[Any, Micro], torch.Tensor]
Halt = Callable[[int], Stopped]  # of the steps done, why no other is to follow, "" where one is
Look = Callable[[int], float]  # of the steps done, what is measured in place of the loss of dev rows: the lower, the better

SHORT = 200  # steps of a training that bears the highest rate
LARGE = 1_000_000  # weights of a table whose gradient is kept by rows


class _Interrupt:
    """Ctrl-C while a loop trains asks it to save first; a second one ends it at once."""

    training = False
    asked = False


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within it, Ctrl-C makes a running loop save its checkpoint and then raise KeyboardInterrupt."""

    def handle(number: int, frame: Any) -> None:
        if not _Interrupt.training or _Interrupt.asked:
            raise KeyboardInterrupt
        _Interrupt.asked = True

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, handle)
    _Interrupt.asked = False
    try:
        yield
    finally:
        _Interrupt.training = False
        signal.signal(signal.SIGINT, before)


@dataclass(frozen=True)
class Course:
    """How the weights move: AdamW (arXiv:1711.05101), linear warm-up over `warmup` of the steps, cosine down to `floor` of the
    peak, gradients clipped to `clip`. Dev is measured `looks` times, or after every step where there are fewer; after `patience`
    looks without a gain it is a plateau. `times` says of some weights, by name, how many times the rate they have. Where the rate
    is a step's own, a training of more than SHORT steps has one that is lower by the root of them, down to `least` (`eased`).
    Without `drops` nothing is dropped out: what is compared with what wrote, or with a reference, is read as that was."""

    learning_rate: float
    warmup: float = 0.06
    floor: float = 0.1
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 1.0
    looks: int = 10
    patience: int = 5
    save_every: float = 60.0
    times: Mapping[str, float] | None = None
    least: float | None = None
    drops: bool = True

    @classmethod
    def pretraining(
        cls, learning_rate: float, *, warmup: float, weight_decay: float, looks: int, times: Mapping[str, float] | None = None
    ) -> Course:
        """The course of plain text: AdamW's second beta as in arXiv:2005.14165, and no look ends it early."""
        return cls(
            learning_rate,
            warmup=warmup,
            weight_decay=weight_decay,
            betas=(0.9, 0.95),
            looks=looks,
            patience=looks,
            times=times,
        )

    def eased(self, steps: int) -> Course:
        """The course of so many steps."""
        if self.least is None or steps <= SHORT:
            return self
        return replace(self, learning_rate=max(self.least, self.learning_rate * (SHORT / steps) ** 0.5))

    def looks_after(self, step: int, steps: int) -> bool:
        """Whether dev is measured after a step counted from 1: `looks` times at even distances, the last time at the end."""
        return step * self.looks // steps > (step - 1) * self.looks // steps

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step counted from 0."""
        warm = max(1, round(self.warmup * steps))
        if step < warm:
            return self.learning_rate * (step + 1) / warm
        along = (step - warm) / max(1, steps - warm)
        return self.learning_rate * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * along)))


def train(
    model: Any,
    batches: Batches,
    *,
    loss: Loss,
    course: Course,
    folder: Path,
    seed: int,
    dev: Sequence[Micro] = (),
    deadline: float | None = None,
    autocast: torch.dtype | None = None,
    lanes: int = 1,
    allowed: int | None = None,
    halt: Halt | None = None,
    look: Look | None = None,
    refined: Loss | None = None,
) -> Iterator[Tick]:
    """Train what of `model` requires a gradient; checkpoints go into `folder`, and what lies there is taken up.

    `deadline` is a time.monotonic() value; `lanes` is how many micro-batches of a step are computed at once. A step that takes more
    than `allowed` bytes, or all that a GPU has, halves the passes of those that follow, which changes no gradient. `halt` is asked
    after each step, the last too, whether and why no other is to follow. `look` takes the place of `dev`, and is asked before the
    first step too. `refined` gives of dev's micro-batches the loss and then what else may be left of it (`refining.refined`): the
    least of that decides which weights are kept. Raises Failed where the very first loss is not a number.
    """
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    device = next(iter(weights.values())).device
    optimizer, paces = _optimizer(weights, course)
    state = State(weights, optimizer, folder)
    torch.manual_seed(seed)
    state.load()
    room = Room(batches, state, device.type, allowed)
    steps = len(batches)
    saved = time.monotonic()
    started = saved - state.seconds
    stopped: Stopped = _ended(state, steps, course.patience, halt) if state.step else ""  # interrupted just after its last step
    if look and not state.step:
        start = look(0)
        state.look(start, start)
    room.excuse()
    model.train(course.drops)
    passes = Passes(model, loss, list(weights.values()), autocast=autocast, lanes=lanes)
    _Interrupt.training = True

    try:
        while not stopped:
            rate = course.rate(state.step, steps)
            for group, times in zip(optimizer.param_groups, paces, strict=True):
                group["lr"] = rate * times
            micros = [micro.to(device) for micro in batches[state.step]]
            room.excuse()  # batches may have to be written first
            learned = sum(micro.learned for micro in micros)
            try:
                value = passes.gradients(micros, learned, (seed, state.step))
            except torch.OutOfMemoryError:
                del micros
                optimizer.zero_grad(set_to_none=True)
                if not room.narrow():
                    raise
                continue
            norm = _clip(list(weights.values()), course.clip)
            dev_loss = left = which = None
            if not (math.isfinite(value) and math.isfinite(float(norm))):
                stopped = "nan"
            else:
                optimizer.step()
                state.step += 1
                state.tokens += sum(micro.size for micro in micros)
                room.look()
                if (dev or look) and course.looks_after(state.step, steps):
                    if look:
                        found = look(state.step)
                    else:
                        dev_loss, *others = passes.looked(refined or loss, [micro.to(device) for micro in dev])
                        left, which = min(((other, at) for at, other in enumerate(others)), default=(None, None))
                        found = dev_loss if left is None else left
                    room.excuse()
                    state.look(found, found if dev_loss is None else dev_loss)
                stopped = _ended(state, steps, course.patience, halt)
                if halt:
                    room.excuse()
            optimizer.zero_grad(set_to_none=True)
            now = time.monotonic()
            # the time that saving took last is kept back from the budget
            if not stopped and deadline is not None and now + 2 * state.save_seconds >= deadline:
                stopped = "budget"
            state.seconds = now - started
            if stopped == "nan" and state.step == 0:
                raise Failed(f"the first loss is {value}", "lower `learning_rate`, or look at the base: its weights may be broken")
            shown = state.step + (stopped == "nan")
            state.loss = value if stopped != "nan" else state.loss
            yield Tick(shown, steps, state.loss, state.seconds, state.tokens, rate, dev_loss, stopped, left, which)
            # only now, so that no step is saved whose tick the caller has not written down
            if _Interrupt.asked or stopped == "budget" or (not stopped and now - saved >= course.save_every):
                state.save()
                saved = time.monotonic()
            if _Interrupt.asked:
                raise KeyboardInterrupt
    finally:
        _Interrupt.training = False
        passes.close()
    state.restore_best()
    model.eval()


def _ended(state: State, steps: int, patience: int, halt: Halt | None) -> Stopped:
    """Why no other step is to follow, "" where one is."""
    if halt and (said := halt(state.step)):
        return said
    if state.step >= steps:
        return "done"
    return "plateau" if state.stale >= patience else ""


class Room:
    """Whether a run stays within the bytes it may take, and narrower passes where it does not: what they are in the end stands in
    the folder's `passes.json`."""

    def __init__(self, batches: Batches, state: State, device: str, allowed: int | None) -> None:
        self.batches, self.state, self.device, self.allowed = batches, state, device, allowed
        self.seen = self._peak()
        for _ in range(state.halved):
            batches.narrow()

    def look(self) -> None:
        """After a step. A peak that stands since before says nothing of the step."""
        before, self.seen = self.seen, self._peak()
        if self.allowed and self.seen > max(before, self.allowed):
            self.narrow(self.seen)

    def excuse(self) -> None:
        """After what is no step: how high the peak is now is none of a step's doing."""
        self.seen = self._peak()

    def _peak(self) -> int:
        return peak_read(self.device) if self.allowed else 0

    def narrow(self, took: int | None = None) -> bool:
        """Halve the passes, for a step took so many bytes, or more than there are; False where they are as narrow as can be."""
        if not self.batches.narrow():
            return False
        self.state.halved += 1
        said = {"halved": self.state.halved, "allowed": self.allowed, "took": took}
        (self.state.folder / PASSES).write_text(json.dumps(said), "utf-8")
        return True


class Passes:
    """The passes of a step or a look, in lanes: a loss is summed over learned tokens, and divided once by those of the whole batch,
    or where they have weights by the sum of these."""

    def __init__(self, model: Any, loss: Loss, weights: Sequence[Any], *, autocast: torch.dtype | None, lanes: int) -> None:
        self.model, self.loss, self.weights, self.autocast = model, loss, weights, autocast
        self.lanes = Lanes(lanes)
        self.warm: set[str] = set()
        self.tables: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # gradients of tables, and the rows where they are not zero

    def gradients(self, micros: Sequence[Micro], learned: float, chance: tuple[int, int] = (0, 0)) -> float:
        """Put into each weight's `grad` that of the mean over the batch's `learned` tokens: exactly the large batch's, however it
        is cut. The mean loss, in nats. With several lanes, dropout is drawn by `chance`, a seed and the step."""
        if self.lanes.count == 1:
            value = 0.0
            for micro in micros:
                part = self._loss(self.loss, micro, learned)
                part.backward()  # type: ignore[no-untyped-call]
                value += float(part.detach())
            for at, weight in enumerate(self.weights):
                weight.grad = self._whole(at, weight.grad)
            return value
        shares = self._shares(micros)
        found = self._run("learning")(lambda share: self._share(micros, share, learned, chance), shares)
        for at, (weight, *parts) in enumerate(zip(self.weights, *(sums for _, sums in found), strict=True)):
            weight.grad = self._whole(at, _sum(parts))
        return float(sum(value for value, _ in found))

    def _share(
        self, micros: Sequence[Micro], share: Sequence[int], learned: float, chance: tuple[int, int]
    ) -> tuple[float, list[torch.Tensor | None]]:
        """A lane's part of the loss, and its own sums of the gradients: in one shared `grad`, order would be chance. None for a
        weight that none of its passes went through."""
        value = 0.0
        sums: list[torch.Tensor | None] = [None] * len(self.weights)
        for index in share:
            with Dropout(random.Random(f"{chance} {index}").getrandbits(63)):
                part = self._loss(self.loss, micros[index], learned)
            found = torch.autograd.grad(part, self.weights, allow_unused=True)
            value += float(part.detach())
            for at, (weight, gradient) in enumerate(zip(self.weights, found, strict=True)):
                if gradient is not None and not gradient.is_sparse and gradient.stride() != weight.stride():
                    gradient = torch.empty_like(weight).copy_(gradient)  # the fused optimizer goes by the weight's layout
                sums[at] = _sum([sums[at], gradient])
        return value, sums

    def _whole(self, at: int, gradient: torch.Tensor | None) -> torch.Tensor | None:
        """The gradient of a weight, which has its number; one of few rows as one of all, in memory that every step uses again: a
        large table's, mostly zeros, is dearer to lay out than to fill."""
        if gradient is None or not gradient.is_sparse:
            self.tables.pop(at, None)  # what was added to an earlier gradient may be that memory
            return gradient
        few = gradient.coalesce()
        rows, values = few.indices()[0], few.values()
        if at in self.tables:
            table, before = self.tables[at]
            table.index_fill_(0, before, 0)
        else:
            table = torch.zeros(gradient.shape, dtype=gradient.dtype, device=gradient.device)
        self.tables[at] = table, rows
        return table.index_copy_(0, rows, values)

    def looked(self, loss: Loss, micros: Sequence[Micro]) -> list[float]:
        """Means over the learned tokens, in nats, of the one or several figures that a loss gives of a micro-batch. Leaves the
        model in the mode it was in."""

        def one_lane(share: Sequence[int]) -> torch.Tensor:
            with torch.no_grad():
                each = [self._loss(loss, micros[index], 1).float().cpu().double().reshape(-1) for index in share]
            return torch.stack(each).sum(0)

        training = self.model.training
        self.model.eval()
        total = torch.stack(self._run("looking")(one_lane, self._shares(micros))).sum(0)
        self.model.train(training)
        return (total / (sum(micro.learned for micro in micros) or 1)).tolist()

    def _run(self, mode: str) -> Callable[..., list[Any]]:
        """How shares are computed: a mode's first time in turn, so that what compiles does so once."""
        first = mode not in self.warm
        self.warm.add(mode)
        return self.lanes.in_turn if first else self.lanes.map

    def _shares(self, micros: Sequence[Micro]) -> list[list[int]]:
        return dealt([micro.size for micro in micros], self.lanes.count)

    def _loss(self, loss: Loss, micro: Micro, learned: float) -> torch.Tensor:
        with in_half(micro.ids.device.type, self.autocast, alone=self.lanes.count == 1):
            return loss(self.model, micro) / learned

    def close(self) -> None:
        self.lanes.close()


def _sum(parts: Sequence[torch.Tensor | None]) -> torch.Tensor | None:
    """The sum, in this order, of those that are; it takes the place of the first."""
    own = [part for part in parts if part is not None]
    for part in own[1:]:
        own[0].add_(part)
    return own[0] if own else None


@contextlib.contextmanager
def few_rows(model: Any) -> Iterator[None]:
    """While open, a large table of embeddings that nothing but its look-up reads has from each pass a gradient of the rows that
    were looked up alone: a whole one, mostly zeros, costs a small pass as much as its matrices. Not for what is compiled."""
    owned = Counter(id(weight) for module in model.modules() for weight in module._parameters.values())
    plain = [module for module in model.modules() if type(module) is torch.nn.Embedding and not module.sparse]
    tables = [table for table in plain if table.weight.numel() >= LARGE and owned[id(table.weight)] == 1]
    for table in tables:
        table.sparse = True
    try:
        yield
    finally:
        for table in tables:
            table.sparse = False


def _clip(weights: Sequence[Any], most: float) -> torch.Tensor:
    """The norm of all gradients together, which are scaled down where it is more than `most`: torch's own clipping multiplies
    them by one where it is not."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if most < norm + 1e-6:
        torch.nn.utils.clip_grads_with_norm_(weights, most, norm)
    return norm


def _optimizer(weights: dict[str, Any], course: Course) -> tuple[torch.optim.Optimizer, list[float]]:
    """The optimizer, and how many times the rate each of its groups has. Matrices decay, vectors (norms, biases) do not; what
    learns faster or slower decays as the rest."""
    groups: dict[tuple[float, float], list[Any]] = {}
    for name, weight in weights.items():
        times = (course.times or {}).get(name, 1.0)
        decay = course.weight_decay / times if weight.dim() >= 2 else 0.0
        groups.setdefault((times, decay), []).append(weight)
    optimizer = torch.optim.AdamW(
        [{"params": own, "weight_decay": decay} for (_, decay), own in groups.items()],
        lr=course.learning_rate,
        betas=course.betas,
        fused=True,
    )
    return optimizer, [times for times, _ in groups]


FACTS = ("step", "tokens", "stale", "seconds", "best", "best_step", "least", "halved")
PASSES = "passes.json"


class State:
    """What a run must know to go on as if it had not been stopped: one file, replaced whole, and beside it the weights of the
    best look, which it names by their step: those of a later look that it does not know of are not taken for its own."""

    def __init__(self, weights: dict[str, Any], optimizer: torch.optim.Optimizer, folder: Path) -> None:
        self.weights, self.optimizer = weights, optimizer
        self.folder, self.file = folder, folder / "checkpoint.pt"
        self.step = self.tokens = self.stale = self.best_step = self.halved = 0
        self.seconds = self.save_seconds = 0.0
        self.best = self.least = math.inf
        self.saved_best = 0  # the best that the checkpoint names
        self.loss = 0.0  # the last that was a number

    def look(self, found: float, loss: float) -> None:
        """What a new look found: keep the weights if it is the best so far. A look is stale where the loss is no better either: who
        still learns how answers are written may not yet have begun to choose."""
        self.stale = 0 if found < self.best or loss < self.least else self.stale + 1
        self.least = min(self.least, loss)
        if found < self.best:
            self.best, self.best_step = found, self.step
            save_whole(self._best_file(), {name: weight.detach() for name, weight in self.weights.items()})
            self._drop_best()

    def save(self) -> None:
        began = time.monotonic()
        kept: dict[str, Any] = {name: getattr(self, name) for name in FACTS}
        kept["weights"] = {name: weight.detach() for name, weight in self.weights.items()}
        kept["optimizer"] = self.optimizer.state_dict()
        kept["random"] = torch.get_rng_state()
        kept["cuda"] = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
        save_whole(self.file, kept)
        self.saved_best = self.best_step
        self._drop_best()
        self.save_seconds = time.monotonic() - began

    def load(self) -> None:
        if not self.file.exists():
            return
        kept = torch.load(self.file, map_location="cpu", weights_only=True)
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(kept["weights"][name])
        self.optimizer.load_state_dict(kept["optimizer"])
        torch.set_rng_state(kept["random"])
        if kept["cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(kept["cuda"])
        for name in FACTS:
            setattr(self, name, kept.get(name, getattr(self, name)))
        self.saved_best = self.best_step

    def restore_best(self) -> None:
        if math.isfinite(self.best):
            kept = torch.load(self._best_file(), map_location="cpu", weights_only=True)
            with torch.no_grad():
                for name, weight in self.weights.items():
                    weight.copy_(kept[name])

    def _best_file(self) -> Path:
        return self.folder / f"best-{self.best_step}.pt"

    def _drop_best(self) -> None:
        """Drop the weights of looks that were surpassed, but for those that the checkpoint would go on from."""
        for path in self.folder.glob("best-*.pt"):
            if path.name not in (f"best-{self.best_step}.pt", f"best-{self.saved_best}.pt"):
                path.unlink()


def save_whole(file: Path, value: Any) -> None:
    """As torch saves it, whole or not at all."""
    with whole(file) as place:
        torch.save(value, place)


def saved_step(folder: Path) -> int:
    """After how many steps the checkpoint was taken that lies in a folder; 0 where there is none."""
    file = folder / "checkpoint.pt"
    # of a mapped file no more is read than is asked for
    return int(torch.load(file, map_location="cpu", weights_only=True, mmap=True)["step"]) if file.exists() else 0


def follow(ticks: Iterable[Tick], folder: Path) -> list[Tick]:
    """Run the loop to its end, a line of `log.jsonl` for each tick; lines that a resumed run makes again are dropped first."""
    path = folder / "log.jsonl"
    kept: list[Tick] | None = None
    file = None
    try:
        for tick in ticks:
            if kept is None:
                kept = [earlier for earlier in read_log(folder) if earlier.step < tick.step]
                write_lines(path, map(asdict, kept))
                file = path.open("a", encoding="utf-8", buffering=1)
            kept.append(tick)
            assert file is not None
            file.write(json.dumps(asdict(tick)) + "\n")
    finally:
        if file is not None:
            file.close()
    return kept if kept is not None else read_log(folder)


def learn(
    model: Any,
    batches: Batches,
    kit: Kit,
    *,
    loss: Loss,
    course: Course,
    dev: Sequence[Micro],
    lanes: int,
    halt: Halt | None = None,
    look: Look | None = None,
    refined: Loss | None = None,
) -> list[Tick]:
    """Train with what the ladder lends a step, to the end; the ticks, which stand in the folder's log."""
    ticks = train(
        model,
        batches,
        loss=loss,
        course=course,
        folder=kit.folder,
        seed=kit.seed,
        dev=dev,
        deadline=kit.deadline,
        autocast=kit.shelf.autocast,
        lanes=lanes,
        allowed=kit.memory,
        halt=halt,
        look=look,
        refined=refined,
    )
    return follow(ticks, kit.folder)


def save_weights(model: Any, tokenizer: Any, kit: Kit, ticks: Sequence[Tick]) -> None:
    """The whole model with its tokenizer into the step's folder, in the precision that the shelf holds weights in."""
    model.to(kit.shelf.dtype).save_pretrained(str(kit.folder))
    tokenizer.save_pretrained(str(kit.folder))
    tidy(kit.folder, ticks)


def with_weights(variant: Variant, step: str, folder: Path | None) -> Variant:
    """The variant with weights of its own, which lie in `folder` (None: they are foretold): no adapter is over them, and they are
    held as they are."""
    own = str(folder) if folder else "foretold"
    size = resident(folder) if folder else variant.bytes
    return replace(variant, steps=(*variant.steps, step), weights=own, adapter=None, format=WHOLE, bytes=size)


def tidy(folder: Path, ticks: Sequence[Tick]) -> None:
    """Once what was learned is saved, drop the checkpoints: all but those of a run that its budget cut, which may go on."""
    if not ticks or ticks[-1].stopped != "budget":
        drop_checkpoints(folder)


def drop_checkpoints(folder: Path) -> None:
    """Whatever a run would go on from."""
    for sort in ("checkpoint.*", "best-*", "rollout-*.pt", "within-*.pt"):
        for path in folder.glob(sort):
            path.unlink()


def read_log(folder: Path) -> list[Tick]:
    """The ticks of a step's log; a last line cut by a kill is passed over."""
    path = folder / "log.jsonl"
    ticks: list[Tick] = []
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            try:
                ticks.append(Tick(**json.loads(line)))
            except json.JSONDecodeError:
                break
    return ticks


def last_tick(folder: Path) -> Tick | None:
    """The newest tick of a running step's log, for whoever shows its progress."""
    path = folder / "log.jsonl"
    if not path.exists():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1000))
        lines = file.read().decode("utf-8", "replace").splitlines()
    for line in reversed(lines):
        try:
            return Tick(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue
    return None
