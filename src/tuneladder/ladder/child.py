"""Steps that change weights run in a child process: a killed or out-of-memory rung is then a Result, not the end.

Forked from a server that has torch loaded and nothing else. The child dies with its parent, and holds the node's own lock, so
that a new climb never writes beside an orphan of a killed one.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from tuneladder.errors import Failed, TuneladderError
from tuneladder.model.hardware import peak_read, peak_reset
from tuneladder.model.shelf import Shelf
from tuneladder.store import Store
from tuneladder.train import loop
from tuneladder.types import Kit, Step, Task, Variant

# what the server of the children has loaded; a child starts with it
PRELOAD = ["tuneladder.ladder.child", "transformers.models.auto.modeling_auto"]


@dataclass(frozen=True)
class Work:
    """All a child needs to apply a step."""

    step: Step
    variant: Variant
    task: Task
    folder: Path
    store: Path
    key: str
    seed: int
    device: str
    dtype: torch.dtype
    deadline: float | None
    memory: int | None


@dataclass(frozen=True)
class Made:
    """What a step made, the seconds it took, and the peak of resident memory in bytes."""

    variant: Variant
    seconds: float
    memory: int


def apply(work: Work, shelf: Shelf) -> Made:
    """Apply the step in this process, on this shelf."""
    peak_reset(work.device)
    started = time.monotonic()
    kit = Kit(work.folder, Store(work.store), work.seed, work.device, work.deadline, work.memory, shelf)
    with loop.interruptible():
        variant = work.step.apply(work.variant, work.task, kit)
    return Made(variant, time.monotonic() - started, peak_read(work.device))


def apply_in_child(work: Work) -> Made:
    """Apply the step in a child. Raises what the step raised; Failed where the child was killed."""
    context = multiprocessing.get_context("forkserver") if sys.platform != "win32" else multiprocessing.get_context("spawn")
    if sys.platform != "win32":
        context.set_forkserver_preload(PRELOAD)
    ours, theirs = context.Pipe()
    process = context.Process(target=_main, args=(theirs, work))
    with _no_main():
        process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except (EOFError, ConnectionError):
        process.join()
        code = process.exitcode or 0
        how = f"killed by signal {-code}" if code < 0 else f"ended with code {code}"
        hint = "it may have run out of memory: lower batch_size or max_length, or set limit: memory" if code == -9 else ""
        raise Failed(f"the process of {type(work.step).__name__.lower()} was {how}", hint) from None
    except KeyboardInterrupt:
        # the child does not hear the terminal: it is asked to save here; a second Ctrl-C ends it at once
        if process.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
        with contextlib.suppress(KeyboardInterrupt):
            process.join(60)
        process.kill()
        raise
    finally:
        process.join(10)
        process.kill()
        ours.close()
    process.join()
    if isinstance(answer, BaseException):
        raise answer
    return answer  # type: ignore[no-any-return]


def _main(pipe: Connection, work: Work) -> None:
    if os.name == "posix":
        os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, which hands it on once
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of which all may be told at once: the parent hands it on as a Ctrl-C
    threading.Thread(target=_die_with_parent, args=(pipe,), daemon=True).start()
    try:
        with Store(work.store).lock(f"{work.key}.work"):
            pipe.send(apply(work, Shelf(work.device, dtype=work.dtype)))
    except KeyboardInterrupt:
        pipe.send(KeyboardInterrupt())
    except TuneladderError as error:
        pipe.send(error)
    except MemoryError:
        pipe.send(Failed("out of memory", "lower batch_size or max_length"))
    except (Exception, SystemExit) as error:  # the child's end: whatever it was becomes the rung's failure
        pipe.send(Failed(f"{type(error).__name__}: {error}".strip()))
    os._exit(0)


def _die_with_parent(pipe: Connection) -> None:
    """The parent never writes; the pipe's end comes when it dies."""
    with contextlib.suppress(EOFError, OSError):
        pipe.recv()
    os._exit(1)


@contextlib.contextmanager
def _no_main() -> Iterator[None]:
    """Children must not run the user's script again to find `__main__`: nothing of ours lives there."""
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__file__", "__spec__") if hasattr(main, name)}
    main.__spec__ = None
    if "__file__" in kept:
        del main.__file__
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(main, name, value)
