"""Small objects to begin with."""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]


def deployment(name: str = "demo-r1", *, image: str = "x:1", **spec: Any) -> Object:
    """A deployment with one container called `main`."""
    labels = {"app": "demo"}
    template = {"metadata": {"labels": labels}, "spec": pod_spec(image)}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }


def pod_spec(image: str = "x:1") -> Object:
    """One container, two variables, one port."""
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    ports = [{"containerPort": 8080}]
    return {"containers": [{"name": "main", "image": image, "env": env, "ports": ports}]}


def config(name: str = "settings", **data: str) -> Object:
    """A config map."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
