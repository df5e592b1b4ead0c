"""A probe turns only after as many answers in a row as it asks for."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain import health
from modelyard.domain.errors import Invalid
from modelyard.domain.health import Health, Probe, Tally


@settings(max_examples=100)
@given(st.lists(st.booleans(), max_size=30), st.integers(1, 4), st.integers(1, 4))
def test_it_is_what_the_last_long_enough_run_of_answers_says(
    answers: list[bool], failures: int, successes: int
) -> None:
    probe = Probe(http="/", failure_threshold=failures, success_threshold=successes)
    tally = reduce(lambda t, good: health.count(t, probe, good=good), answers, Tally())
    expected = None
    for end in range(1, len(answers) + 1):
        before = answers[:end]
        if all(before[-successes:]) and end >= successes:
            expected = True
        elif not any(before[-failures:]) and end >= failures:
            expected = False
    assert tally.well is expected


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("8080:/ping", (8080, "/ping")),
        ("/", (0, "/")),
        ("8080", (0, "")),
        ("http://x/", (0, "")),
        ("", (0, "")),
    ],
)
def test_an_address_is_a_port_and_a_path(text: str, target: tuple[int, str]) -> None:
    assert health.target(text) == target


def test_one_text_is_both_readiness_and_liveness() -> None:
    by_http, by_command = health.parse("8080:/ping"), health.parse("shell: test -e ready")
    assert by_http == Health(readiness=Probe(http="8080:/ping"), liveness=Probe(http="8080:/ping"))
    assert by_command.liveness == Probe(command="test -e ready")
    with pytest.raises(Invalid, match="health: must be `PORT:/path`"):
        health.parse("ping")


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (Health(readiness=Probe()), "spec.health.readiness"),
        (Health(readiness=Probe(http="/", command="x")), "spec.health.readiness"),
        (Health(liveness=Probe(http="x")), "spec.health.liveness.http"),
        (Health(liveness=Probe(http="/", period_seconds=0)), "spec.health.liveness.period_seconds"),
        (Health(liveness=Probe(http="/", success_threshold=2)), "spec.health.liveness.success_threshold"),
        (Health(readiness=Probe(command=("", "a"))), "spec.health.readiness.command[0]"),
    ],
)
def test_a_wrong_probe_is_named(wrong: Health, path: str) -> None:
    assert [each.path for each in health.errors(wrong, "spec.health")] == [path]
