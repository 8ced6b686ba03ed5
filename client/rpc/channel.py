"""The gRPC channel: its addresses, its security, and its behavior when the network fails."""

import json
import math
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from client.errors import InputError, ServerError, UnreachableError
from client.files import content_of


@dataclass(frozen=True, kw_only=True)
class Retry:
    """How often and how soon a call that failed with UNAVAILABLE or RESOURCE_EXHAUSTED is sent again.

    gRPC does the retries: https://github.com/grpc/proposal/blob/master/A6-client-retries.md

    Attributes:
        attempts: the most times that a call is sent, up to 5; 1 means no retries.
        initial_backoff: the longest wait before the first retry, in seconds. It doubles with each retry.
        max_backoff: the longest wait before any retry, in seconds.

    Raises:
        InputError: if gRPC does not allow one of the numbers.

    Example:
        >>> ChannelOptions(retry=Retry(attempts=1)).retry.attempts
        1
    """

    attempts: int = 4
    initial_backoff: float = 0.1
    max_backoff: float = 2.0

    def __post_init__(self) -> None:
        if not 1 <= self.attempts <= 5:
            raise InputError(f"attempts is {self.attempts}: gRPC allows from 1 (no retries) to 5")
        for name, seconds in (("initial_backoff", self.initial_backoff), ("max_backoff", self.max_backoff)):
            if not 0.001 <= seconds < math.inf:
                raise InputError(f"{name} is {seconds}: pass a number of seconds, at least 0.001")


@dataclass(frozen=True, kw_only=True)
class Keepalive:
    """When a silent connection is probed during a call, and how long the probe may take.

    A server counts probes more often than every 5 minutes as abuse, but accepts two in a row, and gRPC sends no more
    while it receives no data: https://github.com/grpc/grpc/blob/master/doc/keepalive.md

    Attributes:
        interval: after how many seconds of silence a probe is sent; `math.inf` for no probes.
        timeout: how many seconds the answer to the probe may take.

    Raises:
        InputError: if one of them is not above 0.

    Example:
        >>> ChannelOptions(keepalive=Keepalive(interval=30)).keepalive.timeout
        20.0
    """

    interval: float = 60.0
    timeout: float = 20.0

    def __post_init__(self) -> None:
        if not (self.interval > 0 and self.timeout > 0):
            raise InputError(f"{self} cannot be used: pass numbers of seconds above 0")


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Certificates, from PEM files.

    Attributes:
        ca: the authorities to trust; by default gRPC's own.
        certificate: the client's certificate, for mutual TLS.
        key: the key of that certificate.
        server_name: the name that the server's certificate must have, if it differs from the address.

    Example:
        >>> Tls(ca=Path("ca.pem")).server_name is None
        True
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """Return gRPC's credentials.

        Raises:
            InputError: if a file cannot be read, or if either the certificate or the key is missing.
        """
        if (self.certificate is None) != (self.key is None):
            raise InputError("a certificate needs its key, and a key needs its certificate: pass both or neither")
        return grpc.ssl_channel_credentials(_pem(self.ca), _pem(self.key), _pem(self.certificate))


@dataclass(frozen=True, kw_only=True, repr=False)
class ChannelOptions:
    """Options of the channel to a server.

    Attributes:
        tls: certificates; None means no TLS.
        token: sent with each call as `authorization: Bearer ...`.
        metadata: other headers of each call.
        secrets_over_plaintext: whether token and metadata may be sent without TLS.
        retry: when a call is sent again.
        keepalive: when a silent connection is probed.
        gzip: whether requests are compressed.

    Raises:
        InputError: if a token or metadata would be sent without TLS, or if gRPC does not allow a header.

    Example:
        >>> ChannelOptions(tls=Tls(ca=Path("ca.pem")), token="secret").headers()
        (('authorization', 'Bearer secret'),)
    """

    tls: Tls | None = None
    token: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    secrets_over_plaintext: bool = False
    retry: Retry = Retry()
    keepalive: Keepalive = Keepalive()
    gzip: bool = False

    def __post_init__(self) -> None:
        if (self.token or self.metadata) and self.tls is None and not self.secrets_over_plaintext:
            raise InputError(
                "a token or metadata would be sent over a plaintext channel, where anyone on the way can read it: "
                "use TLS, or set secrets_over_plaintext"
            )
        for name, value in self.headers():
            if not re.fullmatch(r"(?!grpc-)[0-9a-z_.-]+(?<!-bin)", name):
                raise InputError(
                    f"{name!r} cannot be the name of a header: it may hold letters, digits, '-', '_' and '.', and must "
                    "neither begin with 'grpc-' nor end in '-bin'"
                )
            if not (value.isascii() and value.isprintable()):
                raise InputError(f"the value of {name} cannot be sent: it may hold ASCII characters only")

    def __repr__(self) -> str:
        token = "'...'" if self.token else "None"
        metadata = dict.fromkeys(self.metadata, "...")
        return (
            f"ChannelOptions(tls={self.tls}, token={token}, metadata={metadata}, "
            f"secrets_over_plaintext={self.secrets_over_plaintext}, retry={self.retry}, keepalive={self.keepalive}, "
            f"gzip={self.gzip})"
        )

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers that are sent with each call."""
        token = (("authorization", f"Bearer {self.token}"),) if self.token else ()
        return token + tuple((name.lower(), value) for name, value in self.metadata.items())


DEFAULT_OPTIONS = ChannelOptions()


def open_channel(address: str | Sequence[str], options: ChannelOptions, library: Any = grpc) -> Any:
    """Return a channel to one address, or to several that are used in turn; `library` is grpc or grpc.aio."""
    target = grpc_target(address)
    arguments: list[tuple[str, Any]] = [
        ("grpc.service_config", service_config(options.retry)),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
        ("grpc.keepalive_time_ms", _milliseconds(options.keepalive.interval)),
        ("grpc.keepalive_timeout_ms", _milliseconds(options.keepalive.timeout)),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    compression = grpc.Compression.Gzip if options.gzip else None
    if options.tls is None:
        return library.insecure_channel(target, arguments, compression)
    name = options.tls.server_name
    if name is None and target.startswith(("ipv4:", "ipv6:")):
        name = addresses(address)[0].rpartition(":")[0]
    if name is not None:
        arguments.append(("grpc.ssl_target_name_override", name))
    return library.secure_channel(target, options.tls.credentials(), arguments, compression)


def service_config(retry: Retry) -> str:
    """Return gRPC's service config: retries for every method, and the addresses of a name used in turn."""
    config: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}
    if retry.attempts > 1:
        policy = {
            "maxAttempts": retry.attempts,
            "initialBackoff": f"{retry.initial_backoff:.3f}s",
            "maxBackoff": f"{retry.max_backoff:.3f}s",
            "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
        }
        config["methodConfig"] = [{"name": [{}], "retryPolicy": policy}]
    return json.dumps(config)


def addresses(address: str | Sequence[str]) -> list[str]:
    """Return the addresses in "HOST:PORT,HOST:PORT" or a list of such; raises InputError for anything else."""
    found = [one.strip() for one in (address.split(",") if isinstance(address, str) else address)]
    if not found:
        raise InputError("no address was passed: pass HOST:PORT, as in localhost:8500")
    for one in found:
        if one.startswith(("unix:", "dns:")):
            continue
        host, _, port = one.rpartition(":")
        if not port.isdecimal():
            raise InputError(f"the address {one!r} has no port: write HOST:PORT, as in localhost:8500")
        if not host or "/" in host:
            raise InputError(f"the address {one!r} is not HOST:PORT: leave out all but host and port")
    return found


def grpc_target(address: str | Sequence[str]) -> str:
    """Return a gRPC target. Several addresses are looked up here, because gRPC takes no list of names."""
    found = addresses(address)
    if len(found) == 1:
        return found[0]
    families: dict[Any, list[str]] = {}
    for one in found:
        if one.startswith(("unix:", "dns:")):
            raise InputError(f"{one} cannot be one of several addresses: pass each as HOST:PORT")
        host, _, port = one.rpartition(":")
        try:
            resolved = {item[0]: item[4][0] for item in socket.getaddrinfo(host.strip("[]"), int(port))}
        except (OSError, UnicodeError) as error:
            message = f"the name {host} cannot be looked up: {getattr(error, 'strerror', error)}"
            raise UnreachableError(message, grpc.StatusCode.UNAVAILABLE) from error
        for family, ip in resolved.items():
            families.setdefault(family, []).append(f"{ip}:{port}" if family == socket.AF_INET else f"[{ip}]:{port}")
    for family, scheme in ((socket.AF_INET, "ipv4"), (socket.AF_INET6, "ipv6")):
        if len(families.get(family, ())) == len(found):
            return f"{scheme}:{','.join(families[family])}"
    raise InputError(f"{', '.join(found)} are partly IPv4 and partly IPv6: pass addresses of one kind")


def as_server_error(address: str, timeout: float, error: Any) -> ServerError:
    """Convert a grpc.RpcError to one of our errors."""
    code, details = error.code(), (error.details() or "").split("\n")[0].strip()
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return UnreachableError(f"the server at {address} did not answer within {timeout:g} s", code)
    if code == grpc.StatusCode.UNAVAILABLE:
        return UnreachableError(f"no server can be reached at {address}: {_reason(details)}", code)
    return ServerError(f"the server at {address} answered {code.name}: {details}", code)


# Patterns of gRPC's details when no connection could be made, and what to do about them.
_REASONS = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS: leave TLS out",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not signed by a trusted authority: pass that of its authority",
    "Hostname Verification Check failed": "its certificate is for another name: pass that name as the server name",
    "backends failing.*Socket closed": "it closed the connection: it may require TLS, or a client certificate",
}


def _reason(details: str) -> str:
    known = next((reason for sign, reason in _REASONS.items() if re.search(sign, details)), None)
    if known:
        return known
    # The innermost reason comes last; that of a failed TLS handshake is followed by "OK".
    return details.removesuffix(": OK").rpartition(": ")[2].rstrip("]")


def _milliseconds(seconds: float) -> int:
    return round(min(seconds * 1000, 2**31 - 1))


def _pem(path: Path | None) -> bytes | None:
    return None if path is None else content_of(Path(path))
