"""The owner's pages, behind the password: who is how far, how far they agree, what is in dispute, links and exports."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tuneladder.feedback.agreement import Agreement
from tuneladder.feedback.alpha import RELIABLE, TENTATIVE
from tuneladder.feedback.disputes import Dispute
from tuneladder.feedback.rubric import unstamped
from tuneladder.ladder import words as say
from tuneladder.ladder.agreed import change_line, repeated
from tuneladder.studio.guard import address, check_csrf, slow_down
from tuneladder.studio.joining import add_labeler
from tuneladder.studio.locks import LONGEST
from tuneladder.studio.overview import Overview, Progress, disputes_csv, item_of, judgements_csv
from tuneladder.studio.records import Records, link_of, renew
from tuneladder.studio.site import Here, page, part
from tuneladder.task.formats import text_of

MOST = 25  # disputes on the page; the CSV has all

router = APIRouter()
Token = Annotated[str, Form()]


def owner(request: Request, site: Here) -> None:
    if request.session.get("owner") != site.password.mark:
        raise HTTPException(401, "the owner's password opens this")


Owner = Depends(owner)


@router.get("/owner")
def desk(request: Request, site: Here) -> HTMLResponse:
    if request.session.get("owner") != site.password.mark:
        return page(request, "password", {"wrong": ""})
    found = site.watch.overview(site.records)
    links = [(each.person, f"{site.url}/l/{link_of(site.records, each.person)}") for each in found.people]
    return page(request, "owner", {"name": site.records.labelling.name, "links": links} | live_context(site.records, found))


@router.get("/owner/live", dependencies=[Owner])
def live(site: Here) -> HTMLResponse:
    return HTMLResponse(part("live", live_context(site.records, site.watch.overview(site.records))))


@router.post("/owner/login")
def login(request: Request, site: Here, password: Annotated[str, Form(max_length=LONGEST)], token: Token) -> Response:
    check_csrf(request, token)
    slow_down(site.passwords, address(request))
    slow_down(site.all_passwords, "")
    if not site.password.opens(password):
        return page(request, "password", {"wrong": "That is not the password."}, 403)
    request.session["owner"] = site.password.mark
    return RedirectResponse("/owner", 303)


@router.post("/owner/logout")
def logout(request: Request, token: Token) -> Response:
    check_csrf(request, token)
    request.session.pop("owner", None)
    return RedirectResponse("/owner", 303)


@router.post("/owner/renew", dependencies=[Owner])
def new_link(request: Request, site: Here, labeler: Annotated[int, Form()], token: Token) -> Response:
    check_csrf(request, token)
    if not renew(site.records, labeler):
        raise HTTPException(404, "there is no such labeler")
    return RedirectResponse("/owner", 303)


@router.post("/owner/add", dependencies=[Owner])
def newcomer(request: Request, site: Here, name: Annotated[str, Form(max_length=100)], token: Token) -> Response:
    check_csrf(request, token)
    add_labeler(site.records, name)
    return RedirectResponse("/owner", 303)


@router.get("/owner/judgements.csv", dependencies=[Owner])
def export(site: Here) -> Response:
    return _file(judgements_csv(site.records), f"{site.records.labelling.name}-judgements.csv")


@router.get("/owner/disputes.csv", dependencies=[Owner])
def disputes(site: Here) -> Response:
    found = disputes_csv(site.watch.overview(site.records))
    return _file(found, f"{site.records.labelling.name}-disputes.csv")


def live_context(records: Records, found: Overview) -> dict[str, Any]:
    disputed = [(each, dispute) for each in found.found for dispute in each.disputes]
    return {
        "people": [_person(each) for each in found.people],
        "judgements": found.judgements,
        "done": sum(each.done for each in found.people),
        "of": sum(each.of for each in found.people),
        "agreements": [_agreement(each) for each in found.found],
        "refused": [(unstamped(rubric)[0], said.replace(rubric, unstamped(rubric)[0])) for rubric, said in found.refused.items()],
        "findings": [(each.person.name, said) for each in found.people for said in each.findings],
        "changes": [change_line(each) for each in found.changes],
        "disputes": [_dispute(records, each, dispute) for each, dispute in disputed[:MOST]],
        "more": len(disputed) > MOST,
        "disputed": say.count(len(disputed), "pair" if disputed and all(each.unit == "pair" for each, _ in disputed) else "item"),
        "items": len({item_of(records, dispute.item)[0].id for _, dispute in disputed}),
    }


def _person(each: Progress) -> dict[str, Any]:
    named = [(unstamped(rubric)[0], own) for rubric, own in each.figures.items()]
    accords = {criterion: own.accord for criterion, own in named if own.accord}
    return {
        "id": each.person.id,
        "name": each.person.name,
        "done": each.done,
        "of": each.of,
        "calibration": _calibration(each),
        "accord": [f"{criterion} {say.scored(score)}" for criterion, score in accords.items()],
        "repeats": [f"{criterion} {said}" for criterion, own in named if (said := repeated(own))],
        "firsts": [f"{criterion} {own.first.taken} of {own.first.count}" for criterion, own in named if own.first],
        "last": each.last[:16].replace("T", " "),
        "out": any(own.out for own in each.figures.values()),
    }


def _calibration(each: Progress) -> str:
    """The last round's result; of more than one the first's, too, which nobody had been shown the answers to."""
    mark, round = each.standing.mark, each.standing.round
    if not round:
        return ""
    told = f"{100 * mark.right:.0f} %, {'passed' if mark.passed else 'not passed'}" if mark else "under way"
    return f"{told}, round {round}; at first {100 * each.first.right:.0f} %" if each.first else told


def _agreement(found: Agreement) -> dict[str, Any]:
    score = found.alphas[found.level]
    grade = "good" if score.value >= RELIABLE else "warn" if score.value >= TENTATIVE else "bad"
    words = {"good": "to rely on", "warn": "for tentative conclusions", "bad": "too low to rely on"}
    return {
        "criterion": unstamped(found.rubric)[0],
        "version": unstamped(found.rubric)[1][:6],
        "value": say.figure(score.value),
        "span": say.span(score),
        "grade": grade,
        "words": words[grade],
        "level": found.level,
        "items": say.count(found.items, "item"),
        "judgements": say.count(found.judgements, "judgement"),
        "gold": [(way, say.scored(own)) for way, own in found.gold.items()],
    }


def _dispute(records: Records, found: Agreement, dispute: Dispute) -> dict[str, Any]:
    item, meant = item_of(records, dispute.item)
    return {
        "criterion": unstamped(found.rubric)[0],
        "called": dispute.item,
        "asked": item.turns[-1].text,
        "answers": [(name, text) for name, text in item.answers.items() if meant in ("", name)],
        "said": [(each.labeler, text_of(each.value), each.why) for each in dispute.said],
    }


def _file(content: str, name: str) -> Response:
    called = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content.encode("utf-8", "replace"), media_type="text/csv; charset=utf-8", headers=called)
