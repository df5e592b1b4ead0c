"""The console's files and the login link, served under a strict content security policy."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, RedirectResponse, Response

from modelyard.api.accounts import set_cookie
from modelyard.api.request import PlatformDep
from modelyard.api.verbs import states
from modelyard.control import login
from modelyard.domain.access import Verb
from modelyard.domain.errors import NotFound

router = APIRouter(include_in_schema=False)
_PAGES = Path(__file__).parent / "pages"
_ASSETS = {path.name: path for path in _PAGES.iterdir() if path.suffix in {".js", ".css", ".svg"}}
_FRESH = {"cache-control": "no-cache"}


@router.get("/", openapi_extra=states(Verb.ANYONE))
async def index() -> FileResponse:
    """The status page; what it shows it asks of the API."""
    return FileResponse(_PAGES / "index.html", headers=_FRESH)


@router.get("/assets/{name}", openapi_extra=states(Verb.ANYONE))
async def asset(name: str) -> FileResponse:
    """A script, style or picture of the console, by its exact name."""
    if name not in _ASSETS:
        raise NotFound(f"the console has no file `{name}`")
    return FileResponse(_ASSETS[name], headers=_FRESH)


@router.get("/login/{secret}", openapi_extra=states(Verb.ANYONE))
async def take_login_link(platform: PlatformDep, secret: str) -> Response:
    """Exchange a one-time link for a session and go on to the console."""
    session = await login.take_link(platform, secret)
    response = RedirectResponse("/", status_code=303)
    set_cookie(response, session, now=platform.clock(), secure=platform.public_url.startswith("https"))
    return response
