"""The labeler's pages: a link opens them, one item a screen, and every answer is kept as it is given."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Header, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tuneladder.studio import judging
from tuneladder.studio.differences import marked
from tuneladder.studio.guard import address, check_csrf, slow_down
from tuneladder.studio.questions import Question, questions, said_of, value_of
from tuneladder.studio.records import Person, again, letters_of, person_of, person_with, tell
from tuneladder.studio.site import Here, Site, page
from tuneladder.studio.standing import Standing, open_to, standing

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
Csrf = Annotated[str, Header(alias="x-csrf")]


class Written(BaseModel):
    """A judgement as the page says it: the number of an option, or of a ranking each letter's place."""

    model_config = ConfigDict(extra="forbid", strict=True)
    key: Key
    ask: int
    rubric: Annotated[str, Field(max_length=16)]
    criterion: Annotated[str, Field(max_length=200)]
    letter: Annotated[str, Field(max_length=8)]
    said: int | dict[str, int]
    why: Annotated[str, Field(max_length=2000)]


class Undone(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    key: Key


def labeler(request: Request, site: Here) -> Person:
    session = request.session
    found = person_of(site.records, session["labeler"], session["token"]) if "labeler" in session else None
    if found is None:
        raise HTTPException(401, "open the link that you were sent: it is yours alone")
    return found


router = APIRouter()
Labeler = Annotated[Person, Depends(labeler)]


@router.get("/l/{link}")
def enter(request: Request, site: Here, link: str) -> Response:
    found = person_with(site.records, link)
    if found is None:
        slow_down(site.links, address(request))
        raise HTTPException(404, "this link opens nothing: ask for it again")
    owner = request.session.get("owner")
    request.session.clear()
    request.session.update({"labeler": found.id, "token": found.token} | ({"owner": owner} if owner else {}))
    # who comes back after the calibration's result goes on where they stopped, also before the first answer is kept
    stood = standing(site.records, found)
    onward = stood.stage == "work" and stood.mark and stood.at is not None
    return RedirectResponse(f"/work/after/{stood.at}" if onward else "/work", 303)


@router.get("/work")
def work(request: Request, site: Here, person: Labeler) -> Response:
    found = standing(site.records, person)
    # what the calibration taught stays on the screen until the work is begun, also where the page is loaded again
    begun = any(ask.done for ask in found.asks if found.stage == "calibration" or not found.mark or not ask.round)
    if found.stage in ("calibration", "work") and found.at is not None and begun:
        return RedirectResponse(f"/work/{found.at + 1}", 303)
    return _result(request, site, person, found) if found.mark and found.stage != "done" else _stands(request, site, person, found)


@router.get("/work/warm-up")
def warm_up(request: Request, site: Here, person: Labeler) -> Response:
    found = standing(site.records, person)
    return _result(request, site, person, found) if found.mark else RedirectResponse("/work", 303)


@router.get("/work/after/{n}")
def after(site: Here, n: int, person: Labeler) -> Response:
    return RedirectResponse(f"/work/{n + 1}" if open_to(standing(site.records, person), person, n) else "/work", 303)


@router.get("/work/{n}")
def item(request: Request, site: Here, n: int, person: Labeler) -> Response:
    found = standing(site.records, person)
    if not open_to(found, person, n - 1):
        return RedirectResponse("/work", 303)
    return _item(request, site, person, found, n - 1)


@router.post("/work/again")
def once_more(request: Request, site: Here, person: Labeler, token: Annotated[str, Form()]) -> Response:
    check_csrf(request, token)
    found = standing(site.records, person)
    if found.stage == "failed":
        tell(site.records, person, found.round)
        again(site.records, person, found.round + 1)
    return RedirectResponse("/work", 303)


@router.post("/write")
def write(request: Request, site: Here, person: Labeler, written: Written, token: Csrf = "") -> dict[str, bool]:
    check_csrf(request, token)
    slow_down(site.writes, str(person.id))
    records = site.records
    rubric = records.rubrics.get(written.rubric)
    found = standing(records, person)
    at = next((n for n, ask in enumerate(found.asks) if ask.id == written.ask), -1)
    if judging.is_kept(records, person, written.key):
        return {"kept": True}
    if rubric is None or not open_to(found, person, at):
        raise HTTPException(409, "this can no longer be answered" if rubric else "no such version of the rubric is known")
    ask = found.asks[at]
    letters = letters_of(records, person, ask)
    asked = questions(rubric, records.labelling.items[ask.item], letters)
    question = next((one for one in asked if (one.criterion.name, one.letter) == (written.criterion, written.letter)), None)
    if question is None:
        raise HTTPException(409, "the rubric asks no such question")
    value = value_of(question, written.said, letters)
    why = written.why.replace("\0", "").strip()
    judging.write(records, person, ask, question, value, key=written.key, rubric=written.rubric, why=why)
    return {"kept": True}


@router.post("/undo")
def undo(request: Request, site: Here, person: Labeler, undone: Undone, token: Csrf = "") -> dict[str, int | None]:
    check_csrf(request, token)
    slow_down(site.writes, str(person.id))
    found = standing(site.records, person)
    free = {ask.id: ask for n, ask in enumerate(found.asks) if open_to(found, person, n)}
    id = judging.undo(site.records, person, free, key=undone.key)
    return {"n": next((n for n, ask in enumerate(found.asks, start=1) if ask.id == id), None)}


def _stands(request: Request, site: Site, person: Person, found: Standing) -> HTMLResponse:
    return page(request, "standing", _standing(site, person, found))


def _result(request: Request, site: Site, person: Person, found: Standing) -> HTMLResponse:
    """The calibration's: who has seen what is right can change no more of what they said."""
    if found.round > person.told:
        tell(site.records, person, found.round)
    following = next((n for n, ask in enumerate(found.asks, start=1) if not ask.round and not ask.done), None)
    shown = {"stage": "failed" if found.stage == "failed" else "marked", "go": f"/work/{following}" if following else "/work"}
    return page(request, "standing", _standing(site, person, found) | shown)


def _standing(site: Site, person: Person, found: Standing) -> dict[str, Any]:
    labelling = site.records.labelling
    work = [ask for ask in found.asks if not ask.round]
    return {
        "person": person,
        "stage": found.stage,
        "mark": found.mark,
        "at_least": labelling.at_least,
        "rubric": labelling.rubric,
        "first": sum(ask.round == found.round for ask in found.asks if found.round),
        "work": len(work),
        "go": f"/work/{found.at + 1}" if found.at is not None else "/work",
        "back": max((n for n, ask in enumerate(found.asks, start=1) if open_to(found, person, n - 1)), default=None),
    }


def _item(request: Request, site: Site, person: Person, found: Standing, n: int) -> HTMLResponse:
    records, ask = site.records, found.asks[n]
    labelling = records.labelling
    item, letters = labelling.items[ask.item], letters_of(records, person, ask)
    held = judging.given(records, ask)
    asked = questions(labelling.rubric, item, letters)
    own = [one for one in found.asks if one.round == ask.round]
    reasons = {criterion: given.why for (criterion, _), given in held.items() if given.why}
    context = {
        "person": person,
        "calibrating": bool(ask.round),
        "calibrated": found.mark is not None,
        "place": own.index(ask) + 1,
        "of": len(own),
        "done": sum(one.done for one in own),
        "turns": item.turns,
        "answers": list(zip(letters, marked(tuple(item.answers[name] for name in letters.values())), strict=True)),
        "rubric": labelling.rubric,
        "data": {
            "ask": ask.id,
            "labelling": labelling.content,
            "person": person.id,
            "rubric": labelling.rubric.version,
            "letters": list(letters),
            "questions": [_question(one, held, letters) for one in asked],
            "reasons": reasons,
            "wanted": sorted(labelling.reasons),
            "after": f"/work/after/{n + 1}",
            "back": f"/work/{n}" if open_to(found, person, n - 1) else None,
        },
    }
    return page(request, "item", context)


def _question(one: Question, held: dict[judging.Subject, judging.Given], letters: Any) -> dict[str, Any]:
    """As the page reads it: no name and no value, for a name may tell who wrote the answer."""
    given = held.get((one.criterion.name, one.subject))
    rank = one.criterion.asks == "rank"
    return {
        "criterion": one.criterion.name,
        "means": one.criterion.means,
        "asks": one.criterion.asks,
        "letter": one.letter,
        "options": [
            {"word": option.word, "means": option.means, "key": option.key} | ({"place": option.value} if rank else {})
            for option in one.options
        ],
        "said": said_of(one, given.value, letters) if given else None,
    }
