"""In a browser without a screen: a labeler works by keyboard alone, and what does not arrive is kept and sent again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.studio.visiting import House, opened, serving, write_labelling

from tuneladder.studio.judging import said
from tuneladder.studio.overview import WORK

EVIL = "<img src=x onerror=document.title='broken'>"
RUBRIC = {
    "criteria": [
        {"name": "better", "asks": "choose", "means": f"Which helps more? {EVIL}"},
        {"name": "order", "asks": "rank", "means": "The best first."},
    ]
}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[House]:
    """A studio that is served, on a thread of its own."""
    known = [("order", "i0", '["good", "bad"]', "It says yes.")]
    with opened(write_labelling(tmp_path, rubric=RUBRIC, reasons=["better"], known=known)) as found, serving(found):
        yield found


def rank(page: Any) -> None:
    """The good answer first."""
    good = page.locator(".answer", has_text="Yes").get_attribute("data-letter")
    page.keyboard.press("1" if good == "A" else "2")
    page.keyboard.press("2" if good == "A" else "1")


def item(page: Any, place: int) -> None:
    page.wait_for_url(f"**/work/{place}")
    page.wait_for_selector("#dock:not([hidden])")


def test_a_labeler_works_by_keyboard_alone(live: House, browser: Any) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(live.studio.links["ana"])
    page.keyboard.press("Enter")
    item(page, 1)
    assert page.inner_text("#means") == f"Which helps more? {EVIL}"
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.keyboard.press("?")
    page.keyboard.press("3")
    rank(page)
    page.keyboard.press("Enter")  # a reason is wanted, and asked for
    page.keyboard.type("neither, 1 or 2")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    page.wait_for_url("**/work")
    assert "100 % of the warm-up" in page.inner_text("main")
    page.keyboard.press("Enter")
    item(page, 2)
    assert page.locator("mark").count() >= 2
    page.keyboard.press("d")
    assert "unmarked" in page.get_attribute("body", "class")

    # the store does not answer: it is said, what was said is kept, also when the page is closed, and it is sent again
    context.route("**/write", lambda route: route.abort())
    page.keyboard.press("1")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "Not saved yet" in page.inner_text("#trouble")
    assert page.inner_text("#saved") == "not saved yet"
    page.close()
    page = context.new_page()
    page.goto(live.studio.links["ana"])
    item(page, 2)
    page.wait_for_selector("#options [aria-pressed]")
    page.keyboard.press("ArrowLeft")
    assert page.locator("#options [aria-pressed=true] kbd").text_content() == "1"
    # a write that arrived, and whose reply did not
    context.unroute("**/write")
    lost = []

    def lose(route: Any) -> None:
        route.fetch()
        lost.append(route.request.post_data_json["key"])
        route.abort()

    context.route("**/write", lose, times=1)
    page.reload()
    page.wait_for_selector("#trouble:not([hidden])")
    page.wait_for_selector("#saved:text-is('saved')")
    assert len(lost) == 1

    page.keyboard.press("ArrowRight")
    rank(page)
    page.keyboard.press("u")  # the ranking is taken back
    page.wait_for_selector(".dots:not(:has(.full ~ .full))", state="attached")
    item(page, 2)
    rank(page)
    page.keyboard.press("r")
    page.keyboard.type("it is so")
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    item(page, 3)
    page.keyboard.press("b")
    item(page, 2)
    assert page.locator(".dots .full").count() == 3
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    context.close()
    records = live.studio.app.state.site.records
    found = {each.judgement.rubric.partition("@")[0]: each.judgement for each in said(records, WORK)}
    assert found["order"].value == ["good", "bad"]
    assert found["better"].why == "it is so"
    with records.database.read() as connection:
        keys = connection.exec_driver_sql(f"SELECT count(*) FROM judgements WHERE key = '{lost[0]}'").scalar_one()
    assert keys == 1
    assert errors == []
    assert all(url.startswith(live.studio.url) for url in asked)


def test_three_at_once(tmp_path: Path, browser: Any) -> None:
    """Nobody waits until what another says is kept, or for a page to be done with what they said themselves."""
    people, count = ["ana", "ben", "chi"], 6
    choice = {"criteria": [RUBRIC["criteria"][0]]}
    with opened(write_labelling(tmp_path, rubric=choice, labelers=people, each=3, count=count)) as found, serving(found):
        contexts = [browser.new_context() for _ in people]
        pages = [context.new_page() for context in contexts]
        for name, page in zip(people, pages, strict=True):
            page.goto(found.studio.links[name])
            page.keyboard.press("Enter")
        for place in range(1, count + 1):
            for page in pages:
                item(page, place)
            for page in pages:
                page.keyboard.press("1")
                page.keyboard.press("Enter")
        for page in pages:
            page.wait_for_url("**/work")
        for context in contexts:
            context.close()
        held = Counter((each.judgement.labeler, each.judgement.item) for each in said(found.studio.app.state.site.records, WORK))
        assert held == {(name, f"i{n}"): 1 for name in people for n in range(count)}
