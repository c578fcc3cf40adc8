"""Keys and account tokens: random, shown once, kept only as hashes."""

import hashlib
import secrets
from collections.abc import Callable

from broker_service.domain.directory import Role

SecretSource = Callable[[str], str]

ACCOUNT_TOKEN_PREFIX = "iap_acct"  # noqa: S105 - a prefix, not a secret
KEY_PREFIXES = {Role.OPERATOR: "iap_oper", Role.PROVIDER: "iap_prov", Role.CUSTOMER: "iap_cust"}

_SECRET_BYTES = 32


def random_secret(prefix: str) -> str:
    """Returns a new secret of 256 random bits; the prefix tells people and secret scanners what it is."""
    return f"{prefix}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def secret_hash(secret: str) -> str:
    """Returns the SHA-256 of a secret, in hexadecimal.

    A fast hash is enough: salt and stretching protect guessable passwords, and 256 random bits cannot be guessed.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
