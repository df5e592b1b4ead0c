"""How often gates take back what is sound, and how soon what is not: seeded canaries in virtual time."""

from __future__ import annotations

from bench.report import Table, add, measured
from tests.support.traffic import FAULTS, GATES, SOUND, Canary, Outcome

ALIKE = 200
FAULTY = 200


async def measure(rounds: int) -> list[Table]:
    """One table; `rounds` times 40 seeds of each kind, at least 200."""
    seeds = max(40 * rounds, ALIKE)
    table = measured(f"Canaries 5, 25, 100 % with gates {', '.join(GATES)}; 20 % mirrored")
    alike = [Canary(seed, SOUND).run() for seed in range(seeds)]
    taken_back = sum(each.rolled_back for each in alike)
    table.rows.append(("A/A rolled back", f"{taken_back} of {seeds}", "", str(seeds), "< 1 %"))
    table.numbers["A/A rolled back"] = {"count": taken_back, "of": seeds}
    for fault, behaviour in FAULTS.items():
        found = [Canary(seed, behaviour).run() for seed in range(FAULTY)]
        add(table, f"{fault}: requests until rolled back", _requests(found), "")
        missed = sum(not each.rolled_back for each in found)
        table.rows.append((f"{fault}: not noticed", f"{missed} of {FAULTY}", "", str(FAULTY), "0"))
        table.numbers[f"{fault}: not noticed"] = {"count": missed, "of": FAULTY}
    table.notes = "Requests are those the new revision answered, mirrored copies included."
    return [table]


def _requests(outcomes: list[Outcome]) -> list[float]:
    return [float(each.requests) for each in outcomes if each.rolled_back]
