"""What the platform and a replica hold in memory while nobody asks anything."""

from __future__ import annotations

import asyncio

import psutil

from bench import platform, processes
from bench.report import Table, add, measured

_REST_SECONDS = 3.0


async def measure(rounds: int) -> list[Table]:
    """Proportional set sizes after one sklearn model was published, deployed and asked."""
    table = measured("Memory at rest (proportional set size)")
    taken: dict[str, list[float]] = {}
    model, x, _ = platform.iris()
    for _ in range(max(2, rounds // 2)):
        with platform.running() as running, running.client() as client:
            assert running.process is not None
            control = psutil.Process(running.process.pid)
            await asyncio.sleep(_REST_SECONDS)
            taken.setdefault("control plane, nothing deployed", []).append(processes.pss(control))
            version = client.publish(model, "iris", x_test=x, optimize="off")
            client.deploy(version.ref, name="iris").predict(x[:1])
            await asyncio.sleep(_REST_SECONDS)
            front = platform.front(running, "iris")
            worker = front.children()[0]
            sizes = {
                "control plane": processes.pss(control),
                "Envoy": processes.pss(platform.envoy(running)),
                "serving front": processes.pss(front),
                "model worker (scikit-learn)": processes.pss(worker),
            }
            sizes["Envoy, resident"] = processes.rss(platform.envoy(running))
            sizes["replica: front and worker"] = processes.pss(front) + processes.pss(worker)
            for what, size in sizes.items():
                taken.setdefault(what, []).append(size)
    most = {"control plane": 150.0, "Envoy": 60.0, "replica: front and worker": 120.0}
    for what, samples in taken.items():
        add(table, what, samples, "MiB", most=most.get(what))
    table.notes = "Other platforms on the machine share pages of the same files, which lowers these shares."
    return [table]
