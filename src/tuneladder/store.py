"""The store: `once(key, make)` makes a thing under a key, keeps it on disk, and never makes it again.

A node is a folder `<key>` that never changes. It is made in `<key>.part`, where checkpoints live, and renamed when its
`done.json` is written; killed at any moment, the same call goes on from what lies in the part. `flock` on `<key>.lock` keeps
two climbs from making the same node; the second waits and reads. A node that a budget cut short is named `<key>@<step>`;
with more budget its checkpoints go back into a part, and the work goes on.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from tuneladder.errors import BadInput, NoRoom

T = TypeVar("T")


def plain(value: Any) -> Any:
    """The value as JSON has it: dataclasses as objects, tuples as lists, paths as strings."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"__type__": type(value).__name__} | {k: plain(v) for k, v in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(plain(v) for v in value)
    if isinstance(value, Path):
        return str(value)
    return value


def digest(*parts: Any) -> str:
    """16 hex digits of sha256 over the parts' canonical JSON; bytes are taken as they are."""
    sha = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else json.dumps(plain(part), sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
        sha.update(len(data).to_bytes(8, "big"))
        sha.update(data)
    return sha.hexdigest()[:16]


def digest_files(folder: Path, names: list[str]) -> str:
    """Digest of the named files' bytes, read in blocks; a missing file counts as missing."""
    sha = hashlib.sha256()
    for name in sorted(names):
        path = folder / name
        sha.update(name.encode())
        if path.is_file():
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    sha.update(block)
    return sha.hexdigest()[:16]


def write_json(path: Path, value: Any) -> None:
    """Write atomically: a reader sees the old file or the new one, never half."""
    with writing(path.parent):
        temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)


def freeze(value: Any) -> Any:
    """A noun as JSON; `thaw` reads it back."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def thaw(kind: type[T], data: Any) -> T:
    return TypeAdapter(kind).validate_python(data)


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn the operating system's refusals to write into errors that a person can act on."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom(f"the disk that holds {folder} is full", "free some space and run the same command: it goes on where it stopped") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise BadInput(f"cannot write in {folder}: {error.strerror}", "choose a folder you can write to with --out") from error
        if error.errno in (errno.ENOTDIR, errno.EEXIST):
            raise BadInput(f"{folder} is not a folder", "choose another with --out") from error
        raise


def resident(folder: Path) -> int:
    """Bytes of the files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


class Store:
    """Nodes under `root`, by key."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        with writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            probe = self.root / f".probe.{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()

    def find(self, key: str) -> Path | None:
        """The folder of a finished node, or None."""
        folder = self.root / key
        return folder if (folder / "done.json").is_file() else None

    def cut(self, key: str) -> Path | None:
        """The furthest folder of a node that a budget cut short, or None."""
        folders = [path for path in self.root.glob(f"{key}@*") if (path / "done.json").is_file()]
        return max(folders, key=lambda path: int(path.name.rpartition("@")[2]), default=None)

    def once(self, key: str, make: Callable[[Path], Mapping[str, Any]], *, budget: float | None = None) -> Path:
        """The folder of `key`, made by `make(part)` if it is not there yet.

        `make` writes into the part and returns what `done.json` should say. If that has a true `cut`, the node was cut short
        after that many steps: it becomes `<key>@<cut>`, and is taken up again when `budget` (seconds; None is no limit) is
        greater than the one it was cut under.
        """
        if folder := self._finished(key, budget):
            return folder
        with self.lock(key):
            if folder := self._finished(key, budget):
                return folder
            part = self.root / f"{key}.part"
            if (earlier := self.cut(key)) and not part.exists():
                with writing(self.root):
                    shutil.copytree(earlier, part)
                    (part / "done.json").unlink()
            with writing(part):
                part.mkdir(parents=True, exist_ok=True)
                done = dict(make(part))
                done["budget"] = budget
                write_json(part / "done.json", done)
                folder = self.root / (f"{key}@{done['cut']}" if done.get("cut") else key)
                if folder.exists():
                    shutil.rmtree(folder)
                os.rename(part, folder)
            return folder

    def _finished(self, key: str, budget: float | None) -> Path | None:
        if folder := self.find(key):
            return folder
        if folder := self.cut(key):
            allowed = json.loads((folder / "done.json").read_text("utf-8"))["budget"]
            if allowed is None or (budget is not None and budget <= allowed * 1.02):
                return folder
        return None

    @contextlib.contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold `<key>.lock` alone among processes; released by the system when the process dies."""
        with writing(self.root):
            handle = os.open(self.root / f"{key}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _flock(handle)
            yield
        finally:
            os.close(handle)


if os.name == "posix":
    import fcntl

    def _flock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)
else:
    import msvcrt

    def _flock(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
