"""Somebody who comes later: their share of what nobody has begun, by the owner's page and the command, while others write."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from tests.studio.visiting import House, Visitor, opened, some_come_while_others_write, token, work, write_labelling

from tuneladder.errors import BadInput
from tuneladder.studio.judging import said
from tuneladder.studio.overview import WORK
from tuneladder.studio.records import Records, letters_of, people, sequence
from tuneladder.studio.serve import add_to

Build = Callable[..., House]
CHOICE = {"criteria": [{"name": "better", "asks": "choose", "means": "Which helps more?"}]}
KNOWN = [("better", "i0", "good", "It says yes."), ("better", "i1", "good", "")]


def records_of(found: House) -> Records:
    records: Records = found.studio.app.state.site.records
    return records


def open_link(found: House, link: str) -> Visitor:
    web = TestClient(found.studio.app, base_url=found.studio.url, client=("10.0.0.2", 1))
    assert web.get(link).status_code == 200
    return Visitor(web)


def test_the_owner_adds_a_labeler_and_nothing_is_lost(house: Build) -> None:
    found = house(rubric=CHOICE, count=12)
    ana = found.visitor("ana")
    for n in (1, 2):
        ana.answer(f"/work/{n}")
    screen, records = ana.ask("/work/3"), records_of(found)  # on ana's screen, nothing said yet
    before, letters = work(records), [letters_of(records, each, sequence(records, each)[0]) for each in people(records)]
    owner = found.owner()
    page = owner.page("/owner")
    reply = owner.web.post("/owner/add", data={"name": " chi ", "token": token(page)})
    assert "2 of 24 asks are answered" in reply.text  # as many as before, and as many done
    after = work(records)
    loads = {name: len(own) for name, own in after.items()}  # 7, 7 and 8 of them are still to be judged
    assert (loads["chi"], loads["ana"] - 2 + loads["ben"]) == (7, 15)
    assert Counter(item for own in after.values() for item, _ in own) == dict.fromkeys((f"i{n}" for n in range(12)), 2)
    for name in ("ana", "ben"):
        assert [ask for ask in before[name] if ask in after[name]] == after[name]  # in their order, some left out
    assert after["ana"][:3] == before["ana"][:3]
    assert letters == [letters_of(records, each, sequence(records, each)[0]) for each in people(records)[:2]]
    assert ana.say(screen, 0, 0).json() == {"kept": True}
    assert ana.web.get("/work").url.path == "/work/4"
    links = re.findall(r'readonly value="([^"]+)"', reply.text)
    assert links[:2] == [found.studio.links[name] for name in ("ana", "ben")]
    chi = open_link(found, links[2])
    for n in range(1, 8):
        chi.answer(f"/work/{n}")
    spoken = Counter(each.judgement.labeler for each in said(records, WORK))
    assert spoken == {"ana": 3, "chi": 7}
    assert "<b>chi</b>" in owner.page("/owner/live")


def test_who_comes_later_is_calibrated_and_may_try_again(house: Build) -> None:
    found = house(rubric=CHOICE, count=10, known=KNOWN, options={})
    owner = found.owner()
    page = owner.web.post("/owner/add", data={"name": "chi", "token": token(owner.page("/owner"))}).text
    chi = open_link(found, re.findall(r'readonly value="([^"]+)"', page)[2])
    for n in (1, 2):
        chi.answer(f"/work/{n}", good=False)
    assert chi.web.get("/work").status_code == 200
    again = chi.web.post("/work/again", data={"token": token(chi.page())})
    assert again.status_code == 200
    person = people(records_of(found))[2]
    rounds = [(ask.round, ask.why) for ask in sequence(records_of(found), person) if ask.round]
    assert rounds == [(1, "calibration")] * 2 + [(2, "calibration")] * 2


def test_what_the_owner_cannot_add(house: Build) -> None:
    found = house(rubric=CHOICE, count=2)
    visitor, owner = found.visitor("ana"), found.owner()
    page = owner.page("/owner")
    assert visitor.web.post("/owner/add", data={"name": "chi", "token": token(visitor.page("/owner"))}).status_code == 401
    assert owner.web.post("/owner/add", data={"name": "chi", "token": "no"}).status_code == 403
    for name, words in (("ana", "a labeler ana already"), (" ", "cannot be called"), ("n" * 200, "at most 100")):
        reply = owner.web.post("/owner/add", data={"name": name, "token": token(page)})
        assert reply.status_code in (400, 422)
        assert words in reply.text
    for labeler in ("ana", "ben"):
        found.visitor(labeler).answer("/work/1")
    reply = owner.web.post("/owner/add", data={"name": "chi", "token": token(page)})
    assert (reply.status_code, "is left to hand over to chi" in reply.text) == (400, True)
    assert [person.name for person in people(records_of(found))] == ["ana", "ben"]


def test_the_command_adds_to_what_is_served_and_to_what_is_not(tmp_path: Path) -> None:
    path = write_labelling(tmp_path, rubric=CHOICE, count=12)
    with pytest.raises(BadInput, match="there is no labelling in"):
        add_to(path, "chi", out=tmp_path / "run")
    with opened(path) as found:
        found.visitor("ana").answer("/work/1")
        added = add_to(path, "chi", out=tmp_path / "run", url="https://label.example.org")
        assert added.link.startswith("https://label.example.org/l/")
        assert sum(added.taken.values()) == 7
        chi = open_link(found, f"/l/{added.link.rpartition('/')[2]}")  # the server that runs knows them
        chi.answer("/work/1")
    add_to(path, "dee", out=tmp_path / "run")
    with opened(path) as found:  # the same file goes on, with those who came later
        assert list(found.studio.links) == ["ana", "ben", "chi", "dee"]
        loads = [len(own) for own in work(records_of(found)).values()]
        assert (sum(loads), max(loads) - min(loads)) == (24, 2)
        assert Counter(each.judgement.labeler for each in said(records_of(found), WORK)) == {"ana": 1, "chi": 1}
    write_labelling(tmp_path, rubric=CHOICE, count=12, labelers=["ana", "ben", "chi"])
    with pytest.raises(BadInput, match="other items, labelers") as error, opened(path):
        pass
    assert "tuneladder studio add" in error.value.hint


def test_while_others_write_nothing_is_lost_or_judged_twice(house: Build) -> None:
    found = house(rubric=CHOICE, count=16)
    some_come_while_others_write(found, found, items=16)
