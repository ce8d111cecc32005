"""No judgement is lost or doubled: many write at once, the server is killed, the database goes away, two would serve one file."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient
from tests.studio.visiting import PLAIN, House, Visitor, opened, serving, some_come_while_others_write, write_labelling

from tuneladder.errors import BadInput
from tuneladder.studio import judging
from tuneladder.studio.app import create_app
from tuneladder.studio.judging import said
from tuneladder.studio.locks import PASSWORD
from tuneladder.studio.overview import WORK, judgements_csv
from tuneladder.studio.records import letters_of, people, sequence

Build = Callable[..., House]
PEOPLE = [f"p{n}" for n in range(20)]


def held(found: House) -> Counter[tuple[str, str]]:
    records = found.studio.app.state.site.records
    return Counter((each.judgement.labeler, each.judgement.item) for each in said(records, WORK))


def everybody_writes(found: House, items: int) -> None:
    """Twenty people at once, through sockets, each of whose writes is sent twice, at the same time too."""
    start = threading.Barrier(len(PEOPLE))

    def work(name: str) -> None:
        with httpx2.Client(base_url=found.studio.url, follow_redirects=True, timeout=60) as web:
            visitor = found.visitor(name, web)
            start.wait()
            write(visitor)

    def write(visitor: Visitor) -> None:
        for n in range(1, items + 1):
            ask = visitor.ask(f"/work/{n}")
            written = visitor.judgement(ask, 0, 0)
            with ThreadPoolExecutor(2) as twice:
                for reply in twice.map(lambda _: visitor.post("/write", ask, written), range(2)):  # noqa: B023
                    assert reply.json() == {"kept": True}

    with serving(found), ThreadPoolExecutor(len(PEOPLE)) as pool:
        list(pool.map(work, PEOPLE))


CHOICE = {"criteria": [{"name": "better", "asks": "choose", "means": "Which helps more?"}]}


def test_twenty_write_at_once(house: Build) -> None:
    found = house(labelers=PEOPLE, each=20, rubric=CHOICE, count=2)
    everybody_writes(found, 2)
    assert held(found) == {(name, f"i{n}"): 1 for name in PEOPLE for n in range(2)}
    rows = found.studio.app.state.site.records.database
    with rows.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM judgements").scalar_one() == 40


def test_two_servers_on_one_file_are_refused(tmp_path: Path) -> None:
    path = write_labelling(tmp_path)
    with (
        opened(path),
        pytest.raises(BadInput, match=rf"another studio \(process {os.getpid()}\) serves .*labels.db already"),
        opened(path),
    ):
        pass
    with opened(path) as found:  # and when it has gone, the next may
        assert "Hello" in found.visitor("ana").page()


def test_a_file_that_goes_away_is_said_to_be_and_nothing_is_lost(house: Build, tmp_path: Path) -> None:
    found = house()
    visitor = found.visitor("ana")
    visitor.answer("/work/1")
    ask = visitor.ask("/work/2")
    written = visitor.judgement(ask, 0, 0)
    path = tmp_path / "run" / "labels.db"
    away = path.with_name("elsewhere.db")
    path.rename(away)
    reply = visitor.post("/write", ask, written)
    assert reply.status_code == 503
    assert "kept in your browser" in reply.json()["error"]
    assert not path.exists()  # none is made in its place
    page = visitor.web.get("/work")
    assert (page.status_code, page.headers["retry-after"]) == (503, "5")
    assert 'http-equiv="refresh"' in page.text
    away.rename(path)
    assert visitor.post("/write", ask, written).json() == {"kept": True}
    assert sum(held(found).values()) == 4


def test_another_labelling_is_not_mixed_into_the_file(tmp_path: Path) -> None:
    path = write_labelling(tmp_path)
    with opened(path) as found:
        found.visitor("ana").answer("/work/1")
        links = found.studio.links
    with pytest.raises(BadInput, match="holds a labelling of other items"), opened(write_labelling(tmp_path, count=5)):
        pass
    write_labelling(tmp_path)
    (tmp_path / "run" / "secret").unlink()
    with pytest.raises(BadInput, match="made with another secret"), opened(path):
        pass
    with opened(path, new_links=True) as found:
        assert not set(found.studio.links.values()) & set(links.values())
        assert sum(held(found).values()) == 3
        assert found.visitor("ana").page("/work/2")
    with opened(path) as found:
        assert found.visitor("ana").page("/work/2")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"store": "mysql://x/y"}, "is of mysql, which is not known"),
        ({"store": "postgresql://nobody@127.0.0.1:1/none"}, "cannot be opened as a database"),
        ({"host": "0.0.0.0"}, "is every address of this machine"),
        ({"host": "192.0.2.1"}, "cannot be listened at"),
        ({"url": "label.example.org"}, "--url is 'label.example.org'"),
        ({"url": "https://example.org/deep"}, "--url is"),
        ({"behind": "*"}, "--behind is '\\*'"),
    ],
)
def test_what_cannot_be_served(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=words), opened(write_labelling(tmp_path), **options):
        pass


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = write_labelling(tmp_path)
    (tmp_path / "notes.txt").write_text("no database at all, but long enough to be taken for one" * 40)
    with pytest.raises(BadInput, match="cannot be opened as a database"), opened(path, store=str(tmp_path / "notes.txt")):
        pass


def test_links_and_cookies_behind_a_name(tmp_path: Path) -> None:
    with opened(write_labelling(tmp_path), url="https://label.example.org") as found:
        assert found.studio.links["ana"].startswith("https://label.example.org/l/")
        reply = found.visitor().web.get(found.studio.links["ana"], follow_redirects=False)
        assert "secure" in reply.headers["set-cookie"].lower()


def test_two_studios_of_one_name_keep_their_own_sessions(tmp_path: Path) -> None:
    with (
        opened(write_labelling(tmp_path / "one")) as one,
        opened(write_labelling(tmp_path / "other")) as other,
        serving(one),
        serving(other),
        httpx2.Client(follow_redirects=True) as web,
    ):
        web.get(one.studio.links["ana"])
        web.get(other.studio.links["ben"])
        assert "Hello, ana." in web.get(f"{one.studio.url}/work").text
        assert "Hello, ben." in web.get(f"{other.studio.url}/work").text


def test_the_address_that_links_begin_with_is_ours_also_in_brackets(house: Build) -> None:
    site = house().studio.app.state.site
    url = "http://[2001:db8::1]:8250"
    web = TestClient(create_app(replace(site, url=url)), base_url=url)
    assert web.get("/owner").status_code == 200
    assert web.get("/owner", headers={"host": "[2001:db8::2]:8250"}).status_code == 400


@contextlib.contextmanager
def served(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The real command in a process of its own, and the first labeler's link."""
    script = "from tuneladder.cli import main; main()"
    words = ["studio", "label", str(path), "--out", str(path.parent / "run"), "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", script, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert process.stdout
        _, link = process.stdout.readline().split()
        yield process, link
    finally:
        process.kill()
        process.communicate(timeout=30)


def test_a_killed_server_has_all_that_it_said_was_kept(tmp_path: Path) -> None:
    path = write_labelling(tmp_path)
    with served(path) as (process, link), httpx2.Client(base_url=link.partition("/l/")[0], follow_redirects=True) as web:
        visitor = Visitor(web)  # type: ignore[arg-type]
        web.get(link)
        visitor.answer("/work/1")
        ask = visitor.ask("/work/2")
        written = visitor.judgement(ask, 0, 0)
        assert visitor.post("/write", ask, written).json() == {"kept": True}
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        with pytest.raises(httpx2.TransportError):
            visitor.post("/write", ask, written)
        cookies = web.cookies
    with opened(path) as found:  # the same file, secret and sessions
        again = found.visitor()
        again.web.cookies.update(cookies)
        assert again.web.get("/work").url.path == "/work/2"
        assert again.post("/write", again.ask("/work/2"), written).json() == {"kept": True}
        assert sum(held(found).values()) == 4


def test_killed_while_twenty_write_it_has_all_that_it_said_was_kept(tmp_path: Path) -> None:
    """What was answered is there, once; what was not is sent again, with the key that it had, and is there once, too."""
    path = write_labelling(tmp_path, labelers=PEOPLE, each=20, rubric=CHOICE, count=6)
    kept: list[str] = []
    sent: dict[str, list[tuple[int, dict[str, Any]]]] = {name: [] for name in PEOPLE}
    with opened(path) as found:
        links = found.studio.links
    with served(path) as (process, link):
        url = link.partition("/l/")[0]
        many = threading.Semaphore(0)

        def work(name: str) -> None:
            with httpx2.Client(base_url=url, follow_redirects=True, timeout=60) as web:
                visitor = Visitor(web)  # type: ignore[arg-type]
                with contextlib.suppress(httpx2.TransportError):
                    web.get(f"{url}/l/{links[name].rpartition('/')[2]}")
                    for n in range(1, 7):
                        ask = visitor.ask(f"/work/{n}")
                        written = visitor.judgement(ask, 0, 0)
                        sent[name].append((n, written))
                        assert visitor.post("/write", ask, written).json() == {"kept": True}
                        kept.append(written["key"])
                        many.release()

        with ThreadPoolExecutor(len(PEOPLE)) as pool:
            tasks = [pool.submit(work, name) for name in PEOPLE]
            for _ in range(15):
                assert many.acquire(timeout=60)
            process.send_signal(signal.SIGKILL)
            for task in tasks:
                task.result()
        process.wait(timeout=30)
    assert 15 <= len(kept) < 120  # it was in the midst of them
    with opened(path) as found:
        database = found.studio.app.state.site.records.database
        with database.read() as connection:
            there = [key for (key,) in connection.exec_driver_sql("SELECT key FROM judgements")]
        assert set(kept) <= set(there)
        assert len(there) == len(set(there)) == sum(held(found).values())
        for name, own in sent.items():
            visitor = found.visitor(name)
            for n, written in own:
                assert visitor.post("/write", visitor.ask(f"/work/{n}"), written).json() == {"kept": True}
        assert sum(held(found).values()) == len(held(found)) == sum(map(len, sent.values()))


@pytest.fixture(scope="module")
def postgres() -> Iterator[tuple[str, Callable[[str], None]]]:
    """The URL of a server of its own, and what starts and stops it; Debian's programs refuse to be run by root."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server is installed")
    pytest.importorskip("psycopg")
    as_user = []
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    if os.geteuid() == 0:
        if not shutil.which("setpriv"):
            pytest.skip("PostgreSQL does not run as root, and there is no setpriv")
        as_user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chown(folder, 65534, 65534)
    bin, data = found[-1].parent, folder / "data"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def call(*words: str) -> None:
        subprocess.run([*as_user, *words], check=True, capture_output=True, cwd=folder, timeout=120)

    def control(action: str) -> None:
        settings = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        start = ["-l", str(folder / "log"), "-o", settings] if action == "start" else ["-m", "immediate"]
        call(str(bin / "pg_ctl"), "-D", str(data), "-w", *start, action)

    call(str(found[-1]), "-D", str(data), "-U", "owner", "--auth=trust", "--no-sync")
    control("start")
    try:
        yield f"postgresql://owner@127.0.0.1:{port}/postgres", control
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            control("stop")
        shutil.rmtree(folder, ignore_errors=True)


def of_its_own(url: str, name: str) -> str:
    """The URL of a new database on the same server."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{url.removesuffix('postgres')}{name}"


def test_postgres_serves_several_and_may_go_away(postgres: tuple[str, Callable[[str], None]], tmp_path: Path) -> None:
    url, control = postgres
    path = write_labelling(tmp_path, labelers=PEOPLE, each=20, rubric=CHOICE, count=2)
    with opened(path, store=url) as found, opened(path, store=url) as other:
        everybody_writes(found, 1)
        assert held(other) == dict.fromkeys(held(found), 1)
        assert sum(held(found).values()) == 20
        visitor = other.visitor("p0")
        ask = visitor.ask("/work/2")
        written = visitor.judgement(ask, 0, 0, why="nothing\0 of it")
        control("stop")
        began = time.monotonic()
        assert visitor.post("/write", ask, written).status_code == 503
        assert time.monotonic() - began < 10
        control("start")
        assert visitor.post("/write", ask, written).json() == {"kept": True}
        assert visitor.post("/undo", ask, {"key": "u" * 20}).json() == {"n": 2}
        assert visitor.post("/write", ask, {**written, "key": "w" * 20}).json() == {"kept": True}
        text = judgements_csv(found.studio.app.state.site.records)
        assert len(text.splitlines()) == 22
        assert re.search(r"nothing of it", text)


def test_two_undos_at_once_take_back_one_judgement_each(
    postgres: tuple[str, Callable[[str], None]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_labelling(tmp_path, rubric=CHOICE)
    with opened(path, store=of_its_own(postgres[0], "undone")) as found:
        visitor = found.visitor("ana")
        ask = visitor.ask()
        for said_ in (0, 1, 2):
            assert visitor.say(ask, 0, said_).json() == {"kept": True}
        records = found.studio.app.state.site.records
        (ana, _), last, both = people(records), judging._last, threading.Barrier(2)

        def looked(rows: Any) -> Any:
            """What each finds is found before either writes, where nothing keeps them apart."""
            seen = last(rows)
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(timeout=2)
            return seen

        monkeypatch.setattr(judging, "_last", looked)
        asks = {each.id: each for each in sequence(records, ana)}
        with ThreadPoolExecutor(2) as pool:
            done = list(pool.map(lambda key: judging.undo(records, ana, asks, key=key), ("u" * 20, "v" * 20)))
        assert done == [ask["ask"]] * 2
        (left,) = judging.given(records, asks[ask["ask"]]).values()
        assert left.value == letters_of(records, ana, asks[ask["ask"]])["A"]
        assert judging.undo(records, ana, asks, key="w" * 20) == ask["ask"]
        assert judging.given(records, asks[ask["ask"]]) == {}


def test_a_password_of_the_store_is_not_told(postgres: tuple[str, Callable[[str], None]], tmp_path: Path) -> None:
    url = of_its_own(postgres[0], "secretive").replace("owner@", "owner:hush@")
    for store in (url, f"{url.replace('owner:hush@', 'owner@')}?password=hush"):
        with opened(write_labelling(tmp_path), store=store) as found:
            assert re.match(r"postgresql://owner(:\*\*\*)?@127\.0\.0\.1:\d+/secretive$", found.studio.judgements)


def test_a_store_that_makes_wait_is_away(postgres: tuple[str, Callable[[str], None]], tmp_path: Path) -> None:
    import psycopg

    url = of_its_own(postgres[0], "waiting")
    with opened(write_labelling(tmp_path, rubric=CHOICE), store=f"{url}?options=-csearch_path%3Dpublic") as found:
        visitor = found.visitor("ana")
        ask = visitor.ask()
        written = visitor.judgement(ask, 0, 0)
        with psycopg.connect(url) as connection:  # somebody else holds the table, until the end of this
            connection.execute("LOCK TABLE judgements IN ACCESS EXCLUSIVE MODE")
            began = time.monotonic()
            assert visitor.post("/write", ask, written).status_code == 503
            assert 4 < time.monotonic() - began < 10
        assert visitor.post("/write", ask, written).json() == {"kept": True}


def test_labelers_come_later_to_postgres_too(postgres: tuple[str, Callable[[str], None]], tmp_path: Path) -> None:
    url = of_its_own(postgres[0], "later")
    path = write_labelling(tmp_path, rubric=CHOICE, count=16)
    with opened(path, store=url) as found, opened(path, store=url) as other:
        some_come_while_others_write(found, other, items=16)


def test_the_password_is_in_no_file(tmp_path: Path) -> None:
    with opened(write_labelling(tmp_path)) as found:
        found.owner()
    assert os.environ[PASSWORD] == PLAIN
    for path in (tmp_path / "run").rglob("*"):
        assert path.is_dir() or PLAIN.encode() not in path.read_bytes()
    assert (tmp_path / "run" / "secret").stat().st_mode & 0o077 == 0
    assert (tmp_path / "run" / "labels.db").stat().st_mode & 0o077 == 0
