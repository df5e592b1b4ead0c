"""An isolated project is asked through the gateway as before, and it is said who keeps others out."""

from __future__ import annotations

import json

from tests.scenarios.engines import Engine, InCluster, until
from tests.scenarios.things import ROW, publish_iris

POLICY = "modelyard-isolated"


def _policies(engine: Engine) -> dict[str, list[str]]:
    """Policies of the project's namespace, with the namespaces that each names."""
    assert isinstance(engine, InCluster)
    return {
        each["metadata"]["name"]: [
            name
            for rule in each["spec"].get("ingress", ())
            for peer in rule.get("from", ())
            for wanted in peer.get("namespaceSelector", {}).get("matchExpressions", ())
            for name in wanted["values"]
        ]
        for each in engine.objects("networkpolicies")
    }


def test_a_project_is_isolated_lets_some_in_and_is_opened_again(engine: Engine) -> None:
    with engine.client() as client:
        publish_iris(client, "kept")
        client.deploy("kept@1", name="kept")
        engine.cli("project", "create", "friends")
        try:
            engine.cli("project", "network", "default", "--isolated", "--allow-project", "friends")
            shown = json.loads(engine.cli("project", "network", "default", "-o", "json"))
            assert (shown["isolated"], shown["allow_projects"]) == (True, ["friends"])
            assert client.service("kept").predict([ROW])["label"].tolist()
            own = isinstance(engine, InCluster) and engine.is_own
            if own:
                assert shown["enforcement"].startswith("of isolated projects by NetworkPolicy, if ")
                until(lambda: _policies(engine).get(POLICY) == ["modelyard-friends"], "it is let in")
            elif not isinstance(engine, InCluster):
                assert shown["enforcement"].startswith("by construction")
            engine.cli("project", "delete", "friends")
            shown = json.loads(engine.cli("project", "network", "default", "-o", "json"))
            assert (shown["isolated"], shown["allow_projects"]) == (True, [])
            if own:
                until(lambda: _policies(engine).get(POLICY) == [], "who is gone is let in no more")
                engine.cli("project", "network", "default", "--open")
                until(lambda: POLICY not in _policies(engine), "everybody is let in")
        finally:
            engine.cli("project", "network", "default", "--open")
            client.undeploy("kept")
