"""What a caller holds becomes a request, also for a model that declares nothing."""

import numpy as np
import pytest

from modelyard.client import payload
from modelyard.domain.errors import Invalid


@pytest.mark.parametrize(
    ("value", "datatype"),
    [(np.array([1.0]), "FP64"), (np.array([1], dtype="i4"), "INT32"), ([True], "BOOL"), (["a"], "BYTES")],
)
def test_a_model_without_declared_inputs_is_asked_in_the_types_of_the_values(
    value: object, datatype: str
) -> None:
    (tensor,) = payload.tensors_request({"x": value}, [])["inputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("x", datatype, [1])


def test_an_array_for_a_model_without_declared_inputs_is_called_input() -> None:
    (tensor,) = payload.tensors_request([[1.0, 2.0]], [])["inputs"]
    assert (tensor["name"], tensor["shape"]) == ("input", [1, 2])


def test_an_input_that_the_model_does_not_declare_is_refused_before_it_is_sent() -> None:
    declared = [{"name": "x", "datatype": "FP64", "shape": [-1]}]
    with pytest.raises(Invalid, match="no input `z`; its inputs are x"):
        payload.tensors_request({"z": [1.0]}, declared)
