"""Plays the host of a guest: answers, or misbehaves as the artifact's entry says."""

import json
import os
import signal
import subprocess
import sys
import time


def argument(name):
    """The value after an option."""
    return sys.argv[sys.argv.index(name) + 1]


def read(name):
    """The JSON document that an option names."""
    with open(argument(name)) as file:
        return json.load(file)


def interfaces():
    """Network interfaces that this process sees."""
    with open("/proc/net/dev") as file:
        return [line.split(":")[0].strip() for line in file if ":" in line]


def main():
    """Do as the entry says, then answer what was seen."""
    config = read("--config")
    play = config["entry"]
    print("a guest speaks")
    print("a guest complains", file=sys.stderr)
    if play == "hang":
        time.sleep(600)
    if play == "leave":
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", "import time; time.sleep(600)"],
            start_new_session=True,
            stdout=sys.stdout,
        )
    if play == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if play == "greedy":
        hoard = bytearray(400 << 20)
        for place in range(0, len(hoard), 4096):
            hoard[place] = 1
        time.sleep(600)
    if play == "talk":
        sys.stdout.write("x" * (3 << 20))
    if play == "silent":
        return 3
    failure = {"reason": "VersionMismatch", "message": "made with 1.2"} if play == "fail" else None
    request = read("--request") if "--request" in sys.argv else None
    seen = {"device": "CPU", "env": dict(os.environ), "request": request, "interfaces": interfaces()}
    with open(argument("--out"), "w") as file:
        json.dump({"result": None if failure else {**seen, "cwd": os.getcwd()}, "failure": failure}, file)
    compile_variant(play, config.get("optimize"))
    return 0


def compile_variant(play, wanted):
    """Leave a file as a compiler would, or die, or leave links to what is not ours."""
    if not wanted:
        return
    directory = wanted["directory"]
    if play == "compile and die":
        os.kill(os.getpid(), signal.SIGKILL)
    if play == "compile for ever":
        time.sleep(600)
    with open(os.path.join(directory, "variant.onnx"), "w") as file:
        file.write("a variant")
    os.symlink("/etc/passwd", os.path.join(directory, "link"))
    os.link(os.path.join(directory, "variant.onnx"), os.path.join(directory, "twin"))
    os.unlink(os.path.join(directory, "twin"))
    os.mkfifo(os.path.join(directory, "pipe"))
    with open("elsewhere", "w") as file:
        file.write("another file")
    os.link("elsewhere", os.path.join(directory, "hard"))


sys.exit(main())
