"""login, whoami, `user …`, `token …`."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Annotated

import typer

from modelyard.cli import context, files, output
from modelyard.client import connection, options
from modelyard.client.connection import Connection
from modelyard.domain.access import Verb

users = typer.Typer(no_args_is_help=True, help="Accounts.")
tokens = typer.Typer(no_args_is_help=True, help="Tokens of your account.")
_USER: list[output.Column] = [
    ("name", lambda u: u.name),
    ("administrator", lambda u: "yes" if u.administrator else ""),
    ("disabled", lambda u: "yes" if u.disabled else ""),
]
_TOKEN: list[output.Column] = [
    ("id", lambda t: t.id),
    ("user", lambda t: t.user),
    ("description", lambda t: t.description),
    ("scope", lambda t: ",".join(t.scope) or "all"),
    ("expires", lambda t: f"{t.expires_at:%Y-%m-%d}" if t.expires_at else "never"),
    ("revoked", lambda t: "yes" if t.revoked else ""),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command()(login)
    app.command()(whoami)
    app.add_typer(users, name="user")
    app.add_typer(tokens, name="token")


def login(
    user: Annotated[str, typer.Argument(help="Account; not needed with --link")] = "",
    link: Annotated[bool, typer.Option("--link", help="Print a URL that logs a browser in once")] = False,
) -> None:
    """Log in with a password and remember the token, or make a link for the browser."""
    with context.client() as client:
        if link:
            sys.stdout.write(client.accounts.login_link(user=user) + "\n")
            return
        if not user:
            raise typer.BadParameter("give USER, or --link")
        password = getpass.getpass("Password: ") if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
        token = client.accounts.login(user, password)
        path = connection.save_login(
            Connection(client.connection.url, token, ca=client.connection.ca), os.environ
        )
    context.notes().print(f"logged in as {user}; remembered in {path}")


def whoami() -> None:
    """The account in use."""
    with context.client() as client:
        output.show(client.accounts.whoami(), _USER)


@users.command("list")
def list_users() -> None:
    """Everybody."""
    with context.client() as client:
        output.rows(client.accounts.users(), _USER)


@users.command("create")
def create_user(
    name: str,
    administrator: Annotated[bool, typer.Option("--administrator", help="May do everything")] = False,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read a password")] = False,
) -> None:
    """Create an account."""
    password = sys.stdin.readline().rstrip("\n") if password_stdin else None
    with context.client() as client:
        output.show(client.accounts.create_user(name, password=password, administrator=administrator), _USER)


@users.command("update")
def update_user(
    name: str,
    administrator: Annotated[bool | None, typer.Option(help="May do everything")] = None,
    disabled: Annotated[bool | None, typer.Option(help="May do nothing")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Read a new password")] = False,
) -> None:
    """Change an account."""
    changes = {
        "administrator": administrator,
        "disabled": disabled,
        "password": sys.stdin.readline().rstrip("\n") if password_stdin else None,
    }
    given = {key: value for key, value in changes.items() if value is not None}
    with context.client() as client:
        output.show(client.accounts.update_user(name, **given), _USER)


@users.command("delete")
def delete_user(name: str) -> None:
    """Remove an account with its tokens."""
    with context.client() as client:
        client.accounts.delete_user(name)
    context.notes().print(f"deleted {name}")


@tokens.command("list")
def list_tokens() -> None:
    """Your tokens; everybody's for an administrator."""
    with context.client() as client:
        output.rows(client.accounts.tokens(), _TOKEN)


@tokens.command("create")
def create_token(
    description: Annotated[str, typer.Option(help="What it is for")] = "",
    scope: Annotated[list[str] | None, typer.Option(help="read, infer, deploy, …; repeat")] = None,
    expires: Annotated[str, typer.Option(help="Such as 720h; empty is never")] = "",
    user: Annotated[str, typer.Option(help="For another account, as administrator")] = "",
) -> None:
    """Create a token; its secret is printed this once only."""
    verbs = tuple(options.build_enum(Verb, each, "--scope") for each in scope or [])
    days = files.seconds(expires, "--expires") / 86_400 if expires else None
    with context.client() as client:
        made, secret = client.accounts.create_token(
            description=description, scope=verbs, days=days, user=user
        )
    if context.current().output != "table":
        return output.data({"id": made.id, "secret": secret})
    sys.stdout.write(f"{secret}\n")


@tokens.command("revoke")
def revoke_token(id: str) -> None:
    """End a token at once."""
    with context.client() as client:
        client.accounts.revoke_token(id)
    context.notes().print(f"revoked {id}")
