"""Loaded: what every loader returns, whatever the model's format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, AsyncIterator, Awaitable, Callable, Dict, Iterator, Mapping, Optional

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.generic]
    Arrays = Dict[str, NDArray[Any]]
    Numbers = NDArray[Any]


@dataclass(frozen=True)
class Aside:
    """The async side of a model: requests are answered beside one another, on one event loop."""

    depth: int
    """So many at a time."""
    loop: Callable[[], Any]
    """The event loop that the model's other async code ran on."""
    predict: Callable[[Arrays, Mapping[str, Any]], Awaitable[Arrays]]
    parts: Callable[[Arrays, Mapping[str, Any]], AsyncIterator[Arrays]]
    """The answer in parts, for models that yield it."""


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to answer."""

    signature: Dict[str, Any]
    """`inputs`, `outputs`, `targets` (tensor specs) and `sample`, as JSON."""
    device: str
    """Where it computes: `CPU`, `GPU` or `ONNX Runtime device: CPU`."""
    info: Dict[str, Any]
    """`framework_version`, `algorithm`, `function`."""
    predict: Callable[[Arrays, Mapping[str, Any]], Arrays]
    """`predict(inputs, parameters)`: arrays by tensor name; BYTES tensors are object arrays of bytes.

    Raises only Failure. `parameters["requested_outputs"]`, a list of names, saves computing the others.
    """
    source: Any = None
    """The fitted object itself, for compiling; None for a model that is no estimator or booster."""
    known: Any = None
    """What the object tells about its inputs (`fitted.Inputs`), where there is one."""
    objective: Any = None
    """What a bare booster's scores mean (`boosters.Objective`)."""
    stream: Optional[Callable[[Arrays, Mapping[str, Any]], Iterator[Arrays]]] = None
    """The same in parts, for models whose code yields them; raises only Failure. None for all others."""
    batchable: Optional[bool] = True
    """Whether rows of several requests may be predicted together; None when it need not, unless asked to."""
    set_threads: Optional[Callable[[int], None]] = None
    """Sets with how many threads it computes; None where that cannot be changed once it is loaded."""
    aside: Optional[Aside] = None
    """How several requests are answered at a time, for models whose code is async. None for all others."""
