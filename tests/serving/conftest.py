"""One identity replica on TCP and one on a Unix socket for all tests that leave them as they are."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.serving import served
from tests.serving.replicas import CHAOS, SPAWNED, Replica, replica


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    for running in SPAWNED:
        running.process.kill()
        running.process.wait(10)
        shutil.rmtree(running.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def echo() -> Iterator[Replica]:
    with replica(listen="tcp", limits={"max_body_bytes": 4 << 20}) as running:
        yield running


@pytest.fixture(scope="session")
def steady() -> Iterator[Replica]:
    """A replica whose model does odd things but never dies in these tests."""
    with replica(code=CHAOS, service="echo@test", stage="test") as running:
        yield running


@pytest.fixture(scope="session")
def table() -> Iterator[Replica]:
    """A table of three columns in, a label and three scores out."""
    with replica(code=served.TABLE_CODE, signature=served.TABLE, service="table", listen="tcp") as running:
        yield running


@pytest.fixture(scope="session")
def mixed() -> Iterator[Replica]:
    """One tensor for each column, one of them text."""
    with replica(code=served.MIXED_CODE, signature=served.MIXED, service="mixed") as running:
        yield running


@pytest.fixture(scope="session")
def shouter() -> Iterator[Replica]:
    """Text in, the same text in capitals out."""
    with replica(code=served.TEXT_CODE, signature=served.TEXT, service="shouter", listen="tcp") as running:
        yield running


@pytest.fixture(scope="session")
def vectors() -> Iterator[Replica]:
    """Text in, a vector of three out."""
    with replica(
        code=served.VECTOR_CODE, signature=served.VECTOR, service="vectors", listen="tcp"
    ) as running:
        yield running
