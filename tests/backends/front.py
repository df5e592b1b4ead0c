"""Plays the serving front: listens, says how it is, has a worker, misbehaves when the spec's env says so."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

_WORKER = "import time\nwhile True: time.sleep(60)"


def say(path, **state):
    """Write the state beside and rename it."""
    with open(path + ".new", "w") as file:
        json.dump({"pid": os.getpid(), "failure": None, "worker_restarts": 0, "workers": [], **state}, file)
    os.rename(path + ".new", path)


def main():
    """Serve until told to stop."""
    with open(sys.argv[sys.argv.index("--config") + 1]) as file:
        config = json.load(file)
    worker, state = config["worker"], config["state_path"]
    play = worker["env"].get("PLAY", "")
    print(f"front of {config['replica']} begins", flush=True)
    say(state, phase="starting")
    if play == "fail":
        say(state, phase="failed", failure={"reason": "MissingPackage", "message": "xgboost is missing"})
        return 1
    if play == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(config["listen"].removeprefix("unix:"))
    listener.listen()
    guest = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _WORKER],
        env=worker["env"],
        cwd=worker["cwd"],
        start_new_session=play == "escape",
    )
    while play == "load":
        time.sleep(1)
    memory = 12345
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    say(state, phase="ready", memory_bytes=memory, workers=[{"pid": guest.pid}], inflight=3, queue=2)
    while not told:
        if play == "talk":
            print("word " * 200, flush=True)
        os.utime(state)
        time.sleep(0.02)
    say(state, phase="draining", workers=[{"pid": guest.pid}])
    while play == "linger" and len(told) < 2:
        os.utime(state)
        time.sleep(0.02)
    guest.kill()
    guest.wait()
    print(f"told to stop {len(told)} times", flush=True)
    return 0


sys.exit(main())
