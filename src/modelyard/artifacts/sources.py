"""Models that lie in buckets already: read by the platform, from where an administrator allows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

from modelyard.artifacts.base import Incoming
from modelyard.artifacts.bucket import Bucket, keys, place
from modelyard.domain.errors import FieldError, Forbidden, NotFound
from modelyard.domain.storage import StoreOptions

_FIELD = "source"


class BucketSources:
    """Reads objects with the store's keys, below the addresses of `artifacts.sources` and nowhere else."""

    def __init__(self, options: StoreOptions, environ: Mapping[str, str]) -> None:
        self._options = options
        self._environ = environ
        self._allowed = tuple(place(url, "artifacts.sources") for url in options.sources.split())

    async def files(self, url: str) -> AsyncIterator[Incoming]:
        """The objects below an address with their names from there on, or the one object that it names.

        Raises Invalid, Forbidden, NotFound, Unavailable.
        """
        name, prefix = place(url, _FIELD)
        if ".." in prefix.split("/"):
            raise _refused(url)
        if not any(name == bucket and _below(prefix, above) for bucket, above in self._allowed):
            raise _refused(url)
        known = keys(self._options, self._environ)
        bucket = Bucket(replace(self._options, url=f"s3://{name}/{prefix}"), known)
        found = [seen.name async for seen in bucket.list("") if not seen.name.endswith("/")]
        for path in sorted(found):
            yield path, bucket.read(path)
        if found:
            return
        folder, _, last = prefix.rpartition("/")
        above = Bucket(replace(self._options, url=f"s3://{name}/{folder}"), known)
        if not last or await above.head(last) is None:
            raise NotFound(f"{_FIELD}: nothing is at {url[:200]}; check the address")
        yield last, above.read(last)


def _below(prefix: str, allowed: str) -> bool:
    return not allowed or prefix == allowed or prefix.startswith(allowed + "/")


def _refused(url: str) -> Forbidden:
    message = f"{url[:200]} may not be read; an administrator can add it to `artifacts.sources`"
    return Forbidden(f"{_FIELD}: {message}", errors=[FieldError(_FIELD, message)])
