"""What holds for every request: who it comes from, how large it may be, and what a browser may do with the answer."""

from __future__ import annotations

import secrets

from fastapi import HTTPException, Request
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tuneladder.studio.limits import Limit

LARGEST = 64 * 1024  # bytes of what may be sent
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Refuses what is too large or does not say how large it is, and sends the headers with every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        if scope["method"] == "POST":
            length = dict(scope["headers"]).get(b"content-length", b"")
            if not length.isdigit() or int(length) > LARGEST:
                await JSONResponse({"error": f"at most {LARGEST:,} bytes, and their number, may be sent"}, 413)(
                    scope, receive, answer
                )
                return
        await self.app(scope, receive, answer)


def csrf(request: Request) -> str:
    """The token that this session's pages send back with what they write; no other site can know it."""
    found = request.session.get("csrf")
    if not isinstance(found, str):
        found = request.session["csrf"] = secrets.token_urlsafe(24)
    return found


def check_csrf(request: Request, sent: str) -> None:
    known = request.session.get("csrf")
    if not isinstance(known, str) or not secrets.compare_digest(known.encode(), sent.encode("utf-8", "replace")):
        raise HTTPException(403, "this page is too old: load it again")


def slow_down(limit: Limit, name: str) -> None:
    if wait := limit.wait(name):
        raise HTTPException(429, f"too often: try again in {wait} s", {"retry-after": str(wait)})


def address(request: Request) -> str:
    return request.client.host if request.client else ""
