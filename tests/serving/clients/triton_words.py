"""What tritonclient.grpc does with a model of any inputs: texts, empty tensors, every datatype."""

from __future__ import annotations

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import np_to_triton_dtype

from tests.serving.clients.checks import checks_of, run


def _echoed(address: str, array: np.ndarray, datatype: str) -> np.ndarray:
    given = triton.InferInput("x", list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return triton.InferenceServerClient(address).infer("echo", [given]).as_numpy("x_out")


def check_texts(address: str) -> None:
    texts = np.array([["a\x00b", "", "漢字"], ["x" * 1000, "y", "z"]], dtype=object)
    back = _echoed(address, texts, "BYTES")
    assert [[t.decode() for t in row] for row in back.tolist()] == texts.tolist()
    odd = np.array([b"\xff\xfe", b""], dtype=object)
    assert _echoed(address, odd, "BYTES").tolist() == odd.tolist()


def check_empty_tensors(address: str) -> None:
    assert _echoed(address, np.zeros((0, 4), np.float32), "FP32").shape == (0, 4)


def check_every_datatype(address: str) -> None:
    for kind in ("?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"):
        array = np.array([[0, 1], [1, 0]]).astype(kind)
        back = _echoed(address, array, np_to_triton_dtype(array.dtype))
        assert back.dtype == array.dtype
        assert (back == array).all()


def check_nan_and_infinity(address: str) -> None:
    array = np.array([np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(_echoed(address, array, "FP64"), array)


if __name__ == "__main__":
    run(checks_of(globals()))
