"""The examples of the protocol's page, asked of real replicas as they stand there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.docs.test_pages import REFERENCE, blocks
from tests.serving.replicas import Replica, replica
from tests.serving.served import TEXT, TEXT_CODE, VECTOR, VECTOR_CODE

ANYTHING = "…"
RISK_CODE = """
import numpy as np
def predict(inputs):
    old = inputs["input"][:, 0] > 40
    scores = np.where(old[:, None], [[0.25, 0.75]], [[0.75, 0.25]])
    return {"label": old.astype("int64"), "probabilities": scores}
"""
RISK = {
    "inputs": [{"name": "input", "datatype": "FP64", "shape": [-1, 2], "columns": ["age", "income"]}],
    "outputs": [
        {"name": "label", "datatype": "INT64", "shape": [-1]},
        {"name": "probabilities", "datatype": "FP64", "shape": [-1, 2], "columns": ["low", "high"]},
    ],
}
MODELS = {"risk": (RISK_CODE, RISK), "shout": (TEXT_CODE, TEXT), "vectors": (VECTOR_CODE, VECTOR)}


@dataclass(frozen=True)
class Example:
    """A request, and the answer that the page promises."""

    method: str
    path: str
    body: str
    status: int
    answer: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def model(self) -> str:
        return next((name for name in MODELS if f"/{name}" in self.path or f'"{name}"' in self.body), "risk")


def examples() -> Iterator[Example]:
    for block in blocks(REFERENCE / "protocol.md", "http"):
        asked, _, answered = block.partition("\n\n")
        line, *rest = asked.split("\n")
        headers = {}
        while rest and rest[0].startswith("Content-"):
            name, _, value = rest.pop(0).partition(": ")
            headers[name] = value
        method, path = line.split()
        status, _, answer = answered.partition("\n")
        yield Example(method, path, "\n".join(rest), int(status), answer.strip(), headers)


EXAMPLES = list(examples())


def same(found: Any, promised: Any) -> bool:
    if promised == ANYTHING:
        return True
    if isinstance(promised, dict):
        return (
            isinstance(found, dict)
            and set(found) == set(promised)
            and all(same(found[key], promised[key]) for key in promised)
        )
    if isinstance(promised, list):
        return isinstance(found, list) and len(found) == len(promised) and all(map(same, found, promised))
    return bool(found == promised)


@pytest.fixture(scope="module")
def replicas() -> Iterator[dict[str, Replica]]:
    from contextlib import ExitStack

    with ExitStack() as stack:
        yield {
            name: stack.enter_context(replica(code=code, signature=signature, service=name))
            for name, (code, signature) in MODELS.items()
        }


def test_the_page_has_examples_of_every_dialect() -> None:
    paths = " ".join(example.path for example in EXAMPLES)
    for part in (
        "/infer",
        "/generate",
        ":predict",
        ":classify",
        "/invocations",
        "/v1/models/risk ",
        "/openai/",
    ):
        assert part in f"{paths} ", part


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: f"{each.path}-{each.status}")
def test_an_example_is_answered_as_the_page_says(replicas: dict[str, Replica], example: Example) -> None:
    answer = replicas[example.model].call(example.method, example.path, example.body, example.headers)
    assert answer.status == example.status, answer.body
    text = answer.body.decode()
    if not example.answer.startswith("data: "):
        assert same(json.loads(text), json.loads(example.answer)), text
        return
    found, promised = (each.strip().split("\n\n") for each in (text, example.answer))
    for got, said in zip(found, promised, strict=True):
        if said == "data: [DONE]":
            assert got == said
        else:
            assert same(json.loads(got.removeprefix("data: ")), json.loads(said.removeprefix("data: "))), got
