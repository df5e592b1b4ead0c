"""A control plane that dies after any write to the cluster: the next one brings everything to its end."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.kubernetes.stage import staged
from tests.support import inline
from tests.support.virtual import on_virtual_time


@pytest.fixture(autouse=True)
def _prepared() -> Iterator[None]:
    """The database's tables are made on a loop of their own; injected failures are not logged."""
    inline.prepare()
    yield
    logging.disable(logging.NOTSET)


@on_virtual_time
async def test_it_works_at_all() -> None:
    async with staged() as stage:
        await stage.deploy(replicas=2)
        await stage.settled()
        stage.most = 3
        print(stage.plane.writes)
        await stage.deploy(model="churn@2", replicas=2)
        await stage.settled()
        print(stage.plane.writes)
        await stage.delete()
        await stage.gone()
        print(stage.plane.writes)
