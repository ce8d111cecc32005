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
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from pydantic import TypeAdapter

from tuneladder.errors import BadInput, NoRoom

T = TypeVar("T")


@runtime_checkable
class Known(Protocol):
    """What may be too large to be digested each time: it knows the digest of what it holds."""

    @property
    def content(self) -> str: ...


def plain(value: Any) -> Any:
    """The value as JSON has it: dataclasses as objects, tuples as lists, paths as strings."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"__type__": type(value).__name__} | {k: plain(v) for k, v in asdict(value).items()}
    if isinstance(value, Known):
        return value.content
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
        text = "" if isinstance(part, bytes) else json.dumps(plain(part), sort_keys=True, ensure_ascii=False)
        data = part if isinstance(part, bytes) else text.encode("utf-8", "surrogatepass")
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


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Lends a place to write in, which takes the path's name when all of it is written: a reader sees the old file or the new one,
    never half. A link stays one, and what is no file, a pipe, is written to."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        yield path
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with writing(path.parent):
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """As UTF-8, whole or not at all, in a folder that is made where there is none; lines end as they do in the text."""
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as place:
        place.write_text(text, encoding="utf-8", errors="replace", newline="")


def write_json(path: Path, value: Any) -> None:
    """As indented JSON, whole or not at all."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    with whole(path) as place:
        place.write_text(text, encoding="utf-8")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """As JSON lines, as `write_text` does. The number of rows."""
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    write_text(path, "".join(lines))
    return len(lines)


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
    except NoRoom:
        raise
    except Exception as error:
        if _full(error, folder):
            hint = "free some space and run the same command: it goes on where it stopped"
            raise NoRoom(f"the disk that holds {folder} is full", hint) from error
        if isinstance(error, OSError) and _within(error, folder):
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT):
                hint = "name a place that you can write to, and leave it where it is"
                raise BadInput(f"cannot write in {folder}: {error.strerror}", hint) from error
            if error.errno in (errno.ENOTDIR, errno.EEXIST):
                named = Path(error.filename or folder)
                file = next((place for place in (named, *named.parents) if place.exists() and not place.is_dir()), named)
                raise BadInput(f"{file} is in the way: it is not a folder", "move it, or name another place") from error
        raise


def _full(error: Exception, folder: Path) -> bool:
    """Whether a full disk is behind it. safetensors and a child process tell it in words; torch.save does not tell it at all."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    if any(os.strerror(number) in str(error) for number in (errno.ENOSPC, errno.EDQUOT)):
        return True
    return "inline_container" in str(error) and shutil.disk_usage(_there(folder)).free < 1 << 20


def _there(folder: Path) -> Path:
    return next(place for place in (folder, *folder.parents) if place.is_dir())


def _within(error: OSError, folder: Path) -> bool:
    """Whether it speaks of the folder, and not of some other file that was read meanwhile."""
    if not isinstance(error.filename, str):
        return True
    named, folder = Path(error.filename).absolute(), folder.absolute()
    return named.is_relative_to(folder) or folder.is_relative_to(named)


def is_node(folder: Path) -> bool:
    """Whether a folder is a finished node of a store: what it holds was made for exactly what its key says, and is still whole by
    its files' sizes. What was damaged is no node any more, and is made again."""
    try:
        done = json.loads((folder / "done.json").read_text("utf-8"))
        return all((folder / name).stat().st_size == size for name, size in done.get("files", {}).items())
    except (OSError, ValueError):
        return False


def resident(folder: Path) -> int:
    """Bytes of the files under a folder, the checkpoints of a training that may go on left out."""
    return sum(_sizes(folder).values())


def _sizes(folder: Path) -> dict[str, int]:
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pt")
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in found}


def _share(folder: Path) -> None:
    """Whoever may read what this process writes may read all of it: safetensors keeps its files to their owner."""
    mask = folder.stat().st_mode & 0o666
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o077 == 0:
            path.chmod(mask)


class Store:
    """Nodes under `root`, by key."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        with writing(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.root, prefix=".probe."):
                pass

    def find(self, key: str) -> Path | None:
        """The folder of a finished node, or None."""
        folder = self.root / key
        return folder if is_node(folder) else None

    def cut(self, key: str) -> Path | None:
        """The furthest folder of a node that a budget cut short, or None."""
        folders = [path for path in self.root.glob(f"{key}@*") if is_node(path)]
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
            for path in part.glob("*.tmp"):  # a kill left them
                path.unlink()
            if is_node(part):  # killed between the last two strokes
                self._settle(key, part)
                if folder := self._finished(key, budget):
                    return folder
            if (earlier := self.cut(key)) and not part.exists():
                with writing(self.root):
                    self._reopen(earlier, part)
            with writing(part):
                part.mkdir(parents=True, exist_ok=True)
                done = {**make(part), "budget": budget}
                _share(part)
                files = {name: size for name, size in _sizes(part).items() if name != "done.json"}
                write_json(part / "done.json", {**done, "files": files})
                return self._settle(key, part)

    def noun(self, key: str, kind: type[T], find: Callable[[], T]) -> T:
        """What `find` finds, found once: the node of `key` keeps it as JSON, in a file of the key's first word."""
        name = f"{key.partition('-')[0]}.json"

        def make(part: Path) -> Mapping[str, Any]:
            write_json(part / name, TypeAdapter(kind).dump_python(find(), mode="json"))
            return {}

        return thaw(kind, json.loads((self.once(key, make) / name).read_text("utf-8")))

    def _settle(self, key: str, part: Path) -> Path:
        """Name a part that has its done.json."""
        cut = json.loads((part / "done.json").read_text("utf-8")).get("cut")
        folder = self.root / (f"{key}@{cut}" if cut else key)
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(part, folder)
        return folder

    @staticmethod
    def _reopen(earlier: Path, part: Path) -> None:
        """A part with what a cut node holds; it has its name when it is whole."""
        copy = part.with_suffix(".copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(earlier, copy, ignore=shutil.ignore_patterns("done.json"))
        os.rename(copy, part)

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
        while True:  # LK_LOCK gives up after ten tries, a second apart
            with contextlib.suppress(OSError):
                msvcrt.locking(handle, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
                return
