"""`traffic …`, `mirror` and `endpoint …`: where requests go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import typer

from modelyard.cli import context, files, output, reach
from modelyard.cli.services import Name
from modelyard.client import options
from modelyard.domain.endpoint import Endpoint, MirrorView, RoutingView, ShareView
from modelyard.domain.errors import FieldError, Invalid
from modelyard.domain.traffic_spec import EndpointSpec, PinTo, Sticky, StickyBy

group = typer.Typer(no_args_is_help=True, help="How requests are divided.")
endpoints = typer.Typer(no_args_is_help=True, help="Where services answer.")
_ROW: list[output.Column] = [
    ("service", lambda e: e.service),
    ("url", lambda e: e.url),
    ("host", lambda e: e.addresses.host),
    ("alias", lambda e: e.addresses.alias),
    ("ports", lambda e: ", ".join(map(str, e.addresses.ports))),
    ("requests", lambda e: e.requests),
    ("weights", lambda e: ", ".join(f"{s.to}={s.weight}" for s in e.shares)),
]
_SHOWN: list[output.Column] = [
    ("service", lambda e: e.service),
    ("url", lambda e: e.url),
    ("alias", lambda e: e.addresses.alias),
    *reach.COLUMNS,
    ("requests", lambda e: e.requests),
    ("weights", lambda e: "\n         ".join(_share(s) for s in e.shares)),
    ("mirrors", lambda e: "\n         ".join(_mirror(m) for m in e.mirrors)),
    ("routing", lambda e: "\n         ".join(_routing(r) for r in e.routing)),
    ("pins", lambda e: ", ".join(f"{p.header or p.cookie}:{p.value}={p.to}" for p in e.spec.pins)),
    ("sticky", lambda e: f"{e.spec.sticky.by} {e.spec.sticky.key}" if e.spec.sticky else ""),
]


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(group, name="traffic")
    app.add_typer(endpoints, name="endpoint")
    app.command()(mirror)


@group.command("set")
def set_traffic(
    name: Name,
    weights: Annotated[list[str] | None, typer.Argument(help="NAME=PERCENT or NAME#REVISION=PERCENT")] = None,
    pin_header: Annotated[list[str] | None, typer.Option(help="HEADER:VALUE=NAME; repeat")] = None,
    pin_cookie: Annotated[list[str] | None, typer.Option(help="COOKIE:VALUE=NAME; repeat")] = None,
    no_pins: Annotated[bool, typer.Option("--no-pins", help="Forget all pins")] = False,
    sticky: Annotated[
        str | None, typer.Option(help="cookie, cookie:NAME, header:NAME, source, or off")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="The service answers all itself again")] = False,
) -> None:
    """Send percents of a service's requests to others; what remains is its own.

    What is not said stays as it is: weights without weights, pins without pins.
    """
    with context.client() as client:
        now = client.endpoints.get(name)
        spec = EndpointSpec() if reset else now.spec
        pins = (*_pins("header", pin_header or []), *_pins("cookie", pin_cookie or []))
        if weights:
            spec = replace(spec, weights=_weights(weights))
        if pins or no_pins:
            spec = replace(spec, pins=pins)
        if sticky is not None:
            spec = replace(spec, sticky=_sticky(sticky))
        output.show(client.endpoints.apply(name, spec, generation=now.generation), _SHOWN)


@group.command("show")
def show_traffic(name: Name) -> None:
    """The weights in force, and why they are not those that were asked for."""
    show_endpoint(name)


def mirror(
    name: Name,
    to: Annotated[str, typer.Option(help="NAME or NAME#REVISION that gets copies")] = "",
    percent: Annotated[int, typer.Option(help="Of the requests")] = 100,
    off: Annotated[bool, typer.Option("--off", help="No more copies; to nobody without --to")] = False,
) -> None:
    """Send copies of requests to another service; its answers are dropped."""
    with context.client() as client:
        if off:
            shown: Endpoint = client.endpoints.end_mirror(name, to)
        elif to:
            shown = client.endpoints.mirror(name, to, percent)
        else:
            raise typer.BadParameter("give --to NAME, or --off")
    output.show(shown, _SHOWN)


@endpoints.command("list")
def list_endpoints() -> None:
    """Where every service answers, how often it did, and who answers for it."""
    with context.client() as client:
        output.rows(client.endpoints.list(), _ROW)


@endpoints.command("show")
def show_endpoint(name: Name) -> None:
    """One endpoint with weights, mirrors, pins and stickiness."""
    with context.client() as client:
        output.show(client.endpoints.get(name), _SHOWN)


def _weights(given: Sequence[str]) -> dict[str, int]:
    found = {}
    for to, percent in files.pairs([*given], "WEIGHTS").items():
        if not percent.removesuffix("%").isdecimal():
            raise _invalid("WEIGHTS", f"{to}={percent}: write whole percents such as {to}=10")
        found[to] = int(percent.removesuffix("%"))
    return found


def _pins(kind: str, given: Sequence[str]) -> tuple[PinTo, ...]:
    return tuple(_pin(kind, text) for text in given)


def _pin(kind: str, text: str) -> PinTo:
    what, equals, to = text.rpartition("=")
    name, colon, value = what.partition(":")
    if not equals or not colon:
        raise _invalid(f"--pin-{kind}", f"{text!r} is not {kind.upper()}:VALUE=NAME")
    return options.build(PinTo, {"to": to, "value": value, kind: name})


def _sticky(text: str) -> Sticky | None:
    if text == "off":
        return None
    by, _, name = text.partition(":")
    return Sticky(by=options.build_enum(StickyBy, by, "--sticky"), name=name)


def _share(share: ShareView) -> str:
    why = f" ({share.reason}; asked for {share.asked:g} %)" if share.reason else ""
    return f"{share.to} {share.weight} %{why}"


def _mirror(view: MirrorView) -> str:
    why = f" ({view.reason})" if view.reason else ""
    return f"{view.to} {view.percent} %, {view.sent} sent, {view.dropped} dropped{why}"


def _routing(view: RoutingView) -> str:
    why = f" ({view.reason})" if view.reason else ""
    return f"{view.feature}: {view.where}{why}"


def _invalid(path: str, message: str) -> Invalid:
    return Invalid(f"{path}: {message}", errors=[FieldError(path, message)])
