"""What goes wrong with a service's requests at the moment, in numbers, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from modelyard.domain import observation
from modelyard.domain.explain import Explanation, Finding, remedy
from modelyard.domain.failures import CATALOGUE
from modelyard.domain.observation import NO_ANSWER, Window

SECONDS = 60.0
"""How far back is looked."""

_LEAST = 0.01
"""The part of the requests that must fail alike to be worth a word."""
_REFUSED = 0.5
"""As `_LEAST`, of what callers do wrong."""


def told(explanation: Explanation, by_revision: Mapping[int, Window], words: dict[str, str]) -> Explanation:
    """The explanation with what the last minute's requests tell; whether all is well is not theirs to say.

    `by_revision` has under 0 what reached no replica; `words` are names for remedies.
    """
    every = observation.merged(by_revision.values())
    found = tuple(
        Finding(
            stage=CATALOGUE[reason].stage,
            reason=reason,
            message=f"{count} of {every.requests} requests in the last minute {what}",
            remedy=remedy(reason, words),
        )
        for reason, count, what in _kinds(by_revision, every)
    )
    summary = explanation.summary
    if found and explanation.healthy:
        summary = f"{summary}; {found[0].message}"
    return replace(explanation, summary=summary, findings=(*explanation.findings, *found))


def _kinds(by_revision: Mapping[int, Window], every: Window) -> Iterator[tuple[str, int, str]]:
    """Reason, count and what happened, of every way in which enough requests failed."""
    codes = dict(every.codes)
    unreached = dict(by_revision[0].codes).get(503, 0) if 0 in by_revision else 0
    busy = codes.get(503, 0) - unreached
    odd = {code: n for code, n in codes.items() if code >= 500 and code not in (503, 504)}
    kinds = (
        ("NoReplicaReached", unreached, _LEAST, "were answered with 503, because no replica was ready"),
        ("RequestsTurnedAway", busy, _LEAST, "were answered with 503 by replicas that could take no more"),
        ("RequestsTimedOut", codes.get(504, 0), _LEAST, "were answered with 504, because time ran out"),
        ("RequestsFailed", sum(odd.values()), _LEAST, f"failed with {_listed(odd)} inside the service"),
        ("RequestsAbandoned", codes.get(NO_ANSWER, 0), _LEAST, "ended without an answer"),
        (
            "RequestsUnauthorised",
            codes.get(401, 0) + codes.get(403, 0),
            _REFUSED,
            "were refused for want of a token that opens the service",
        ),
        ("RequestsLimited", codes.get(429, 0), _LEAST, "were answered with 429, because of a limit"),
    )
    for reason, count, least, what in kinds:
        if count and count >= least * every.requests:
            yield reason, count, what


def _listed(codes: Mapping[int, int]) -> str:
    return " and ".join(str(code) for code in sorted(codes))
