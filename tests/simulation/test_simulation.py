"""The control plane under every kind of bad luck, many times, each time the same for the same seed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterator

import pytest

from tests.simulation.story import Story
from tests.support import inline
from tests.support.virtual import VirtualLoop

SEEDS = int(os.environ.get("MODELYARD_SIMULATION_SEEDS", "500"))
FIRST = int(os.environ.get("MODELYARD_SIMULATION_FIRST", "0"))
BATCH = 50


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Injected failures are logged with their tracebacks, which costs more than the story itself."""
    logging.disable(logging.CRITICAL)
    inline.prepare()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, BATCH))
def test_whatever_happens_nothing_is_lost_and_all_comes_right(first: int) -> None:
    for seed in range(first, min(first + BATCH, FIRST + SEEDS)):
        try:
            tell(seed)
        except AssertionError as error:
            again = f"MODELYARD_SIMULATION_FIRST={seed} MODELYARD_SIMULATION_SEEDS=1"
            pytest.fail(f"seed {seed}: {error}; repeat with {again}", pytrace=False)


def tell(seed: int) -> None:
    """Tell the story of one seed."""

    async def main() -> None:
        await Story(seed).tell()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())
