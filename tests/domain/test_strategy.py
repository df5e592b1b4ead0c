"""How strategies and gates are written, and what is said to those who write them wrongly."""

from __future__ import annotations

from typing import Any

import pytest

from modelyard.domain.errors import Invalid
from modelyard.domain.gates import (
    AgreementGate,
    ErrorGate,
    Gate,
    LatencyGate,
    ManualGate,
    MemoryGate,
    MetricGate,
    parse,
    parse_all,
)
from modelyard.domain.strategy import Kind, Strategy


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("errors=1%", ErrorGate(0.01)),
        ("errors=0.5%", ErrorGate(0.005)),
        ("p99=20%", LatencyGate(0.99, ratio=0.2)),
        ("p99.9=0%", LatencyGate(0.999)),
        ("p50=5ms", LatencyGate(0.5, seconds=0.005)),
        ("p95=1.5s", LatencyGate(0.95, seconds=1.5)),
        ("agreement=99%", AgreementGate(0.99)),
        ("memory=150%", MemoryGate(1.5)),
        ("metric:queue_depth<=5", MetricGate("queue_depth", 5.0, most=True)),
        ("metric:model:score>=-0.25", MetricGate("model:score", -0.25, most=False)),
        ("manual", ManualGate()),
        ("manual=100", ManualGate(100)),
    ],
)
def test_gates_are_read_as_they_are_written(text: str, gate: Gate) -> None:
    read = parse(text, "gate")
    assert type(read) is type(gate)
    assert repr(read) == pytest.approx(repr(gate))


@pytest.mark.parametrize(
    "text",
    [
        "", "errors", "errors=", "errors=1", "errors=-1%", "errors=0%", "errors=100%", "agreement=100%",
        "p99", "p99=20", "p5=20%", "p100=1%", "p99=20ms%", "latency=1%", "metric:=1", "metric:a<5",
        "metric:a<=x", "metric:a-b<=1", "manual=101", "manual=-1", "manual=x", "memory=1Gi", "é=1%",
        "9" * 500,
    ],
)  # fmt: skip
def test_a_gate_that_is_none_is_refused_with_how_gates_are_written(text: str) -> None:
    with pytest.raises(Invalid, match=r"^gate: ") as caught:
        parse(text, "gate")
    assert caught.value.errors[0].path == "gate"


def test_none_stands_alone_and_nothing_is_given_twice() -> None:
    assert parse_all(["none"], "gates") == {}
    for wrong in (["none", "errors=1%"], ["errors=1%", "errors=1%"]):
        with pytest.raises(Invalid, match=r"^gates: "):
            parse_all(wrong, "gates")


def test_what_is_not_said_is_what_is_usual() -> None:
    assert Strategy().is_plain
    assert not Strategy(gates=("errors=1%",)).is_plain
    assert Strategy(kind=Kind.CANARY).stages == (5, 25, 100)
    assert list(Strategy(kind=Kind.BLUE_GREEN).judges) == ["errors=1%"]
    assert Strategy(kind=Kind.CANARY, gates=("none",)).judges == {}


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("steps", {"steps": (5, 100)}),
        ("steps", {"kind": Kind.CANARY, "steps": (5, 25)}),
        ("steps", {"kind": Kind.CANARY, "steps": (25, 5, 100)}),
        ("steps", {"kind": Kind.CANARY, "steps": (5, 5, 100)}),
        ("steps", {"kind": Kind.CANARY, "steps": (-5, 100)}),
        ("steps", {"kind": Kind.CANARY, "steps": (0, 100)}),
        ("steps", {"kind": Kind.CANARY, "steps": (*range(1, 30), 100)}),
        ("interval_seconds", {"interval_seconds": -1.0}),
        ("interval_seconds", {"interval_seconds": float("nan")}),
        ("keep_seconds", {"keep_seconds": float("inf")}),
        ("min_requests", {"min_requests": -1}),
        ("mirror", {"kind": Kind.CANARY, "mirror": 101}),
        ("mirror", {"mirror": 10}),
        ("mirror", {"kind": Kind.CANARY, "gates": ("agreement=99%",)}),
        ("tolerance", {"tolerance": 2.0}),
        ("gates[0]", {"gates": ("nonsense",)}),
        ("gates", {"kind": Kind.CANARY, "gates": ("manual=3",)}),
    ],
)
def test_a_strategy_that_cannot_be_is_refused_by_field(field: str, said: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        Strategy(**said)
    assert [error.path for error in caught.value.errors] == [f"strategy.{field}"]
