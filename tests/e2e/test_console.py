"""The status page in a real browser: the login link, the tables, both languages, nothing from elsewhere."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

from modelyard import Client
from modelyard.domain.deployment import Key, Replica
from modelyard.domain.node import Gpu, Node
from tests.support.faces import live
from tests.support.platform import Running

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=8000",
)  # fmt: skip


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine; Debian's package `chromium` has it")
def test_a_login_link_opens_the_page_with_the_services_in_a_browser(
    platform: Running, tmp_path: Path
) -> None:
    x, y = load_iris(return_X_y=True)
    with platform.client() as client:
        client.publish(DecisionTreeClassifier().fit(x, y), "seen", x_test=x)
        client.deploy("seen@1", name="seen", cpu="0.5")
        known = client.accounts.nodes()
        link = client.accounts.login_link()
    page = _dom(link, tmp_path)
    assert re.search(r">seen</td>.*Running", page, re.DOTALL)
    nodes = page[page.index('id="nodes"') : page.index('id="events"')]
    (node,) = known
    assert f">{node.name}</td>" in nodes
    assert re.search(r'class="Running">(yes|是)<', nodes), "it is ready"
    assert nodes.count("<meter") >= 2, "what is reserved of cores and memory"
    assert re.search(r">0\.5 (of|/) ", nodes)
    assert "<li>default/seen/seen-" in nodes, "and by whom"
    assert 'id="login" hidden' in page
    assert "Services" in page or "服务" in page
    again = _dom(link, tmp_path / "other")
    assert ">seen</td>" not in again, "the link works once only"


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine; Debian's package `chromium` has it")
def test_nodes_show_their_cards_and_who_holds_them_in_chinese_too(tmp_path: Path) -> None:
    cards = tuple(Gpu(index=index, name="Tesla T4", memory_bytes=1 << 34) for index in range(2))
    well = Node(name="memory", cpu_millis=8000, memory_bytes=32 << 30, gpus=cards, parts={"<b>mig</b>": "2"})
    ill = replace(well, name="gpu-2", gpus=(), parts={}, ready=False, reason="DiskPressure", classes=())
    with live(tmp_path / "home") as there:
        there.faces.backend._nodes = (well, ill)
        observe = there.faces.backend.observe

        async def placed(key: Key) -> tuple[Replica, ...]:
            return tuple(replace(each, node="memory") for each in await observe(key))

        there.faces.backend.observe = placed  # type: ignore[method-assign]
        with Client(there.url, there.token, environ={}) as client:
            x, y = load_iris(return_X_y=True)
            client.publish(DecisionTreeClassifier().fit(x, y), "seen", x_test=x)
            client.deploy("seen@1", name="seen", gpu=1, memory="1Gi")
            link = client.accounts.login_link()
        page = _dom(link, tmp_path / "profile", "--lang=zh-CN", "--accept-lang=zh-CN")
    nodes = page[page.index('id="nodes"') : page.index('id="events"')]
    assert "节点" in page
    assert "控制, 计算, 部署" in nodes
    assert "<li>0 Tesla T4: default/seen</li><li>1 Tesla T4: 空闲</li>" in nodes
    assert "1.0 GiB / 32.0 GiB" in nodes
    assert 'class="Failed">否</span><span class="message">DiskPressure' in nodes
    assert "&lt;b&gt;mig&lt;/b&gt;: 2" in nodes, "what a cluster says is text"


def test_the_page_loads_nothing_from_elsewhere_and_says_so(platform: Running) -> None:
    page = httpx2.get(f"{platform.url}/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert linked
    for each in linked:
        assert each.startswith("/assets/")
        assert httpx2.get(platform.url + each).status_code == 200


def _dom(url: str, profile: Path, *more: str) -> str:
    assert BROWSER
    command = [BROWSER, *QUIET, *more, f"--user-data-dir={profile}", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
