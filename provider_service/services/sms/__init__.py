"""The service that sends text messages."""

from provider_service.services.sms.service import SmsService, create_service

__all__ = ["SmsService", "create_service"]
