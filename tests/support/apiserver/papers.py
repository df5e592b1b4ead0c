"""Keys and certificates of an API server for tests, and the kubeconfig of whoever may do everything there."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

USER, MASTERS = "modelyard-tests", "system:masters"
"""As the client certificate names its owner: the group may do everything."""
_NAMES = ("localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
_DAYS = timedelta(days=2)
_EARLIER = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Papers:
    """Files below one directory."""

    directory: Path

    @property
    def authority(self) -> Path:
        """Who signed the certificates of both sides."""
        return self.directory / "ca.crt"

    def pair(self, name: str) -> tuple[Path, Path]:
        """Certificate and key of `server` or `client`."""
        return self.directory / f"{name}.crt", self.directory / f"{name}.key"

    @property
    def accounts(self) -> tuple[Path, Path]:
        """Public and private key of the tokens of service accounts."""
        return self.directory / "accounts.pub", self.directory / "accounts.key"

    def kubeconfig(self, url: str) -> Path:
        """For the owner of the client certificate."""
        path = self.directory / "kubeconfig.yaml"
        chain, key = self.pair("client")
        cluster = {"server": url, "certificate-authority-data": _encoded(self.authority)}
        user = {"client-certificate-data": _encoded(chain), "client-key-data": _encoded(key)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": user}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(document))
        return path


def made(directory: Path, *, now: datetime) -> Papers:
    """New papers, which are good for two days."""
    directory.mkdir(parents=True, exist_ok=True)
    papers = Papers(directory)
    root_key, root_name = _key(), _name("tests of Modelyard")
    root = _builder(root_name, root_name, root_key, now)
    root = root.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    papers.authority.write_bytes(_pem(root.sign(root_key, hashes.SHA256())))
    here = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), *map(x509.DNSName, _NAMES)]
    for name, subject, usage in (
        ("server", _name("kube-apiserver"), ExtendedKeyUsageOID.SERVER_AUTH),
        ("client", _name(USER, MASTERS), ExtendedKeyUsageOID.CLIENT_AUTH),
    ):
        key = _key()
        builder = _builder(subject, root_name, key, now)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if name == "server":
            builder = builder.add_extension(x509.SubjectAlternativeName(here), critical=False)
        certificate, private = papers.pair(name)
        certificate.write_bytes(_pem(builder.sign(root_key, hashes.SHA256())))
        _keep(private, key)
    public, private = papers.accounts
    signer = _key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(signer.public_key().public_bytes(serialization.Encoding.PEM, form))
    _keep(private, signer)
    return papers


def _builder(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, now: datetime
) -> x509.CertificateBuilder:
    at = now.astimezone(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _EARLIER)
        .not_valid_after(at + _DAYS)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common: str, *groups: str) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _keep(path: Path, key: rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
