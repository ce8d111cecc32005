"""`tuneladder studio label`: everything is checked, then the pages are served until they are stopped; `tuneladder studio add`."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI

from tuneladder.errors import BadInput
from tuneladder.studio.app import create_app
from tuneladder.studio.database import open_database
from tuneladder.studio.joining import add_labeler
from tuneladder.studio.labelling import read_labelling
from tuneladder.studio.locks import password, secret
from tuneladder.studio.records import link_of, open_records, people
from tuneladder.studio.site import Site

HOST, PORT = "127.0.0.1", 8250


@dataclass(frozen=True)
class Studio:
    """Ready to be served. `links` are by labeler; `password` is the owner's where it was made, else ""; `behind` is the proxy
    whose word for who asks is taken, "" for none."""

    app: FastAPI
    listening: socket.socket
    url: str
    links: dict[str, str]
    password: str
    judgements: str
    behind: str

    def serve(self) -> None:
        """Until Ctrl-C or a signal to end."""
        self.server().run(sockets=[self.listening])

    def server(self) -> uvicorn.Server:
        # tries are counted by address: what anybody but the proxy claims for itself is not believed
        config = uvicorn.Config(
            self.app,
            log_level="warning",
            proxy_headers=bool(self.behind),
            forwarded_allow_ips=self.behind,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
        return uvicorn.Server(config)


@contextmanager
def open_studio(
    labelling: Path,
    *,
    out: Path | None = None,
    store: str = "",
    host: str = HOST,
    port: int = PORT,
    url: str = "",
    behind: str = "",
    new_links: bool = False,
) -> Iterator[Studio]:
    """The studio of the labelling that a YAML file describes, its records in `out` (runs/NAME) or at the `store`, listening at
    `host` and `port` (0 takes a free one); links begin with `url`, and the proxy at `behind` says who asks. Raises BadInput before
    anything is served."""
    read = read_labelling(labelling)
    folder = out or Path("runs") / read.name
    named = _address(host, url)
    _check_proxy(behind)
    owner, plain = password()
    listening = _listen(host, port)
    try:
        database = open_database(store, folder)
        try:
            records = open_records(database, read, secret(folder), folder, new_links=new_links)
            address = named or f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
            links = {person.name: f"{address}/l/{link_of(records, person)}" for person in people(records)}
            app = create_app(Site(records, owner, address))
            yield Studio(app, listening, address, links, plain, database.called, behind)
        finally:
            database.close()
    finally:
        listening.close()


@dataclass(frozen=True)
class Added:
    """The link of a new labeler, and how many items they have of each of the others."""

    link: str
    taken: Mapping[str, int]


def add_to(labelling: Path, name: str, *, out: Path | None = None, store: str = "", url: str = "") -> Added:
    """Add a labeler to a labelling that was begun, whether it is served just now or not; the link begins with `url`. Raises
    BadInput for one that was not begun, and for a name that is taken."""
    read = read_labelling(labelling)
    folder = out or Path("runs") / read.name
    address = _address(HOST, url) or f"http://{HOST}:{PORT}"
    database = open_database(store, folder, serving=False)
    try:
        records = open_records(database, read, secret(folder), folder, begun=True)
        found = add_labeler(records, name)
        return Added(f"{address}/l/{link_of(records, found.person)}", found.taken)
    finally:
        database.close()


def _address(host: str, url: str) -> str:
    """What links begin with, "" where that is host and port."""
    if url:
        named = urlsplit(url)
        if named.scheme not in ("http", "https") or not named.hostname or named.path.strip("/") or named.query:
            raise BadInput(f"--url is '{url}'", "what labelers open, as https://label.example.org")
        return url.rstrip("/")
    if host in ("0.0.0.0", "::", ""):
        raise BadInput(
            f"--host {host or '(empty)'} is every address of this machine, and links need one",
            "name it with --url http://NAME:PORT",
        )
    return ""


def _check_proxy(behind: str) -> None:
    try:
        ipaddress.ip_network(behind or HOST)
    except ValueError:
        hint = "the address from which the proxy asks, as 127.0.0.1, or its network, as 172.18.0.0/16"
        raise BadInput(f"--behind is '{behind}'", hint) from None


def _listen(host: str, port: int) -> socket.socket:
    if not 0 <= port < 1 << 16:
        raise BadInput(f"--port is {port}", "from 1 to 65,535, or 0 for a free one")
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        family = socket.AF_INET
    found = socket.socket(family)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen(128)
    except OSError as error:
        found.close()
        raise BadInput(
            f"{host}:{port} cannot be listened at: {error.strerror or error}", "choose another with --port or --host"
        ) from error
    return found
