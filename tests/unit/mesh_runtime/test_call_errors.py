from datetime import timedelta

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2

from mesh_runtime import call_errors
from mesh_runtime.call_errors import CallError
from mesh_runtime.field_rules import FieldViolation
from tests.unit.mesh_runtime.harness import unpack

DOMAIN = "iap.test"


def test_error_info_comes_first_and_the_details_keep_their_order() -> None:
    error = CallError(
        code=grpc.StatusCode.NOT_FOUND,
        reason="PACK_NOT_FOUND",
        message="There is no such pack.",
        domain=DOMAIN,
        metadata={"pack_id": "p1"},
        details=[StringValue(value="1"), StringValue(value="2")],
    )
    status = error.to_status()
    info = unpack(status.details[0], error_details_pb2.ErrorInfo())
    assert (status.code, status.message) == (5, "There is no such pack.")
    assert (info.reason, info.domain, dict(info.metadata)) == ("PACK_NOT_FOUND", DOMAIN, {"pack_id": "p1"})
    assert [unpack(detail, StringValue()).value for detail in status.details[1:]] == ["1", "2"]
    assert str(error) == "There is no such pack."


def test_a_single_violation_is_the_message() -> None:
    error = call_errors.invalid_argument(DOMAIN, [FieldViolation(field="credits", description="must be positive")])
    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
    assert error.message == "credits: must be positive"
    assert error.metadata == {"field": "credits"}


def test_several_violations_are_counted_in_the_message_and_listed_in_the_detail() -> None:
    violations = [FieldViolation(field=f"field_{number}", description="is wrong") for number in range(3)]
    error = call_errors.invalid_argument(DOMAIN, violations)
    detail = unpack(error.to_status().details[1], error_details_pb2.BadRequest())
    assert error.message == "field_0: is wrong (and 2 more)"
    assert [one.field for one in detail.field_violations] == ["field_0", "field_1", "field_2"]


def test_a_violation_of_the_whole_message_names_no_field() -> None:
    error = call_errors.invalid_argument(DOMAIN, [FieldViolation(field="", description="one of two is needed")])
    assert error.message == "one of two is needed"
    assert error.metadata == {}


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (
            call_errors.unavailable(DOMAIN, "Draining.", timedelta(seconds=1.5)),
            grpc.StatusCode.UNAVAILABLE,
            "UNAVAILABLE",
        ),
        (
            call_errors.overloaded(DOMAIN, "Too much.", timedelta(seconds=1.5)),
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "OVERLOADED",
        ),
    ],
)
def test_errors_to_retry_say_when(error: CallError, code: grpc.StatusCode, reason: str) -> None:
    detail = unpack(error.to_status().details[1], error_details_pb2.RetryInfo())
    assert (error.code, error.reason) == (code, reason)
    assert detail.retry_delay.ToTimedelta() == timedelta(seconds=1.5)


def test_an_internal_error_says_nothing() -> None:
    error = call_errors.internal(DOMAIN)
    assert (error.code, error.reason, error.metadata) == (grpc.StatusCode.INTERNAL, "INTERNAL", {})
    assert len(error.to_status().details) == 1
