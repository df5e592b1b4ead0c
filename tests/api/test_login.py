"""Ways in: passwords, one-time links, sessions of browsers, and what keeps other sites from using them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest

from modelyard.backends.memory import ManualClock
from modelyard.domain.access import Role, Verb
from tests.api.requests import require_problem
from tests.support.faces import Faces

ORIGIN = "http://127.0.0.1:8080"
PASSWORD = "correct horse battery"
SESSION = {"session": "true"}


@pytest.fixture
async def browser(faces: Faces, admin: httpx2.AsyncClient) -> AsyncIterator[httpx2.AsyncClient]:
    """A browser with a session of the user `ana`, who owns the project `fraud`."""
    await faces.member("ana", Role.OWNER, project="fraud")
    assert (await admin.patch("/api/v1/users/ana", json={"password": PASSWORD})).status_code == 200
    async with faces.http() as client:
        response = await client.post(
            "/api/v1/login", params=SESSION, json={"user": "ana", "password": PASSWORD}
        )
        assert response.status_code == 200
        assert response.json() == {"user": "ana"}
        yield client


def cookie_flags(response: httpx2.Response) -> set[str]:
    return {part.strip().split("=")[0].lower() for part in response.headers["set-cookie"].split(";")[1:]}


async def test_a_password_gives_a_token_for_programs(faces: Faces, admin: httpx2.AsyncClient) -> None:
    await admin.post("/api/v1/users", json={"name": "ana", "password": PASSWORD})
    async with faces.http() as client:
        answer = (await client.post("/api/v1/login", json={"user": "ana", "password": PASSWORD})).json()
    assert answer["user"] == "ana"
    async with faces.http(answer["secret"]) as client:
        assert (await client.get("/api/v1/whoami")).json()["name"] == "ana"


async def test_a_wrong_name_and_a_wrong_password_are_refused_alike(
    faces: Faces, admin: httpx2.AsyncClient
) -> None:
    await admin.post("/api/v1/users", json={"name": "ana", "password": PASSWORD})
    async with faces.http() as client:
        answers = [
            require_problem(
                await client.post("/api/v1/login", json={"user": user, "password": password}), 401
            )
            for user, password in (
                ("ana", "wrong"),
                ("nobody", "wrong"),
                ("admin", ""),
                ("", ""),
                ("a" * 9999, "x"),
            )
        ]
    assert len({answer["detail"] for answer in answers}) == 1


async def test_a_session_cookie_is_out_of_reach_of_scripts_and_other_sites(
    faces: Faces, admin: httpx2.AsyncClient
) -> None:
    await admin.post("/api/v1/users", json={"name": "ana", "password": PASSWORD})
    async with faces.http() as client:
        response = await client.post(
            "/api/v1/login", params=SESSION, json={"user": "ana", "password": PASSWORD}
        )
    assert cookie_flags(response) >= {"httponly", "samesite", "max-age", "path"}
    assert "samesite=strict" in response.headers["set-cookie"].lower()
    assert "myw_" not in response.text


async def test_a_login_link_works_once_and_leads_to_the_console(
    faces: Faces, admin: httpx2.AsyncClient
) -> None:
    url = (await admin.post("/api/v1/login-links", json={})).json()["url"]
    assert url.startswith(f"{ORIGIN}/login/")
    async with faces.http() as browser:
        response = await browser.get(url)
        assert response.status_code == 303
        assert response.headers["location"] == "/"
        assert "httponly" in cookie_flags(response)
        assert (await browser.get("/api/v1/whoami")).json()["name"] == "admin"
    async with faces.http() as other:
        require_problem(await other.get(url), 401)
        require_problem(await other.get("/login/myl_nothing"), 401)
        require_problem(await other.get("/api/v1/whoami"), 401)


async def test_a_login_link_expires(faces: Faces, admin: httpx2.AsyncClient, clock: ManualClock) -> None:
    url = (await admin.post("/api/v1/login-links", json={})).json()["url"]
    clock.advance(601)
    async with faces.http() as browser:
        require_problem(await browser.get(url), 401)


async def test_a_session_ends_with_its_time(browser: httpx2.AsyncClient, clock: ManualClock) -> None:
    assert (await browser.get("/api/v1/whoami")).status_code == 200
    clock.advance(12 * 3600 + 1)
    require_problem(await browser.get("/api/v1/whoami"), 401)


async def test_a_session_ends_with_logout(browser: httpx2.AsyncClient) -> None:
    kept = browser.cookies["modelyard_session"]
    assert (await browser.post("/api/v1/logout", headers={"origin": ORIGIN})).status_code == 204
    browser.cookies.set("modelyard_session", kept)
    require_problem(await browser.get("/api/v1/whoami"), 401)


async def test_a_new_password_ends_all_sessions(
    browser: httpx2.AsyncClient, admin: httpx2.AsyncClient
) -> None:
    await admin.patch("/api/v1/users/ana", json={"password": "another horse battery"})
    require_problem(await browser.get("/api/v1/whoami"), 401)


@pytest.mark.parametrize(
    "origin", ["", "http://evil.example", "null", "http://127.0.0.1:8080.evil.example", "http://127.0.0.1:81"]
)
async def test_another_site_cannot_change_things_with_a_browsers_session(
    browser: httpx2.AsyncClient, origin: str
) -> None:
    headers = {"origin": origin} if origin else {}
    body = {"description": "stolen"}
    require_problem(await browser.put("/api/v1/projects/fraud", json=body, headers=headers), 403)
    assert (await browser.get("/api/v1/projects/fraud", headers=headers)).json()["spec"]["description"] == ""


async def test_the_consoles_own_pages_can(browser: httpx2.AsyncClient) -> None:
    response = await browser.put(
        "/api/v1/projects/fraud", json={"description": "x"}, headers={"origin": ORIGIN}
    )
    assert response.status_code == 200


async def test_a_token_needs_no_origin(admin: httpx2.AsyncClient) -> None:
    response = await admin.put("/api/v1/projects/fraud", json={}, headers={"origin": "http://evil.example"})
    assert response.status_code == 200


async def test_another_site_cannot_log_a_browser_out(browser: httpx2.AsyncClient) -> None:
    require_problem(await browser.post("/api/v1/logout", headers={"origin": "http://evil.example"}), 403)
    assert (await browser.get("/api/v1/whoami")).status_code == 200


async def test_logging_out_without_a_session_is_nothing(faces: Faces) -> None:
    async with faces.http() as client:
        assert (await client.post("/api/v1/logout")).status_code == 204


async def test_a_limited_token_can_ask_who_it_is(faces: Faces) -> None:
    async with faces.http(await faces.secret(scope=(Verb.READ,))) as client:
        assert (await client.get("/api/v1/whoami")).json()["name"] == "admin"


async def test_the_consoles_pages_come_under_a_strict_policy_with_nothing_from_elsewhere(
    faces: Faces,
) -> None:
    async with faces.http() as client:
        for path in ("/", "/assets/console.js", "/assets/console.css", "/assets/mark.svg", "/api/docs"):
            response = await client.get(path)
            assert response.status_code == 200, path
            assert "default-src 'none'" in response.headers["content-security-policy"]
            assert response.headers["x-content-type-options"] == "nosniff"
            without_names = response.text.replace("http://www.w3.org/2000/svg", "")
            assert "http://" not in without_names, path
            assert "https://" not in without_names, path
            assert "<script>" not in response.text
            assert "style=" not in response.text
