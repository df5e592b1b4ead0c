"""A control plane to be killed: acknowledges each commit on its output, then hangs inside one more."""

from __future__ import annotations

import asyncio
import sys

from modelyard.store import Database, events, meta
from tests.store import samples


async def main(url: str, commits: int) -> None:
    database = await Database.open(url)
    n = 0
    while n < commits or commits == 0:
        n += 1
        async with database.begin() as tx:
            await events.append(tx, samples.event(f"e{n}"))
            await meta.set(tx, "count", str(n))
        print(n, flush=True)
    async with database.begin() as tx:
        await events.append(tx, samples.event("ghost"))
        await meta.set(tx, "count", "ghost")
        print("inside", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
