"""Every kind of file, cut and broken everywhere: always an answer or a refusal, never another error."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.errors import Invalid, Refused
from modelyard.domain.project import Trust
from modelyard.formats import detect, scan
from tests.formats import models

PMML = """<?xml version="1.0"?>
<PMML xmlns="http://www.dmg.org/PMML-4_4" version="4.4"><Header/>
<DataDictionary><DataField name="x" optype="continuous" dataType="double"/></DataDictionary>
<RegressionModel functionName="regression"><MiningSchema><MiningField name="x"/></MiningSchema>
<RegressionTable intercept="1"><NumericPredictor name="x" coefficient="2"/></RegressionTable>
</RegressionModel></PMML>"""


def _joblib(name: str, compress: object = 0) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(models.fitted(name), buffer, compress=compress)
    return buffer.getvalue()


WHOLE: dict[str, tuple[str, Callable[[], bytes]]] = {
    "pickle": ("m.pkl", lambda: pickle.dumps(models.fitted("random-forest"))),
    "old pickle": ("m.pkl", lambda: pickle.dumps(models.fitted("logistic"), 0)),
    "joblib": ("m.joblib", lambda: _joblib("random-forest")),
    "joblib with texts": ("m.joblib", lambda: _joblib("named-columns")),
    "zlib": ("m.joblib", lambda: _joblib("logistic", 3)),
    "gzip": ("m.joblib", lambda: _joblib("logistic", ("gzip", 3))),
    "bz2": ("m.joblib", lambda: _joblib("logistic", ("bz2", 3))),
    "lzma": ("m.joblib", lambda: _joblib("logistic", ("lzma", 1))),
    "xz": ("m.joblib", lambda: _joblib("logistic", ("xz", 1))),
    "skops": ("m.skops", lambda: models.skops_bytes("logistic")),
    "xgboost json": ("m.json", lambda: bytes(models.booster().save_raw("json"))),
    "xgboost ubj": ("m.ubj", lambda: bytes(models.booster().save_raw("ubj"))),
    "lightgbm": ("m.txt", lambda: models.lightgbm_text().encode()),
    "catboost": ("m.cbm", models.catboost_bytes),
    "catboost numbers": ("m.cbm", lambda: models.catboost_bytes(kind="regressor")),
    "catboost json": ("m.json", lambda: models.catboost_bytes("json")),
    "pmml": ("m.pmml", lambda: PMML.encode()),
    "onnx": ("m.onnx", lambda: models.onnx_bytes("random-forest")),
}


def _end(kind: str, data: bytes) -> int:
    if kind == "lightgbm":
        return data.index(b"end of trees")
    if kind == "onnx":
        return len(data) - 40  # behind the operator sets stands only what describes the file
    return len(data)


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_file_is_accepted_and_cut_anywhere_it_is_refused(kind: str, tmp_path: Path) -> None:
    name, make = WHOLE[kind]
    data = make()
    path = tmp_path / name
    path.write_bytes(data)
    assert scan(tmp_path, detect(tmp_path), trust=Trust.SCAN) is not None
    end = _end(kind, data)
    cuts = {0, 1, 2, 3, 10, end - 1, end - 2, end - 10, *range(0, end, max(1, end // 120))}
    for cut in sorted(cut for cut in cuts if 0 <= cut < end):
        path.write_bytes(data[:cut])
        with pytest.raises((Refused, Invalid)) as caught:
            detect(tmp_path)
        assert name in caught.value.message


@given(kind=st.sampled_from(sorted(WHOLE)), random=st.randoms(use_true_random=False), count=st.integers(1, 8))
@settings(max_examples=400, deadline=None)
def test_flipped_bytes_end_in_an_answer_or_a_refusal(
    kind: str, random: object, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    name, make = WHOLE[kind]
    data = bytearray(make())
    for _ in range(count):
        data[random.randrange(len(data))] = random.randrange(256)  # type: ignore[attr-defined]
    _judge(tmp_path_factory.mktemp("broken"), name, bytes(data))


HEADS = [
    b"",
    b"\x80\x04",
    b"\x80\x05\x95",
    b"{L\0\0\0\0\0\0\0\x07learner",
    b'{"learner": ',
    b"tree\nversion=v4\n",
    b"PK\x03\x04",
    b"\x78\x9c",
    b"\x1f\x8b",
    b"BZh9",
    b"\xfd7zXZ\0",
    b"\x5d\0\0",
    b"\x08\x07\x12",
    b":",
    b"CBM1\x20\0\0\0",
    b'{"features_info": {"float_features": [',
    b'<PMML version="4.4">',
    b"<?xml version='1.0'?><PMML ",
]
NAMES = [
    "m.pkl",
    "m.joblib",
    "m.skops",
    "m.json",
    "m.ubj",
    "m.txt",
    "m.onnx",
    "m.bin",
    "model.py",
    "m.pkl.gz",
    "m.cbm",
    "m.pmml",
    "metadata/part-00000",
]


@given(name=st.sampled_from(NAMES), head=st.sampled_from(HEADS), tail=st.binary(max_size=400))
@settings(max_examples=600, deadline=None)
def test_any_bytes_under_any_name_end_in_an_answer_or_a_refusal(
    name: str, head: bytes, tail: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    _judge(tmp_path_factory.mktemp("bytes"), name, head + tail)


def _judge(directory: Path, name: str, data: bytes) -> None:
    (directory / name).parent.mkdir(exist_ok=True)
    (directory / name).write_bytes(data)
    try:
        scan(directory, detect(directory), trust=Trust.SCAN)
    except (Refused, Invalid) as error:
        said = error.message
    else:
        said = ""
    assert "Traceback" not in said
    assert str(directory) not in said
