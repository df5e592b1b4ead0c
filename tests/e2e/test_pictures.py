"""The documentation's model that is asked with the address of a picture, as it stands there."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tests.docs.test_pages import ROOT, blocks
from tests.support.command import modelyard as command
from tests.support.platform import Running

COLOURS = {"red": (250, 0, 0), "green": (0, 250, 0), "blue": (0, 0, 250)}
PAGE = ROOT / "docs/how-to/publish.md"


class Quiet(SimpleHTTPRequestHandler):
    """Files of a directory."""

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Host and port of a server with one picture of each colour, and what is no good one."""
    directory = tmp_path_factory.mktemp("pictures")
    for name, colour in COLOURS.items():
        Image.new("RGB", (64, 48), colour).save(directory / f"{name}.png")
    (directory / "text.png").write_text("no picture")
    Image.new("1", (6000, 6000)).save(directory / "large.png")  # a few KiB that unpack to 140 MB
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *given: Quiet(*given, directory=str(directory)))
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def network() -> bytes:
    """A graph that says how much of each colour a picture has: [-1, 3, 224, 224] to [-1, 3]."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["picture"], ["scores"], axes=[2, 3], keepdims=0)],
        "colours",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", 3, 224, 224])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 3])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file = io.BytesIO()
    onnx.save_model(made, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def service(platform: Running, pictures: str, tmp_path_factory: pytest.TempPathFactory) -> httpx2.Client:
    """A client of the service, deployed with the server's address as the only one allowed."""
    directory = tmp_path_factory.mktemp("model")
    (source,) = [block for block in blocks(PAGE, "python") if "urls.fetch" in block]
    (signature,) = [block for block in blocks(PAGE, "json") if "imgUrl" in block]
    (directory / "model.py").write_text(source)
    (directory / "model.onnx").write_bytes(network())
    (directory / "names.txt").write_text("\n".join(COLOURS))
    (directory.parent / "signature.json").write_text(signature)
    said = ["--name", "pictures", "--signature", str(directory.parent / "signature.json")]
    command(platform, "publish", str(directory), *said)
    command(platform, "deploy", "pictures@1", "--name", "pictures", "--env", f"FETCH_HOSTS={pictures}")
    with platform.client() as client:
        token = client.deployments.token("pictures")
    return httpx2.Client(
        base_url=f"{platform.url}/services/default/pictures",
        headers={"authorization": f"Bearer {token}"},
        timeout=60,
    )


def test_the_address_of_a_picture_gives_its_class(service: httpx2.Client, pictures: str) -> None:
    for number, name in enumerate(COLOURS):
        answer = service.post(
            "/v2/models/pictures/generate", json={"imgUrl": f"http://{pictures}/{name}.png"}
        )
        assert answer.json() == {
            "model_name": "pictures", "model_version": "1",
            "class_id": number, "class_name": name, "code": 200, "message": "OK",
        }  # fmt: skip


def test_several_go_in_one_request(service: httpx2.Client, pictures: str) -> None:
    rows = [{"imgUrl": f"http://{pictures}/{name}.png"} for name in ("blue", "red")]
    answer = service.post("/predict", json=rows).json()
    assert [row["class_name"] for row in answer] == ["blue", "red"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://{pictures}/none.png", "answered 404"),
        ("http://{pictures}/text.png", "cannot identify image"),
        ("http://{pictures}/large.png", "more than 25 million points"),
        ("http://169.254.169.254/latest/meta-data/", "is not among the hosts to fetch from"),
        ("http://localhost/", "is not among the hosts to fetch from"),
        ("file:///etc/passwd", "expected http:// or https://"),
        ("", "expected an address"),
    ],
)
def test_what_may_not_or_cannot_be_fetched_is_the_clients_mistake(
    service: httpx2.Client, pictures: str, url: str, said: str
) -> None:
    answer = service.post("/v2/models/pictures/generate", json={"imgUrl": url.format(pictures=pictures)})
    assert answer.status_code == 400
    assert said in answer.json()["error"]
