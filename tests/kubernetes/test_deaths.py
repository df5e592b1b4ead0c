"""A control plane that dies after any write to the cluster: the next one brings everything to its end."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.kubernetes.stage import Stage, staged
from tests.support import inline
from tests.support.virtual import run

MOST_WRITES = 60
"""A life has fewer, and each of them is once the last that a control plane does."""
BATCH = 10


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """The database's tables are made on a loop of their own; deaths are not worth a log."""
    inline.prepare()
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def live(stage: Stage) -> None:
    """A deployment's whole life: it comes, is replaced by another version, shrinks, and goes."""
    await stage.deploy(replicas=2)
    await stage.settled()
    stage.most, stage.least = 3, 2
    await stage.deploy(model="churn@2", replicas=2)
    await stage.settled()
    stage.least = 1
    await stage.deploy(model="churn@2", replicas=1)
    await stage.settled()
    stage.least = 0
    await stage.delete()
    await stage.gone()


async def die(after: int) -> int:
    """A life in which the control plane dies after so many writes; how many writes the last one made."""
    async with staged(dies_after=after) as stage:
        await live(stage)
        assert len(stage.deaths) <= 1
        assert stage.plane is not None
        return len(stage.deaths)


def test_a_life_has_no_more_writes_than_are_tried() -> None:
    assert run(die(MOST_WRITES)) == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("first", range(1, MOST_WRITES, BATCH))
def test_whenever_it_dies_everything_comes_to_its_end(first: int) -> None:
    for after in range(first, first + BATCH):
        try:
            if not run(die(after)):
                return
        except AssertionError as error:
            pytest.fail(f"dead after write {after}: {error}", pytrace=False)
