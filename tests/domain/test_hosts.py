"""What may be written as a host, what it means, and what the refusal says."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelyard.domain import hosts
from modelyard.domain.address import Address, Site, require_external
from modelyard.domain.deployment import Key, Stage
from modelyard.domain.errors import Invalid
from modelyard.domain.hosts import Wish
from modelyard.gateway.routes import addresses

PATH = "spec.address.host"
_LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
_DOMAIN = st.lists(_LABEL, min_size=1, max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("", Wish()),
        ("churn.example.com", Wish(domain="churn.example.com")),
        ("xn--mnchen-3ya.example", Wish(domain="xn--mnchen-3ya.example")),
        ("https://a.example/docs?x=1", Wish("a.example", "https://a.example/docs?x=1", "/docs?x=1")),
        ("http://a.example:8443", Wish("a.example", "http://a.example:8443", "")),
        ("/v2/models/churn", Wish(path="/v2/models/churn")),
        (":8081/models", Wish(path="/models", second=True)),
        (":8081", Wish(path="/", second=True)),
    ],
)
def test_a_host_is_a_domain_a_url_or_a_path(text: str, wish: Wish) -> None:
    assert hosts.parse(text, PATH) == wish


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Churn.example.com", "write `churn.example.com`"),
        ("*.example.com", "wildcard"),
        ("münchen.example", "`xn--mnchen-3ya.example`"),
        ("сhurn.example", "CYRILLIC SMALL LETTER ES"),
        ("example。com", "IDEOGRAPHIC FULL STOP"),
        ("churn.example.com:8080", "names a port; write `churn.example.com`"),
        ("churn.example.com/docs", "write `https://churn.example.com/docs`"),
        ("10.0.0.7", "ask for `own_port`"),
        ("https://10.0.0.7:8080/x", "ask for `own_port`"),
        ("::1", "ask for `own_port`"),
        ("https://[::1]/", "ask for `own_port`"),
        ("churn.example.com.", "is no host"),
        ("a..b", "is no host"),
        ("-a.example", "is no host"),
        ("a_b.example", "is no host"),
        ("a" * 64 + ".example", "is no host"),
        ("a." * 130 + "example", "longer than"),
        ("a b.example", "is no host"),
        ("a.example\n", "is no host"),
        ("ftp://a.example", "begin with `https://`"),
        ("https://ann:pw@a.example/", "user or password"),
        ("https://a.example:99999/", "no port"),
        ("https://a.example/\u00e4", "write them as %XX"),
        ("https:///x", "is no host"),
        ("/api/v1/projects", "taken by the platform"),
        ("/API", "taken by the platform"),
        ("/services/default/x", "taken by the platform"),
        ("/a/../../b", "leads upwards"),
        ("/a b", "write them as %XX"),
        ("/" + "a" * 2000, "choose a shorter path"),
        (":0/x", "is no port"),
        (":99999/x", "is no port"),
        (":x", "is no port"),
    ],
)
def test_another_host_is_refused_with_field_and_remedy(text: str, said: str) -> None:
    with pytest.raises(Invalid, match=r"spec\.address\.host") as caught:
        Address(host=text)
    assert said in caught.value.message
    assert len(caught.value.message) < 400
    assert caught.value.message.isprintable()


@settings(max_examples=150)
@given(st.text(max_size=60))
def test_no_text_is_more_than_refused(text: str) -> None:
    try:
        wish = hosts.parse(text, PATH)
    except Invalid as error:
        paths = [each.path for each in error.errors]
    else:
        paths = [PATH]
        assert wish.domain == wish.domain.lower().encode().decode("ascii")
    assert paths == [PATH]


@settings(max_examples=60)
@given(_DOMAIN, _LABEL, st.sampled_from(Stage))
def test_stages_have_their_prefix_and_the_url_has_the_same_host(domain: str, name: str, stage: Stage) -> None:
    plain, url = (
        addresses(Key("p", name, stage), domain="d", address=Address(host=h)).host
        for h in (domain, f"https://{domain}/x")
    )
    prefix = "" if stage is Stage.PRODUCTION else f"{stage}."
    assert plain == url == prefix + domain


@pytest.mark.parametrize(
    ("host", "own", "free"),
    [
        ("churn.example.com", "service.localhost", True),
        ("other.service.localhost", "service.localhost", True),
        ("other.shop.service.localhost", "service.localhost", False),
        ("other.shop.service.localhost", "shop.service.localhost", True),
        ("test.a.shop.service.localhost", "shop.service.localhost", False),
        ("a.service.localhost", "shop.service.localhost", False),
        ("service.localhost", "service.localhost", False),
        ("localhost", "service.localhost", False),
        ("a.service.team.example", "service.localhost", False),
    ],
)
def test_names_that_the_platform_gives_out_are_only_for_their_own_project(
    host: str, own: str, free: bool
) -> None:
    def check() -> None:
        hosts.require_free(
            host,
            PATH,
            own=own,
            domains=frozenset({"localhost", "team.example"}),
            reserved=frozenset({"localhost"}),
        )

    if free:
        check()
    else:
        with pytest.raises(Invalid, match=r"spec\.address\.host"):
            check()


def test_the_second_port_needs_the_first() -> None:
    with pytest.raises(Invalid, match="needs `own_port`"):
        Address(second_port=True)


def test_a_projects_own_site_wins_and_the_public_part_is_shown() -> None:
    site = Site(domain="example.com", external_ip="10.0.0.1|203.0.113.7")
    assert site.shown == "203.0.113.7"
    assert site.with_own(domain="", external_ip="") == site
    assert site.with_own(domain="team.example", external_ip="10.0.0.2") == Site(
        domain="team.example", external_ip="10.0.0.2"
    )
    assert site.with_own(domain="", external_ip="10.0.0.2").shown == "10.0.0.2"
    for text in ("", "10.0.0.1", "::1", "ml.example.com", "10.0.0.1|ml.example.com"):
        require_external(text, "spec.external_ip")
    for text in ("a|b|c", "10.0.0.1|", "Ä", "http://x"):
        with pytest.raises(Invalid, match=r"spec\.external_ip"):
            require_external(text, "spec.external_ip")
