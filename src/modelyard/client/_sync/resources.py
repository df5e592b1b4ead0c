"""Runtimes, projects, members, users, tokens, nodes and events."""

from __future__ import annotations

from typing import Any

from modelyard.client import decode
from modelyard.client._sync.transport import Transport
from modelyard.domain.access import Member, Role, Token, User, Verb
from modelyard.domain.event import Event
from modelyard.domain.network import Reach
from modelyard.domain.node import Node
from modelyard.domain.project import Project, ProjectSpec
from modelyard.domain.queue import Queued
from modelyard.domain.quota import Use
from modelyard.domain.runtime import Runtime, RuntimeSpec


class Runtimes:
    """The environments of one project."""

    def __init__(self, transport: Transport, project: str) -> None:
        self._transport = transport
        self._path = f"/projects/{project}/runtimes"

    def list(self) -> tuple[Runtime, ...]:
        """All runtimes, `host` first."""
        return decode.items(Runtime, self._transport.call("GET", self._path, params={"limit": 1000}))

    def get(self, name: str) -> Runtime:
        """One runtime with its status."""
        return decode.one(Runtime, self._transport.call("GET", f"{self._path}/{name}"))

    def apply(self, name: str, spec: RuntimeSpec) -> Runtime:
        """Create or replace; building begins at once."""
        document = self._transport.call("PUT", f"{self._path}/{name}", json=decode.plain(spec))
        return decode.one(Runtime, document)

    def build(self, name: str) -> Runtime:
        """Build again after a failure."""
        return decode.one(Runtime, self._transport.call("POST", f"{self._path}/{name}/build"))

    def delete(self, name: str) -> None:
        """Forget a runtime; refused while a deployment uses it."""
        self._transport.call("DELETE", f"{self._path}/{name}")


class Projects:
    """Projects and their members."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> tuple[Project, ...]:
        """Every project that the caller may see."""
        return decode.items(Project, self._transport.call("GET", "/projects", params={"limit": 1000}))

    def get(self, name: str) -> Project:
        """One project."""
        return decode.one(Project, self._transport.call("GET", f"/projects/{name}"))

    def apply(self, name: str, spec: ProjectSpec) -> Project:
        """Create or replace."""
        document = self._transport.call("PUT", f"/projects/{name}", json=decode.plain(spec))
        return decode.one(Project, document)

    def delete(self, name: str) -> None:
        """Delete an empty project."""
        self._transport.call("DELETE", f"/projects/{name}")

    def quota(self, name: str) -> tuple[Use, ...]:
        """How much of everything it may have, and how much of it its services want."""
        return decode.items(Use, self._transport.call("GET", f"/projects/{name}/quota"))

    def network(self, name: str) -> Reach:
        """Who reaches its services past the gateway, and how that is enforced."""
        return decode.one(Reach, self._transport.call("GET", f"/projects/{name}/network"))

    def members(self, name: str) -> tuple[Member, ...]:
        """Who is in it, and as what."""
        return decode.items(Member, self._transport.call("GET", f"/projects/{name}/members"))

    def set_member(self, name: str, user: str, role: Role) -> Member:
        """Give a user a role."""
        document = self._transport.call("PUT", f"/projects/{name}/members/{user}", json={"role": role.value})
        return decode.one(Member, document)

    def remove_member(self, name: str, user: str) -> None:
        """Take a user out."""
        self._transport.call("DELETE", f"/projects/{name}/members/{user}")

    def events(self, name: str, *, limit: int = 100) -> tuple[Event, ...]:
        """What happened in it, newest first."""
        document = self._transport.call("GET", f"/projects/{name}/events", params={"limit": limit})
        return decode.items(Event, document)


class Accounts:
    """Users and tokens."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def users(self) -> tuple[User, ...]:
        """Everybody."""
        return decode.items(User, self._transport.call("GET", "/users", params={"limit": 1000}))

    def create_user(self, name: str, *, password: str | None = None, administrator: bool = False) -> User:
        """A new account; without a password it can only use tokens and login links."""
        body = {"name": name, "password": password, "administrator": administrator}
        return decode.one(User, self._transport.call("POST", "/users", json=body))

    def update_user(self, name: str, **changes: Any) -> User:
        """Change `password`, `administrator` or `disabled`."""
        return decode.one(User, self._transport.call("PATCH", f"/users/{name}", json=changes))

    def delete_user(self, name: str) -> None:
        """Remove an account with its tokens."""
        self._transport.call("DELETE", f"/users/{name}")

    def tokens(self) -> tuple[Token, ...]:
        """The caller's tokens; everybody's for an administrator."""
        return decode.items(Token, self._transport.call("GET", "/tokens"))

    def create_token(
        self,
        *,
        description: str = "",
        scope: tuple[Verb, ...] = (),
        days: float | None = None,
        user: str = "",
    ) -> tuple[Token, str]:
        """A new token and its secret, which is shown this once only."""
        body = {
            "description": description,
            "scope": [verb.value for verb in scope],
            "days": days,
            "user": user,
        }
        document = self._transport.call("POST", "/tokens", json=body)
        return decode.one(Token, document["token"]), str(document["secret"])

    def revoke_token(self, id: str) -> None:
        """End a token at once."""
        self._transport.call("DELETE", f"/tokens/{id}")

    def login(self, user: str, password: str) -> str:
        """A token for a user who knows the password."""
        document = self._transport.call("POST", "/login", json={"user": user, "password": password})
        return str(document["secret"])

    def login_link(self, *, user: str = "") -> str:
        """A URL that logs a browser in once, within ten minutes."""
        return str((self._transport.call("POST", "/login-links", json={"user": user}))["url"])

    def whoami(self) -> User:
        """The account in use."""
        return decode.one(User, self._transport.call("GET", "/whoami"))

    def nodes(self) -> tuple[Node, ...]:
        """The machines, with capacity."""
        return decode.items(Node, self._transport.call("GET", "/nodes"))

    def node(self, name: str) -> Node:
        """One machine: what it has, what is reserved, and who holds which GPU."""
        return decode.one(Node, self._transport.call("GET", f"/nodes/{name}"))

    def queue(self) -> tuple[Queued, ...]:
        """Models that are validated and tested now, and those that wait for their turn, with why."""
        return decode.items(Queued, self._transport.call("GET", "/queue"))

    def classify_node(self, name: str, *classes: str) -> Node:
        """Say what a machine of a cluster may be used for: `control`, `compute`, `deploy`, or several."""
        path = f"/nodes/{name}/classes"
        return decode.one(Node, self._transport.call("PUT", path, json={"classes": list(classes)}))
