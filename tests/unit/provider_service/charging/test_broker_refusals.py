"""What a customer learns of a broker that refuses, fails or is away."""

import asyncio
import socket
from contextlib import AsyncExitStack

import grpc
import pytest
from google.rpc import error_details_pb2

from client_stub.errors import InvalidArgumentError, UnavailableError
from client_stub.provider import ProviderClient
from mesh_runtime.call_errors import CallError, invalid_argument
from mesh_runtime.field_rules import FieldViolation
from tests.unit.provider_service.broker_double import CAPTURED, BrokerDouble, refusal, serving
from tests.unit.provider_service.example_services import ExampleService
from tests.unit.provider_service.harness import Provider, providing

PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize(
    "error",
    [
        refusal(
            grpc.StatusCode.NOT_FOUND, "ACCOUNT_NOT_FOUND", error_details_pb2.ResourceInfo(resource_type="account")
        ),
        refusal(PRECONDITION, "ACCOUNT_SUSPENDED", account_id="acc_1"),
        refusal(PRECONDITION, "PROVIDER_SUSPENDED", provider_id="prv_1"),
        refusal(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", required="provider key"),
        refusal(grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED", request_id="1", rpc="Reserve"),
        refusal(PRECONDITION, "RESERVATION_EXPIRED", reservation_id="rsv_1"),
        refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", error_details_pb2.RetryInfo()),
        refusal(grpc.StatusCode.ABORTED, "STORAGE_CONFLICT", error_details_pb2.RetryInfo()),
        # A detail that this provider does not know travels along.
        refusal(PRECONDITION, "ACCOUNT_SUSPENDED", error_details_pb2.QuotaFailure(), account_id="acc_1"),
    ],
    ids=lambda error: error.reason,
)
async def test_what_a_customer_can_act_on_is_passed_on_unchanged(
    broker: BrokerDouble, provider: Provider, service: ExampleService, error: CallError
) -> None:
    broker.fail("Reserve", error)
    refused = await provider.refused(account_token=broker.open_account(10))
    assert refused.status == error.to_status()
    assert service.requests == []


async def test_a_broker_that_is_unavailable_says_so_itself(broker: BrokerDouble, provider: Provider) -> None:
    error = refusal(grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE", error_details_pb2.RetryInfo())
    broker.fail("Reserve", error, times=9)
    refused = await provider.refused(account_token=broker.open_account(10), timeout=5)
    assert refused.status == error.to_status()


async def test_a_wrong_key_is_the_operators_concern(
    broker: BrokerDouble, broker_address: str, service: ExampleService, capfd: pytest.CaptureFixture[str]
) -> None:
    async with providing(broker_address, [service], key="revoked-secret") as provider:
        refused = await provider.refused(account_token=broker.open_account(10))
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert refused.domain == "iap.provider"
    assert refused.retry_after is not None
    assert "key" not in refused.message
    output = capfd.readouterr()
    log = output.out + output.err
    assert "broker.key_refused" in log
    assert "error" in log
    assert "revoked-secret" not in log


async def test_an_account_token_that_breaks_the_brokers_rules_is_the_customers_field(
    broker: BrokerDouble, provider: Provider
) -> None:
    broker.fail("Reserve", invalid_argument("iap.broker", [FieldViolation("account_token", "must be a token")]))
    refused = await provider.refused(account_token=broker.open_account(10))
    assert isinstance(refused, InvalidArgumentError)
    assert refused.domain == "iap.provider"
    assert dict(refused.violations) == {"account_token": "must be a token"}


@pytest.mark.parametrize(
    "error",
    [
        invalid_argument("iap.broker", [FieldViolation("credits", "must be less")]),
        refusal(grpc.StatusCode.INTERNAL, "INTERNAL"),
        refusal(grpc.StatusCode.NOT_FOUND, "SERVICE_NOT_FOUND", service="echo"),
    ],
    ids=lambda error: error.reason,
)
async def test_what_only_the_provider_can_mend_is_internal(
    broker: BrokerDouble, provider: Provider, capfd: pytest.CaptureFixture[str], error: CallError
) -> None:
    broker.fail("Reserve", error)
    refused = await provider.refused(account_token=broker.open_account(10))
    assert (refused.code, refused.reason, refused.domain) == (grpc.StatusCode.INTERNAL, "INTERNAL", "iap.provider")
    output = capfd.readouterr()
    assert "broker.call_failed" in output.out + output.err


async def test_a_broker_that_is_away_is_answered_within_the_deadline(service: ExampleService) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        async with providing(address, [service]) as provider:
            started = asyncio.get_running_loop().time()
            refused = await provider.refused(account_token="token", timeout=2)
            assert asyncio.get_running_loop().time() - started < 2
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
    assert refused.domain == "iap.provider"
    assert refused.retry_after is not None


async def test_a_broker_that_hangs_is_answered_within_the_deadline(broker: BrokerDouble, provider: Provider) -> None:
    async def hang() -> None:
        await asyncio.sleep(3600)

    broker.before["Reserve"] = [hang]
    refused = await provider.refused(account_token=broker.open_account(10), timeout=2)
    assert (refused.code, refused.domain) == (grpc.StatusCode.UNAVAILABLE, "iap.provider")


@pytest.mark.parametrize("seconds", [1.2, 2.0])
async def test_a_caller_that_retries_learns_before_its_deadline_that_the_broker_is_away(
    service: ExampleService, seconds: float
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        async with providing(address, [service]) as provider, ProviderClient.connect(provider.address) as client:
            with pytest.raises(UnavailableError) as caught:
                await client.serve(
                    service="echo", input={"text": "hello"}, account_token="token", timeout_seconds=seconds
                )
    assert (caught.value.domain, caught.value.message) == (
        "iap.provider",
        "the credit broker cannot be used at the moment",
    )


class NotToBeRetried(CallError):
    def to_trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return (*super().to_trailing_metadata(), ("grpc-retry-pushback-ms", b"-1"))


async def test_what_the_broker_says_of_itself_near_the_deadline_is_not_retried_away(
    broker: BrokerDouble, provider: Provider
) -> None:
    error = NotToBeRetried(
        code=grpc.StatusCode.UNAVAILABLE, reason="UNAVAILABLE", message="draining", domain="iap.broker"
    )
    broker.fail("Reserve", error, times=100)
    async with ProviderClient.connect(provider.address) as client:
        with pytest.raises(UnavailableError, match="draining"):
            await client.serve(
                service="echo", input={"text": "hello"}, account_token=broker.open_account(10), timeout_seconds=0.9
            )
    assert broker.calls["Reserve"] == 1


async def test_with_time_left_a_caller_is_free_to_retry(broker: BrokerDouble, provider: Provider) -> None:
    broker.fail("Reserve", refusal(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIALS_INVALID"))
    async with ProviderClient.connect(provider.address) as client:
        served = await client.serve(service="echo", input={"text": "hello"}, account_token=broker.open_account(10))
    assert served.charged_credits == 5


async def test_a_capture_outlasts_a_restart_of_the_broker(broker: BrokerDouble, service: ExampleService) -> None:
    capturing = asyncio.Event()

    async def hang() -> None:
        capturing.set()
        await asyncio.sleep(3600)

    broker.before["Capture"] = [hang]
    async with AsyncExitStack() as stack:
        async with serving(broker) as address:
            provider = await stack.enter_async_context(providing(address, [service]))
            call = provider.begin(account_token=broker.open_account(10))
            await capturing.wait()
        async with serving(broker, port=int(address.rpartition(":")[2])):
            assert (await call).charged_credits == 5
            await stack.aclose()
    assert [reservation.state for reservation in broker.reservations] == [CAPTURED]
