"""Each scenario on one machine and in a cluster, and a table of what came of them.

With `KUBEBUILDER_ASSETS` the cluster is Kubernetes' own control plane, where that directory has all of it;
else all are skipped by name. Those about traffic are told twice more where `SCENARIOS_DOORS` is set: through
routers as pods, and through a gateway of the cluster's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.engines import Engine, InCluster, InRealCluster, Local
from tests.scenarios.gateways import ByGateway, ByRouters
from tests.support.apiserver import controlling
from tests.support.apiserver.reached import ASSETS, GIVEN, LACKS, ready_nodes

TIMEOUT_SECONDS = 300
_GIVEN = os.environ.get(GIVEN)
_ASSETS = "" if _GIVEN else os.environ.get(ASSETS, "")
_FOR_TRAFFIC = ("routers", "gateway")
_DOORS = _FOR_TRAFFIC if os.environ.get("SCENARIOS_DOORS") else ()
ENGINES = ("cluster",) if _GIVEN or _ASSETS else ("local", "cluster", *_DOORS)
_RESULTS: dict[str, dict[str, str]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    items[:] = [item for item in items if here not in item.path.parents or _is_told(item)]
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(TIMEOUT_SECONDS))


def _is_told(item: pytest.Item) -> bool:
    """Whether the scenario is one for the engine."""
    parameters: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    special = parameters.get("engine") in _FOR_TRAFFIC
    return not special or item.get_closest_marker("traffic") is not None


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    home = tmp_path_factory.mktemp(request.param)
    if (_GIVEN and not ready_nodes(Path(_GIVEN))) or (_ASSETS and not controlling.has_all(Path(_ASSETS))):
        pytest.skip(f"cluster: {LACKS['kubelet']}")
    made = _made(request.param, home, Path(_GIVEN) if _GIVEN else None)
    try:
        if isinstance(made, ByRouters):
            made.begin()
        yield made
    finally:
        made.stop()


def _made(name: str, home: Path, given: Path | None) -> Engine:
    match name:
        case "local":
            return Local(home)
        case "routers":
            return ByRouters(home)
        case "gateway":
            return ByGateway(home)
    return InRealCluster(home) if _ASSETS else InCluster(home, given)


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
