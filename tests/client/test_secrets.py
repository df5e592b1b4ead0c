"""Secrets in the SDK, in both its forms."""

from __future__ import annotations

import pytest

import modelyard
from modelyard.domain.errors import NotFound


def test_secrets_are_set_listed_and_deleted(client: modelyard.Client) -> None:
    made = client.secrets.set("sdk", {"TEXT": "a", "RAW": b"\xff"})
    assert (made.keys, made.binary) == (("RAW", "TEXT"), ("RAW",))
    assert client.secrets.set("sdk", remove=["RAW"]).keys == ("TEXT",)
    assert client.secrets.set("sdk", {"OTHER": b"b"}, replace=True).keys == ("OTHER",)
    assert client.secrets.get("sdk") in client.secrets.list()
    client.secrets.delete("sdk")
    with pytest.raises(NotFound):
        client.secrets.delete("sdk", force=True)
