"""Somebody starts a second platform, with records of its own, where one is at work already."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from tests.scenarios.engines import Engine, InCluster
from tests.scenarios.things import ROW, publish_iris
from tests.support.platform import Running


def test_a_second_platform_is_refused_and_what_the_first_serves_goes_on(
    engine: Engine, tmp_path: Path
) -> None:
    if not isinstance(engine, InCluster):
        engine.cannot("platforms of one machine share nothing but its ports")
    with engine.client() as client:
        publish_iris(client, "guarded")
        token = client.deploy("guarded@1", name="guarded", replicas=2).token
    before = {each["metadata"]["uid"] for each in engine.objects("pods", "guarded")}
    settings = (engine.platform.home / "modelyard.toml").read_text()
    other = Running(tmp_path / "home", settings=settings, variables=engine.platform.variables)
    with pytest.raises(AssertionError, match=r"is another Modelyard's .*kubectl .*delete configmap"):
        other.start()
    assert other.process is not None
    assert other.process.returncode not in (0, None)
    pods = engine.objects("pods", "guarded")
    assert {each["metadata"]["uid"] for each in pods} == before
    assert not any("deletionTimestamp" in each["metadata"] for each in pods)
    way = engine.way("guarded")
    answer = httpx2.post(
        f"http://{way.door[0]}:{way.door[1]}{way.prefix}/v2/models/guarded/infer",
        json={"inputs": [{"name": "input", "shape": [1, len(ROW)], "datatype": "FP64", "data": ROW}]},
        headers={"authorization": f"Bearer {token}"},
        timeout=20,
    )
    assert answer.status_code == 200, answer.text
    with engine.client() as client:
        client.undeploy("guarded")
