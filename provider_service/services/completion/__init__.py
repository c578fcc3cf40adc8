"""The service that has a language model complete a text."""

from provider_service.services.completion.service import CompletionService, create_service

__all__ = ["CompletionService", "create_service"]
