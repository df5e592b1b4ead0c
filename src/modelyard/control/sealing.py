"""Values of secrets as they are stored: nobody reads them who does not have the platform's master key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from modelyard.domain.errors import Conflict

_FORM = b"\x01"
"""Which way of sealing it is, so that there can be another one day."""
_NONCE_BYTES = 12


def seal(master_key: bytes, values: Mapping[str, bytes], *, place: str, token: str) -> bytes:
    """The values, encrypted with AES-256-GCM for this place (`project/name`) and no other.

    `token` is random and never used twice.
    """
    nonce = hashlib.sha256(token.encode()).digest()[:_NONCE_BYTES]
    sealed = AESGCM(_key(master_key, b"seal")).encrypt(nonce, _plain(values), _FORM + place.encode())
    return _FORM + nonce + sealed


def unseal(master_key: bytes, sealed: bytes, *, place: str) -> dict[str, bytes]:
    """What was sealed for this place; raises Conflict when the key is another."""
    nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        if sealed[:1] != _FORM:
            raise InvalidTag
        text = AESGCM(_key(master_key, b"seal")).decrypt(nonce, rest, _FORM + place.encode())
    except (InvalidTag, ValueError):
        project, _, name = place.partition("/")
        raise Conflict(
            f"the secret {name!r} of project {project!r} cannot be read with this platform's master key; "
            "restore the key that belongs to the database, or set the secret again with --replace"
        ) from None
    return {key: base64.b64decode(value) for key, value in json.loads(text).items()}


def mark(master_key: bytes, values: Mapping[str, bytes], *, place: str) -> str:
    """Ten digits that differ when the values do, and that nobody without the key can try values against."""
    words = place.encode() + b"\0" + _plain(values)
    return hmac.new(_key(master_key, b"mark"), words, hashlib.sha256).hexdigest()[:10]


def _key(master_key: bytes, use: bytes) -> bytes:
    return hmac.new(master_key, b"modelyard/secrets/" + use, hashlib.sha256).digest()


def _plain(values: Mapping[str, bytes]) -> bytes:
    coded = {key: base64.b64encode(value).decode() for key, value in values.items()}
    return json.dumps(coded, sort_keys=True).encode()
