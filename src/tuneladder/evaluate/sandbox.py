"""Programs that a model wrote, run apart: bubblewrap gives each a machine without network, whose files can be read and not written,
with an empty /tmp and no home; time, memory and processes are bounded. A program passes when it ends without an error."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

from tuneladder.errors import Refused

_HINT = "install bubblewrap (bwrap), or say plainly that a model's code may run as you: pass_at_k: {sandbox: none}"
# The first line of what is read is a word that nobody else knows; it comes back where the rest, the program, ran to its end.
_RUN = """
import os, sys
word, _, program = sys.stdin.buffer.read().partition(b"\\n")
seconds, memory = int(sys.argv[1]), int(sys.argv[2])
try:
    import resource
    bounds = {"AS": memory, "DATA": memory, "CPU": seconds, "FSIZE": 1 << 24, "CORE": 0}
    for name, most in bounds.items():
        try:
            resource.setrlimit(getattr(resource, "RLIMIT_" + name), (most, most))
        except (ValueError, OSError):
            pass
except ImportError:
    pass
said, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
for number in (0, 1, 2):
    os.dup2(nowhere, number)
sys.argv = ["answer"]
exec(compile(program, "answer", "exec"), {"__name__": "__main__"})
os.write(said, word)
"""


@dataclass(frozen=True)
class Limits:
    """Of one program: seconds by the clock, and bytes."""

    seconds: float
    memory: int


def try_all(programs: Sequence[str], limits: Limits, *, bubblewrap: bool) -> list[bool]:
    """Whether each program passes, as many at a time as there are cores; one that stands there twice is run once.

    Raises Refused where bubblewrap is asked for and makes no sandbox here.
    """
    if bubblewrap and (why := _no_sandbox()):
        raise Refused(why, _HINT)
    different = list(dict.fromkeys(programs))
    with ThreadPoolExecutor(max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)) as pool:
        passed = dict(zip(different, pool.map(partial(_passes, limits=limits, bubblewrap=bubblewrap), different), strict=True))
    return [passed[program] for program in programs]


def command(limits: Limits, *, bubblewrap: bool) -> list[str]:
    """What runs a program that it reads."""
    python = [sys.executable, "-I", "-c", _RUN, str(max(1, round(limits.seconds))), str(limits.memory)]
    if not bubblewrap:
        return python
    apart = ["bwrap", "--unshare-all", "--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv"]
    files = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    for place in dict.fromkeys(["/tmp", "/run", "/var/tmp", str(Path.home())]):
        if Path(place).is_dir() and place != "/":
            files += ["--tmpfs", place]
    for place in dict.fromkeys([sys.base_prefix, sys.prefix]):  # a Python may lie in somebody's home
        files += ["--ro-bind", place, place]
    return [*apart, *files, "--setenv", "PATH", "/usr/bin:/bin", "--chdir", "/tmp", *python]


def _passes(program: str, *, limits: Limits, bubblewrap: bool) -> bool:
    return _run(program, limits, bubblewrap=bubblewrap)[0]


def _run(program: str, limits: Limits, *, bubblewrap: bool) -> tuple[bool, str]:
    """Whether the program ran to its end, and what was complained of."""
    word = secrets.token_hex(16)
    own_group = os.name == "posix"
    process = subprocess.Popen(
        command(limits, bubblewrap=bubblewrap),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=own_group,
    )
    given = f"{word}\n{program}".encode("utf-8", "surrogatepass")
    try:
        said, complaint = process.communicate(given, timeout=limits.seconds)
    except subprocess.TimeoutExpired:
        return False, "out of time"
    finally:  # and whatever it started
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if own_group:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.communicate()
    return process.returncode == 0 and said.decode("ascii", "replace") == word, complaint.decode("utf-8", "replace").strip()


@lru_cache(maxsize=1)
def _no_sandbox() -> str:
    """Why there is no sandbox here; nothing where there is."""
    if shutil.which("bwrap") is None:
        return "a model's code is run in a sandbox, and bubblewrap is not installed"
    ran, why = _run("", Limits(30, 1 << 30), bubblewrap=True)
    return "" if ran else f"a model's code is run in a sandbox, and bubblewrap can make none here: {why[:200]}"
