"""What only the platform may ask of a front, and who is taken for the platform."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping

from modelyard.serving.application import Application
from modelyard.serving.errors import Problem
from modelyard.serving.http.messages import Exchange, Response
from modelyard.serving.routing import Route

STATE = "/modelyard/state"
TOKEN = b"x-modelyard-platform"
"""Header with the platform's token."""

Admit = Callable[[Exchange], None]


def admission(sha256: str) -> Admit:
    """Who may ask; the result raises Problem for anybody else.

    The gateway says of every request that it forwards where it came from, and takes from clients what they
    say about it; so a request without a word of it was made at the replica itself. Where others reach that,
    the platform shows a token, of which the replica knows the digest.
    """

    def admit(exchange: Exchange) -> None:
        forwarded = b"x-forwarded-for" in exchange.headers or b"x-forwarded-proto" in exchange.headers
        shown = hashlib.sha256(exchange.headers.get(TOKEN, b"")).hexdigest()
        if forwarded or (sha256 and not hmac.compare_digest(shown, sha256)):
            raise Problem(404, "not_found", "there is nothing at this address")

    return admit


def routes(application: Application, admit: Admit) -> Mapping[str, Route]:
    """What the front says of itself."""

    def state(exchange: Exchange) -> None:
        admit(exchange)
        application.reply(exchange, Response(200, (application.status.document,)))

    return {STATE: Route({"GET": state}, probe=True)}
