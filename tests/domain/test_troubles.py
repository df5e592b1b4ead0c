"""What requests tell of a service: numbers, a cause and a remedy, or nothing."""

from __future__ import annotations

import pytest

from modelyard.domain.explain import Explanation
from modelyard.domain.observation import Window, counted
from modelyard.domain.troubles import told

WELL = Explanation(summary="churn is healthy: 1 of 1 replicas ready", healthy=True)


def _window(codes: dict[int, int], calls: dict[int, int] | None = None) -> Window:
    return counted(codes, calls or {}, first_at=1.0, last_at=2.0)


@pytest.mark.parametrize(
    ("by_revision", "said"),
    [
        ({}, []),
        ({1: {200: 99, 404: 40}}, []),
        ({1: {200: 1000, 500: 9}}, []),
        ({1: {200: 13}, 0: {503: 37}}, ["37 of 50 requests in the last minute were"]),
        ({1: {503: 10, 500: 2, 502: 1}, 0: {503: 1}}, ["1 of 14", "10 of 14", "3 of 14 requests"]),
        ({2: {200: 9, 504: 1, 0: 2}}, ["1 of 12", "2 of 12 requests in the last"]),
        ({1: {200: 5}, 0: {401: 4}}, []),
        ({1: {200: 5}, 0: {401: 5, 429: 1}}, ["1 of 11"]),
        ({1: {200: 1}, 0: {401: 5}}, ["5 of 6 requests in the last minute were refused"]),
    ],
)  # fmt: skip
def test_what_fails_is_said_in_numbers(by_revision: dict[int, dict[int, int]], said: list[str]) -> None:
    windows = {revision: _window(codes) for revision, codes in by_revision.items()}
    found = told(WELL, windows, {"service": "churn"})
    assert [
        finding.message.startswith(start) for finding, start in zip(found.findings, said, strict=True)
    ] == [True] * len(said)
    assert found.healthy
    assert all(finding.stage == "answer" and finding.remedy for finding in found.findings)
    assert (found.summary == WELL.summary) == (not said)


def test_calls_count_by_what_their_status_means() -> None:
    (finding,) = told(WELL, {1: _window({}, {0: 3, 13: 1})}, {"service": "churn"}).findings
    assert finding.message == "1 of 4 requests in the last minute failed with 500 inside the service"
    assert "modelyard logs churn" in finding.remedy
