"""Quick checks are held against protovalidate, which is the measure."""

import uuid
from typing import Any

import protovalidate
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from iap.broker.v1 import broker_pb2, catalog_pb2
from iap.provider.v1 import provider_pb2

from broker_service.services import request_types
from mesh_runtime.quick_checks import quick_check

QUICK = {message_type.DESCRIPTOR.name: message_type for message_type in request_types() if quick_check(message_type)}
HOT = ("ReserveRequest", "CaptureRequest", "ReleaseRequest", "ChargeRequest")

# On both sides of every limit that the contract has.
LENGTHS = (0, 1, 2, 49, 50, 51, 64, 65, 100, 101, 200, 201, 254, 500, 501, 2000, 2001)
TEXTS = st.one_of(
    st.builds(lambda length, letter: letter * length, st.sampled_from(LENGTHS), st.sampled_from("aé𝄞\0")),
    st.uuids().map(str),
    st.uuids().map(lambda value: str(value).upper()),
    st.uuids().map(lambda value: f"{value}\n"),
    st.uuids().map(lambda value: value.hex),
    st.sampled_from(["a\0b", "0" * 8 + "-" + "0" * 27, "\u0660" * 8 + "-0000-0000-0000-" + "0" * 12]),
)
NUMBERS = st.sampled_from([-(2**31), -1, 0, 1, 2, 100, 1_000, 1_001, 9_999, 10_000, 10_001, 2**31 - 1])
LARGE_NUMBERS = NUMBERS | st.sampled_from([-(2**63), 10**12 - 1, 10**12, 10**12 + 1, 2**63 - 1])
SPANS = st.tuples(
    st.sampled_from([-1, 0, 1, 2, 2_591_999, 2_592_000, 2_592_001, 31_536_000, 315_360_000, 315_576_000_000]),
    st.sampled_from([0, 1, 999_999_999]),
)


def values_of(field: Any) -> st.SearchStrategy[Any]:
    kind = field.cpp_type
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return st.dictionaries(TEXTS, TEXTS, max_size=3) | st.just({str(number): "" for number in range(33)})
    if field.message_type is not None:
        return SPANS
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return TEXTS
    if kind in (FieldDescriptor.CPPTYPE_BOOL, FieldDescriptor.CPPTYPE_ENUM):
        return st.sampled_from([0, 1])
    return NUMBERS if kind == FieldDescriptor.CPPTYPE_INT32 else LARGE_NUMBERS


@st.composite
def messages(draw: st.DrawFn, message_type: type[Message]) -> Message:
    """Draws a message that keeps most of its rules: two fields in three are good ones."""
    message = message_type()
    for field in message_type.DESCRIPTOR.fields:
        if draw(st.integers(0, 2)):
            set_good(message, field)
            continue
        value = draw(values_of(field))
        if isinstance(value, dict):
            getattr(message, field.name).update(value)
        elif isinstance(value, tuple):
            part = getattr(message, field.name)
            part.seconds, part.nanos = value
        else:
            setattr(message, field.name, value)
    return message


def set_good(message: Message, field: Any) -> None:
    if field.name == "request_id":
        setattr(message, field.name, str(uuid.UUID(int=7)))
    elif field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        setattr(message, field.name, "x")
    elif field.cpp_type in (FieldDescriptor.CPPTYPE_INT64, FieldDescriptor.CPPTYPE_INT32):
        setattr(message, field.name, 1)


def compare_with_protovalidate(message_type: type[Message], examples: int) -> None:
    validator, check = protovalidate.Validator(), quick_check(message_type)
    assert check is not None

    @given(messages(message_type))
    @settings(max_examples=examples, deadline=None, database=None, derandomize=True)
    def compare(message: Message) -> None:
        assert check(message) == (not validator.collect_violations(message)), message

    compare()


@pytest.mark.parametrize("name", HOT)
def test_a_quick_check_of_the_hot_path_says_what_protovalidate_says(name: str) -> None:
    compare_with_protovalidate(QUICK[name], examples=60)


@pytest.mark.parametrize("name", sorted(QUICK.keys() - HOT))
def test_a_quick_check_says_what_protovalidate_says(name: str) -> None:
    compare_with_protovalidate(QUICK[name], examples=12)


@pytest.mark.parametrize(
    "message_type", [provider_pb2.ServeRequestRequest, provider_pb2.ServeStreamRequest, provider_pb2.QuoteRequest]
)
@pytest.mark.parametrize("service_input", [None, {}, {"name": "value", "list": [1, {"within": None}]}])
@pytest.mark.parametrize("service", ["", "a", "a" * 63, "a" * 64, "a\0b"])
def test_a_quick_check_of_a_providers_request_says_what_protovalidate_says(
    message_type: type[Message], service_input: dict[str, Any] | None, service: str
) -> None:
    request: Any = message_type(service=service)
    if message_type is not provider_pb2.QuoteRequest:
        request.request_id, request.account_token = str(uuid.UUID(int=7)), "a"
    if service_input is not None:
        request.input.SetInParent()
        request.input.update(service_input)
    check = quick_check(message_type)
    assert check is not None
    assert check(request) == (not protovalidate.Validator().collect_violations(request))


def test_a_message_without_a_fault_passes() -> None:
    request = broker_pb2.ReserveRequest(request_id=str(uuid.uuid4()), account_token="a", credits=1, metadata={"a": ""})
    check = quick_check(broker_pb2.ReserveRequest)
    assert check is not None
    assert check(request)


@pytest.mark.parametrize("seconds", [0, 1, 2_592_000, 2_592_001])
@pytest.mark.parametrize("nanos", [-1, 0, 1, 1_000_000_000])
def test_a_span_is_never_taken_for_a_good_one_that_protovalidate_refuses(seconds: int, nanos: int) -> None:
    request = broker_pb2.ReserveRequest(request_id=str(uuid.uuid4()), account_token="a", credits=1)
    request.ttl.seconds, request.ttl.nanos = seconds, nanos
    check = quick_check(broker_pb2.ReserveRequest)
    assert check is not None
    assert not check(request) or not protovalidate.Validator().collect_violations(request)


@pytest.mark.parametrize(
    "message_type",
    [
        pytest.param(broker_pb2.ExtendRequest, id="a rule of the whole message"),
        pytest.param(broker_pb2.PipelineRequest, id="a list of messages with rules of their own"),
        pytest.param(broker_pb2.PipelineOperation, id="a oneof that must be set"),
        pytest.param(catalog_pb2.CreateServiceRequest, id="an expression"),
    ],
)
def test_a_type_with_other_rules_has_no_quick_check(message_type: type[Message]) -> None:
    assert quick_check(message_type) is None
