"""How GPUs are asked for: `2`, `1(T4)`, `0.2(T4)`, `mem=4Gi`, `cores=20`, `mig=1g.10gb`, `mode=shared`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import NoReturn

from modelyard.domain import quantity
from modelyard.domain.errors import FieldError, Invalid

_AMOUNT = re.compile(r"(?P<number>[0-9]{1,6}(?:\.[0-9]{1,6})?)(?:\((?P<models>[^()]{1,80})\))?")
_MODEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._ -]{0,38}[A-Za-z0-9])?")
_PROFILE = re.compile(r"[1-9][0-9]?g\.[1-9][0-9]{0,2}gb(?:\+me)?")
_OUTSIDE = re.compile(r",(?![^()]*\))")
_MOST = 1024
_MIB = 1024**2
_REMEDY = (
    "write `2` for whole cards, `1(T4)` for a type, `0.2` for a part of one, or words such as "
    "`mem=4Gi`, `cores=20`, `mig=1g.10gb` and `mode=shared` with commas between"
)


class Mode(StrEnum):
    """How a card is held."""

    ANY = "any"
    """Whole cards alone; parts by whatever way the cluster has."""
    EXCLUSIVE = "exclusive"
    """Whole cards, alone."""
    SHARED = "shared"
    """With others, whom nothing keeps apart."""
    VGPU = "vgpu"
    """A part that is kept apart by software."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRequest:
    """What one replica asks of GPUs; the first is none at all."""

    count: int = 0
    percent: int = 0
    """The part of one card; 0 for whole ones."""
    models: tuple[str, ...] = ()
    """Any of these types of card."""
    mem_mib: int = 0
    """Memory of the card; 0 for whatever comes with its part."""
    cores_percent: int = 0
    """Its computing time; 0 for whatever comes with its part."""
    mig: str = ""
    """Profile of a hardware partition."""
    mode: Mode = Mode.ANY

    @property
    def divided(self) -> bool:
        """Whether anything else than whole cards is asked for."""
        parts = self.percent or self.mem_mib or self.cores_percent or self.mig
        return bool(parts) or self.mode in (Mode.SHARED, Mode.VGPU)

    @property
    def whole(self) -> int:
        """How many whole cards."""
        return 0 if self.divided else self.count


def parse(text: str, path: str) -> GpuRequest:
    """Read a request; raises Invalid that names `path` and says what to write."""
    found: dict[str, str] = {}
    for word in _OUTSIDE.split(text.replace("（", "(").replace("）", ")")):
        name, equals, value = word.strip().partition("=")
        name, value = (name, value) if equals else ("amount", word.strip())
        if name not in ("amount", "mem", "cores", "mig", "mode") or name in found:
            _refuse(path, f"{_shown(text)} is not a request for GPUs; {_REMEDY}")
        found[name] = value
    count, percent, models = _amount(found.get("amount", "1"), path)
    request = GpuRequest(
        count=count,
        percent=percent,
        models=models,
        mem_mib=-(-quantity.parse_memory(found["mem"], path) // _MIB) if "mem" in found else 0,
        cores_percent=_cores(found["cores"], path) if "cores" in found else 0,
        mig=_profile(found["mig"], path) if "mig" in found else "",
        mode=_mode(found["mode"], path) if "mode" in found else Mode.ANY,
    )
    _require_sense(request, found, path)
    return request


def write(request: GpuRequest) -> str:
    """The request as it is written; `parse` reads it back."""
    number = str(Decimal(request.percent) / 100) if request.percent else str(request.count)
    words = [number + (f"({'|'.join(request.models)})" if request.models else "")]
    words += [f"mem={request.mem_mib}Mi"] if request.mem_mib else []
    words += [f"cores={request.cores_percent}"] if request.cores_percent else []
    words += [f"mig={request.mig}"] if request.mig else []
    words += [f"mode={request.mode}"] if request.mode is not Mode.ANY else []
    return ",".join(words)


def is_model(product: str, models: Sequence[str]) -> bool:
    """Whether a card of this name (`Tesla-T4`, `NVIDIA A100-SXM4-40GB`) is of one of the types (`T4`)."""
    if not models:
        return True
    return any(
        re.search(rf"(?:^|[-_ ]){re.escape(model)}(?:$|[-_ ])", product.replace(" ", "-"), re.IGNORECASE)
        for model in (each.replace(" ", "-") for each in models)
    )


def whole_only(wanted: GpuRequest) -> str:
    """Why a machine that gives out whole cards alone cannot serve it; empty when it can."""
    if not wanted.divided:
        return ""
    return (
        f"`{write(wanted)}` asks for a part of a card, but this machine gives out whole cards; write "
        f"`{write(GpuRequest(count=max(1, wanted.count), models=wanted.models))}`, or use a cluster with "
        "HAMi, MIG, time-slicing or MPS"
    )


def matching(products: Iterable[str], models: Sequence[str]) -> tuple[str, ...]:
    """Those of the names that are of one of the types."""
    return tuple(sorted({each for each in products if is_model(each, models)}))


def _amount(text: str, path: str) -> tuple[int, int, tuple[str, ...]]:
    match = _AMOUNT.fullmatch(text)
    if not match:
        _refuse(path, f"{_shown(text)} is not a number of GPUs; {_REMEDY}")
    number = Decimal(match["number"])
    models = tuple(each.strip() for each in re.split(r"[|,]", match["models"] or "") if each.strip())
    if any(not _MODEL.fullmatch(each) for each in models) or (match["models"] and not models):
        _refuse(path, f"{_shown(text)} names no type of card; write it as `1(T4)` or `1(T4|V100)`")
    if number > _MOST:
        _refuse(path, f"{_shown(text)} is more than {_MOST} GPUs; write a count such as `1`")
    if "." not in match["number"]:
        return int(number), 0, models
    if number == int(number):
        _refuse(path, f"{_shown(text)} is not written as a whole number; write `{int(number)}`")
    if number > 1:
        _refuse(path, f"{_shown(text)} is more than one card and a part; write `{int(number) + 1}`")
    if number * 100 != int(number * 100):
        _refuse(path, f"{_shown(text)} is finer than a hundredth of a card; write such as `0.2`")
    return 1, int(number * 100), models


def _cores(text: str, path: str) -> int:
    if not re.fullmatch(r"[0-9]{1,3}", text) or not 1 <= int(text) <= 100:
        _refuse(path, f"cores={_shown(text)} is not a percentage of a card's cores; write such as `cores=20`")
    return int(text)


def _profile(text: str, path: str) -> str:
    if not _PROFILE.fullmatch(text):
        _refuse(path, f"mig={_shown(text)} is not a MIG profile; write such as `mig=1g.10gb`")
    return text


def _mode(text: str, path: str) -> Mode:
    if text not in (Mode.EXCLUSIVE, Mode.SHARED, Mode.VGPU):
        _refuse(path, f"mode={_shown(text)} is none; write `exclusive`, `shared` or `vgpu`")
    return Mode(text)


def _require_sense(request: GpuRequest, found: dict[str, str], path: str) -> None:
    """Refuses what says two things at once."""
    words = [name for name in ("mem", "cores", "mig", "mode") if name in found]
    if not request.count and (words or request.models):
        _refuse(path, f"0 GPUs cannot be of a type or have {', '.join(words) or 'one'}; write `0` alone")
    if "mem" in found and not request.mem_mib:
        _refuse(path, "mem=0 is no memory; write such as `mem=4Gi`, or leave it out")
    if request.mig and (request.percent or request.mem_mib or request.cores_percent):
        _refuse(path, "mig says how large the part is; leave out the fraction, `mem` and `cores`")
    if request.mig and request.mode in (Mode.SHARED, Mode.VGPU):
        _refuse(path, f"mig is held alone; leave out `mode={request.mode}`")
    if request.percent and request.mem_mib:
        _refuse(path, f"write either `0.{request.percent:02}` or `mem=…`: both say how much memory")
    if request.mode is Mode.EXCLUSIVE and not request.mig and request.divided:
        _refuse(path, "mode=exclusive gives out whole cards; write a count such as `1`")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 40 else text[:40] + "…")


def _refuse(path: str, message: str) -> NoReturn:
    raise Invalid(f"{path}: {message}", errors=(FieldError(path, message),))
