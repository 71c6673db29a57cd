"""What RADIATA_REDIS_URL may say: one server, or the Sentinels that know which of several is the master.

| form | what is there |
|---|---|
| `redis://[user:password@]host:6379/0` | a server, or a name that whoever runs it points to the master |
| `rediss://…` | the same over TLS; `?ssl_ca_certs=/path/ca.pem` where the system does not know who signed |
| `unix:///path` | a server on this machine |
| `redis+sentinel://[user:password@]host:26379,host:26379/service[/0]` | Sentinels; user and password are the servers' |
| `rediss+sentinel://…` | the same, servers and Sentinels over TLS |

Of Sentinels that ask for a password the query has `sentinel_username` and `sentinel_password`; its other fields are
redis-py's. A Redis Cluster is none of these: scripts and transactions here span many keys.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.connection import parse_url

SENTINEL = "+sentinel"
SENTINEL_PORT = 26379
NO_CLUSTER = (
    "it is a Redis Cluster, which this service does not work with, as its scripts span many keys: name a server that "
    "is none, or Sentinels (redis+sentinel://host:26379,host:26379/service)"
)


@dataclass(frozen=True)
class RedisUrl:
    """Where Redis is, and how it is spoken to.

    scheme: `redis`, `rediss` or `unix`. options: of a connection, as redis-py names them. sentinels: addresses of
    those that know the master of `service`; none where the URL names the server itself.
    """

    scheme: str
    options: dict[str, Any] = field(repr=False)
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_options: dict[str, Any] = field(default_factory=dict[str, Any], repr=False)


def read_url(url: str) -> RedisUrl:
    """What a URL means; raises ValueError with a sentence that does not repeat it, for it may hold a password."""
    parts = urlsplit(url)
    if "cluster" in parts.scheme:
        raise ValueError(NO_CLUSTER)
    if not (parts.path if parts.scheme == "unix" else parts.netloc):
        raise ValueError("it is of the form redis://host:6379/0, rediss://…, unix:///path or redis+sentinel://…")
    if parts.scheme.endswith(SENTINEL):
        return _of_sentinels(url)
    if "," in parts.netloc.rpartition("@")[2] and parts.scheme != "unix":
        raise ValueError(
            "it names several servers: those of a Redis Cluster cannot be used, and Sentinels are written "
            "redis+sentinel://host:26379,host:26379/service"
        )
    return RedisUrl(parts.scheme, _options(url))


def _of_sentinels(url: str) -> RedisUrl:
    parts = urlsplit(url)
    scheme = parts.scheme.removesuffix(SENTINEL)
    user, at, hosts = parts.netloc.rpartition("@")
    service, _, database = parts.path.strip("/").partition("/")
    if scheme not in ("redis", "rediss"):
        raise ValueError("Sentinels are written redis+sentinel://… or rediss+sentinel://…")
    if not service or not (database or "0").isdecimal():
        raise ValueError(
            "the path names the service that the Sentinels watch, then perhaps the database, as in "
            "redis+sentinel://host:26379/mymaster/0"
        )
    options = _options(parts._replace(scheme=scheme, netloc=f"{user}{at}server", path=f"/{database or 0}").geturl())
    options.pop("host")
    own = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    tls = {name: value for name, value in options.items() if name.startswith("ssl_")}
    return RedisUrl(
        scheme,
        options,
        tuple(map(_address, hosts.split(","))),
        unquote(service),
        {name: value for name, value in own.items() if value} | tls | ({"ssl": True} if scheme == "rediss" else {}),
    )


def _address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError("Sentinels are named one after the other, as in redis+sentinel://one:26379,two:26379/service")
    return unquote(parts.hostname), parts.port or SENTINEL_PORT


def _options(url: str) -> dict[str, Any]:
    options = dict[str, Any](parse_url(url))
    options.pop("connection_class", None)  # `redis_link` has classes of its own
    return options
