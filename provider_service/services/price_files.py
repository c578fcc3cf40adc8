"""Price files: TOML that says what a service's units cost, named by its option `prices`."""

import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TypeVar

from provider_service.services.service import InvalidOption

Prices = TypeVar("Prices")


def load_price_file(file: Path, parse: Callable[[Mapping[str, object]], Prices]) -> Prices:
    """Reads a price file. `parse` raises ValueError with a clause that names the key and what it must be.

    Numbers with a fraction come as Decimal. Raises InvalidOption, which names the file and what is wrong with it.
    """
    document = _read_toml(file)
    try:
        return parse(document)
    except ValueError as error:
        raise InvalidOption("prices", f"names {file}, where {error}") from None


def _read_toml(file: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as error:
        raise InvalidOption("prices", f"names {file}, which cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidOption("prices", f"names {file}, which is not UTF-8 text") from None
    except ValueError as error:
        raise InvalidOption("prices", f"names {file}, which is not TOML: {error}") from None
