"""Signing requests as S3 wants it (AWS Signature Version 4): pure, the time is an argument."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import Dict
from urllib.parse import quote

EMPTY = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True)
class Keys:
    """Who signs, and for which region."""

    access_key: str
    secret_key: str
    session_token: str = ""
    region: str = "us-east-1"


def headers(keys: Keys, host: str, path: str, now: datetime, extra: Dict[str, str]) -> Dict[str, str]:
    """Headers of a signed GET without query and body; `path` is quoted as it is sent, `now` in UTC."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    sent = {**extra, "host": host, "x-amz-content-sha256": EMPTY, "x-amz-date": stamp}
    if keys.session_token:
        sent["x-amz-security-token"] = keys.session_token
    names = sorted(name.lower() for name in sent)
    lower = {name.lower(): " ".join(value.split()) for name, value in sent.items()}
    canonical = "\n".join(
        ["GET", path, "", *("%s:%s" % (name, lower[name]) for name in names), "", ";".join(names), EMPTY]
    )
    scope = "%s/%s/s3/aws4_request" % (stamp[:8], keys.region)
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signature = hmac.new(_signing_key(keys, stamp[:8]), to_sign.encode(), hashlib.sha256).hexdigest()
    credential = "%s/%s" % (keys.access_key, scope)
    sent["Authorization"] = "AWS4-HMAC-SHA256 Credential=%s, SignedHeaders=%s, Signature=%s" % (
        credential,
        ";".join(names),
        signature,
    )
    del sent["host"]  # the HTTP client writes it itself
    return sent


def quoted(key: str) -> str:
    """An object's key as it stands in a path."""
    return quote(key, safe="/-_.~")


def _signing_key(keys: Keys, day: str) -> bytes:
    key = ("AWS4" + keys.secret_key).encode()
    for part in (day, keys.region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key
