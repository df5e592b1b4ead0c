"""The memory that workers were seen to use is put on the version's record, and decides what fits next."""

from __future__ import annotations

from modelyard.backends.base import Launch
from modelyard.backends.memory import Pace
from modelyard.domain.footprint import Footprint
from modelyard.domain.model import ModelVersion
from modelyard.store import versions
from tests.control.world import World, running
from tests.support.virtual import on_virtual_time

QUICK = Pace(start_seconds=0.1, stop_seconds=0.05)


async def recorded(world: World, number: str = "1") -> ModelVersion:
    async with world.database.read() as tx:
        found = await versions.get(tx, "default", "churn", number)
    assert found is not None
    return found


@on_virtual_time
async def test_a_version_remembers_what_a_worker_with_it_needed() -> None:
    async with running(pace=QUICK) as world:
        launched: list[Launch] = []
        uses = {"now": (300 << 20, 320 << 20)}
        world.backend.load = launched.append  # type: ignore[assignment]
        world.backend.uses = lambda launch: uses["now"]
        published = await recorded(world)
        assert published.memory == Footprint()
        await world.deploy()
        await world.until_running()

        async def measured() -> bool:
            return (await recorded(world)).memory.loaded_bytes == 300 << 20

        await world.until(measured)
        first = await recorded(world)
        assert first.generation == published.generation  # so that no change of somebody else's is refused
        assert first.memory == Footprint(loaded_bytes=300 << 20, peak_bytes=320 << 20, variant="original")
        # Under load it grows; a little more or less is not written down.
        uses["now"] = (300 << 20, 700 << 20)

        async def grown() -> bool:
            return (await recorded(world)).memory.peak_bytes == 700 << 20

        await world.until(grown, seconds=300)
        written = (await recorded(world)).memory
        uses["now"] = (301 << 20, 710 << 20)
        await world.deploy(replicas=2)
        await world.until_running()
        assert (await recorded(world)).memory == written
        # The next one is asked whether it fits before it is started.
        assert [launch.guest.known_bytes for launch in launched] == [0, 300 << 20]
        assert (await recorded(world, "2")).memory == Footprint()
