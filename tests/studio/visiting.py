"""A small labelling on disk, its studio, and people who open it."""

from __future__ import annotations

import csv
import json
import re
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from starlette.testclient import TestClient

from tuneladder.studio.joining import add_labeler
from tuneladder.studio.judging import said
from tuneladder.studio.overview import WORK
from tuneladder.studio.records import Records, people, sequence
from tuneladder.studio.serve import Studio, open_studio

PLAIN = "correct horse"
RUBRIC = {
    "name": "help",
    "criteria": [
        {"name": "better", "asks": "choose", "means": "Which helps more?"},
        {"name": "right", "asks": "score", "values": {0: "wrong", 1: "partly", 2: "right"}},
    ],
}


def write_labelling(folder: Path, *, count: int = 4, rubric: dict[str, Any] | None = None, **keys: Any) -> Path:
    """Items i0 and on with the answers good and bad; `known`, rows of rubric, item, right and why, become the calibration."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        {"item": f"i{n}", "prompt": f"Question {n}?", "answers": {"good": f"Yes, on day {n}.", "bad": f"No, on day {n}."}}
        for n in range(count)
    ]
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    (folder / "rubric.yaml").write_text(yaml.safe_dump(rubric or RUBRIC, sort_keys=False), "utf-8")
    for name in ("known", "hidden"):
        if name in keys:
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([("rubric", "item", "right", "why"), *keys.pop(name)])
            keys["calibration" if name == "known" else "gold"] = f"{name}.csv"
    given = {"items": "items.jsonl", "rubric": "rubric.yaml", "labelers": ["ana", "ben"], "each": 2, "repeat_share": 0, **keys}
    path = folder / "help.yaml"
    path.write_text(yaml.safe_dump(given), "utf-8")
    return path


@dataclass
class Visitor:
    """A browser without a screen."""

    web: Any  # starlette's TestClient, or httpx2's, which goes through a socket

    def page(self, place: str = "/work") -> str:
        reply = self.web.get(place)
        assert reply.status_code == 200, (reply.status_code, reply.text)
        return reply.text

    def ask(self, place: str = "/work/1") -> dict[str, Any]:
        """What an item's page tells its script."""
        page = self.page(place)
        found = re.search(r'id="ask">(.*?)</script>', page)
        assert found
        return dict(json.loads(found[1])) | {"csrf": token(page)}

    def judgement(self, ask: dict[str, Any], n: int, said: Any, **changed: Any) -> dict[str, Any]:
        question = ask["questions"][n]
        written = {"key": secrets.token_hex(16), "ask": ask["ask"], "rubric": ask["rubric"], "why": ""}
        return written | {"criterion": question["criterion"], "letter": question["letter"], "said": said} | changed

    def post(self, place: str, ask: dict[str, Any], body: dict[str, Any]) -> Any:
        return self.web.post(place, json=body, headers={"x-csrf": ask["csrf"]})

    def say(self, ask: dict[str, Any], n: int, said: Any, **changed: Any) -> Any:
        return self.post("/write", ask, self.judgement(ask, n, said, **changed))

    def answer(self, place: str, good: bool = True) -> dict[str, Any]:
        """All of an item: the good answer, or the other, is better and right."""
        page, ask = self.page(place), self.ask(place)
        first = re.search(r'data-letter="A".*?<div class="said" dir="auto">(.*?)</div>', page, re.DOTALL)
        assert first
        of_a = ("Yes" in first[1]) == good
        for n, question in enumerate(ask["questions"]):
            said = 0 if of_a else 1
            if question["asks"] != "choose":
                said = 2 if (question["letter"] == "A") == of_a else 0
            assert self.say(ask, n, said).json() == {"kept": True}
        return ask


def token(page: str) -> str:
    found = re.search(r'name="csrf" content="([^"]+)"', page)
    assert found
    return found[1]


@dataclass
class House:
    studio: Studio

    def visitor(self, labeler: str = "", web: Any = None) -> Visitor:
        """Someone who has opened a labeler's link; `web` is what they open it with."""
        web = web or TestClient(self.studio.app, base_url=self.studio.url, client=("10.0.0.1", 1))
        found = Visitor(web)
        if labeler:
            assert web.get(self.studio.links[labeler]).status_code == 200
        return found

    def owner(self) -> Visitor:
        found = self.visitor()
        sent = {"password": PLAIN, "token": token(found.page("/owner"))}
        assert found.web.post("/owner/login", data=sent, follow_redirects=False).status_code == 303
        return found


@contextmanager
def opened(path: Path, **options: Any) -> Iterator[House]:
    with open_studio(path, out=path.parent / "run", port=0, **options) as studio:
        yield House(studio)


@contextmanager
def serving(found: House) -> Iterator[None]:
    """The studio at its address, on a thread of its own."""
    server = found.studio.server()
    thread = threading.Thread(target=server.run, kwargs={"sockets": [found.studio.listening]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=20)


def work(records: Records) -> dict[str, list[tuple[str, bool]]]:
    """The items that each is to judge, in their order, and whether it is done."""
    asks = {person.name: sequence(records, person) for person in people(records)}
    return {name: [(ask.item, ask.done) for ask in own if ask.why == "judge"] for name, own in asks.items()}


def some_come_while_others_write(found: House, other: House, *, items: int) -> None:
    """Two write four judgements each while the owner adds two, by another server or the same: each item keeps its two labelers."""

    def write(name: str) -> None:
        visitor = found.visitor(name)
        for n in range(1, 5):
            assert visitor.say(visitor.ask(f"/work/{n}"), 0, 0).json() == {"kept": True}

    records: Records = other.studio.app.state.site.records
    with ThreadPoolExecutor(4) as pool:
        tasks: list[Future[Any]] = [pool.submit(write, name) for name in ("ana", "ben")]
        tasks += [pool.submit(add_labeler, records, name) for name in ("chi", "dee")]
        for task in tasks:
            task.result()
    spoken = Counter((each.judgement.labeler, each.judgement.item) for each in said(records, WORK))
    assert sum(spoken.values()) == len(spoken) == 8
    after = work(records)
    assert list(after)[:2] == ["ana", "ben"]
    assert set(after) == {"ana", "ben", "chi", "dee"}
    assert Counter(item for own in after.values() for item, _ in own) == dict.fromkeys((f"i{n}" for n in range(items)), 2)
    assert sum(done for own in after.values() for _, done in own) == 8
