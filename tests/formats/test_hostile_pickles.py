"""Pickles that would run code are refused by name, and nothing of them runs."""

from __future__ import annotations

import collections
import contextlib
import functools
import gzip
import io
import operator
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain.errors import Invalid, Refused
from modelyard.domain.model import Format, Serialization
from modelyard.domain.project import Trust
from modelyard.formats import Detected, detect, scan
from modelyard.formats.pickles.allowed import allowed
from modelyard.formats.pickles.arrays import read_dtype
from modelyard.formats.pickles.machine import Machine, Record
from modelyard.formats.pickles.source import Source
from modelyard.formats.pickles.values import Global, Instance, Malformed
from tests.formats import models


class Call:
    """Pickles as a call."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.function, self.args


def refusal(directory: Path, data: bytes, *, name: str = "model.pkl") -> str:
    """What detection with a hint, and then the scan, say about a hostile file."""
    for old in directory.iterdir():
        old.unlink()
    (directory / name).write_bytes(data)
    serialization = Serialization.JOBLIB if name.endswith("joblib") else Serialization.PICKLE
    claimed = Detected(format=Format.SKLEARN, serialization=serialization, entry=name)
    with pytest.raises(Refused) as caught:
        scan(directory, claimed, trust=Trust.SCAN)
    with pytest.raises(Refused):
        scan(directory, detect(directory, hint=Format.SKLEARN), trust=Trust.SCAN)
    return caught.value.message


def text(value: str) -> bytes:
    data = value.encode()
    return b"\x8c" + bytes([len(data)]) + data


def named(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def proto(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


def estimator_with(attribute: bytes) -> bytes:
    """A LogisticRegression whose state hides something."""
    made = named("sklearn.linear_model._logistic", "LogisticRegression") + b")\x81"
    return proto(made + b"}" + text("C") + attribute + b"sb")


def system() -> bytes:
    return named("os", "system") + text("touch /tmp/modelyard-pwned") + b"\x85R"


CALLS: dict[str, Any] = {
    "system": Call(os.system, "true"),
    "builtins.eval": Call(eval, "1"),
    "builtins.exec": Call(exec, "1"),
    "builtins.getattr": Call(getattr, [], "append"),
    "builtins.__import__": Call(__import__, "os"),
    "functools.partial": functools.partial(print, 1),
    "operator.attrgetter": operator.attrgetter("a"),
    "operator.methodcaller": operator.methodcaller("a"),
    "operator.itemgetter": operator.itemgetter(1),
    "joblib.numpy_pickle.load": Call(joblib.load, "x"),
    "io.open": Call(open, "/tmp/x", "w"),
    "subprocess.Popen": Call(__import__("subprocess").Popen, ["true"]),
    "runpy.run_path": Call(__import__("runpy").run_path, "x"),
    "shutil.rmtree": Call(__import__("shutil").rmtree, "/nowhere"),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_call_is_refused_by_name_in_every_protocol(name: str, protocol: int, tmp_path: Path) -> None:
    assert name in refusal(tmp_path, pickle.dumps(CALLS[name], protocol))


@pytest.mark.parametrize("name", ["system", "builtins.eval", "builtins.exec"])
def test_a_call_hidden_inside_a_model_is_refused(name: str, tmp_path: Path) -> None:
    model = models.CLASSIFIERS["logistic"].__class__()
    model.C = {"deep": [({"er": CALLS[name]},)]}
    for file, data in (
        ("m.pkl", pickle.dumps(model)),
        ("m.joblib", _joblib(model)),
        ("m.joblib", _joblib(model, 3)),
    ):
        assert name in refusal(tmp_path, data, name=file)


def _joblib(value: Any, compress: int = 0) -> bytes:
    buffer = io.BytesIO()
    joblib.dump(value, buffer, compress=compress)
    return buffer.getvalue()


def test_a_call_inside_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    model = models.CLASSIFIERS["logistic"].__class__()
    model.C = numpy.array([CALLS["system"], 1], dtype=object)
    assert "system" in refusal(tmp_path, _joblib(model), name="m.joblib")
    assert "system" in refusal(tmp_path, pickle.dumps(model))


GADGETS = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("subprocess", "check_output"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "compile"),
    ("builtins", "getattr"),
    ("builtins", "setattr"),
    ("builtins", "__import__"),
    ("builtins", "map"),
    ("builtins", "filter"),
    ("builtins", "type"),
    ("builtins", "print"),
    ("builtins", "input"),
    ("__builtin__", "eval"),
    ("importlib", "import_module"),
    ("pydoc", "locate"),
    ("pickle", "loads"),
    ("_pickle", "loads"),
    ("cloudpickle", "loads"),
    ("joblib", "load"),
    ("joblib.numpy_pickle", "load"),
    ("joblib.memory", "Memory"),
    ("joblib.parallel", "Parallel"),
    ("numpy", "load"),
    ("numpy", "memmap"),
    ("numpy", "fromfile"),
    ("numpy", "vectorize"),
    ("numpy.testing", "measure"),
    ("numpy.testing._private.utils", "runstring"),
    ("numpy.f2py.crackfortran", "myeval"),
    ("numpy.f2py.diagnose", "run_command"),
    ("numpy.distutils.exec_command", "exec_command"),
    ("numpy.core", "_ufunc_reconstruct"),
    ("numpy._core", "_ufunc_reconstruct"),
    ("numpy.lib.npyio", "load"),
    ("scipy.stats._distn_infrastructure", "rv_continuous_frozen"),
    ("sklearn.utils._joblib", "load"),
    ("sklearn.utils._joblib", "joblib.load"),
    ("sklearn.externals.joblib", "load"),
    ("sklearn.datasets", "fetch_openml"),
    ("sklearn.datasets._base", "load_files"),
    ("sklearn.utils._testing", "TempMemmap"),
    ("sklearn.base", "warnings.sys.modules"),
    ("sklearn.base", "inspect"),
    ("sklearn.ensemble._forest", "Parallel"),
    ("sklearn.tests.test_base", "LogisticRegression"),
    ("sklearn.linear_model.tests.test_base", "LogisticRegression"),
    ("sklearn.linear_model._base", "LogisticRegression.fit"),
    ("pandas", "read_pickle"),
    ("pandas.io.pickle", "read_pickle"),
    ("pandas.core.computation.eval", "eval"),
    ("xgboost.core", "ctypes"),
    ("lightgbm.basic", "_LIB"),
    ("functools", "partial"),
    ("functools", "reduce"),
    ("operator", "attrgetter"),
    ("operator", "methodcaller"),
    ("types", "FunctionType"),
    ("types", "CodeType"),
    ("torch.storage", "_load_from_bytes"),
    ("torch", "load"),
    ("webbrowser", "open"),
    ("socket", "create_connection"),
    ("urllib.request", "urlopen"),
    ("ctypes", "CDLL"),
    ("code", "interact"),
    ("timeit", "timeit"),
    ("cProfile", "run"),
    ("bdb", "Bdb"),
    ("asyncio", "run"),
    ("logging.config", "fileConfig"),
    ("idlelib.pyshell", "ModifiedInterpreter"),
    ("distutils.spawn", "spawn"),
    ("copyreg", "add_extension"),
    ("_codecs", "lookup"),
    ("codecs", "decode"),
    ("", "eval"),
    ("sklearn.linear_model", ""),
    ("sklearn..linear_model", "Ridge"),
    ("sklearn.linear_model\n", "Ridge"),
    ("sklearn.línear_model", "Ridge"),
]


@pytest.mark.parametrize(("module", "name"), GADGETS)
def test_a_gadget_is_refused_however_it_is_named(module: str, name: str, tmp_path: Path) -> None:
    assert not allowed(Global(module, name))
    assert "UnsafeContent" in refusal(tmp_path, estimator_with(named(module, name)))


@pytest.mark.parametrize("name", ["numpy.core.multiarray._reconstruct", "numpy._core.multiarray.scalar"])
def test_numpys_own_reconstruction_is_allowed(name: str) -> None:
    assert allowed(Global(*name.rsplit(".", 1)))


CRAFTED: dict[str, tuple[bytes, str]] = {
    "name from memory": (
        proto(text("system") + b"\x940" + text("os") + b"h\x00\x93" + text("x") + b"\x85R"),
        "os.system",
    ),
    "name put together while loading": (
        proto(text("os") + named("builtins", "str") + text("system") + b"\x85R\x93" + text("x") + b"\x85R"),
        "computes the name",
    ),
    "name as an old byte string": (proto(b"U\x02osU\x06system\x93)R"), "computes the name"),
    "extension registry": (proto(b"\x82\x01)R"), "extension registry"),
    "extension registry, wide": (proto(b"\x84\x01\x00\x00\x00)R"), "extension registry"),
    "persistent id": (proto(text("x") + b"Q"), "persistent id"),
    "persistent id, textual": (b"Px\n.", "persistent id"),
    "INST": (b"(S'x'\nios\nsystem\n.", "os.system"),
    "OBJ": (b"(cos\nsystem\nS'x'\no.", "os.system"),
    "GLOBAL of python 2": (b"c__builtin__\neval\n(S'1'\ntR.", "builtins.eval"),
    "NEWOBJ_EX": (proto(named("subprocess", "Popen") + b")}\x92"), "subprocess.Popen"),
    "a state for a class": (
        proto(named("sklearn.linear_model._logistic", "LogisticRegression") + b"}" + text("fit") + b"Nsb"),
        "it changes sklearn.linear_model._logistic.LogisticRegression",
    ),
    "a state with a dunder": (
        proto(
            named("sklearn.linear_model._logistic", "LogisticRegression")
            + b")\x81N}" + text("__class__") + b"Ns\x86b"
        ),
        "it sets __class__",
    ),
    "a state with a computed key": (
        proto(named("sklearn.svm._classes", "SVC") + b")\x81}U\x09__class__Nsb"), "it sets __computed__",
    ),
    "a state set twice": (
        proto(named("sklearn.svm._classes", "SVC") + b")\x81}b}b"), "twice",
    ),
    "a call of an instance": (
        proto(named("sklearn.svm._classes", "SVC") + b")\x81)R"), "not a plain name",
    ),
    "appending to an estimator": (
        proto(named("sklearn.svm._classes", "SVC") + b")\x81Na"), "calls `append` of sklearn.svm",
    ),
    "setting items of an estimator": (
        proto(named("sklearn.svm._classes", "SVC") + b")\x81" + text("a") + b"Ns"), "calls `set items` of",
    ),
    "an odd text encoding": (
        proto(named("_codecs", "encode") + text("x") + text("zip") + b"\x86R"), "other than latin1",
    ),
    "reconstruction of a refused class": (
        proto(
            named("copyreg", "_reconstructor") + named("subprocess", "Popen") + named("builtins", "object")
            + b"N\x87R"
        ),
        "subprocess.Popen",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CRAFTED)
def test_a_crafted_trick_is_refused(case: str, tmp_path: Path) -> None:
    data, word = CRAFTED[case]
    message = refusal(tmp_path, data)
    assert "UnsafeContent" in message
    assert word in message


TRAILERS: dict[str, Callable[[], bytes]] = {
    "a second pickle": lambda: pickle.dumps(models.fitted("linear")) + proto(system()),
    "one zero": lambda: pickle.dumps(models.fitted("linear")) + b"\0",
    "a second pickle in joblib": lambda: _joblib(models.fitted("linear")) + proto(system()),
    "a second pickle inside the compression": lambda: zlib.compress(
        _joblib(models.fitted("linear")) + proto(system())
    ),
    "after the compressed data": lambda: _joblib(models.fitted("linear"), 3) + proto(system()),
    "a second compressed member": lambda: (
        gzip.compress(_joblib(models.fitted("linear"))) + gzip.compress(b"x")
    ),
}


@pytest.mark.parametrize("case", TRAILERS)
def test_what_follows_the_end_is_refused(case: str, tmp_path: Path) -> None:
    assert "follow" in refusal(tmp_path, TRAILERS[case]())


def _wrapper(dtype: bytes, shape: bytes, *, extra: bytes = b"") -> bytes:
    state = (
        b"}(" + text("subclass") + named("numpy", "ndarray") + text("shape") + shape
        + text("order") + text("C") + text("dtype") + dtype + text("allow_mmap") + b"\x89" + extra + b"u"
    )  # fmt: skip
    return named("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81" + state + b"b"


def _dtype(code: str, *, size: int = -1, flags: int = 0) -> bytes:
    made = named("numpy", "dtype") + text(code) + b"\x89\x88\x87R"
    state = (
        b"(K\x03"
        + text("<")
        + b"NNN"
        + b"J"
        + struct.pack("<i", size)
        + b"J\xff\xff\xff\xff"
        + b"K"
        + bytes([flags])
    )
    return made + state + b"tb"


WRAPPERS: dict[str, bytes] = {
    "flags that say objects": _wrapper(_dtype("f8", flags=63), b"K\x02\x85") + b"\0" * 16 + system(),
    "objects without the flag": _wrapper(_dtype("O", flags=0), b"K\x02\x85") + b"\0" * 16 + system(),
    "a size of its own": _wrapper(_dtype("f8", size=1), b"K\x02\x85") + b"\0" * 16 + system(),
    "a shape that overflows": _wrapper(
        _dtype("f8"), b"\x8a\x05\0\0\0\0\x01\x8a\x05\0\0\0\0\x01\x86"
    ) + system(),
    "a negative shape": _wrapper(_dtype("f8"), b"J\xff\xff\xff\xff\x85") + system(),
    "a shape that is no number": _wrapper(_dtype("f8"), b"G" + b"\0" * 8 + b"\x85") + system(),
    "an attribute too many": _wrapper(_dtype("f8"), b"K\x00\x85", extra=text("read") + b"N") + system(),
    "a bare letter": _wrapper(_dtype("f"), b"K\x02\x85") + b"\0" * 8 + system(),
    "a size that numpy reads otherwise": _wrapper(_dtype("f3"), b"K\x02\x85") + b"\0" * 8 + system(),
    "no dtype": _wrapper(b"N", b"K\x00\x85") + system(),
    "arrays in other files": named("joblib.numpy_pickle_compat", "NDArrayWrapper") + b")\x81}b",
}  # fmt: skip


@pytest.mark.parametrize("case", WRAPPERS)
def test_an_array_that_lies_about_its_bytes_is_refused(case: str, tmp_path: Path) -> None:
    (tmp_path / "m.joblib").write_bytes(proto(b"(" + WRAPPERS[case] + b"l"))
    with pytest.raises(Refused, match=r"m\.joblib"):
        detect(tmp_path, hint=Format.SKLEARN)


CODES = [code + size for code in "?bBhHiIlLqQpPefdgFDGSUVOMmabcu" for size in ("", *map(str, range(33)))]


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_size_of_an_element_is_what_numpy_says_or_not_accepted(order: str) -> None:
    accepted = 0
    for code in CODES:
        for sizes in (-1, 0, 1, 4, 8, 12, 16, 20, 32, 64, 128):
            for flags in (0, 1, 8, 63):
                made = Instance(Global("numpy", "dtype"), (code, False, True))
                made.state = (3, order, None, None, None, sizes, -1, flags)
                try:
                    ours = read_dtype(made)
                except Malformed:
                    continue
                accepted += 1
                theirs = numpy.dtype(code)
                assert (ours.size, ours.objects) == (theirs.itemsize, theirs.hasobject), code
    assert accepted >= 25


def test_a_frame_that_does_not_end_with_its_instruction_is_refused(tmp_path: Path) -> None:
    data = b"\x80\x04\x95" + struct.pack("<Q", 8) + system() + b"."
    (tmp_path / "m.pkl").write_bytes(data)
    with pytest.raises(Refused, match="frame"):
        detect(tmp_path, hint=Format.SKLEARN)


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"x",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**63) + b"x",
        b"\x80\x04B" + struct.pack("<I", 2**32 - 1) + b"x",
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b".",
        b"\x80\x04\x8b" + struct.pack("<I", 2**31) + b".",
        b"\x80\xff.",
        b"\x80\x05\x97.",
        b"(" * 5_000_000 + b".",
        b"g" + b"9" * 5000 + b"\n.",
        b"I" + b"9" * 500_000 + b"\n.",
        b"V" + b"9" * 5_000_000,
        b"\x80\x04" + b"]" + b"\x94" * 3_000_000 + b".",
        b"\x80\x04]" + b"2" * 3_000_000 + b".",
    ],
)
def test_huge_claims_are_refused_at_once(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(data)
    with pytest.raises(Refused):
        detect(tmp_path, hint=Format.SKLEARN)


def test_a_compression_bomb_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("modelyard.formats.limits.MAX_INFLATED", 1_000_000)
    body = b"\x80\x04\x8e" + struct.pack("<Q", 50_000_000) + bytes(50_000_000) + b"."
    (tmp_path / "m.pkl").write_bytes(zlib.compress(body))
    with pytest.raises(Refused, match="early"):
        detect(tmp_path, hint=Format.SKLEARN)


def test_more_instructions_than_can_be_checked_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelyard.formats.limits.MAX_OPERATIONS", 1000)
    (tmp_path / "m.pkl").write_bytes(b"\x80\x04" + b"N0" * 1000 + b"N.")
    with pytest.raises(Refused, match="more than 1000 instructions"):
        detect(tmp_path, hint=Format.SKLEARN)


def test_nothing_ran() -> None:
    assert not os.path.exists("/tmp/modelyard-pwned")


OPCODES = [
    getattr(pickle, name)
    for name in dir(pickle)
    if isinstance(getattr(pickle, name), bytes) and name.isupper()
]
PIECES = st.one_of(
    st.sampled_from([code for code in OPCODES if len(code) == 1]),
    st.binary(max_size=6),
    st.sampled_from(["os", "system", "sklearn.svm._classes", "SVC", "__class__"]).map(text),
    st.just(named("sklearn.svm._classes", "SVC") + b")\x81"),
)


@given(pieces=st.lists(PIECES, max_size=40))
@settings(max_examples=400, deadline=None)
def test_any_instructions_end_in_an_answer_or_a_refusal(
    pieces: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("fuzz")
    (directory / "m.pkl").write_bytes(b"\x80\x04" + b"".join(pieces) + b".")
    try:
        scan(directory, detect(directory, hint=Format.SKLEARN), trust=Trust.SCAN)
    except (Refused, Invalid):
        return


class Spy(pickle._Unpickler):  # type: ignore[name-defined,misc]
    """Python's own machine, which records what it would import instead of importing it."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.seen: list[tuple[str, str]] = []

    def find_class(self, module: str, name: str) -> Any:
        self.seen.append((module, name))
        return collections.OrderedDict


@given(st.lists(PIECES, max_size=30), st.sampled_from([2, 3, 4]))
@settings(max_examples=500, deadline=None)
def test_whatever_python_would_import_first_is_seen_here(pieces: list[bytes], protocol: int) -> None:
    data = bytes([0x80, protocol]) + b"".join(pieces) + b"."
    spy = Spy(data)
    with contextlib.suppress(Exception):  # whatever Python's machine raises for nonsense
        spy.load()
    record = Record()
    try:
        Machine(Source(io.BytesIO(data), len(data)), record).run()
    except Malformed:
        return  # refused as a whole
    if record.findings:
        return
    assert {module for module, _ in spy.seen} <= {item.module for item in record.imports} | {
        "__builtin__",
        "copy_reg",
    }
