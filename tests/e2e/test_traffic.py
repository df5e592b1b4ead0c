"""Requests are divided, copied, pinned and limited as users say, on the whole platform."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from modelyard import Client
from modelyard.domain.errors import Invalid
from modelyard.domain.limits import Limits
from tests.e2e.test_story import _until, cli
from tests.support.platform import Running

_MODEL = """
class Model:
    def predict(self, inputs):
        return {{"label": inputs["x"] * 0 + {label}}}
"""
_SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP64", "shape": [-1, 1]}],
    "outputs": [{"name": "label", "datatype": "FP64", "shape": [-1, 1]}],
}


def _asked(platform: Running, token: str, count: int = 60, **headers: str) -> Counter[Any]:
    """Label, or status when it is not 200, to how many answers had it."""
    tensor = {"name": "x", "datatype": "FP64", "shape": [1, 1], "data": [0.0]}
    seen: Counter[Any] = Counter()
    with httpx2.Client(base_url=platform.url, trust_env=False) as client:
        for _ in range(count):
            answer = client.post(
                "/v2/models/churn/infer",
                json={"inputs": [tensor]},
                headers={"authorization": f"Bearer {token}", **headers},
            )
            found = answer.json()
            good = answer.status_code == 200 and found["model_name"] == "churn"
            seen[int(found["outputs"][0]["data"][0]) if good else answer.status_code] += 1
    return seen


def _deployed(client: Client, directory: Any) -> str:
    """A service `churn` that answers 0 and a service `rival` that answers 1; the token of the first."""
    tokens = []
    for label, name in enumerate(("churn", "rival")):
        source = directory / f"{name}.py"
        source.write_text(_MODEL.format(label=label))
        client.publish(str(source), name, signature=_SIGNATURE, format="python")
        tokens.append(client.deploy(f"{name}@1", name=name).token)
    return str(tokens[0])


def test_traffic_of_a_service_goes_where_users_say(platform: Running, tmp_path: Any) -> None:
    with platform.client() as client:
        token = _deployed(client, tmp_path)
        with pytest.raises(Invalid, match=r"spec\.weights\.nobody: there is no deployment nobody"):
            client.endpoints.divide("churn", {"nobody": 10})
        with pytest.raises(Invalid, match=r"churn has no revision 9"):
            client.endpoints.divide("churn", {"churn#9": 10})

    cli(platform, "traffic", "set", "churn", "rival=50", "--pin-header", "X-Arm:rival=rival")
    _until(lambda: _asked(platform, token, 10, **{"x-arm": "rival"}) == {1: 10}, "the pin counts")
    seen = _asked(platform, token)
    assert set(seen) == {0, 1}
    assert "churn 50 %, rival 50 %" in cli(platform, "status", "churn")
    metrics = httpx2.get(f"{platform.url}/metrics", trust_env=False).text
    assert 'modelyard_traffic_weight{project="default",service="churn",to="rival"} 50.0' in metrics

    cli(platform, "mirror", "churn", "--to", "rival", "--percent", "100")
    cli(platform, "traffic", "set", "churn", "rival=0", "--no-pins", "--sticky", "cookie")
    _until(lambda: _asked(platform, token, 10) == {0: 10}, "the service answers all itself")
    with platform.client() as client:
        _until(lambda: client.endpoints.get("churn").mirrors[0].sent >= 10, "copies are counted")
        client.endpoints.divide("churn", {"rival": 100})
        _until(lambda: _asked(platform, token, 10) == {1: 10}, "the other one answers all")
        client.undeploy("rival")
        _until(lambda: _asked(platform, token, 10) == {0: 10}, "a service that is gone gets nothing")
        said = client.deployments.explain("churn")
        assert said.healthy
        assert "does not exist" in said.findings[-1].message
        view = client.deployments.get("churn")
        client.deployments.apply("churn", replace(view.spec, limits=Limits(requests_per_second=0.1, burst=3)))
        assert client.deployments.get("churn").revision == view.revision
        _until(lambda: _asked(platform, token, 5)[429] > 0, "the rate is limited")
