"""One loader per format; `load` is the way in."""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Callable, Iterator, Mapping

from modelyard_worker.config import prepare, verify
from modelyard_worker.explain import explain
from modelyard_worker.failures import Failure
from modelyard_worker.loaded import Loaded

if TYPE_CHECKING:
    from modelyard_worker.loaded import Arrays

FORMATS = (
    "sklearn", "xgboost", "lightgbm", "catboost", "onnx", "torch", "keras", "tensorflow", "pmml", "spark",
    "python", "variant", "mlflow", "huggingface", "pipeline",
)  # fmt: skip


def load(config: Mapping[str, Any]) -> Loaded:
    """Load the model that worker.json describes.

    The files' checksums are compared first. Raises only Failure (and KeyboardInterrupt).
    """
    try:
        verify(config)
        prepare(config)
        if config["format"] not in FORMATS:
            raise Failure("ModelLoadFailed", f"format {config['format']} is not one of {', '.join(FORMATS)}")
        loaded: Loaded = importlib.import_module(f"modelyard_worker.loaders.{config['format']}").load(config)
    except (Failure, KeyboardInterrupt):
        raise
    except BaseException as error:  # guests raise anything, SystemExit too; it is reported
        raise explain(error, config, loading=True) from error
    return guarded(loaded, config)


def guarded(loaded: Loaded, config: Mapping[str, Any]) -> Loaded:
    """The model with a predict and a stream that raise only Failure (and KeyboardInterrupt)."""
    stream = None if loaded.stream is None else _guarded_stream(loaded.stream, config)
    return replace(loaded, predict=_guarded(loaded.predict, config), stream=stream)


def _guarded_stream(stream: Any, config: Mapping[str, Any]) -> Any:
    def explained(inputs: Arrays, parameters: Mapping[str, Any]) -> Iterator[Arrays]:
        try:
            yield from stream(inputs, parameters)
        except (Failure, KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # guests raise anything, SystemExit too; it is reported
            raise explain(error, config, loading=False) from error

    return explained


def _guarded(predict: Callable[[Arrays, Mapping[str, Any]], Arrays], config: Mapping[str, Any]) -> Any:
    def explained(inputs: Arrays, parameters: Mapping[str, Any]) -> Arrays:
        try:
            return predict(inputs, parameters)
        except (Failure, KeyboardInterrupt):
            raise
        except BaseException as error:  # guests raise anything, SystemExit too; it is reported
            raise explain(error, config, loading=False) from error

    return explained
