"""Installations that tests render."""

from __future__ import annotations

from typing import Any

CHOICES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "no-routers": {"routers": {"count": 0}, "bind": {"https_port": 30443}},
    "no-routers-host": {"routers": {"count": 0}, "bind": {"kind": "HostPort", "http_port": 80}},
    "https": {"bind": {"https_port": 30443, "redirect": True}, "public_url": "https://ml.example.org:30443"},
    "host-port": {"bind": {"kind": "HostPort", "http_port": 80, "https_port": 443, "ip": "192.0.2.7"}},
    "host-port-http": {"bind": {"kind": "HostPort", "http_port": 80}},
    "load-balancer": {
        "bind": {"kind": "LoadBalancer", "http_port": 80, "https_port": 443, "ip": "192.0.2.8"}
    },
    "inside": {"bind": {"kind": "ClusterIP"}, "network_policy": False},
    "postgresql": {
        "database": {"url": "postgresql://my:s3cret@db.example/my"},
        "storage": {"class_name": "fast"},
    },
    "own-secret": {"database": {"secret": "my-database"}, "storage": {"size": "1Ti"}},
    "air-gap": {
        "images": {
            "registry": "registry.local:5000/my",
            "tag": "1.2",
            "pull_secret": "pull",
            "pull_policy": "Never",
        }
    },
    "placed": {
        "domain": "ml.example.org",
        "namespace_prefix": "ml",
        "routing": "gateway",
        "gateway_class": "eg",
        "routers": {"count": 3, "cpu": "1", "memory": "1Gi", "node_selector": {"edge": "true"}},
        "control_plane": {
            "cpu": "2",
            "memory": "4Gi",
            "node_selector": {"kubernetes.io/arch": "amd64"},
            "tolerations": [{"key": "control", "operator": "Exists", "effect": "NoSchedule"}],
            "env": [{"name": "MODELYARD_LIMITS__UPLOAD", "value": "10Gi"}, {"name": "AWS", "value": "yes"}],
        },
    },
}
