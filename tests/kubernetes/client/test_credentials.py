"""Who we are to the server: tokens that are renewed, plugins, certificates, proxies."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from modelyard.backends.kubernetes.client.cluster import Cluster
from modelyard.backends.kubernetes.client.config import Access, Certificate, Exec
from modelyard.domain.errors import BackendError, Unavailable
from tests.kubernetes.client.scripted import Asked, scripted

VERSION = {"major": "1", "minor": "37"}
UNKNOWN = {"code": 401, "reason": "Unauthorized", "message": "Unauthorized"}


async def ask(access: Access, *, clock: Callable[[], float] = lambda: 0.0, times: int = 1) -> None:
    cluster = Cluster(access, clock=clock, dice=lambda: 0.0)
    try:
        for _ in range(times):
            await cluster.version()
    finally:
        await cluster.close()


async def answer(asked: Asked) -> None:
    await asked.answer(200, VERSION)


def shown(asked: Asked) -> str:
    return asked.headers.get("authorization", "")


async def test_tokens_passwords_and_other_peoples_rights() -> None:
    async with scripted(answer) as there:
        await ask(Access(server=there.url))
        await ask(Access(server=there.url, token="t"))
        await ask(Access(server=there.url, basic=("a", "b")))
        await ask(Access(server=there.url, impersonate={"Impersonate-User": "me"}))
        assert [shown(each) for each in there.asked] == ["", "Bearer t", "Basic YTpi", ""]
        assert there.asked[3].headers["impersonate-user"] == "me"


async def test_a_token_in_a_file_is_read_again(tmp_path: Path) -> None:
    path, now = tmp_path / "token", [0.0]
    path.write_text("one\n")
    async with scripted(answer) as there:
        cluster = Cluster(Access(server=there.url, token_file=path), clock=lambda: now[0])
        await cluster.version()
        path.write_text("two\n")
        await cluster.version()
        now[0] = 61.0
        await cluster.version()
        path.unlink()  # as while it is being renewed
        now[0] = 200.0
        await cluster.version()
        assert [shown(each) for each in there.asked] == [f"Bearer {t}" for t in ("one", "one", "two", "two")]
        await cluster.close()
        with pytest.raises(BackendError, match="cannot be read"):
            await ask(Access(server=there.url, token_file=path))


async def test_a_token_that_is_not_accepted_any_more_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")

    async def script(asked: Asked) -> None:
        good = shown(asked) == "Bearer new"
        await (asked.answer(200, VERSION) if good else asked.answer(401, UNKNOWN))

    async with scripted(script) as there:
        cluster = Cluster(Access(server=there.url, token_file=path), clock=lambda: 0.0)
        with pytest.raises(BackendError, match="does not accept our credentials"):
            await cluster.version()
        assert len(there.asked) == 1  # there was nothing newer
        path.write_text("new")
        await cluster.version()
        await cluster.close()


def plugin(tmp_path: Path, body: str) -> Exec:
    program = tmp_path / "plugin.py"
    program.write_text(
        f"import json, os, sys\ncounter = {str(tmp_path / 'runs')!r}\nopen(counter, 'a').write('x')\n{body}"
    )
    return Exec(
        api_version="client.authentication.k8s.io/v1",
        command=(sys.executable, str(program)),
        env={"PATH": "/usr/bin"},
        install_hint="Get it from the shop.",
        cluster_info={"server": "https://c"},
    )


PRINTS = """
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert info["spec"] == {"interactive": False, "cluster": {"server": "https://c"}}, info
runs = len(open(counter).read())
status = {"token": f"t{runs}", "expirationTimestamp": "1970-01-01T00:10:00Z"}
print(json.dumps({"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": status}))
"""


async def test_a_plugin_is_run_once_until_what_it_printed_expires(tmp_path: Path) -> None:
    now = [0.0]
    async with scripted(answer) as there:
        cluster = Cluster(Access(server=there.url, exec=plugin(tmp_path, PRINTS)), clock=lambda: now[0])
        await asyncio.gather(*(cluster.version() for _ in range(5)))
        assert {shown(each) for each in there.asked} == {"Bearer t1"}
        now[0] = 571.0  # half a minute early
        await cluster.version()
        assert shown(there.asked[-1]) == "Bearer t2"
        await cluster.close()


async def test_a_plugin_is_run_again_when_its_token_is_not_accepted(tmp_path: Path) -> None:
    async def script(asked: Asked) -> None:
        good = shown(asked) == "Bearer t2"
        await (asked.answer(200, VERSION) if good else asked.answer(401, UNKNOWN))

    async with scripted(script) as there:
        await ask(Access(server=there.url, exec=plugin(tmp_path, PRINTS)), times=3)
        assert (tmp_path / "runs").read_text() == "xx"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit('log in first')", "failed with 1: log in first"),
        ("print('hello')", "did not print JSON"),
        ("print('{}')", "did not print an ExecCredential"),
        ("print(json.dumps({'kind': 'ExecCredential', 'status': {}}))", "neither a token nor a certificate"),
        (
            "print(json.dumps({'kind': 'ExecCredential', "
            "'status': {'token': 'x', 'expirationTimestamp': 'soon'}}))",
            "soon of the exec plugin is no time",
        ),
        (
            "print(json.dumps({'kind': 'ExecCredential', 'status': "
            "{'clientCertificateData': 'x', 'clientKeyData': 'y'}}))",
            "bad certificate",
        ),
    ],
)
async def test_plugins_that_fail_are_quoted(tmp_path: Path, body: str, words: str) -> None:
    with pytest.raises(BackendError, match=words) as told:
        await ask(Access(server="http://127.0.0.1:1", exec=plugin(tmp_path, body)))
    assert told.value.retryable


async def test_a_plugin_that_is_not_there(tmp_path: Path) -> None:
    missing = replace(plugin(tmp_path, ""), command=("/no/such/program",))
    with pytest.raises(BackendError, match=r"cannot be started: .*Get it from the shop\."):
        await ask(Access(server="http://127.0.0.1:1", exec=missing))


@dataclass(frozen=True, slots=True)
class Authority:
    """An authority as small clusters make it: without a word about its own key."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        return cls(key, _signed("ca", key, None, []))

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def issue(self, name: str, alternatives: list[x509.GeneralName]) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        made = _signed(name, key, self, alternatives)
        kinds = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        return Certificate(
            chain=made.public_bytes(serialization.Encoding.PEM).decode(),
            key=key.private_bytes(serialization.Encoding.PEM, *kinds).decode(),
        )


def _signed(
    name: str, key: ec.EllipticCurvePrivateKey, by: Authority | None, alternatives: list[x509.GeneralName]
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=False)
    )
    if alternatives:
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    return builder.sign(by.key if by else key, hashes.SHA256())


def listening(certificate: Certificate, directory: Path, *, clients: str = "") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    path = directory / "server.pem"
    path.write_text(certificate.chain + certificate.key)
    context.load_cert_chain(path)
    if clients:
        context.load_verify_locations(cadata=clients)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_who_the_server_is(tmp_path: Path) -> None:
    authority, other = Authority.new(), Authority.new()
    by_address = authority.issue("a", [x509.IPAddress(ip_address("127.0.0.1"))])
    async with scripted(answer, tls=listening(by_address, tmp_path)) as there:
        await ask(Access(server=there.url, ca=authority.pem))
        await ask(Access(server=there.url, insecure=True))
        for wrong in (Access(server=there.url, ca=other.pem), Access(server=there.url)):
            with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await ask(wrong)
    by_name = authority.issue("b", [x509.DNSName("kubernetes.default")])
    async with scripted(answer, tls=listening(by_name, tmp_path)) as there:
        with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await ask(Access(server=there.url, ca=authority.pem))
        await ask(Access(server=there.url, ca=authority.pem, tls_server_name="kubernetes.default"))


async def test_who_we_are_by_certificate(tmp_path: Path) -> None:
    authority = Authority.new()
    server = authority.issue("s", [x509.IPAddress(ip_address("127.0.0.1"))])
    ours = authority.issue("modelyard", [])
    async with scripted(answer, tls=listening(server, tmp_path, clients=authority.pem)) as there:
        access = Access(server=there.url, ca=authority.pem)
        with pytest.raises(Unavailable):
            await ask(access)
        await ask(replace(access, certificate=ours))
        status = {"clientCertificateData": ours.chain, "clientKeyData": ours.key}
        printed = json.dumps({"kind": "ExecCredential", "status": status})
        await ask(replace(access, exec=plugin(tmp_path, f"print({printed!r})")))


def test_certificates_that_are_none() -> None:
    for bad in ({"ca": "hello"}, {"certificate": Certificate(chain="x", key="y")}):
        with pytest.raises(BackendError, match="not usable"):
            Cluster(Access(server="https://c", **bad), clock=lambda: 0.0)


async def test_a_proxy_stands_between() -> None:
    async with scripted(answer) as proxy:
        await ask(Access(server="http://far.away:6443", proxy=proxy.url))
        assert proxy.asked[0].target == "http://far.away:6443/version"


async def test_proxies_of_the_environment_are_for_what_is_far(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    async with scripted(answer) as proxy, scripted(answer) as there:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        await ask(Access(server="http://far.away"))
        await ask(Access(server=there.url))
        assert (len(proxy.asked), len(there.asked)) == (1, 1)


async def test_answers_are_compressed_unless_that_is_not_wanted() -> None:
    async with scripted(answer) as there:
        await ask(Access(server=there.url))
        await ask(Access(server=there.url, compression=False))
        assert [each.headers["accept-encoding"] for each in there.asked] == ["gzip", "identity"]
        assert there.asked[0].headers["user-agent"] == "modelyard"
