"""What pickles inside PyTorch's archives may import: tensors, their parts, and TorchScript's own types."""

from __future__ import annotations

from modelyard.formats.pickles.allowed import IDENTIFIER, allowed
from modelyard.formats.pickles.values import Global

_ELEMENTS = (
    "Float Double Half BFloat16 Long Int Short Char Byte Bool ComplexFloat ComplexDouble QInt8 QUInt8 QInt32 "
    "QUInt4x2 QUInt2x4"
)
_STORAGES = " ".join(f"{name}Storage" for name in _ELEMENTS.split())
_DTYPES = (
    "float16 float32 float64 half float double bfloat16 int8 int16 int32 int64 short int long uint8 uint16 "
    "uint32 uint64 bool complex32 complex64 complex128 qint8 quint8 qint32 quint4x2 quint2x4 "
    "float8_e4m3fn float8_e5m2 float8_e4m3fnuz float8_e5m2fnuz"
)
_LAYOUTS = (
    "strided sparse_coo sparse_csr sparse_csc preserve_format contiguous_format channels_last "
    "channels_last_3d per_tensor_affine per_tensor_symmetric per_channel_affine per_channel_symmetric "
    "per_channel_affine_float_qparams"
)
EXACT: dict[str, frozenset[str]] = {
    "torch": frozenset(f"{_STORAGES} {_DTYPES} {_LAYOUTS} Size device Tensor".split()),
    "torch.storage": frozenset({"UntypedStorage", "TypedStorage"}),
    "torch._utils": frozenset(
        (
            "_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_parameter",
            "_rebuild_parameter_with_state", "_rebuild_qtensor", "_rebuild_sparse_tensor",
            "_rebuild_sparse_csr_tensor", "_rebuild_meta_tensor_no_storage", "_rebuild_nested_tensor",
        )
    ),
    "torch._tensor": frozenset({"_rebuild_from_type_v2"}),
    "torch.nn.parameter": frozenset({"Parameter", "Buffer"}),
    "torch.serialization": frozenset({"_get_layout"}),
    "torch.jit._pickle": frozenset(
        (
            "build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "build_tensor_from_id",
            "restore_type_tag",
        )
    ),
}  # fmt: skip
"""Module to the names that only make data. Nothing here runs code that a file brings along."""


def refused(items: tuple[Global, ...], *, script: bool) -> tuple[str, ...]:
    """Name what is not on the list; `script` admits the types that a TorchScript archive defines itself.

    Those are compiled from the code in the archive and never imported from Python.
    """
    return tuple(str(item) for item in items if not _known(item, script=script))


def _known(item: Global, *, script: bool) -> bool:
    if item.name in EXACT.get(item.module, ()):
        return True
    if script and item.module.split(".")[0] == "__torch__":
        return all(IDENTIFIER.fullmatch(part) for part in (*item.module.split("."), item.name))
    return not item.module.startswith("torch") and allowed(item)
