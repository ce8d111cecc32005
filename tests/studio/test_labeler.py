"""The labeler's pages: links, what is kept, undone, asked again, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from tests.studio.visiting import RUBRIC, House, opened, token, write_labelling

from tuneladder.studio import judging, tables
from tuneladder.studio.judging import said
from tuneladder.studio.labelling import read_labelling
from tuneladder.studio.overview import WORK
from tuneladder.studio.records import people, sequence
from tuneladder.studio.site import Site
from tuneladder.types import Turn

Build = Callable[..., House]
KNOWN = [("better", "i0", "good", "It says yes."), ("right", "i1/bad", "0", "")]


def site_of(found: House) -> Site:
    site: Site = found.studio.app.state.site
    return site


def values(found: House) -> list[tuple[str, str, Any, str]]:
    return [
        (each.judgement.labeler, each.judgement.item, each.judgement.value, each.judgement.why)
        for each in said(site_of(found).records, WORK)
    ]


def history(found: House) -> int:
    with site_of(found).records.database.read() as connection:
        return int(connection.execute(select(func.count()).select_from(tables.judgements)).scalar_one())


def test_a_link_opens_and_nothing_else_does(house: Build) -> None:
    found = house()
    stranger = found.visitor()
    assert stranger.web.get("/work").status_code == 401
    assert stranger.web.post("/write", json={}).status_code in (401, 422)
    assert stranger.web.get("/l/" + "0" * 64).status_code == 404
    reply = stranger.web.get(found.studio.links["ana"], follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "/work")
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie
    assert "Hello, ana." in stranger.page()
    link = found.studio.links["ana"].rpartition("/")[2]
    with site_of(found).records.database.read() as connection:
        stored = str(connection.exec_driver_sql("SELECT * FROM labelers").all())
    assert link not in stored
    assert link not in stranger.page()


def test_a_cookie_that_was_changed_opens_nothing(house: Build) -> None:
    found = house()
    visitor = found.visitor("ana")
    (cookie,) = visitor.web.cookies.jar
    visitor.web.cookies.set(cookie.name, "x" + str(cookie.value), domain=cookie.domain)
    fresh = found.visitor()
    fresh.web.cookies.set(cookie.name, "A" + str(cookie.value)[1:])
    assert fresh.web.get("/work").status_code == 401


def test_every_answer_has_its_headers(house: Build) -> None:
    visitor = house().visitor("ana")
    for place in ("/work", "/work/1", "/static/label.js", "/nothing"):
        headers = visitor.web.get(place).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
    page = visitor.page("/work/1")
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", page)
    assert not re.search(r"<script(?![^>]*(?:src=|application/json))", page)
    assert not re.search(r"\sstyle=|\son\w+=", page)
    assert visitor.web.get("/work", headers={"host": "evil.example"}).status_code == 400
    assert visitor.web.get("/static/../serve.py").status_code == 404


def test_a_judgement_is_kept_once_however_often_it_is_sent(house: Build) -> None:
    found = house()
    visitor = found.visitor("ana")
    ask = visitor.ask()
    written = visitor.judgement(ask, 0, 0, why="  because\0 ")
    for _ in range(3):
        assert visitor.post("/write", ask, written).json() == {"kept": True}
    assert history(found) == 1
    ((_, item, value, why),) = values(found)
    assert value in ("good", "bad")
    assert why == "because"
    assert visitor.say(ask, 0, 1).status_code == 200  # thought better of it
    assert history(found) == 2
    ((_, again, other, _),) = values(found)
    assert (again, {value, other}) == (item, {"good", "bad"})
    ben = found.visitor("ben")
    own = ben.ask()
    assert ben.post("/write", own, {**written, "ask": own["ask"]}).status_code == 400  # another's key
    assert history(found) == 2


def test_what_no_page_of_ours_sends_is_refused(house: Build) -> None:
    found = house()
    visitor = found.visitor("ana")
    ask = visitor.ask()
    good = visitor.judgement(ask, 0, 0)
    assert visitor.web.post("/write", json=good).status_code == 403
    assert visitor.web.post("/write", json=good, headers={"x-csrf": "guessed"}).status_code == 403
    assert visitor.web.post("/undo", json={"key": "k" * 20}).status_code == 403
    theirs = found.visitor("ben").ask()["ask"]
    changes: list[tuple[dict[str, Any], int]] = [
        ({"ask": theirs}, 409),
        ({"ask": ask["ask"] + 1}, 409),  # not yet
        ({"rubric": "0" * 16}, 409),
        ({"criterion": "worse"}, 409),
        ({"letter": "C"}, 409),
        ({"said": 99}, 400),
        ({"said": {"A": 1, "B": 2}}, 400),
        ({"said": "0"}, 422),
        ({"said": None}, 422),
        ({"key": "short"}, 422),
        ({"why": "x" * 2001}, 422),
        ({"more": 1}, 422),
    ]
    for changed, status in changes:
        reply = visitor.post("/write", ask, {**good, **changed})
        assert (reply.status_code, bool(reply.json()["error"])) == (status, True), changed
    assert visitor.post("/write", ask, {**good, "why": "x" * 70_000}).status_code == 413
    assert history(found) == 0


def test_a_labeler_sees_no_name_and_no_reason_for_an_ask(house: Build) -> None:
    found = house(count=12, hidden=[("better", "i0", "good", "")], repeat_share=0.2)
    visitor = found.visitor("ana")
    asks = read_labelling(found_path(found)).asks["ana"]
    assert {"gold", "repeat"} <= {ask.why for ask in asks}
    for n, ask in enumerate(asks, start=1):
        page = visitor.page(f"/work/{n}")
        assert not re.search(rf"good|bad|gold|repeat|{ask.item}\b", page.replace("repeat(", "")), ask
        visitor.answer(f"/work/{n}")
    assert "all done" in visitor.page()
    first, other = (next(n for n, ask in enumerate(asks, start=1) if ask.why == why) for why in ("judge", "repeat"))
    assert first < other


def found_path(found: House) -> Path:
    return Path(found.studio.judgements).parents[1] / "help.yaml"


def test_undo_goes_back_to_what_was_said_before_and_keeps_all(house: Build) -> None:
    found = house()
    visitor = found.visitor("ana")
    visitor.answer("/work/1")
    ask = visitor.ask("/work/1")
    before = values(found)
    visitor.say(ask, 2, 1)
    changed = values(found)
    assert changed != before
    visitor.say(ask, 2, 1, why="a reason alone is nothing to undo")
    key = {"key": "u" * 20}
    for _ in range(2):  # a reply that never arrived
        assert visitor.post("/undo", ask, key).json() == {"n": 1}
    assert sorted(values(found)) == sorted(before)
    for left in (2, 1, 0):
        assert visitor.post("/undo", ask, {"key": f"{left}" * 20}).json() == {"n": 1}
        assert len(values(found)) == left
    assert visitor.post("/undo", ask, {"key": "none" * 5}).json() == {"n": None}
    assert history(found) == 3 + 2 + 4
    assert visitor.ask("/work/1")["questions"][0]["said"] is None
    assert visitor.web.get("/work/2").url.path == "/work"  # what is open again is asked first


def test_undo_brings_back_the_reason_the_version_and_the_time(tmp_path: Path) -> None:
    with opened(write_labelling(tmp_path)) as found:
        visitor = found.visitor("ana")
        ask = visitor.ask()
        visitor.say(ask, 0, 0, why="at first sight")
        visitor.say(ask, 0, 0, why="on second thoughts")
        (before,) = judging.said(site_of(found).records, WORK)
    other = {**RUBRIC, "criteria": [{**RUBRIC["criteria"][0], "means": "Which is kinder?"}, *RUBRIC["criteria"][1:]]}
    with opened(write_labelling(tmp_path, rubric=other)) as found:
        visitor = found.visitor("ana")
        ask = visitor.ask()
        visitor.say(ask, 0, 1, why="it is kinder")
        assert judging.said(site_of(found).records, WORK) != [before]
        assert visitor.post("/undo", ask, {"key": "u" * 20}).json() == {"n": 1}
        assert judging.said(site_of(found).records, WORK) == [before]
        assert before.judgement.why == "on second thoughts"
        assert visitor.post("/undo", ask, {"key": "v" * 20}).json() == {"n": 1}
        assert judging.said(site_of(found).records, WORK) == []


def test_who_comes_back_goes_on_where_they_stopped(house: Build) -> None:
    found = house()
    visitor = found.visitor("ana")
    visitor.answer("/work/1")
    ask = visitor.ask("/work/2")
    visitor.say(ask, 0, 3, why="so")
    again = found.visitor("ana")
    assert again.web.get("/work").url.path == "/work/2"
    shown = again.ask("/work/2")
    assert [each["said"] for each in shown["questions"]] == [3, None, None]
    assert shown["reasons"] == {"better": "so"}
    assert "<b>2</b> of 4" in again.page("/work/2")
    assert again.web.get("/work/after/1").url.path == "/work/2"
    assert again.web.get("/work/4").url.path != "/work/4"
    for n in (2, 3, 4):
        again.answer(f"/work/{n}")
    assert "Thank you, ana." in again.page()
    assert again.page("/work/4")  # second thoughts are allowed


def test_a_reason_that_is_wanted_is_waited_for(house: Build) -> None:
    visitor = house(reasons=["better"]).visitor("ana")
    ask = visitor.answer("/work/1")
    assert ask["wanted"] == ["better"]
    assert visitor.web.get("/work/2").url.path != "/work/2"
    visitor.say(ask, 0, 0, why="It says yes.")
    assert visitor.web.get("/work/2").url.path == "/work/2"


def test_the_calibration_tells_and_is_passed_or_taken_again(house: Build) -> None:
    found = house(known=KNOWN)
    visitor = found.visitor("ana")
    assert "after 2 items to warm up" in visitor.page()
    visitor.answer("/work/1", good=False)
    visitor.answer("/work/2", good=False)
    assert visitor.web.get("/work/3").url.path == "/work"
    page = visitor.page()
    assert "0 % of the warm-up was right" in page
    assert page.count("You said") == 2
    assert "It says yes." in page
    assert {"Question 0?", "Question 1?", "Yes, on day 0.", "No, on day 1."} <= set(re.findall(r">([^<]+)</div>", page))
    assert "Yes, on day 1." not in page  # of a score only the answer that was meant
    assert "good" not in re.sub(r"<[^>]+>", "", page).replace("badge good", "")  # in letters
    assert visitor.web.get("/work/1").url.path == "/work"  # what was told is closed
    first = visitor.web.post("/work/again", data={"token": "no"})
    assert first.status_code == 403
    for _ in range(2):
        visitor.web.post("/work/again", data={"token": token(page)})
    records = site_of(found).records
    rounds = [ask.round for ask in sequence(records, people(records)[0])]
    assert rounds == [1, 1, 2, 2, 0, 0]
    visitor.answer("/work/3")
    visitor.answer("/work/4")
    page = visitor.page()
    assert "100 % of the warm-up was right" in page
    assert "Not one differed" in page
    assert visitor.page() == page  # what was taught is still there when the page is loaded again
    assert 'href="/work/5"' in page
    assert visitor.web.get("/work/4").url.path == "/work"
    assert values(found) == []  # of the calibration nothing counts
    assert 'href="/work/warm-up"' in visitor.page("/work/5")
    visitor.answer("/work/5")
    assert len(values(found)) == 3
    assert visitor.web.get("/work").url.path == "/work/6"
    assert "100 % of the warm-up was right" in visitor.page("/work/warm-up")


def test_the_result_of_a_warm_up_that_is_not_over_is_not_shown(house: Build) -> None:
    visitor = house(known=KNOWN).visitor("ana")
    visitor.answer("/work/1", good=False)
    assert visitor.web.get("/work/warm-up").url.path == "/work/2"
    assert "warm-up</a>" not in visitor.page("/work/2")
    visitor.answer("/work/2", good=False)
    assert "You said" in visitor.page("/work/warm-up")
    assert visitor.web.get("/work/1").url.path == "/work"  # and it is closed with that


def test_a_settled_pair_of_a_choice_calibrates(house: Build) -> None:
    found = house(rubric={"criteria": RUBRIC["criteria"][:1]}, known=[("better", "i0: bad over good", "no", "It says yes.")])
    ana, ben = found.visitor("ana"), found.visitor("ben")
    ana.answer("/work/1")
    assert "100 % of the warm-up was right" in ana.page()
    ben.answer("/work/1", good=False)
    page = ben.page()
    assert "0 % of the warm-up was right" in page
    assert re.search(r'You said <b class="over">[AB]</b>, right is <b class="right">[AB] &gt; [AB]</b>. It says yes.', page)


def test_another_round_asks_what_was_not_shown(house: Build) -> None:
    known = [("better", f"i{n}", "good", "") for n in range(3)]
    found = house(rubric={"criteria": RUBRIC["criteria"][:1]}, count=6, known=known, warm_up=1)
    visitor, owner, records = found.visitor("ana"), found.owner(), site_of(found).records
    for n in (1, 2, 3):
        visitor.answer(f"/work/{n}", good=False)
        visitor.web.post("/work/again", data={"token": token(visitor.page())})
    visitor.answer("/work/4")
    assert "100 % of the warm-up was right" in visitor.page()
    rounds = [(ask.round, ask.item) for ask in sequence(records, people(records)[0]) if ask.round]
    assert [round for round, _ in rounds] == [1, 2, 3, 4]
    assert {item for _, item in rounds[:3]} == {"i0", "i1", "i2"}
    assert rounds[3][1] == rounds[0][1]  # all were shown: it is the one of longest ago
    assert "100 %, passed, round 4; at first 0 %" in owner.page("/owner/live")


def test_the_pass_mark_decides(house: Build) -> None:
    found = house(known=KNOWN, **{"pass": 0.5})
    visitor = found.visitor("ana")
    visitor.answer("/work/1")
    visitor.answer("/work/2", good=False)
    page = visitor.page()
    assert "50 % of the warm-up was right" in page
    assert "passed" in page


def test_model_text_is_shown_and_never_run(house: Build) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    rubric = {"criteria": [{"name": "better", "asks": "choose", "means": evil}]}
    found = house(rubric=rubric, labelers=["ana", f"<b>{evil}"])
    records = site_of(found).records
    for id, item in list(records.labelling.items.items()):
        turns = (Turn("user", evil), Turn("assistant", "</script><script>alert(3)</script>"))
        records.labelling.items[id] = replace(item, turns=turns, answers={"good": f"{evil} one", "bad": f"{evil} two"})  # type: ignore[index]
    for name in records.labelling.asks:
        visitor = found.visitor(name)
        for page in (visitor.page(), visitor.page("/work/1")):
            assert "&lt;" in page
            assert not re.search(r"<img|<b><", page)
            assert len(re.findall(r"<script", page)) <= 2  # ours: the data, and the file
    visitor.say(visitor.ask(), 0, 0, why=evil)
    assert not re.search(r"<img", found.owner().page("/owner"))


def test_writes_are_bounded_and_told_when_to_come_again(house: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    found = house()
    visitor = found.visitor("ana")
    ask = visitor.ask()
    now = [0.0]
    limit = site_of(found).writes
    monkeypatch.setattr(limit, "clock", lambda: now[0])
    limit.left["1"] = (2.0, 0.0)
    assert [visitor.say(ask, 0, 0).status_code for _ in range(3)] == [200, 200, 429]
    reply = visitor.say(ask, 0, 0)
    assert int(reply.headers["retry-after"]) >= 1
    now[0] = 10.0
    assert visitor.say(ask, 0, 0).status_code == 200
    ben = found.visitor("ben")
    assert ben.say(ben.ask(), 0, 0).status_code == 200
    stranger = found.visitor()
    tries = [stranger.web.get("/l/no").status_code for _ in range(30)]
    assert tries[0] == 404
    assert tries[-1] == 429


def test_a_version_of_the_rubric_that_was_shown_is_the_one_that_counts(tmp_path: Path) -> None:
    with opened(write_labelling(tmp_path)) as found:
        visitor = found.visitor("ana")
        old = visitor.ask()
    other = {**RUBRIC, "criteria": [{**RUBRIC["criteria"][0], "means": "Which is kinder?"}, *RUBRIC["criteria"][1:]]}
    with opened(write_labelling(tmp_path, rubric=other)) as found:
        visitor = found.visitor("ana")
        new = visitor.ask()
        assert new["rubric"] != old["rubric"]
        visitor.post("/write", new, visitor.judgement(old, 0, 0))
        visitor.say(new, 1, 2)
        records = site_of(found).records
        assert [each.judgement.rubric for each in judging.said(records, WORK)] == [
            f"better@{old['rubric']}",
            f"right@{new['rubric']}",
        ]
