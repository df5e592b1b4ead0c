"""What the API server refuses, as errors of ours.

NotFound            there is no such object (also while its namespace goes)
Conflict            the object changed, or somebody else owns the field; `Exists`: there is one of that name
Invalid             the object makes no sense; never try it again as it is
Forbidden           RBAC; `QuotaExceeded`, `PodSecurityViolated`: admission
Unavailable         too many requests, failures of the server, time-outs, no connection; try again later
└── Gone            the version to go on from is forgotten; list again
BackendError        anything else, such as credentials that are not accepted
"""

from __future__ import annotations

from modelyard.domain.errors import Conflict, Forbidden, Unavailable


class Exists(Conflict):
    """There is an object of that name already."""


class QuotaExceeded(Forbidden):
    """A ResourceQuota of the namespace has no room for it."""


class PodSecurityViolated(Forbidden):
    """The namespace's pod security standard does not admit it."""


class Gone(Unavailable):
    """The version to go on from is forgotten; list again."""
