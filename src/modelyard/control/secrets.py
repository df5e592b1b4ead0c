"""Passwords and tokens: hashed, derived, compared; never stored as they are."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor

import argon2

from modelyard.domain.deployment import Deployment

USER_TOKEN = "myu_"  # noqa: S105 - the visible beginning of a secret, not a secret
SERVICE_TOKEN = "mys_"  # noqa: S105
SESSION = "myw_"
LINK = "myl_"

_HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$AiyUP2oprsT99RqCM1xp/Q$ia9Ke4fgTrhstWC7InFPtY+/MqOHdZveCDua4zYHbTA"
"""Compared against when there is no such user, so that time does not tell who exists."""

_HASHING = ThreadPoolExecutor(max_workers=2, thread_name_prefix="password")
"""Hashing takes memory and a core; a flood of logins must not take them all."""


def digest(secret: str) -> str:
    """Hex SHA-256 of a token: what is stored and what the gateway compares."""
    return hashlib.sha256(_bytes(secret)).hexdigest()


def service_token(master_key: bytes, deployment: Deployment) -> str:
    """The token that opens a deployment: derived, so that it is nowhere stored; a new serial changes it."""
    words = f"{deployment.key}/{deployment.id}/{deployment.token_serial}"
    mac = hmac.new(master_key, words.encode(), hashlib.sha256).digest()
    return SERVICE_TOKEN + base64.urlsafe_b64encode(mac).decode().rstrip("=")


async def hash_password(password: str) -> str:
    """The argon2id hash to store."""
    return await asyncio.get_running_loop().run_in_executor(_HASHING, _HASHER.hash, _bytes(password))


async def verify_password(stored: str | None, password: str) -> bool:
    """Whether it is the password; takes as long when there is none."""
    right = await asyncio.get_running_loop().run_in_executor(_HASHING, _matches, stored or _NOBODY, password)
    return right and stored is not None


def _matches(stored: str, password: str) -> bool:
    try:
        return _HASHER.verify(stored, _bytes(password))
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False


def _bytes(secret: str) -> bytes:
    """Also of what is not valid Unicode, as JSON and headers can carry it: just another wrong secret."""
    return secret.encode(errors="surrogatepass")
