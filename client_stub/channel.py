"""Connections to the servers of the mesh."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc.aio

from client_stub import retry_policy
from client_stub.errors import ConfigurationError
from client_stub.targets import Target, parse_target

_RETRY_POLICY: Final = {
    "maxAttempts": retry_policy.MAX_ATTEMPTS,
    # With jitter added by gRPC; a server overrules it with `grpc-retry-pushback-ms`.
    "initialBackoff": f"{retry_policy.FIRST_PAUSE_SECONDS:g}s",
    "maxBackoff": f"{retry_policy.LONGEST_PAUSE_SECONDS:g}s",
    "backoffMultiplier": retry_policy.PAUSE_MULTIPLIER,
    "retryableStatusCodes": [code.name for code in retry_policy.RETRYABLE_CODES],
}
# Each failed attempt costs a token, each success gives half a one back; below half of them nothing is retried. The
# most that gRPC allows, so that a server's restart does not use them up under load.
_RETRY_THROTTLING: Final = {"maxTokens": 1000, "tokenRatio": 0.5}
# Its operations are tried again one by one (pipeline.py), and not with all that was ever sent on the stream.
_PIPELINE: Final = {"service": "iap.broker.v1.BrokerService", "method": "Pipeline"}
_MESSAGE_LIMIT_BYTES: Final = 4 * 1024 * 1024
_ERROR_DETAILS_LIMIT_BYTES: Final = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsOptions:
    """How to know the server, and how to be known by it; paths of PEM files.

    Without `ca_path` the authorities that gRPC comes with are trusted. A certificate and its key are for servers that
    ask for one (mutual TLS). `server_name` is what the server's certificate says when that is not its address.
    """

    ca_path: Path | None = None
    certificate_path: Path | None = None
    key_path: Path | None = None
    server_name: str | None = None


def open_channel(
    target: str,
    *,
    tls: TlsOptions | None = None,
    insecure: bool = False,
    own_connection: bool = False,
    unread_bytes: int | None = None,
) -> grpc.aio.Channel:
    """Return a channel to a broker or provider; it connects with the first call. Needs a running event loop.

    Failed attempts are repeated when the server is unavailable or drops the call, and only then. A target of several
    servers gets each call to the next one that is healthy. Plaintext is for this machine; for others it takes
    `insecure`. Equal channels of a process share their connections, but for those with an `own_connection`.
    ConfigurationError when it is missing, or when the target or a TLS file cannot be used. The caller
    closes the channel.

    `unread_bytes` is about how much of a stream is taken in ahead of its reader; by default gRPC decides, and that may
    be megabytes.
    """
    parsed = parse_target(target)
    options = _options(parsed, tls)
    if own_connection:
        options.append(("grpc.use_local_subchannel_pool", 1))
    if unread_bytes is not None:
        # The first would widen the window as long as it makes the connection faster, whether or not anybody reads.
        options += [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", unread_bytes)]
    if tls is None:
        if not parsed.loopback and not insecure:
            raise ConfigurationError(
                f"cannot connect to {target} without TLS: keys and tokens could be read on the way; "
                "give a CA certificate, or allow plaintext explicitly"
            )
        return grpc.aio.insecure_channel(parsed.name, options=options)
    if insecure:
        raise ConfigurationError("choose either TLS or plaintext, not both")
    return grpc.aio.secure_channel(parsed.name, _credentials(tls), options=options)


def _options(target: Target, tls: TlsOptions | None) -> list[tuple[str, Any]]:
    options: list[tuple[str, Any]] = [
        ("grpc.service_config", json.dumps(_service_config(target))),
        ("grpc.max_receive_message_length", _MESSAGE_LIMIT_BYTES),
        # An error with an offer of many packs is larger than the 8 KiB that gRPC accepts by default.
        ("grpc.max_metadata_size", _ERROR_DETAILS_LIMIT_BYTES),
        # Only while calls run: a connection that died without a word is found after 80 seconds.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # A restarted server is found within a second; the second option is how long one attempt may take.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", 5_000),
        ("grpc.max_reconnect_backoff_ms", 1_000),
    ]
    if target.loopback:
        # A proxy set in the environment is for other machines.
        options.append(("grpc.enable_http_proxy", 0))
    if tls is not None and tls.server_name is not None:
        options.append(("grpc.ssl_target_name_override", tls.server_name))
    return options


def _service_config(target: Target) -> dict[str, Any]:
    # No `timeout` here: gRPC would not send it to the server. Every call gets its own.
    config: dict[str, Any] = {
        "loadBalancingConfig": [{"round_robin": {}}],
        "methodConfig": [{"name": [{}], "retryPolicy": _RETRY_POLICY}, {"name": [_PIPELINE]}],
        "retryThrottling": _RETRY_THROTTLING,
    }
    if target.several_servers:
        # The empty name is the server as a whole. A single server is not asked: there is no other to turn to, and
        # its refusal says more than waiting for it would.
        config["healthCheckConfig"] = {"serviceName": ""}
    return config


def _credentials(tls: TlsOptions) -> grpc.ChannelCredentials:
    if (tls.certificate_path is None) != (tls.key_path is None):
        raise ConfigurationError("a client certificate and its key go together")
    return grpc.ssl_channel_credentials(
        root_certificates=_read_pem(tls.ca_path, "CA certificate"),
        private_key=_read_pem(tls.key_path, "client key"),
        certificate_chain=_read_pem(tls.certificate_path, "client certificate"),
    )


def _read_pem(path: Path | None, what: str) -> bytes | None:
    if path is None:
        return None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot read {what} {path}: {error.strerror}") from error
    # gRPC takes any bytes, and then every call fails without a reason.
    if b"-----BEGIN " not in content:
        raise ConfigurationError(f"cannot use {what} {path}: not PEM")
    return content
