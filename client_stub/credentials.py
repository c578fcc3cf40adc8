"""How a caller shows who it is."""

from typing import TypeAlias

from client_stub.errors import ConfigurationError

Metadata: TypeAlias = tuple[tuple[str, str], ...]


def bearer_metadata(key: str | None) -> Metadata:
    """Return the call metadata for an operator's, provider's or customer's key; nothing without a key.

    ConfigurationError when the key holds what a header cannot carry; it does not repeat the key.
    """
    if key is None:
        return ()
    if not key or not all("!" <= character <= "~" for character in key):
        raise ConfigurationError("the key must be visible ASCII characters without spaces")
    return (("authorization", f"Bearer {key}"),)
