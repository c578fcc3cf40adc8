import pytest

from provider_service.sdk.testing import FakeCharge


@pytest.fixture
def charge() -> FakeCharge:
    return FakeCharge()
