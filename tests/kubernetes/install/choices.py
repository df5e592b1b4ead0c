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
    "several": {
        "control_plane": {"replicas": 3},
        "database": {"secret": "my-database"},
        "storage": {"access_mode": "ReadWriteMany", "class_name": "nfs"},
    },
    "second-port": {"bind": {"second_http_port": 30082, "https_port": 30443, "external_ip": "192.0.2.9"}},
    "own-secret": {"database": {"secret": "my-database"}, "storage": {"size": "1Ti"}},
    "air-gap": {
        "images": {
            "registry": "registry.local:5000/my",
            "tag": "1.2",
            "pull_secret": "pull",
            "pull_policy": "Never",
        }
    },
    "settled": {
        "kubernetes": {
            "cache_size": "200Gi",
            "cache_class": "nfs",
            "cache_access": "ReadWriteOnce",
            "prometheus_url": "http://prometheus.monitoring:9090",
            "network_policies": False,
            "gateway_pause_seconds": 0.25,
            "drain_wait_seconds": 15,
        },
        "runtimes": {"index_url": "https://pypi.example/simple", "offline": True, "wheels": "/data/wheels"},
        "artifacts": {
            "url": "s3://models/prod",
            "endpoint": "http://minio.storage:9000",
            "region": "eu-central-1",
            "path_style": False,
            "sources": "s3://training/out s3://zoo",
            "redirect": True,
            "secret": "minio",
        },
        "limits": {
            "upload": "200Gi",
            "request": "1Gi",
            "test_timeout_seconds": 900,
            "tasks": 3,
            "queue_seconds": 60,
        },
        "scaling": {"time_zone": "Europe/Berlin"},
    },
    "settled-otherwise": {
        "kubernetes": {"gateway_pause_seconds": 0, "cache_size": "1048576"},
        "runtimes": {"wheels": '/data/wheels/of "quotes", and {{ braces }}'},
        "limits": {"test_timeout_seconds": 12.5, "upload": "1"},
        "artifacts": {"sources": "s3://zoo"},
        "control_plane": {
            "env": [
                {"name": "AWS_ACCESS_KEY_ID", "value": "me"},
                {"name": "AWS_SECRET_ACCESS_KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ]
        },
    },
    "placed": {
        "domain": "ml.example.org",
        "namespace_prefix": "ml",
        "routing": "gateway",
        "gateway_class": "eg",
        "kubernetes": {"cluster_queue": "tasks"},
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
