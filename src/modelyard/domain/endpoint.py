"""What an endpoint is: the names under which clients reach a deployment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from modelyard.domain import wire
from modelyard.domain.limits import Limits
from modelyard.domain.traffic_spec import EndpointSpec, Sticky


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Every way to reach one service through the front door."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    host: str
    """Such as `churn.service.localhost`; the port of the front door is not part of it."""
    path: str
    """Such as `/services/default/churn`."""
    alias: str = ""
    """Such as `/v2/models/churn`; only for production services of the default project."""
    ports: tuple[int, ...] = ()
    """Ports of its own, the second for its second port."""
    link: str = ""
    """The URL that people open."""
    host_url: str = ""
    """By host, through the front door: `http://churn.service.localhost:8080`."""
    https_url: str = ""
    """By host over TLS; empty where the front door has no HTTPS port."""
    second_url: str = ""
    """By host at the front door's second port; empty where it has none."""
    port_urls: tuple[str, ...] = ()
    """At its ports of its own."""
    hosts_line: str = ""
    """For the hosts file of a client whose DNS does not know the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareView:
    """One place that requests go to, and how many of a hundred do."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    to: str
    """`churn`, or `churn#3` for one revision."""
    asked: float
    """Percent, as it would be were everyone ready."""
    weight: int
    """Percent in force."""
    reason: str = ""
    """Why these differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorView:
    """Who is sent copies, and how many there were since the gateway started."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    to: str
    percent: int
    sent: int = 0
    dropped: int = 0
    """Because too many were waiting for its answers."""
    reason: str = ""
    """Why it gets none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingView:
    """Who does one thing that the requests of an endpoint need."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    feature: str
    """Such as `percent mirror`."""
    where: str
    """`gateway`, `builtin router`, or `not available`."""
    reason: str = ""
    """Why it is not the gateway of the cluster, or why it is nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where one service answers, with all requests that ever came there."""

    __pydantic_config__: ClassVar[Any] = wire.OPEN

    service: str
    """Within its project: `churn`, `churn@test`."""
    url: str
    addresses: Addresses
    requests: int
    generation: int = 0
    """Grows with every edit of the spec; 0 while nothing was ever said."""
    spec: EndpointSpec = field(default_factory=EndpointSpec)
    shares: tuple[ShareView, ...] = ()
    """Where its requests go now."""
    mirrors: tuple[MirrorView, ...] = ()
    routing: tuple[RoutingView, ...] = ()
    """Who does what, where a gateway of the cluster's is in front; empty where Modelyard's own does all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One replica that takes part of a route's requests."""

    replica: str
    address: str
    second_address: str = ""
    """Where its second port is; empty where that answers like the first."""
    weight: int = 1
    revision: int = 0
    """What its requests are counted under."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A token that opens a route, as its hash."""

    sha256: str
    """Hex digest of the token."""
    subject: str
    expires_at: int = 0
    """Seconds since the epoch; 0 means never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waking:
    """How requests for a service that sleeps are held until it is awake."""

    requests: int
    """So many at once; others are turned away."""
    seconds: float
    """So long each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """Ready replicas that requests are divided among, and their part of a route's requests."""

    name: str
    """`project/service` for every revision together, `project/service#3` for one of them."""
    targets: tuple[Target, ...]
    """Ready replicas only. Shares of one name have the same targets in every route."""
    weight: int = 100
    """Percent. Those of a route sum to 100; without any ready replica all are 0."""
    waking: Waking | None = None
    """For a service that a request wakes when it has no replica; None for one that answers 503 then."""
    limits: Limits = field(default_factory=Limits)
    """Of the deployment whose replicas these are; its concurrency is this share's part of it."""

    @property
    def service(self) -> str:
        """`project/service` of the deployment whose replicas these are."""
        return self.name.partition("#")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """Replicas that are sent a copy of some of a route's requests; nobody waits for their answers."""

    share: Share
    """Its weight counts for nothing."""
    percent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Requests with this header, or else this cookie, go to one share whatever its weight."""

    share: str
    """Name of one of the route's shares."""
    value: str
    header: str = ""
    cookie: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One service as the gateway should serve it."""

    name: str
    """`project/service`, such as `default/churn` or `default/churn@test`."""
    service: str
    """The model name a replica answers to."""
    addresses: Addresses
    shares: tuple[Share, ...]
    """Without any ready replica the answer is 503 with a reason."""
    keys: tuple[AccessKey, ...]
    mirrors: tuple[Mirror, ...] = ()
    pins: tuple[Pin, ...] = ()
    """The first that fits a request counts."""
    sticky: Sticky | None = None
    limits: Limits = field(default_factory=Limits)
    hosted: bool = True
    """Whether its host leads to it; not while another service has that."""
    aliases: tuple[str, ...] = ()
    """More hosts that lead to it, as far as no service has them as its own."""
    former: tuple[str, ...] = ()
    """Names of services that had the host, or want it; clients may write them as the model's name there."""
    domain: str = ""
    """The automatic hosts of its project are below this one; empty means the gateway's own."""
    ports: tuple[int, ...] = ()
    """Ports that lead to it alone, the second one to its second port."""
    compares: bool = False
    """Mark requests, so that the answers to both copies of one can be compared."""
    keeps_inputs: bool = False
    """Whether the inputs of marked requests may be kept."""
    public: bool = False
    """No token is needed."""
    isolated: bool = False
    """Whether replicas of its project are kept from everybody but the platform and a few."""
    timeout_seconds: float = 60.0

    @property
    def waking(self) -> Waking | None:
        """How requests are held while no replica is ready; None when they are not."""
        return next((share.waking for share in self.shares if share.waking), None)

    @property
    def everywhere(self) -> tuple[Share, ...]:
        """The shares that requests or their copies may reach."""
        return (*self.shares, *(mirror.share for mirror in self.mirrors))

    @property
    def targets(self) -> tuple[Target, ...]:
        """The replicas that requests or their copies may reach, each once."""
        found = {target.replica: target for share in self.everywhere for target in share.targets}
        return tuple(found.values())
