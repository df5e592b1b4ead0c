"""How many threads a model computes with: the better number, found in half a second at most."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard_worker.loaded import Loaded
from modelyard_worker.thread_count import LONGEST_SECONDS, chosen, settle

ROW = {"input": np.zeros((1, 2))}


class World:
    """A model whose calls cost what is said, on a clock of its own."""

    def __init__(self, cost: Callable[[int, int], float]) -> None:
        self.now = 0.0
        self.threads = 4
        self.calls = 0
        self._cost = cost

    def loaded(self) -> Loaded:
        return Loaded(signature={}, device="CPU", info={}, predict=self._predict, set_threads=self._set)

    def clock(self) -> float:
        return self.now

    def _set(self, count: int) -> None:
        self.threads = count

    def _predict(self, inputs: Any, _: Any) -> Any:
        self.calls += 1
        self.now += self._cost(self.threads, len(inputs["input"]))
        return inputs


@pytest.mark.parametrize(
    ("cost", "best"),
    [
        (lambda threads, rows: rows * 0.001 / threads, 4),
        (lambda threads, rows: rows * 1e-5 + 0.002 * (threads - 1), 1),
        (lambda threads, rows: rows * 1e-5, 1),
        (lambda threads, rows: 1e-5 * (1.05 if threads > 1 else 1) if rows == 1 else 0.01 / threads, 4),
    ],
    ids=["they share the work", "waking them costs more", "they do nothing", "they pay for many rows"],
)
def test_the_better_number_is_chosen_and_set(cost: Callable[[int, int], float], best: int) -> None:
    world = World(cost)
    said = settle(world.loaded(), ROW, 4, world.clock)
    assert said is not None
    assert (said["given"], said["chosen"], world.threads) == (4, best, best)
    assert set(said["milliseconds"]) == {"1", "4"}
    assert world.now <= LONGEST_SECONDS


def test_what_half_a_second_is_too_short_for_keeps_what_it_is_given() -> None:
    world = World(lambda threads, rows: 0.3 * rows)
    said = settle(world.loaded(), ROW, 4, world.clock)
    assert said is not None
    assert (said["chosen"], world.threads) == (4, 4)
    assert world.calls <= 4


def test_where_there_is_no_choice_nothing_is_tried() -> None:
    world = World(lambda threads, rows: 0.001)
    assert settle(world.loaded(), ROW, 1, world.clock) is None
    assert world.calls == 0


@given(st.floats(1e-6, 1), st.floats(1e-6, 1), st.floats(1e-6, 1), st.floats(1e-6, 1))
def test_what_is_slower_for_every_size_is_never_chosen(a: float, b: float, c: float, d: float) -> None:
    best = chosen({1: {1: a, 32: b}, 4: {1: c, 32: d}}, 4)
    if best == 4:
        assert c < a or d < b
    elif c < a / 1.2 and d < b / 1.2:
        pytest.fail("more threads were quicker for every size")
