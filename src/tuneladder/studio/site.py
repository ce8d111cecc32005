"""What the pages are made of: the records, what opens them, and the templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.responses import HTMLResponse

from tuneladder.ladder.templates import templates
from tuneladder.store import digest
from tuneladder.studio.guard import csrf
from tuneladder.studio.limits import Limit
from tuneladder.studio.locks import Password
from tuneladder.studio.overview import Watch
from tuneladder.studio.records import Records

STATIC = {  # by name: the room that has it, and its kind
    "paper.css": ("ladder", "text/css"),
    "studio.css": ("studio", "text/css"),
    "label.js": ("studio", "text/javascript"),
    "owner.js": ("studio", "text/javascript"),
    "icon.svg": ("studio", "image/svg+xml"),
}


@dataclass(frozen=True)
class Site:
    """`url` is what links begin with. Writes are limited by labeler; wrong links and tries of the password by address, and of the
    password in all as well, for addresses are cheap."""

    records: Records
    password: Password
    url: str
    writes: Limit = field(default_factory=lambda: Limit(120, 600))
    links: Limit = field(default_factory=lambda: Limit(20, 20))
    passwords: Limit = field(default_factory=lambda: Limit(5, 5))
    all_passwords: Limit = field(default_factory=lambda: Limit(30, 30))
    watch: Watch = field(default_factory=Watch)


def _site(request: Request) -> Site:
    found = request.app.state.site
    assert isinstance(found, Site)
    return found


Here = Annotated[Site, Depends(_site)]


def static(name: str) -> bytes:
    room, _ = STATIC[name]
    return resources.files(f"tuneladder.{room}").joinpath(name).read_bytes()


def page(request: Request, name: str, context: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """A template of this folder, filled; all that is put in is escaped."""
    return HTMLResponse(_templates.get_template(f"{name}.html.jinja").render(context, csrf=csrf(request), version=_VERSION), status)


def part(name: str, context: Mapping[str, Any]) -> str:
    """A template without a session: what a page shows within itself."""
    return _templates.get_template(f"{name}.html.jinja").render(context)


_templates = templates("tuneladder.studio")
_VERSION = digest(*(static(name) for name in STATIC))
