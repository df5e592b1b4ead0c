"""What every test of the control plane needs."""

from __future__ import annotations

import pytest

from tests.support import inline


@pytest.fixture(autouse=True, scope="session")
def _template() -> None:
    """The empty database that every test copies; made where no event loop runs."""
    inline.prepare()
