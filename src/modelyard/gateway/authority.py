"""Certificates: the platform's own authority, what it issues, and what is wrong with those of others."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum
from itertools import pairwise
from typing import NoReturn

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from modelyard.domain.certificate import AUTHORITY_DAYS, MOST_HOSTS, SELF_MADE_DAYS, CertificateView, Source
from modelyard.domain.errors import FieldError, Invalid
from modelyard.gateway.base import Certificate

NAME = "Modelyard"
_CURVES = ("secp256r1", "secp384r1", "secp521r1")
_LEAST_RSA_BITS = 2048
_LONGEST = 256 * 1024
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""How many points P-256 has: private keys are the numbers below."""
_EARLIER = timedelta(minutes=5)
"""Clients' clocks may be a little behind."""


class Purpose(Enum):
    """What a certificate that is issued lets its owner do."""

    SERVE = ExtendedKeyUsageOID.SERVER_AUTH
    CALL = ExtendedKeyUsageOID.CLIENT_AUTH


def make_authority(name: str, *, now: float, key: ec.EllipticCurvePrivateKey | None = None) -> Certificate:
    """An authority, good for ten years, that can issue certificates only; of a new key unless given one."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{NAME} of {name}"[:64])])
    usage = _usage(key_cert_sign=True, crl_sign=True)
    builder = _builder(subject, subject, key.public_key(), days=AUTHORITY_DAYS, now=now)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    return Certificate(chain=_pem(builder.sign(key, hashes.SHA256())), key=_private_pem(key))


def key_from(secret: bytes, use: str) -> ec.EllipticCurvePrivateKey:
    """The private key that follows from a secret, another one for each use."""
    number = int.from_bytes(hmac.new(secret, f"authority of {use}".encode(), hashlib.sha512).digest())
    # Of twice as many bits as there are keys, so that each key is as likely as any other.
    return ec.derive_private_key(number % (_ORDER - 1) + 1, ec.SECP256R1())


def issue(
    authority: Certificate,
    hosts: Iterable[str],
    *,
    now: float,
    like: Certificate | None = None,
    purpose: Purpose = Purpose.SERVE,
) -> Certificate:
    """A certificate of the authority for these names and IP addresses, with the kind of key that `like` has.

    Of two certificates that name a host the gateway prefers the kind of key that clients like better, and
    the order in which they were given only within one kind.
    """
    issuer = x509.load_pem_x509_certificate(authority.chain.encode())
    issuer_key = serialization.load_pem_private_key(authority.key.encode(), password=None)
    assert isinstance(issuer_key, ec.EllipticCurvePrivateKey)  # noqa: S101 - we made it
    key = _new_key(like)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    names = [_general(host) for host in sorted(set(hosts))[:MOST_HOSTS]]
    builder = _builder(subject, issuer.subject, key.public_key(), days=SELF_MADE_DAYS, now=now)
    for extension, critical in (
        (x509.SubjectAlternativeName(names), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.ExtendedKeyUsage([purpose.value]), False),
        (_usage(digital_signature=True), True),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    # The authority itself is not sent along: who trusts it has it.
    return Certificate(chain=_pem(builder.sign(issuer_key, hashes.SHA256())), key=_private_pem(key))


def signed_by(certificate: Certificate, authority: Certificate) -> bool:
    """Whether this authority issued it."""
    issuer = x509.load_pem_x509_certificate(authority.chain.encode())
    try:
        x509.load_pem_x509_certificates(certificate.chain.encode())[0].verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def same_authority(one: str, other: str) -> bool:
    """Whether who believes the first certificate believes what the other issued. Raises Invalid for none."""
    first, second = _chain(one)[0], _chain(other)[0]
    return first.subject == second.subject and _public(first.public_key()) == _public(second.public_key())


def belongs(certificate: Certificate) -> bool:
    """Whether its key is that of the first of its chain. Raises Invalid when either cannot be read."""
    return _public(_chain(certificate.chain)[0].public_key()) == _public(_key(certificate.key).public_key())


def same_kind(one: Certificate, other: Certificate) -> bool:
    """Whether their keys are of one kind."""
    return isinstance(_key(one.key), rsa.RSAPrivateKey) == isinstance(_key(other.key), rsa.RSAPrivateKey)


def view(certificate: Certificate, source: Source) -> CertificateView:
    """What the certificate says; raises Invalid when it cannot be read."""
    first = _chain(certificate.chain)[0]
    return CertificateView(
        source=source,
        subject=first.subject.rfc4514_string(),
        issuer=first.issuer.rfc4514_string(),
        hosts=_hosts(first),
        not_before=first.not_valid_before_utc,
        not_after=first.not_valid_after_utc,
        sha256=first.fingerprint(hashes.SHA256()).hex(),
    )


def require_usable(certificate: Certificate, *, now: float) -> None:
    """Nothing when the gateway can serve with it; else raises Invalid: each with its field and remedy."""
    chain = _chain(certificate.chain)
    if not belongs(certificate):
        _refuse("key", "does not belong to the first certificate of the chain; give the key it was made with")
    at = datetime.fromtimestamp(now, UTC)
    if chain[0].not_valid_after_utc <= at:
        _refuse("certificate", f"ended on {chain[0].not_valid_after_utc:%Y-%m-%d}; renew it first")
    if chain[0].not_valid_before_utc > at:
        _refuse(
            "certificate",
            f"begins only on {chain[0].not_valid_before_utc:%Y-%m-%d}; wait, or check the clock",
        )
    for number, (lower, upper) in enumerate(pairwise(chain), start=2):
        try:
            lower.verify_directly_issued_by(upper)
        except (ValueError, TypeError, InvalidSignature):
            order = "the server's own comes first, each followed by the one that issued it"
            _refuse("certificate", f"number {number} of the chain did not issue the one before it; {order}")


def _new_key(like: Certificate | None) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    if like is not None and isinstance(_key(like.key), rsa.RSAPrivateKey):
        return rsa.generate_private_key(public_exponent=65537, key_size=_LEAST_RSA_BITS)
    return ec.generate_private_key(ec.SECP256R1())


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey,
    *,
    days: float,
    now: float,
) -> x509.CertificateBuilder:
    at = datetime.fromtimestamp(now, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(at - _EARLIER)
        .not_valid_after(at + timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(**allowed: bool) -> x509.KeyUsage:
    every = (
        "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
        "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
    )  # fmt: skip
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in every})


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _hosts(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ()
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return (*names.get_values_for_type(x509.DNSName), *addresses)


def _chain(text: str) -> list[x509.Certificate]:
    if len(text) > _LONGEST:
        _refuse("certificate", f"is longer than {_LONGEST} characters; give the chain alone")
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError:
        _refuse("certificate", "is no chain in PEM: one or more blocks of `-----BEGIN CERTIFICATE-----`")


def _key(text: str) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(text[:_LONGEST].encode(), password=None)
    except TypeError:
        _refuse("key", "has a password; give it without one: `openssl pkey -in KEY -out NEW`")
    except ValueError:
        _refuse("key", "is no private key in PEM: a block of `-----BEGIN PRIVATE KEY-----`")
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= _LEAST_RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return key
    _refuse(
        "key", f"is of a kind that is not served with; use RSA of {_LEAST_RSA_BITS} bits or more, or P-256"
    )


def _public(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    kind = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode()


def _refuse(field: str, message: str) -> NoReturn:
    raise Invalid(f"{field}: {message}", errors=(FieldError(field, message),))
