"""The certificate a server shows, and the ones it asks for."""

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from mesh_runtime.startup_errors import StartupError


@dataclass(frozen=True, slots=True)
class ServerTls:
    """Where a server's certificate chain and private key are, in PEM.

    With `client_ca_path` every client has to show a certificate of one of those authorities (mutual TLS).
    """

    certificate_path: Path
    key_path: Path
    client_ca_path: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files; StartupError when one is unreadable, is not PEM or does not match."""
        certificate = _read(self.certificate_path, "TLS certificate")
        key = _read(self.key_path, "TLS key")
        client_ca = None if self.client_ca_path is None else _read(self.client_ca_path, "TLS client CA")
        self._check()
        return grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=client_ca, require_client_auth=client_ca is not None
        )

    def context(self) -> ssl.SSLContext:
        """Return the same for servers that speak TLS by OpenSSL; StartupError as above."""
        _read(self.certificate_path, "TLS certificate")
        _read(self.key_path, "TLS key")
        context = self._check()
        if self.client_ca_path is not None:
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _check(self) -> ssl.SSLContext:
        # gRPC takes any bytes and fails when it binds, without a reason; OpenSSL says what is wrong.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            # An empty password: an encrypted key is refused instead of asked about on a terminal.
            context.load_cert_chain(self.certificate_path, self.key_path, password="")
        except ssl.SSLError as error:
            raise StartupError(
                f"cannot use TLS certificate {self.certificate_path} with key {self.key_path}: {_reason(error)}"
            ) from error
        if self.client_ca_path is None:
            return context
        try:
            context.load_verify_locations(self.client_ca_path)
        except ssl.SSLError as error:
            raise StartupError(f"cannot use TLS client CA {self.client_ca_path}: {_reason(error)}") from error
        return context


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartupError(f"cannot read {what} {path}: {error.strerror}") from error


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "not PEM").lower().replace("_", " ")
