import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.any_pb2 import Any as PackedAny
from google.rpc import error_details_pb2, status_pb2
from iap.broker.v1.broker_pb2 import Offer, ReservationState
from iap.broker.v1.catalog_pb2 import Pack
from iap.broker.v1.error_reason_pb2 import ErrorReason

from client_stub import errors
from client_stub.broker import BrokerClient
from client_stub.error_parsing import status_to_iap_error, to_iap_error
from client_stub.errors import IapError
from tests.unit.client_stub.scripted_server import ScriptedServer, refusal, serving

CODE = grpc.StatusCode
PREFIX = "ERROR_REASON_"
EXPECTED: Mapping[str, tuple[grpc.StatusCode, type[IapError]]] = {
    "INVALID_ARGUMENT": (CODE.INVALID_ARGUMENT, errors.InvalidArgumentError),
    "CREDENTIALS_MISSING": (CODE.UNAUTHENTICATED, errors.CredentialsError),
    "CREDENTIALS_INVALID": (CODE.UNAUTHENTICATED, errors.CredentialsError),
    "PERMISSION_DENIED": (CODE.PERMISSION_DENIED, errors.PermissionDeniedError),
    "ACCOUNT_NOT_FOUND": (CODE.NOT_FOUND, errors.AccountNotFoundError),
    "RESERVATION_NOT_FOUND": (CODE.NOT_FOUND, errors.ReservationNotFoundError),
    "SERVICE_NOT_FOUND": (CODE.NOT_FOUND, errors.NotFoundError),
    "PACK_NOT_FOUND": (CODE.NOT_FOUND, errors.NotFoundError),
    "PURCHASE_NOT_FOUND": (CODE.NOT_FOUND, errors.NotFoundError),
    "PROVIDER_NOT_FOUND": (CODE.NOT_FOUND, errors.NotFoundError),
    "CUSTOMER_NOT_FOUND": (CODE.NOT_FOUND, errors.NotFoundError),
    "KEY_NOT_FOUND": (CODE.NOT_FOUND, errors.NotFoundError),
    "INSUFFICIENT_CREDITS": (CODE.FAILED_PRECONDITION, errors.InsufficientCreditsError),
    "RESERVATION_CAPTURED": (CODE.FAILED_PRECONDITION, errors.ReservationCapturedError),
    "RESERVATION_RELEASED": (CODE.FAILED_PRECONDITION, errors.ReservationReleasedError),
    "RESERVATION_EXPIRED": (CODE.FAILED_PRECONDITION, errors.ReservationExpiredError),
    "CAPTURE_EXCEEDS_RESERVATION": (CODE.FAILED_PRECONDITION, errors.AmountError),
    "REFUND_EXCEEDS_CAPTURE": (CODE.FAILED_PRECONDITION, errors.AmountError),
    "BALANCE_OVERFLOW": (CODE.FAILED_PRECONDITION, errors.AmountError),
    "ACCOUNT_SUSPENDED": (CODE.FAILED_PRECONDITION, errors.SuspendedError),
    "PROVIDER_SUSPENDED": (CODE.FAILED_PRECONDITION, errors.SuspendedError),
    "REQUEST_ID_REUSED": (CODE.ALREADY_EXISTS, errors.RequestIdReusedError),
    "STREAM_RUNNING": (CODE.ALREADY_EXISTS, errors.StreamRunningError),
    "STREAM_NOT_READ": (CODE.FAILED_PRECONDITION, errors.PreconditionError),
    "SERVICE_EXISTS": (CODE.ALREADY_EXISTS, errors.AlreadyExistsError),
    "PACK_ARCHIVED": (CODE.FAILED_PRECONDITION, errors.PurchaseError),
    "PACK_OF_OTHER_SERVICE": (CODE.FAILED_PRECONDITION, errors.PurchaseError),
    "SERVICE_RETIRED": (CODE.FAILED_PRECONDITION, errors.PurchaseError),
    "PURCHASE_PAID": (CODE.FAILED_PRECONDITION, errors.PurchaseError),
    "PURCHASE_FAILED": (CODE.FAILED_PRECONDITION, errors.PurchaseError),
    "CURRENCY_NOT_SUPPORTED": (CODE.FAILED_PRECONDITION, errors.PurchaseError),
    "CHECKOUT_EXPIRED": (CODE.FAILED_PRECONDITION, errors.PurchaseError),
    "PURCHASE_NOT_PAID": (CODE.FAILED_PRECONDITION, errors.PurchaseError),
    "NOTHING_TO_REFUND": (CODE.FAILED_PRECONDITION, errors.PurchaseError),
    "PURCHASE_OF_OTHER_GATEWAY": (CODE.FAILED_PRECONDITION, errors.PurchaseError),
    "PAYMENT_METHOD_MISSING": (CODE.FAILED_PRECONDITION, errors.PurchaseError),
    "GATEWAY_UNAVAILABLE": (CODE.UNAVAILABLE, errors.UnavailableError),
    "PAYOUT_NOT_FOUND": (CODE.NOT_FOUND, errors.NotFoundError),
    "PAYOUT_BELOW_MINIMUM": (CODE.FAILED_PRECONDITION, errors.PayoutError),
    "PAYOUT_RESOLVED": (CODE.FAILED_PRECONDITION, errors.PayoutError),
    "WEBHOOK_NOT_FOUND": (CODE.NOT_FOUND, errors.NotFoundError),
    "REFUND_NOT_FOUND": (CODE.NOT_FOUND, errors.NotFoundError),
    "REFUND_NOT_OWED": (CODE.FAILED_PRECONDITION, errors.PurchaseError),
    "STORAGE_CONFLICT": (CODE.ABORTED, errors.ConflictError),
    "OVERLOADED": (CODE.RESOURCE_EXHAUSTED, errors.OverloadedError),
    "UNAVAILABLE": (CODE.UNAVAILABLE, errors.UnavailableError),
    "SERVICE_FAILED": (CODE.UNKNOWN, errors.ServiceFailedError),
    "UNIMPLEMENTED": (CODE.UNIMPLEMENTED, errors.UnimplementedError),
    "CANCELLED": (CODE.CANCELLED, errors.UnavailableError),
    "INTERNAL": (CODE.INTERNAL, errors.InternalError),
}


def rpc_error(
    code: grpc.StatusCode, details: str = "", metadata: tuple[tuple[str, Any], ...] = ()
) -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(*metadata), details)


async def refuse_reserve(answer: status_pb2.Status | grpc.StatusCode) -> IapError:
    async with (
        serving(ScriptedServer({"BrokerService.Reserve": answer})) as server,
        BrokerClient.connect(server.target, key="key", timeout_seconds=5) as broker,
    ):
        with pytest.raises(IapError) as caught:
            await broker.reserve(account_token="token", credits=5)
        return caught.value


def test_every_reason_of_the_contract_is_expected_here() -> None:
    named = {name.removeprefix(PREFIX) for name in ErrorReason.keys()}  # noqa: SIM118 - an enum, not a dict
    assert named - {"UNSPECIFIED"} == EXPECTED.keys()


@pytest.mark.parametrize("reason", sorted(EXPECTED))
def test_each_reason_has_its_exception(reason: str) -> None:
    code, expected_class = EXPECTED[reason]
    error = status_to_iap_error(refusal(code, reason, "words", key="value"))
    assert type(error) is expected_class
    assert (error.reason, error.code, error.domain) == (reason, code, "iap.broker")
    assert (error.message, dict(error.metadata)) == ("words", {"key": "value"})


@pytest.mark.parametrize(
    ("code", "expected_class"),
    [
        (CODE.OUT_OF_RANGE, errors.InvalidArgumentError),
        (CODE.UNAUTHENTICATED, errors.CredentialsError),
        (CODE.NOT_FOUND, errors.NotFoundError),
        (CODE.FAILED_PRECONDITION, errors.PreconditionError),
        (CODE.ALREADY_EXISTS, errors.AlreadyExistsError),
        (CODE.ABORTED, errors.ConflictError),
        (CODE.RESOURCE_EXHAUSTED, errors.OverloadedError),
        (CODE.UNAVAILABLE, errors.UnavailableError),
        (CODE.CANCELLED, errors.UnavailableError),
        (CODE.DEADLINE_EXCEEDED, errors.DeadlineExceededError),
        (CODE.UNIMPLEMENTED, errors.UnimplementedError),
        (CODE.INTERNAL, errors.InternalError),
        (CODE.UNKNOWN, errors.InternalError),
        (CODE.DATA_LOSS, errors.InternalError),
    ],
)
def test_without_details_the_code_decides(code: grpc.StatusCode, expected_class: type[IapError]) -> None:
    error = to_iap_error(rpc_error(code, "words"))
    assert type(error) is expected_class
    assert (error.reason, error.domain, error.message) == (code.name, "", "words")


def test_a_reason_of_a_newer_server_falls_back_on_the_code_and_is_kept() -> None:
    error = status_to_iap_error(refusal(CODE.FAILED_PRECONDITION, "MOON_IS_FULL"))
    assert type(error) is errors.PreconditionError
    assert error.reason == "MOON_IS_FULL"


@pytest.mark.parametrize(
    "status_bytes",
    [b"\xff\xff", refusal(CODE.NOT_FOUND, "ACCOUNT_NOT_FOUND").SerializeToString()],
    ids=["garbage", "of another code"],
)
def test_a_status_that_makes_no_sense_is_ignored(status_bytes: bytes) -> None:
    error = to_iap_error(rpc_error(CODE.ABORTED, "words", (("grpc-status-details-bin", status_bytes),)))
    assert type(error) is errors.ConflictError
    assert error.message == "words"


def test_details_of_unknown_kind_or_broken_stay_in_the_status_only() -> None:
    status = refusal(CODE.ABORTED, "STORAGE_CONFLICT")
    status.details.append(PackedAny(type_url="type.googleapis.com/some.Thing", value=b"x"))
    status.details.append(PackedAny(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff"))
    error = status_to_iap_error(status)
    assert error.details == ()
    assert error.status == status


async def test_invalid_argument_names_each_field() -> None:
    violation = error_details_pb2.BadRequest.FieldViolation
    detail = error_details_pb2.BadRequest(
        field_violations=[
            violation(field="credits", description="must be at least 1"),
            violation(field="", description="give one of them"),
        ]
    )
    error = await refuse_reserve(refusal(CODE.INVALID_ARGUMENT, "INVALID_ARGUMENT", "credits …", detail))
    assert isinstance(error, errors.InvalidArgumentError)
    assert error.violations == {"credits": "must be at least 1", "": "give one of them"}
    assert str(error) == "INVALID_ARGUMENT: credits …"


async def test_insufficient_credits_carries_the_offer_over_the_wire() -> None:
    offer = Offer(service="sms", missing_credits=2, packs=[Pack(pack_id="pck_1", credits=100)])
    failure = error_details_pb2.PreconditionFailure()
    status = refusal(
        CODE.FAILED_PRECONDITION,
        "INSUFFICIENT_CREDITS",
        "2 credits are missing – buy some",
        failure,
        offer,
        available="3",
        required="5",
        missing="2",
    )
    error = await refuse_reserve(status)
    assert isinstance(error, errors.InsufficientCreditsError)
    assert (error.available, error.required, error.missing) == (3, 5, 2)
    assert error.offer == offer
    assert error.status == status
    assert isinstance(error.__cause__, grpc.aio.AioRpcError)


async def test_a_large_offer_arrives() -> None:
    packs = [Pack(pack_id=f"pck_{number}", title="t" * 100, credits=number + 1) for number in range(200)]
    error = await refuse_reserve(
        refusal(CODE.FAILED_PRECONDITION, "INSUFFICIENT_CREDITS", "", Offer(packs=packs), missing="x")
    )
    assert isinstance(error, errors.InsufficientCreditsError)
    assert error.offer is not None
    assert len(error.offer.packs) == 200


def test_insufficient_credits_without_an_offer() -> None:
    error = status_to_iap_error(refusal(CODE.FAILED_PRECONDITION, "INSUFFICIENT_CREDITS", available="many"))
    assert isinstance(error, errors.InsufficientCreditsError)
    assert (error.offer, error.available, error.missing) == (None, 0, 0)


def test_missing_credits_are_taken_from_the_offer_when_the_metadata_lacks_them() -> None:
    error = status_to_iap_error(refusal(CODE.FAILED_PRECONDITION, "INSUFFICIENT_CREDITS", "", Offer(missing_credits=7)))
    assert isinstance(error, errors.InsufficientCreditsError)
    assert error.missing == 7


@pytest.mark.parametrize("state", ["CAPTURED", "RELEASED", "EXPIRED"])
def test_a_reservation_that_is_over_says_what_became_of_it(state: str) -> None:
    error = status_to_iap_error(refusal(CODE.FAILED_PRECONDITION, f"RESERVATION_{state}"))
    assert isinstance(error, errors.ReservationStateError)
    assert error.state == ReservationState.Value(f"RESERVATION_STATE_{state}")


async def test_the_server_says_how_long_to_wait() -> None:
    retry_info = error_details_pb2.RetryInfo()
    retry_info.retry_delay.FromTimedelta(timedelta(milliseconds=1500))
    error = await refuse_reserve(refusal(CODE.RESOURCE_EXHAUSTED, "OVERLOADED", "", retry_info))
    assert isinstance(error, errors.OverloadedError)
    assert error.retry_after == timedelta(milliseconds=1500)


async def test_without_retry_info_there_is_no_time_to_wait() -> None:
    error = await refuse_reserve(CODE.ABORTED)
    assert isinstance(error, errors.ConflictError)
    assert error.retry_after is None


def test_the_work_of_a_provider_that_failed_names_the_service() -> None:
    error = status_to_iap_error(refusal(CODE.UNAVAILABLE, "SERVICE_FAILED", domain="iap.provider", service="sms"))
    assert isinstance(error, errors.ServiceFailedError)
    assert (error.service, error.domain) == ("sms", "iap.provider")


def test_an_error_made_here_can_be_passed_on_as_a_status() -> None:
    made = errors.ReservationReleasedError(
        "gone",
        reason="RESERVATION_RELEASED",
        code=CODE.FAILED_PRECONDITION,
        domain="iap.broker",
        metadata={"reservation_id": "rsv_1"},
        details=[error_details_pb2.RetryInfo()],
    )
    read = status_to_iap_error(made.status)
    assert type(read) is type(made)
    assert (read.message, read.reason, read.metadata) == ("gone", "RESERVATION_RELEASED", {"reservation_id": "rsv_1"})
    assert read.details == made.details


def test_the_tree_at_the_top_of_the_module_lists_every_exception() -> None:
    assert errors.__doc__ is not None
    listed = set(re.findall(r"\b[A-Z]\w+Error\b", errors.__doc__))
    defined = {name for name, value in vars(errors).items() if isinstance(value, type) and name.endswith("Error")}
    # asyncio.CancelledError is mentioned, being none of them.
    assert listed - {"CancelledError", "ValueError"} == defined
