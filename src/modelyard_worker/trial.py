"""The verb `test`: load a model, answer one request, and end."""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping

from modelyard_worker import requests
from modelyard_worker.arrays import nested
from modelyard_worker.failures import Failure
from modelyard_worker.loaders import load


def test_model(config: Mapping[str, Any], request_path: str) -> Dict[str, Any]:
    """Answer `{"outputs": {name: nested lists}, "device": …}` for the request in a file. Raises Failure."""
    try:
        with open(request_path, encoding="utf-8") as file:
            request = json.load(file)
    except (OSError, ValueError) as error:
        raise Failure("SignatureMismatch", f"the request is not readable JSON: {error}") from error
    if not isinstance(request, dict):
        raise Failure("SignatureMismatch", 'the request needs "inputs" or "rows"')
    loaded = load(config)
    answer = loaded.predict(requests.tensors(request, loaded.signature["inputs"]), {})
    return {"outputs": {name: nested(array) for name, array in answer.items()}, "device": loaded.device}
