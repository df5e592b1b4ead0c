"""Asks a program how it is, each question in a thread of its own: a hanging answer holds up nothing."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping

from modelyard.backends.keeper.config import Question
from modelyard.domain import health
from modelyard.domain.health import Tally

_QUICK_SECONDS = 0.5
"""How often is asked until the first good answer, unless the probe's period is shorter."""


class Watch(threading.Thread):
    """Asks one question until told to end."""

    def __init__(self, question: Question, env: Mapping[str, str], cwd: str) -> None:
        super().__init__(daemon=True)
        self._question, self._env, self._cwd = question, env, cwd
        self._over = threading.Event()
        self.tally = Tally()
        self.why = ""
        """Why the last bad answer was bad."""

    def run(self) -> None:
        """Ask, count, rest."""
        probe = self._question.probe
        begun = False
        while not self._over.is_set():
            why = ask(self._question, self._env, self._cwd)
            if self._over.is_set():
                return
            begun = begun or not why
            self.why = why or self.why
            self.tally = health.count(self.tally, probe, good=not why)
            self._over.wait(probe.period_seconds if begun else min(probe.period_seconds, _QUICK_SECONDS))

    def end(self) -> None:
        """Ask no more."""
        self._over.set()


def ask(question: Question, env: Mapping[str, str], cwd: str) -> str:
    """Why the answer is bad; empty when it is good."""
    try:
        if question.argv:
            return _run(question, env, cwd)
        return _get(question) if question.path else _connect(question)
    except TimeoutError:
        return f"gave no answer within {question.probe.timeout_seconds:g} s"
    except ConnectionRefusedError:
        return f"nothing listens at {question.address}"
    except (OSError, http.client.HTTPException) as error:
        return f"{question.address or question.argv[0]}: {error or type(error).__name__}"


def _connect(question: Question) -> str:
    with contextlib.closing(_socket(question)):
        return ""


def _get(question: Question) -> str:
    with contextlib.closing(http.client.HTTPConnection("localhost")) as connection:
        connection.sock = _socket(question)
        connection.request("GET", question.path, headers={"connection": "close"})
        status = connection.getresponse().status
    return "" if 200 <= status < 400 else f"{question.path} answered {status}"


def _socket(question: Question) -> socket.socket:
    unix = question.address.removeprefix("unix:")
    if unix != question.address:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(question.probe.timeout_seconds)
        try:
            made.connect(unix)
        except OSError:
            made.close()
            raise
        return made
    host, _, port = question.address.rpartition(":")
    return socket.create_connection((host, int(port)), question.probe.timeout_seconds)


def _run(question: Question, env: Mapping[str, str], cwd: str) -> str:
    with subprocess.Popen(
        question.argv,
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    ) as running:
        try:
            code = running.wait(question.probe.timeout_seconds)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)
            raise TimeoutError from None
    return "" if code == 0 else f"the command ended with exit code {code}"
