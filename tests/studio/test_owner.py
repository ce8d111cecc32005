"""The owner's page: the password, what is measured live, what is exported, and new links."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from tests.studio.visiting import PLAIN, House, opened, serving, token, write_labelling

from tuneladder import api
from tuneladder.errors import BadInput
from tuneladder.studio.locks import PASSWORD, password

Build = Callable[..., House]
RANKED = {"criteria": [{"name": "order", "asks": "rank", "means": "The best first."}]}


def test_the_password_opens_and_is_not_guessed(house: Build) -> None:
    found = house()
    visitor = found.visitor("ana")
    for place in ("/owner/live", "/owner/judgements.csv", "/owner/disputes.csv"):
        assert visitor.web.get(place).status_code == 401
    page = visitor.page("/owner")
    assert 'type="password"' in page
    assert visitor.web.post("/owner/renew", data={"labeler": 1, "token": token(page)}).status_code == 401
    assert visitor.web.post("/owner/login", data={"password": PLAIN, "token": "no"}).status_code == 403
    wrong = [visitor.web.post("/owner/login", data={"password": "guess", "token": token(page)}).status_code for _ in range(6)]
    assert wrong == [403] * 5 + [429]
    site = found.studio.app.state.site
    site.passwords.left.clear()
    sent = {"password": PLAIN, "token": token(page)}
    reply = visitor.web.post("/owner/login", data=sent)
    assert "asks are answered" in reply.text
    assert PLAIN not in repr(site.password)
    assert "Hello, ana." in visitor.page("/work")  # one browser may be both
    visitor.web.post("/owner/logout", data={"token": token(reply.text)})
    assert visitor.web.get("/owner/live").status_code == 401


def test_many_addresses_together_are_slowed_too(house: Build) -> None:
    found = house()
    site = found.studio.app.state.site
    site.all_passwords.left[""] = (0.0, site.all_passwords.clock())
    visitor = found.visitor()
    sent = {"password": PLAIN, "token": token(visitor.page("/owner"))}
    assert visitor.web.post("/owner/login", data=sent).status_code == 429


def test_behind_a_proxy_tries_are_counted_by_who_asks_it(tmp_path: Path) -> None:
    """A guesser elsewhere locks nobody out; where no proxy is named, nobody is believed."""
    path = write_labelling(tmp_path)
    for behind, last in (("127.0.0.1", 303), ("", 429)):
        with opened(path, behind=behind) as found, serving(found), httpx2.Client(base_url=found.studio.url) as web:
            sent = {"password": "guess", "token": token(web.get("/owner").text)}
            for _ in range(6):
                guessed = web.post("/owner/login", data=sent, headers={"x-forwarded-for": "203.0.113.9"})
            assert guessed.status_code == 429
            reply = web.post("/owner/login", data=sent | {"password": PLAIN}, headers={"x-forwarded-for": "198.51.100.7"})
            assert reply.status_code == last


def test_a_password_is_made_where_none_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PASSWORD)
    made, plain = password()
    assert made.opens(plain)
    assert not made.opens(plain + "x")
    assert password()[1] != plain
    monkeypatch.setenv(PASSWORD, "short")
    with pytest.raises(BadInput, match="has 5 letters"):
        password()
    monkeypatch.setenv(PASSWORD, "x" * 201)
    with pytest.raises(BadInput, match="has 201 letters"):
        password()
    monkeypatch.setenv(PASSWORD, "long enough")
    made, shown = password()
    assert (made.opens("long enough"), shown) == (True, "")


def test_the_export_is_what_agreement_and_pairs_read(house: Build, tmp_path: Path) -> None:
    found = house(count=8, hidden=[("better", "i7", "good", "")], gold_share=0.2)
    for name in found.studio.links:
        visitor = found.visitor(name)
        for n in range(1, 9):
            visitor.answer(f"/work/{n}", good=(name, n) != ("ben", 3))
    visitor.say(visitor.ask("/work/3"), 0, 2, why="=HYPERLINK(1), said ben")
    owner = found.owner()
    reply = owner.web.get("/owner/judgements.csv")
    assert reply.headers["content-disposition"].startswith("attachment")
    path = tmp_path / "judgements.csv"
    path.write_bytes(reply.content)
    agreed = api.agreement(path, rubrics=[tmp_path / "rubric.yaml"])
    assert [(each.rubric.partition("@")[0], each.judgements) for each in agreed.found] == [("better", 16), ("right", 32)]
    assert agreed.found[0].gold["majority"].value == 1
    assert agreed.read.unread == ()
    assert "'=HYPERLINK" in reply.text
    pairs = api.pairs(path, tmp_path / "items.jsonl", tmp_path / "pairs.jsonl", criterion="better")
    assert {each.chosen[:3] for each in pairs.comparisons} == {"Yes"}
    page = owner.page("/owner")
    assert "16 of 16 asks are answered" in page
    assert re.search(r"better: alpha, nominal", page)
    # what is in dispute is told with the reasons, and comes back as a calibration when it is settled
    assert "HYPERLINK(1), said ben" in page
    disputes = owner.web.get("/owner/disputes.csv").text
    assert disputes.startswith("rubric,item,right,why,doubt,said")
    assert "said ben" in disputes


def test_the_figures_are_live_and_say_why_there_are_none(house: Build) -> None:
    found = house(rubric=RANKED)
    owner = found.owner()
    assert "0 of 8 asks are answered" in owner.page("/owner/live")
    ana, ben = (found.visitor(name) for name in ("ana", "ben"))
    for n in range(1, 5):
        ask = ana.ask(f"/work/{n}")
        ana.say(ask, 0, {"A": 1, "B": 1 + n % 2})
    assert "not yet: all 4 judgements under order" in owner.page("/owner/live")
    for n in range(1, 5):
        ask = ben.ask(f"/work/{n}")
        ben.say(ask, 0, {"A": 1 + n % 2, "B": 2})
    page = owner.page("/owner/live")
    assert "8 of 8 asks are answered" in page
    assert "order: alpha, nominal" in page
    assert owner.page("/owner/live") == page


def test_a_new_link_closes_the_old_one_and_its_sessions(house: Build) -> None:
    found = house()
    ana, owner = found.visitor("ana"), found.owner()
    page = owner.page("/owner")
    assert found.studio.links["ana"] in page
    owner.web.post("/owner/renew", data={"labeler": 1, "token": token(page)})
    assert ana.web.get("/work").status_code == 401
    assert found.visitor().web.get(found.studio.links["ana"]).status_code == 404
    links = re.findall(r'readonly value="([^"]+)"', owner.page("/owner"))
    assert found.studio.links["ana"] not in links
    assert ana.web.get(links[0]).status_code == 200
    assert owner.web.post("/owner/renew", data={"labeler": 99, "token": token(page)}).status_code == 404


def test_who_takes_what_is_shown_first_is_found(house: Build) -> None:
    rubric = {"criteria": [{"name": "better", "asks": "choose", "means": "Which helps more?"}]}
    found = house(count=20, rubric=rubric, labelers=["ana", "ben", "cho"], each=3, seed=1)
    for name in ("ana", "ben"):
        for n in range(1, 21):
            found.visitor(name).answer(f"/work/{n}")
    cho = found.visitor("cho")
    for n in range(1, 21):
        cho.say(cho.ask(f"/work/{n}"), 0, 0)
    page = re.sub(r"<[^>]+>", " ", found.owner().page("/owner/live"))
    assert "took the answer that was shown first 20 of 20 times, where chance takes it 10 times" in page
    assert page.count("took the answer") == 1
    assert "better 20 of 20" in page
    # an order of their own hides it from what they choose, and chance is what agreement leaves
    assert re.search(r"cho\s+(may tell|tells) little", page)


def test_labels_that_are_numbers_are_no_scores(house: Build) -> None:
    topics = {"criteria": [{"name": "topic", "asks": "label", "values": {1: "sports", 2: "politics", 3: "science"}}]}
    found = house(rubric=topics)
    for name in ("ana", "ben"):
        visitor = found.visitor(name)
        for n in range(1, 5):
            visitor.answer(f"/work/{n}", good=(name, n) != ("ben", 2))
    assert "topic: alpha, nominal" in found.owner().page("/owner/live")
