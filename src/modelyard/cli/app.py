"""The entry point: commands, global options, and errors as exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import typer
from typer.exceptions import TyperException

from modelyard.cli import (
    access,
    bundle,
    certificate,
    config,
    context,
    deployments,
    install,
    lifecycle,
    models,
    resources,
    rollouts,
    router,
    secrets,
    serve,
    services,
    shell,
    traffic,
    up,
)
from modelyard.client.problems import Unreachable
from modelyard.domain import errors

EXIT_CODES: tuple[tuple[type[errors.ModelyardError], int], ...] = (
    (Unreachable, 8),
    (errors.Invalid, 2),
    (errors.NotFound, 3),
    (errors.Refused, 4),
    (errors.TimedOut, 5),
    (errors.Forbidden, 6),
    (errors.Unauthenticated, 6),
    (errors.Conflict, 7),
)
EPILOG = "Everywhere: -o table|json|yaml · --project NAME · --server URL · --token TOKEN"

app = typer.Typer(
    name="modelyard",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    help="Turn a trained model into a dependable service.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    up, serve, router, models, services, lifecycle, rollouts, shell,
    config, access, certificate, deployments, traffic, resources, secrets, install, bundle,
):  # fmt: skip
    module.add_to(app)


def main() -> None:
    """Run the command line and exit."""
    sys.exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Run one command; its exit code as `modelyard --help` documents it."""
    try:
        options, rest = context.split(argv)
        context.use(options)
        code = app(rest, standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except errors.ModelyardError as error:
        return _failed(error)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except TyperException as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        return 2
    except (BrokenPipeError, SystemExit):  # the reader of our output left; Typer makes it the latter
        return _unread()
    except OSError as error:
        print(f"error: {error.filename or 'the system'}: {error.strerror or error}", file=sys.stderr)
        return 1


def _unread() -> int:
    """Nobody reads on: nothing is wrong, and nothing more can be said."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _failed(error: errors.ModelyardError) -> int:
    print(f"error: {error.message}", file=sys.stderr)
    for each in error.errors:
        if each.message not in error.message:
            print(f"  {each.path}: {each.message}", file=sys.stderr)
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), 1)
