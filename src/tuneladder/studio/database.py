"""A database that is opened once, written by one at a time, and said to be away where it is."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, exc, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import QueuePool

from tuneladder.errors import BadInput, Failed
from tuneladder.store import writing
from tuneladder.studio.tables import metadata

PATIENCE = 5  # seconds that a busy or silent database is waited for
TWO = "stop that one, or give both a PostgreSQL with --store postgresql://USER@HOST/NAME, which several may serve"


class Away(Failed):
    """The database does not answer: what was to be written is not, and may be tried again."""


class Database:
    """`called` names it to people, without its password; `close` gives back a SQLite file to whoever serves it next."""

    def __init__(self, engine: Engine, called: str, close: Callable[[], None]) -> None:
        self.engine, self.called, self._close = engine, called, close
        self.alone = threading.Lock() if engine.dialect.name == "sqlite" else contextlib.nullcontext()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        with _answering(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """All that is written within it, or nothing. IntegrityError passes: it says that something is there already."""
        with _answering(), self.alone, self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    def close(self) -> None:
        self.engine.dispose()
        self._close()


def open_database(store: str, folder: Path, *, serving: bool = True) -> Database:
    """A SQLite file or the PostgreSQL at a URL, with its tables; "" is the folder's labels.db. Raises BadInput where another serves
    the file, and for a database that cannot be opened. Who is not `serving` may open a file that is served, and must find it."""
    if store.startswith(("postgres://", "postgresql://", "postgresql+psycopg://")):
        return _postgres(store)
    if "://" in store:
        kind = store.partition("://")[0]
        raise BadInput(f"--store is of {kind}, which is not known", "a SQLite file's path, or postgresql://USER@HOST/NAME")
    return _sqlite(Path(store) if store else folder / "labels.db", serving=serving)


@contextlib.contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except exc.IntegrityError:
        raise
    except (exc.DBAPIError, exc.TimeoutError) as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise Away(f"the database does not answer: {said[0] if said else type(error).__name__}", "it is tried again") from error


def _sqlite(path: Path, *, serving: bool) -> Database:
    if not serving:
        if not path.exists():
            raise BadInput(f"there is no labelling in {path}", "say where it is with --out or --store, or begin one")
        return _opened(_file_engine(path), str(path))
    with writing(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        release = _alone(path)
    try:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        return _opened(_file_engine(path), str(path), release)
    except BaseException:
        release()
        raise


def _file_engine(path: Path) -> Engine:
    """Of a file that is there: one that is gone is not made anew, for the judgements would be gone with it."""

    def connect() -> sqlite3.Connection:
        place = f"file:{quote(str(path.absolute()))}?mode=rw"
        found = sqlite3.connect(place, uri=True, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
        found.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON")
        return found

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool, pool_size=8, max_overflow=40, pool_timeout=PATIENCE)

    @event.listens_for(engine, "connect")
    def _opened_file(connection: Any, record: Any) -> None:
        record.info["file"] = _identity(path)

    @event.listens_for(engine, "checkout")
    def _same_file(connection: Any, record: Any, proxy: Any) -> None:
        # a file that was moved or removed would go on being written, where nobody finds it again
        if _identity(path) != record.info["file"]:
            raise exc.DisconnectionError(f"{path} is not the file that was opened")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")

    return engine


def _identity(path: Path) -> tuple[int, int] | None:
    with contextlib.suppress(FileNotFoundError):
        found = path.stat()
        return found.st_dev, found.st_ino
    return None


def _postgres(store: str) -> Database:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise BadInput("PostgreSQL needs psycopg, which is not installed", "pip install 'tuneladder[postgres]'") from None
    try:
        url = make_url(store)
    except exc.ArgumentError:
        raise BadInput("--store is no URL that can be read", "postgresql://USER:PASSWORD@HOST:PORT/NAME") from None
    # a server that waits, or a network that swallows what is sent, is as far away as one that is down; the URL's own come last
    patience = [f"-c {name}={PATIENCE * 1000}" for name in ("statement_timeout", "lock_timeout")]
    settings = {
        "connect_timeout": PATIENCE,
        "tcp_user_timeout": PATIENCE * 1000,
        "options": " ".join((*patience, *url.normalized_query.get("options", ()))),
    }
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, pool_timeout=PATIENCE, connect_args=settings
    )
    called = url.difference_update_query(["password"]).render_as_string(hide_password=True)
    return _opened(engine, called)


def _opened(engine: Engine, called: str, close: Callable[[], None] = lambda: None) -> Database:
    """With its tables. The advisory lock keeps two servers from making them at once."""
    try:
        with engine.connect().execution_options(writes=True) as connection, connection.begin():
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(8250)"))
            metadata.create_all(connection)
    except exc.DBAPIError as error:
        engine.dispose()
        said = str(error.orig).strip().splitlines()[0]
        raise BadInput(f"{called} cannot be opened as a database: {said}", "name another with --store, or start it") from error
    return Database(engine, called, close)


def _alone(path: Path) -> Callable[[], None]:
    """Hold `<path>.lock` as long as the process lives, with its number in it. Raises BadInput where another holds it."""
    handle = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
    if not _locked(handle):
        holder = os.read(handle, 40).decode("ascii", "replace").strip()
        os.close(handle)
        raise BadInput(f"another studio{f' (process {holder})' if holder else ''} serves {path} already", TWO)
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode())
    return lambda: os.close(handle)


if os.name == "posix":
    import fcntl

    def _locked(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
else:
    import msvcrt

    def _locked(handle: int) -> bool:
        os.lseek(handle, 1 << 20, os.SEEK_SET)  # beyond what is written, so that others may read who holds it
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        finally:
            os.lseek(handle, 0, os.SEEK_SET)
        return True
