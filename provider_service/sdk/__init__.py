"""Selling a service by writing one function.

    @service(name="rot13", title="ROT13 as a service", unit="thousand characters", price=price)
    async def rot13(request: Text, charge: Charge) -> dict[str, str]: ...

docs/services.md explains all of it. What a developer's module needs is here; `provider_service.sdk.testing` has what
its tests need.
"""

from provider_service.sdk.declaration import service
from provider_service.sdk.declared_service import DeclaredService
from provider_service.sdk.invalid_declaration import InvalidDeclaration
from provider_service.services.charge import Charge, InsufficientCredits, StreamCharge
from provider_service.services.service import (
    AfterCrash,
    FieldViolation,
    InvalidInput,
    InvalidOption,
    Json,
    Quote,
    ServiceFailure,
)

__all__ = [
    "AfterCrash",
    "Charge",
    "DeclaredService",
    "FieldViolation",
    "InsufficientCredits",
    "InvalidDeclaration",
    "InvalidInput",
    "InvalidOption",
    "Json",
    "Quote",
    "ServiceFailure",
    "StreamCharge",
    "service",
]
