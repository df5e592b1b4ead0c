"""Becomes a container: its own file tree and its own process numbers; `python launcher.py SPEC.json`.

The root is made of the machine's own directories, with the pod's volumes laid over them; nothing of the
machine is changed. Works as root, and without it where users may make namespaces of their own.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import platform
import signal
import socket
import struct
import sys
import termios
from pathlib import Path
from typing import Any

_NEWNS, _NEWPID, _NEWUSER = 0x00020000, 0x20000000, 0x10000000
_BIND, _REC, _PRIVATE, _RDONLY, _REMOUNT = 4096, 16384, 1 << 18, 1, 32
_PDEATHSIG, _NO_NEW_PRIVILEGES = 1, 38
_SET_FILTER, _NEW_LISTENER = 1, 8
_NUMBERS = (
    {"kind": 0xC00000B7, "connect": 203, "seccomp": 277}
    if platform.machine() == "aarch64"
    else {"kind": 0xC000003E, "connect": 42, "seccomp": 317}
)
"""Of the processor and its system calls."""
_libc = ctypes.CDLL(None, use_errno=True)


def main() -> int:
    """Run the program of a spec and end as it does; a signal to this process is one to the program."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    if spec.get("join"):
        return _joined(spec)
    _libc.prctl(_PDEATHSIG, signal.SIGKILL)
    _isolate()
    child = os.fork()
    if child == 0:
        _become(spec)
    Path(spec["pid_file"]).write_text(str(child))
    return _attended(child)


def _attended(child: int) -> int:
    """Pass signals on to a program until it ends; its exit code."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda signum, _: os.kill(child, signum))
    _, status = os.waitpid(child, 0)
    return _exit_code(status)


def _exit_code(status: int) -> int:
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _joined(spec: dict[str, Any]) -> int:
    """Run a program in the tree of a container that runs, and among its processes."""
    _libc.prctl(_PDEATHSIG, signal.SIGKILL)
    for name in ("pid",) if os.geteuid() == 0 else ("user", "pid"):
        number = os.open(f"/proc/{spec['join']}/ns/{name}", os.O_RDONLY)
        _call(_libc.setns(number, 0), f"join its {name} namespace")
        os.close(number)
    child = os.fork()
    if child == 0:
        os._exit(_beside(spec))
    return _attended(child)


def _beside(spec: dict[str, Any]) -> int:
    _libc.prctl(_PDEATHSIG, signal.SIGKILL)
    os.chroot(f"/proc/{spec['join']}/root")
    os.chdir(spec["cwd"])
    if spec.get("terminal"):
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    return _execute(spec)


def _isolate() -> None:
    if os.geteuid() == 0:
        _call(_libc.unshare(_NEWNS | _NEWPID))
        return
    user, group = os.getuid(), os.getgid()
    _call(_libc.unshare(_NEWUSER | _NEWNS | _NEWPID))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _become(spec: dict[str, Any]) -> None:
    _libc.prctl(_PDEATHSIG, signal.SIGKILL)
    try:
        _mount("none", "/", "", _REC | _PRIVATE)
        _root(spec)
        os.chroot(spec["root"])
        os.chdir(spec["cwd"])
        os._exit(_execute(spec))
    except OSError as error:
        sys.stderr.write(f"container: {error}\n")
        os._exit(128)


def _execute(spec: dict[str, Any]) -> int:
    argv, env = spec["argv"], spec["env"]
    if spec.get("fence"):
        _fence(spec["fence"])
    try:
        os.execvpe(argv[0], argv, env)
    except FileNotFoundError:
        sys.stderr.write(f'exec: "{argv[0]}": executable file not found in $PATH\n')
        return 127
    except PermissionError:
        sys.stderr.write(f'exec: "{argv[0]}": permission denied\n')
        return 126


def _fence(number: int) -> None:
    """From here on `connect` waits until whoever has the other end of this socket has answered."""
    buffer = ctypes.create_string_buffer(_stops_at_connect())
    program = struct.pack("HxxxxxxP", len(buffer.raw) // 8, ctypes.addressof(buffer))
    _call(_libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "no new privileges")
    asks = _libc.syscall(_NUMBERS["seccomp"], _SET_FILTER, _NEW_LISTENER, program)
    if asks < 0:
        _call(-1, "seccomp")
    with socket.socket(fileno=number) as ours:
        socket.send_fds(ours, [b"."], [asks])
    os.close(asks)


def _stops_at_connect() -> bytes:
    """The filter: of our kind of processor, `connect` is asked about, and everything else goes on."""
    load, equal, done = 0x20, 0x15, 0x06
    ask, go_on = 0x7FC00000, 0x7FFF0000
    lines = (
        (load, 0, 0, 4), (equal, 0, 3, _NUMBERS["kind"]), (load, 0, 0, 0),
        (equal, 0, 1, _NUMBERS["connect"]), (done, 0, 0, ask), (done, 0, 0, go_on),
    )  # fmt: skip
    return b"".join(struct.pack("HBBI", *line) for line in lines)


def _root(spec: dict[str, Any]) -> None:
    """Lay the tree below `root`: what is mounted from where, and else the machine's own."""
    root = spec["root"]
    _mount("tmpfs", root, "tmpfs", 0)
    laid: dict[str, dict[str, Any]] = {each["path"].rstrip("/"): each for each in spec["mounts"]}
    _fill("", root, laid)


def _fill(path: str, root: str, laid: dict[str, dict[str, Any]]) -> None:
    """One directory that has something laid into it: its other entries are the machine's."""
    below = {each.removeprefix(f"{path}/").partition("/")[0] for each in laid if each.startswith(f"{path}/")}
    known = set(os.listdir(path or "/")) if os.path.isdir(path or "/") else set()
    for name in sorted(known | below):
        inner, target = f"{path}/{name}", f"{root}{path}/{name}"
        if inner in laid:
            _lay(inner, target, laid)
        elif name in below:
            os.makedirs(target, exist_ok=True)
            _fill(inner, root, laid)
        elif inner == "/proc":
            os.makedirs(target, exist_ok=True)
            _mount("proc", target, "proc", 0)
        elif os.path.islink(inner):
            os.symlink(os.readlink(inner), target)
        else:
            _bind(inner, target, read_only=False)


def _lay(path: str, target: str, laid: dict[str, dict[str, Any]]) -> None:
    """One volume, and what is laid into it again."""
    _bind(laid[path]["source"], target, read_only=laid[path].get("read_only", False))
    for deeper in sorted(each for each in laid if each.startswith(f"{path}/")):
        inside = target + deeper.removeprefix(path)
        os.makedirs(inside, exist_ok=True)
        _bind(laid[deeper]["source"], inside, read_only=laid[deeper].get("read_only", False))


def _bind(source: str, target: str, *, read_only: bool) -> None:
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    elif not os.path.exists(source):
        return
    else:
        Path(target).touch()
    _mount(source, target, "", _BIND | _REC)
    if read_only:
        _libc.mount(None, target.encode(), None, _BIND | _REMOUNT | _RDONLY, None)


def _mount(source: str, target: str, kind: str, flags: int) -> None:
    _call(_libc.mount(source.encode(), target.encode(), kind.encode() or None, flags, None), target)


def _call(result: int, what: str = "") -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), what)


if __name__ == "__main__":
    sys.exit(main())
