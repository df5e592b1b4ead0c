"""The status page in a real browser: the login link, the tables, both languages, nothing from elsewhere."""

import re
import shutil
import subprocess
from pathlib import Path

import httpx2
import pytest
from sklearn.datasets import load_iris
from sklearn.tree import DecisionTreeClassifier

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
        client.deploy("seen@1", name="seen")
        link = client.accounts.login_link()
    page = _dom(link, tmp_path)
    assert re.search(r">seen</td>.*Running", page, re.DOTALL)
    assert 'id="login" hidden' in page
    assert "Services" in page or "服务" in page
    again = _dom(link, tmp_path / "other")
    assert ">seen</td>" not in again, "the link works once only"


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


def _dom(url: str, profile: Path) -> str:
    assert BROWSER
    command = [BROWSER, *QUIET, f"--user-data-dir={profile}", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout
