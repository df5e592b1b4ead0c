"""The keeper's one loop: what the program does, what it says, and what is done about it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from modelyard.backends import process
from modelyard.backends.keeper import child
from modelyard.backends.keeper.asking import Watch
from modelyard.backends.keeper.config import Config
from modelyard.domain.health import LIVENESS_FAILED, READINESS_FAILED

Failure = dict[str, str]
_LOOK_SECONDS = 0.1
_BEAT_SECONDS = 1.0
_GRACE_SECONDS = 3.0
"""How long a program that was told to end may take before it is ended."""
_STEADY_SECONDS = 60.0
"""A program that lived so long is started again at once when it ends."""
_LONGEST_WAIT_SECONDS = 30.0
_PASSED_ON = ("inflight", "queue", "models")
"""What a front says that is said on as it is."""


class Keeper:
    """Keeps the program of one replica and says in a file how it is."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._told = threading.Event()
        self._hurry = False
        self._child: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._next_start = 0.0
        self._readiness: Watch | None = None
        self._liveness: Watch | None = None
        self._was_ready = False
        self._trouble: Failure | None = None
        """Why the program was started again and is not ready since."""
        self._last: Failure | None = None
        self._restarts = 0
        self._in_a_row = 0
        self._said: dict[str, Any] = {}
        self._beaten = 0.0
        self._measured, self._measured_at = 0, 0.0

    def run(self) -> int:
        """Keep the program until SIGTERM, or until it fails before it was ever ready; the exit code."""
        signal.signal(signal.SIGTERM, self._on_term)
        self._say(phase="starting")
        failure = child.absent(self._config)
        while failure is None:
            if self._told.is_set():
                return self._leave()
            failure = self._look()
            self._told.wait(_LOOK_SECONDS)
        self._drop()
        self._say(phase="failed", failure=failure)
        return 1

    def _on_term(self, *_: object) -> None:
        self._hurry = self._told.is_set()
        self._told.set()

    def _look(self) -> Failure | None:
        """One look, and what follows from it; the failure that ends it all."""
        if self._child is None:
            if time.monotonic() >= self._next_start:
                return self._start()
            self._report({})
            return None
        front = self._front()
        failure = self._wrong(self._child)
        if front.get("phase") == "failed":
            failure = front.get("failure") or {"reason": "StartFailed", "message": "the front gave no reason"}
        if failure is None:
            self._report(front)
            return None
        self._drop()
        if not self._was_ready:
            return failure
        self._again(failure)
        return None

    def _start(self) -> Failure | None:
        config = self._config
        if config.front_state:
            Path(config.front_state).unlink(missing_ok=True)  # what the one before said of itself
        try:
            self._child = child.start(config)
        except OSError as error:
            return child.unstartable(error, config)
        self._began = time.monotonic()
        if config.readiness is not None:
            self._readiness = Watch(config.readiness, config.ask_env, config.ask_cwd)
            self._readiness.start()
        return None

    def _wrong(self, running: subprocess.Popen[bytes]) -> Failure | None:
        """Why the program has to be started again."""
        code = running.poll()
        if code is not None:
            return child.ended(code, self._config)
        if self._liveness is not None and self._liveness.tally.well is False:
            return {"reason": LIVENESS_FAILED, "message": f"the liveness probe failed: {self._liveness.why}"}
        limit, used = self._config.memory_bytes, self._memory()
        if limit and used > limit and not self._config.front_state:
            message = f"it used {used >> 20} MiB of the {limit >> 20} MiB that it may have"
            return {"reason": "OutOfMemory", "message": message}
        return None

    def _again(self, failure: Failure) -> None:
        steady = time.monotonic() - self._began >= _STEADY_SECONDS
        self._in_a_row = 0 if steady else self._in_a_row + 1
        delay = min(2.0 ** (self._in_a_row - 2), _LONGEST_WAIT_SECONDS) if self._in_a_row > 1 else 0.0
        self._next_start = time.monotonic() + delay
        self._restarts += 1
        self._trouble = self._last = failure
        self._report({})

    def _drop(self) -> None:
        """End the program, politely at first, and ask no more of it."""
        for watch in (self._readiness, self._liveness):
            if watch is not None:
                watch.end()
        self._readiness = self._liveness = None
        if self._child is not None:
            child.tell(self._child, signal.SIGTERM)
            self._wait_for(self._child, _GRACE_SECONDS)
            child.kill(self._child)
            self._child = None

    def _report(self, front: dict[str, Any]) -> None:
        """Say how the program is."""
        ready = self._child is not None and self._answers(front)
        if ready:
            self._was_ready, self._trouble = True, None
            if self._liveness is None and self._config.liveness is not None:
                self._liveness = Watch(self._config.liveness, self._config.ask_env, self._config.ask_cwd)
                self._liveness.start()
        if ready or not self._was_ready:
            last = front.get("last_failure") or self._last
            lacks = None if ready or self._readiness is None or not self._readiness.why else self._why(front)
            self._say(phase="ready" if ready else "starting", failure=lacks, last_failure=last, front=front)
            return
        self._say(phase="unready", failure=self._trouble or self._why(front), front=front)

    def _answers(self, front: dict[str, Any]) -> bool:
        if self._config.front_state and front.get("phase") != "ready":
            return False
        return self._readiness is None or self._readiness.tally.well is True

    def _why(self, front: dict[str, Any]) -> Failure:
        if front.get("phase") not in (None, "ready") and front.get("failure"):
            return dict(front["failure"])
        why = self._readiness.why if self._readiness is not None else "its front is not ready"
        return {"reason": READINESS_FAILED, "message": f"the readiness probe fails: {why}"}

    def _leave(self) -> int:
        """Let the program finish what it has, then end it."""
        self._say(phase="draining")
        deadline = time.monotonic() + self._config.drain_seconds
        running = self._child
        if running is None:
            return 0
        if self._config.front_state:
            # A front knows itself what it has to finish.
            child.tell(running, signal.SIGTERM, alone=True)
        else:
            while self._busy() and not self._hurry and time.monotonic() < deadline:
                self._beat()
                time.sleep(_LOOK_SECONDS / 2)
            child.tell(running, signal.SIGTERM)
        self._wait_for(running, max(deadline - time.monotonic(), _GRACE_SECONDS))
        child.kill(running)
        return 0

    def _busy(self) -> bool:
        """Whether somebody is still connected: the gateway keeps no connection to a replica that left it."""
        alive = self._child is not None and self._child.poll() is None
        return alive and child.connections(self._config.ports) > 0

    def _wait_for(self, running: subprocess.Popen[bytes], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while running.poll() is None and not self._hurry and time.monotonic() < deadline:
            self._beat()
            time.sleep(_LOOK_SECONDS / 5)

    def _front(self) -> dict[str, Any]:
        """What the program says of itself, if it is a front."""
        if not self._config.front_state:
            return {}
        try:
            said = json.loads(Path(self._config.front_state).read_bytes())
        except (OSError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def _memory(self) -> int:
        """Bytes of the program and its descendants, looked up once in a while."""
        now = time.monotonic()
        if self._child is None:
            return 0
        if now - self._measured_at >= _BEAT_SECONDS:
            self._measured, self._measured_at = process.memory(process.family(self._child.pid)), now
        return self._measured

    def _say(
        self,
        *,
        phase: str,
        failure: Failure | None = None,
        last_failure: Failure | None = None,
        front: dict[str, Any] | None = None,
    ) -> None:
        """Write the state if it is another one, and be alive."""
        about = front or {}
        state = {
            "phase": phase,
            "failure": failure,
            "last_failure": last_failure,
            "worker_restarts": self._restarts + int(about.get("worker_restarts") or 0),
            "memory_bytes": self._memory() >> 20 << 20,
            "variant": about.get("variant") or "",
            "inline": bool(about.get("inline")),
            **{name: about[name] for name in _PASSED_ON if name in about},
        }
        if state != self._said:
            beside = f"{self._config.state_path}.new"
            Path(beside).write_text(json.dumps(state), encoding="utf-8")
            os.replace(beside, self._config.state_path)
            self._said = state
        self._beat()

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beaten >= _BEAT_SECONDS:
            self._beaten = now
            with contextlib.suppress(OSError):
                os.utime(self._config.state_path)
