"""The application: the pages of one labelling, with what guards them."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import JSONResponse, RedirectResponse, Response

from tuneladder.errors import BadInput
from tuneladder.studio import labeler, owner
from tuneladder.studio.database import Away
from tuneladder.studio.guard import Guard
from tuneladder.studio.site import STATIC, Here, Site, page, static

DAYS = 30  # a session lasts
TITLES = {401: "Who is there?", 403: "Not so", 404: "Nothing here", 429: "A moment, please", 503: "The store does not answer"}


def create_app(site: Site) -> FastAPI:
    """Cookies are signed with a key made of the secret, so that sessions outlive a restart, and not the secret."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    app.include_router(labeler.router)
    app.include_router(owner.router)
    app.add_api_route("/", _front)
    app.add_api_route("/static/{name}", _static)
    app.add_exception_handler(HTTPException, _refuse)
    app.add_exception_handler(RequestValidationError, _unreadable)
    app.add_exception_handler(BadInput, _bad)
    app.add_exception_handler(Away, _away)
    named = urlsplit(site.url)
    key = hashlib.sha256(b"sessions" + site.records.secret).hexdigest()
    # a browser sends its cookies to every port of a name: two studios there would overwrite one of the same name
    cookie = f"tuneladder_studio_{hashlib.sha256(b'cookie' + site.records.secret).hexdigest()[:8]}"
    secure = named.scheme == "https"
    app.add_middleware(SessionMiddleware, key, session_cookie=cookie, max_age=DAYS * 86400, same_site="lax", https_only=secure)
    # a page of another name that leads here could otherwise read what a browser on this machine may
    host = named.hostname or ""
    hosts = {f"[{host}]" if ":" in host else host, "localhost", "127.0.0.1", "[::1]"}
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=sorted(hosts), www_redirect=False)
    app.add_middleware(Guard)
    return app


def _front(request: Request) -> Response:
    return RedirectResponse("/work" if "labeler" in request.session else "/owner", 303)


def _static(site: Here, name: str) -> Response:
    if name not in STATIC:
        raise HTTPException(404, "there is no such file")
    return Response(static(name), media_type=STATIC[name][1], headers={"cache-control": "public, max-age=86400"})


def _refuse(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, error.status_code, str(error.detail), dict(error.headers or {}))


def _bad(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadInput)
    return _answer(request, 400, error.message, {})


def _unreadable(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _answer(request, 422, f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}", {})


def _away(request: Request, error: Exception) -> Response:
    assert isinstance(error, Away)
    return _answer(request, 503, "what was said is kept in your browser, and sent when the store is back", {"retry-after": "5"})


def _answer(request: Request, status: int, said: str, headers: dict[str, str]) -> Response:
    """A sentence, as data where a page's own code asked and as a page where a person did."""
    if request.method == "POST" and request.url.path in ("/write", "/undo"):
        return JSONResponse({"error": said}, status, headers)
    found = page(request, "sorry", {"title": TITLES.get(status, "That did not work"), "said": said, "again": status == 503}, status)
    found.headers.update(headers)
    return found
