"""Models that scenarios publish."""

from __future__ import annotations

from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from modelyard import Client
from tests.scenarios.engines import Engine

ROW: list[float] = load_iris(return_X_y=True)[0][0].tolist()
TALKER = '''
import json
import os
import sys


class Model:
    """Tells who it is and what it was given; in a bad mood it does not load, or is wrong."""

    def load(self):
        mood = os.environ.get("MOOD", "")
        print("loading in the mood", mood or "good", flush=True)
        if mood == "raise":
            raise ValueError("these weights are of another planet")
        if mood == "import":
            import a_package_that_nobody_has
        if mood == "segfault":
            os.kill(os.getpid(), 11)

    def predict(self, inputs):
        x, mood = inputs["x"], os.environ.get("MOOD", "")
        print("asked for", x.tolist(), flush=True)
        if mood == "broken" and x.max() > 1:
            raise RuntimeError("not today")
        if x.max() > 1:
            return {"y": x * (3 if mood == "wrong" else 2), "said": ["{}"] * len(x)}
        said = {"replica": os.environ.get("MODELYARD_REPLICA", ""), "colour": os.environ.get("COLOUR", "")}
        config = os.path.join(os.environ.get("MODELYARD_CONFIG_DIR", "/none"), "limits.json")
        if os.path.exists(config):
            with open(config) as file:
                said["limit"] = json.load(file)["limit"]
        return {"y": x * 2, "said": [json.dumps(said)] * len(x)}
'''


BURNER = '''
import time


class Model:
    """Computes for as long as it is told to, in seconds."""

    def load(self):
        pass

    def predict(self, inputs):
        end = time.process_time() + float(inputs["seconds"].max())
        while time.process_time() < end:
            pass
        return {"seconds": inputs["seconds"]}
'''


def publish_burner(client: Client, name: str, directory: Path) -> None:
    """The model that uses a core."""
    code = directory / "model.py"
    code.write_text(BURNER)
    client.publish(str(code), name, sample={"seconds": [0.0]})


def publish_iris(client: Client, name: str, versions: int = 1) -> None:
    """So many versions of a classifier."""
    x, y = load_iris(return_X_y=True)
    for number in range(versions):
        client.publish(LogisticRegression(C=0.1 * 10**number, max_iter=1000).fit(x, y), name, x_test=x)


def publish_talker(engine: Engine, client: Client, name: str, directory: Path) -> None:
    """The model above."""
    code = directory / "model.py"
    code.write_text(TALKER)
    client.publish(str(code), name, sample={"x": [1.0]})
