"""What routers and the control plane tell one another, without any router."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelyard.domain import exposition, tallies
from modelyard.domain.endpoint import Waking
from modelyard.domain.errors import Invalid
from modelyard.domain.limits import Limits
from modelyard.domain.tallies import Reading, Tally
from modelyard.gateway.base import Certificate, Copies
from modelyard.gateway.envoy import limiting
from modelyard.gateway.remote import copy, dividing, summing, wire
from modelyard.gateway.remote.summing import Counted
from modelyard.gateway.remote.wire import Publication
from modelyard.router import options
from modelyard.router.keeping import Keeper
from tests.gateway.support import route, share
from tests.gateway.test_render import some_route


@given(st.lists(some_route(), max_size=4))  # type: ignore[call-arg]
def test_a_publication_is_read_as_it_was_written(routes: list[wire.Route]) -> None:
    shown = Certificate(chain="chain", key="key")
    written = Publication(version=7, routes=tuple(routes), certificate=shown, beside=shown)
    assert wire.publication(wire.PUBLICATION.dump_json(written)) == written


@pytest.mark.parametrize(
    ("document", "named"),
    [
        (b"", "JSON"),
        (b"[]", "publication: "),
        (b'{"version": "x", "routes": []}', "version"),
        (b'{"version": 1, "routes": [{"name": "default/a"}]}', "routes.0.service"),
    ],
)
def test_what_is_no_publication_is_refused_by_the_field_that_is_wrong(document: bytes, named: str) -> None:
    with pytest.raises(Invalid, match=named):
        wire.publication(document)


def test_a_field_of_a_later_version_is_passed_over() -> None:
    written = json.loads(wire.PUBLICATION.dump_json(Publication(version=1, routes=(route("default/a"),))))
    written["routes"][0]["invented"] = written["invented"] = 1
    assert wire.publication(json.dumps(written).encode()).routes == (route("default/a"),)


@given(st.binary(max_size=3000), st.integers(1, 500))
def test_pieces_make_the_whole_again_in_whatever_order_they_are_found(document: bytes, most: int) -> None:
    pieces = copy.pack(document, version=3, most_bytes=most)
    assert all(len(piece.body) <= most for piece in pieces)
    stored = [piece.files for piece in pieces]
    random.Random(1).shuffle(stored)
    assert copy.unpack(stored) == document
    assert copy.unpack(stored[1:]) is None


def test_pieces_of_two_publications_never_mix_and_rubbish_is_nothing() -> None:
    body = random.Random(1).randbytes(3000)
    old, new = (copy.pack(body, version=version, most_bytes=1000) for version in (1, 2))
    assert copy.unpack([new[0].files, *(p.files for p in old[1:])]) is None
    # A later one that is shorter leaves pieces of the one before, which say nothing.
    short = copy.pack(b"short", version=3)
    assert copy.unpack([short[0].files, *(p.files for p in new[1:])]) == b"short"
    assert copy.unpack([{"head.json": b"{", "routes.gz": b""}, {}]) is None
    assert copy.unpack([{**short[0].files, "routes.gz": b"no gzip"}]) is None
    body = short[0].files["routes.gz"]
    assert copy.unpack([{**short[0].files, "routes.gz": body[:10] + b"\xff\xff" + body[12:]}]) is None


async def test_a_router_begins_with_the_newest_that_it_can_read(tmp_path: Path) -> None:
    mounted = copy.DirectoryCopy(tmp_path / "copy")
    keeper = Keeper(tmp_path / "own", tmp_path / "copy")
    assert keeper.kept() is None
    assert keeper.copied() is None
    of = {version: Publication(version=version, routes=(route("default/a"),)) for version in (1, 2)}
    keeper.keep(of[1])
    await mounted.save(wire.PUBLICATION.dump_json(of[2]), version=2)
    assert (keeper.kept(), keeper.copied()) == (of[1], of[2])
    assert (tmp_path / "own" / "published.json").stat().st_mode & 0o077 == 0
    (tmp_path / "own" / "published.json").write_text("{")
    (tmp_path / "copy" / "0" / "routes.gz").write_bytes(b"torn")
    assert keeper.kept() is None
    assert keeper.copied() is None


_LIMITS = st.builds(
    Limits,
    requests_per_second=st.floats(0, 1e6),
    burst=st.integers(0, 10**6),
    concurrency=st.integers(0, 10**6),
    pending=st.integers(0, 10**6),
)


@given(_LIMITS, st.integers(1, 50))
def test_parts_of_limits_make_up_the_whole_and_nobody_has_none(limits: Limits, routers: int) -> None:
    part = dividing.part(limits, routers)
    assert part.requests_per_second * routers == pytest.approx(limits.requests_per_second)
    for name in ("burst", "concurrency", "pending"):
        whole, one = getattr(limits, name), getattr(part, name)
        assert whole <= one * routers < whole + routers
        assert (one == 0) == (whole == 0)
    assert replace(part, requests_per_second=0, burst=0, concurrency=0, pending=0) == replace(
        limits, requests_per_second=0, burst=0, concurrency=0, pending=0
    )


@pytest.mark.parametrize(("rate", "routers"), [(3, 2), (1, 3), (0.01, 7), (1000, 3), (2.5, 2), (7, 7)])
def test_the_buckets_of_all_routers_are_filled_with_just_the_rate(rate: float, routers: int) -> None:
    """Parts that are no whole number too: 3 a second by two routers are 2 in 1.333 seconds at each."""
    limited = replace(route("default/a"), limits=Limits(requests_per_second=rate))
    (descriptor,) = limiting.rates(dividing.divided([limited], routers))[limiting.RATE_LIMIT]["descriptors"]
    bucket = descriptor["token_bucket"]
    seconds = float(bucket["fill_interval"].removesuffix("s"))
    assert bucket["tokens_per_fill"] / seconds * routers == pytest.approx(rate, rel=1e-5)


def test_one_router_has_everything_and_several_divide_what_waits() -> None:
    asleep = route("default/a")
    asleep = replace(asleep, shares=(replace(share("default/a"), waking=Waking(requests=5, seconds=9)),))
    assert dividing.divided([asleep], 1) == (asleep,)
    ((one,),) = (r.shares for r in dividing.divided([asleep], 2))
    assert one.waking == Waking(requests=3, seconds=9)


_TALLY = st.builds(
    Tally,
    route=st.sampled_from(["default/a", "default/b"]),
    share=st.sampled_from(["default/a", "default/a#2"]),
    codes=st.fixed_dictionaries({200: st.integers(0, 100)}),
)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(1, 50)), max_size=30))
def test_whatever_starts_and_dies_every_request_counts_once(events: list[tuple[int, int, int]]) -> None:
    """Routers count requests or start anew in between; a control plane compares each look with the last."""
    counts, epochs, sent, total = [0, 0, 0], [0, 0, 0], 0, 0
    last: dict[str, Tally] = {}
    for router, restarts, more in events:
        if restarts:
            epochs[router] += 1
            counts[router] = 0
        counts[router] += more
        sent += more
        reading = summing.together(
            Counted(
                router=f"router-{number}",
                reading=Reading(
                    epoch=str(epochs[number]),
                    tallies=(Tally(route="default/a", codes={200: counts[number]}),),
                ),
                now=True,
            )
            for number in range(3)
        )
        now = {tally.name: tally for tally in reading.tallies}
        total += sum(tallies.grown(last.get(name), tally).requests for name, tally in now.items())
        last = now
    assert total == sent


def test_a_silent_router_keeps_what_it_counted_but_nothing_in_flight() -> None:
    reading = Reading(epoch="1", tallies=(Tally(route="default/a", codes={200: 3}),), inflight={"r1": 2})
    counted = (
        Counted(router="one", reading=reading, now=True),
        Counted(router="two", reading=reading, now=False),
    )
    together = summing.together(counted)
    assert sum(tally.requests for tally in together.tallies) == 6
    assert together.inflight == {"r1": 2}
    text = exposition.of_gateway(together)
    assert 'router="one 1"' in text
    assert 'router="two 1"' in text


def test_copies_and_who_waits_are_sums() -> None:
    one, two = Copies(route="a", share="b", sent=3, dropped=1), Copies(route="a", share="b", sent=4)
    assert summing.copies([[one], [two], []]) == (Copies(route="a", share="b", sent=7, dropped=1),)
    assert summing.waiting([{"a": 1}, {"a": 2, "b": 1}]) == {"a": 3, "b": 1}


def test_options_come_from_words_and_else_from_the_environment() -> None:
    environ = {
        "MODELYARD_ROUTER_API": "a:1",
        "MODELYARD_ROUTER_PORT": "81",
        "MODELYARD_ROUTER_REDIRECT": "TRUE",
    }
    found = options.parse({"port": "82"}, {**environ, "MODELYARD_ROUTER_HTTPS_PORT": "443"})
    assert (found.api, found.door.port, found.door.redirect, found.door.https_port) == ("a:1", 82, True, 443)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, "--api is missing"),
        ({"api": "a:1", "port": "many"}, "--port must be a number"),
        ({"api": "a:1", "health_port": "x"}, "--health-port must be a number"),
        ({"api": "a:1", "drain_seconds": "-1"}, "--drain-seconds must be a number"),
        ({"api": "a:1", "leave_seconds": "nan"}, "--leave-seconds must be a number"),
        ({"api": "a:1", "redirect": "perhaps"}, "--redirect must be true or false"),
    ],
)
def test_options_that_make_no_sense_are_named(said: dict[str, str], message: str) -> None:
    with pytest.raises(Invalid, match=message):
        options.parse(said, {})
