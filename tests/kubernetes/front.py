"""Plays `python` in a pod's image: the serving front, quickly, and a fetcher that has nothing to bring."""

import http.server
import json
import os
import signal
import sys
import threading
import time


def argument(name, default=""):
    """What follows a word on the command line."""
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def main():
    """Serve until told to stop; misbehave as the variable PLAY says."""
    module, play = sys.argv[sys.argv.index("-m") + 1], os.environ.get("PLAY", "")
    if module != "modelyard.serving":
        return 0
    name = argument("--replica")
    print(f"front of {name} begins", flush=True)
    broken = os.path.join(os.environ["CRASHES"], os.environ["K8S_POD_NAME"])
    if play == "fail" or os.path.exists(broken):
        if play == "fail":
            with open(argument("--last-words"), "w") as file:
                json.dump({"reason": "MissingPackage", "message": "xgboost is missing"}, file)
        return 1
    host, _, port = argument("--listen").rpartition(":")
    server = http.server.ThreadingHTTPServer((host, int(port)), Front)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    speak = broken + ".speak"
    while not told:
        if os.path.exists(speak):
            os.unlink(speak)
            print("more", flush=True)
        time.sleep(0.02)
    while play == "linger" and len(told) < 2:
        time.sleep(0.02)
    return 0


class Front(http.server.BaseHTTPRequestHandler):
    """Says that it is ready, and how it is."""

    def do_GET(self):
        state = {"phase": "ready", "worker_restarts": 0, "memory_bytes": 12345, "inflight": 3, "queue": 2}
        content = json.dumps(state).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""


if __name__ == "__main__":
    sys.exit(main())
