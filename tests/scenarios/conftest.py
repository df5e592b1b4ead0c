"""Each scenario on one machine and in a cluster, and a table of what came of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.engines import Engine, InCluster, Local

TIMEOUT_SECONDS = 300
ENGINES = ("local", "cluster")
_RESULTS: dict[str, dict[str, str]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    home = tmp_path_factory.mktemp(request.param)
    given = os.environ.get("SCENARIOS_KUBECONFIG")
    made: Engine = (
        Local(home) if request.param == "local" else InCluster(home, Path(given) if given else None)
    )
    yield made
    made.stop()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "tests/scenarios/" not in report.nodeid or "[" not in report.nodeid:
        return
    name, _, parameters = report.nodeid.rpartition("::")[2].rstrip("]").partition("[")
    place = next((each for each in ENGINES if each in parameters.split("-")), "")
    rest = [each for each in parameters.split("-") if each != place]
    scenario = " ".join([name.removeprefix("test_").replace("_", " "), *rest])
    known = _RESULTS.setdefault(scenario, {})
    if report.skipped:
        known[place] = f"not here: {_reason(report)}"
    elif report.failed:
        known[place] = "FAILED"
    elif report.when == "call":
        known.setdefault(place, f"as it should ({report.duration:.1f} s)")


def _reason(report: pytest.TestReport) -> str:
    said = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return said.removeprefix("Skipped: ").partition(": ")[2] or said


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _RESULTS:
        return
    terminalreporter.section("scenarios")
    for scenario, places in _RESULTS.items():
        terminalreporter.write_line(scenario)
        for place in ENGINES:
            terminalreporter.write_line(f"    {place:<8} {places.get(place, 'not asked')}")
