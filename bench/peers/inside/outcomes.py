"""What calls of clients come to, in a few words; shared by the programs that make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

ROW = np.array([[5.1, 3.5, 1.4, 0.2]])
PATIENCE_SECONDS = 10.0


class Surprise(Exception):
    """An answer that is not what the client's user waits for."""


def outcome(call: Callable[[], Any]) -> str:
    """What a call came to, in a few words."""
    try:
        found = call()
    except BaseException as error:  # noqa: BLE001 - whatever a client raises is the result
        text = " ".join(str(error).replace("an exception occurred in the client while ", "").split())
        text = text.partition(" for url ")[0][:70].replace("|", "/").rstrip(" :")
        return f"**fails**: {type(error).__name__}" + (f" {text}" if text else "")
    return str(found) if isinstance(found, int) and not isinstance(found, bool) else "ok"


def true(answer: Any) -> None:
    """Raise Surprise for an answer that says no."""
    if not answer:
        raise Surprise(f"answered {answer!r}")


def predicted(answer: Any) -> None:
    """Raise Surprise for another class than that of the first iris."""
    if answer is None or np.asarray(answer).ravel()[0] != 0:
        raise Surprise(f"predicted {answer!r}, not 0")
