"""NetworkPolicies between pods that are processes: who gets through, and who does not."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from tests.cluster.here import IP, Here, container
from tests.support.cluster.verbs import Options
from tests.support.cluster.writing import condition

SERVER = """
import http.server, os
class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")
http.server.ThreadingHTTPServer((os.environ["IP"], int(os.environ["PORT"])), Answers).serve_forever()
"""
ASKS = """
import sys, urllib.request
print(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sys.argv[1], timeout=10).read())
"""
OURS = {"app": "web"}
_numbers = itertools.count()


@pytest.fixture
def there(here: Here) -> Here:
    """A cluster whose network enforces policies."""
    here.kubelet.enforces = True
    for name in ("a", "b"):
        value = {"metadata": {"name": name, "labels": {"team": name}}}
        here.cluster.create(here.cluster.kind("Namespace"), "", value, Options(manager="test"))
    return here


def pod(here: Here, namespace: str, name: str, labels: Mapping[str, str], *one: Any, **spec: Any) -> None:
    value = {"metadata": {"name": name, "labels": dict(labels)}, "spec": {"containers": list(one), **spec}}
    here.cluster.create(here.cluster.kind("Pod"), namespace, value, Options(manager="test"))


def seen(here: Here, namespace: str, name: str) -> dict[str, Any]:
    return here.cluster.store.get(here.cluster.kind("Pod"), (namespace, name)) or {}


async def answering(here: Here, namespace: str, name: str, port: int = 8000) -> str:
    """The address of a pod that answers, by the label `app`, once it does."""
    number = {"name": "PORT", "value": str(port)}
    probe = {"httpGet": {"path": "/", "port": port}, "periodSeconds": 1, "failureThreshold": 30}
    ports = [{"name": "http", "containerPort": port}]
    one = container("python", "-c", SERVER, env=[IP, number], ports=ports, readinessProbe=probe)
    pod(here, namespace, name, OURS, one, terminationGracePeriodSeconds=1)
    await here.until(
        lambda: condition(seen(here, namespace, name).get("status", {}), "Ready").get("status") == "True"
    )
    return str(seen(here, namespace, name)["status"]["podIP"])


async def asks(here: Here, namespace: str, url: str, **labels: str) -> str:
    """What a pod of its own hears there: what was answered, or the last line of its complaint."""
    name = f"asks-{next(_numbers)}"
    pod(here, namespace, name, labels, container("python", "-c", ASKS, url), restartPolicy="Never")
    await here.until(
        lambda: seen(here, namespace, name).get("status", {}).get("phase") in ("Succeeded", "Failed")
    )
    return here.kubelet.written(seen(here, namespace, name), "main")[-1].lines[-1].text


def policy(here: Here, namespace: str, **spec: Any) -> None:
    value = {"metadata": {"name": "p"}, "spec": {"podSelector": {}, **spec}}
    here.cluster.create(here.cluster.kind("NetworkPolicy"), namespace, value, Options(manager="test"))


def isolated(here: Here, *peers: Mapping[str, Any], **more: Any) -> None:
    rules = [{"from": [*peers], **more}] if peers or more else []
    policy(here, "a", policyTypes=["Ingress"], ingress=rules)


async def test_without_a_policy_everybody_gets_through(there: Here) -> None:
    url = f"http://{await answering(there, 'a', 'web')}:8000/"
    assert await asks(there, "b", url) == "b'hello'"


async def test_who_is_named_gets_through_and_nobody_else_but_probes(there: Here) -> None:
    isolated(
        there, {"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": {"matchLabels": OURS}}
    )
    url = f"http://{await answering(there, 'a', 'web')}:8000/"
    assert await asks(there, "b", url, **OURS) == "b'hello'"
    for namespace in ("a", "b"):
        assert "timed out" in await asks(there, namespace, url)
    assert "timed out" in await asks(there, "a", url, **OURS), "of that namespace, and no other"


async def test_a_namespace_is_let_in_by_its_name_and_a_pod_reaches_itself(there: Here) -> None:
    named = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["b"]}
    isolated(there, {"namespaceSelector": {"matchExpressions": [named]}}, ports=[{"port": "http"}])
    url = f"http://{await answering(there, 'a', 'web')}:8000/"
    assert await asks(there, "b", url) == "b'hello'"
    assert "timed out" in await asks(there, "a", url)
    other = f"http://{await answering(there, 'a', 'other', 8001)}:8001/"
    assert await asks(there, "b", other) == "b'hello'", "a name is each pod's own port"


async def test_a_block_of_addresses_lets_in_whoever_has_one(there: Here) -> None:
    isolated(there, {"ipBlock": {"cidr": "127.0.0.0/8", "except": ["127.0.0.0/16"]}}, ports=[{"port": 8000}])
    url = f"http://{await answering(there, 'a', 'web')}:8000/"
    assert await asks(there, "b", url) == "b'hello'"
    policy(there, "b", policyTypes=["Egress"], egress=[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}])
    assert "timed out" in await asks(there, "b", url)


async def test_who_is_closed_in_gets_nowhere_but_to_the_named_port(there: Here) -> None:
    policy(there, "b", policyTypes=["Egress"], egress=[{"ports": [{"port": 8001, "endPort": 8002}]}])
    first, second = [await answering(there, "a", f"web-{port}", port) for port in (8000, 8001)]
    assert "timed out" in await asks(there, "b", f"http://{first}:8000/")
    assert await asks(there, "b", f"http://{second}:8001/") == "b'hello'"
    assert await asks(there, "a", f"http://{first}:8000/") == "b'hello'"


async def test_a_network_that_enforces_nothing_lets_everybody_through(there: Here) -> None:
    there.kubelet.enforces = False
    isolated(there)
    url = f"http://{await answering(there, 'a', 'web')}:8000/"
    assert await asks(there, "b", url) == "b'hello'"
