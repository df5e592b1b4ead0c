"""Where the artifact store is: what the section `[artifacts]` of the settings says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from modelyard.domain import wire


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """A directory, or a bucket of a server that speaks S3.

    Keys come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`), or
    from `credentials_file`.
    """

    __pydantic_config__: ClassVar[Any] = wire.STRICT

    url: str = ""
    """`s3://bucket/prefix`; empty keeps files in the data directory."""
    endpoint: str = ""
    """Address of the server, such as `http://minio.storage:9000`; empty is Amazon's own."""
    region: str = "us-east-1"
    """Region that requests are signed for."""
    path_style: bool = True
    """Whether the bucket stands in the path (`endpoint/bucket/key`) rather than in the host."""
    ca_file: str = ""
    """Certificate of the authority that signed the server's, when it is not a public one."""
    credentials_file: str = ""
    """File with the lines `access_key_id=…` and `secret_access_key=…`, perhaps `session_token=…`."""
    sources: str = ""
    """Addresses that models may be published from with these keys, such as `s3://training/out s3://zoo`."""
    redirect: bool = False
    """Send pods to the bucket's own server, with addresses that are signed for an hour."""
