"""Replicas as real processes keep the contract."""

from __future__ import annotations

from tests.backends.contract import BackendContract


class TestLocalBackend(BackendContract):
    """Every test of the contract."""
