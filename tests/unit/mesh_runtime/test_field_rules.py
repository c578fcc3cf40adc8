import uuid
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message
from iap.broker.v1 import broker_pb2, catalog_pb2

from mesh_runtime.field_rules import FieldRules, FieldViolation, check_fields


def reserve(**fields: object) -> broker_pb2.ReserveRequest:
    valid: dict[str, object] = {"request_id": str(uuid.uuid4()), "account_token": "a-token", "credits": 1}
    return broker_pb2.ReserveRequest(**(valid | fields))  # type: ignore[arg-type]


def broken_fields(message: Message) -> list[str]:
    return [violation.field for violation in FieldRules([type(message)]).violations(message)]


def test_a_valid_message_has_no_violations() -> None:
    assert FieldRules([broker_pb2.ReserveRequest]).violations(reserve()) == ()


@pytest.mark.parametrize("request_id", ["", "1", "not-a-uuid"])
def test_a_request_id_is_a_uuid(request_id: str) -> None:
    (violation,) = check_fields(reserve(request_id=request_id))
    assert violation.field == "request_id"
    assert "UUID" in violation.description


@pytest.mark.parametrize("amount", [0, -1, 10**12 + 1])
def test_credits_are_within_their_range(amount: int) -> None:
    assert broken_fields(reserve(credits=amount)) == ["credits"]


def test_every_violation_is_reported() -> None:
    assert broken_fields(broker_pb2.ReserveRequest()) == ["request_id", "account_token", "credits"]


def test_the_path_of_an_element_within_a_list_has_its_index() -> None:
    request = broker_pb2.PipelineRequest()
    for number in range(4):
        request.operations.add(sequence=number, reserve=reserve(credits=0 if number == 3 else 1))
    assert broken_fields(request) == ["operations[3].reserve.credits"]


def test_the_path_of_a_map_entry_has_its_key_quoted() -> None:
    assert broken_fields(reserve(metadata={'a "key"': "v" * 100_000})) == [r'metadata["a \"key\""]']


def test_nested_messages_are_separated_by_dots() -> None:
    request = catalog_pb2.CreatePackRequest(request_id=str(uuid.uuid4()), service="sms", title="A pack", credits=1)
    request.price.currency_code = "euro"
    request.price.units = 1
    assert any(field.startswith("price") for field in broken_fields(request))


def test_violations_found_by_the_caller_come_last() -> None:
    own = FieldViolation(field="account_token", description="is of another service")
    assert check_fields(reserve(credits=0), own)[1:] == (own,)
    assert check_fields(reserve(), own) == (own,)


def test_a_rule_of_the_whole_message_names_its_field_by_its_id_and_keys_are_rendered_by_their_type() -> None:
    example = _example_type()
    assert broken_fields(example(flags={True: 0}, numbers={-7: 0})) == ["flags[true]", "numbers[-7]"]
    assert FieldRules().violations(example(flags={True: 1}, numbers={-7: 1}, other=9)) == (
        FieldViolation(field="other", description="other is at most 5"),
    )


def _example_type() -> type[Message]:
    """A message type with maps that the contract does not have, and a rule over the whole of it."""
    file = descriptor_pb2.FileDescriptorProto(
        name="test/example.proto",
        package="test.example",
        syntax="proto3",
        dependency=["buf/validate/validate.proto"],
    )
    message = file.message_type.add(name="Example")
    extension: Any = validate_pb2
    message.options.Extensions[extension.message].cel.add(
        id="example.other", message="other is at most 5", expression="this.other <= 5"
    )
    field = descriptor_pb2.FieldDescriptorProto
    message.field.add(name="other", number=3, label=field.LABEL_OPTIONAL, type=field.TYPE_INT64)
    for number, (name, key_type) in enumerate([("flags", field.TYPE_BOOL), ("numbers", field.TYPE_SINT64)], start=1):
        entry = message.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=field.LABEL_OPTIONAL, type=key_type)
        entry.field.add(name="value", number=2, label=field.LABEL_OPTIONAL, type=field.TYPE_INT64)
        options = message.field.add(
            name=name,
            number=number,
            label=field.LABEL_REPEATED,
            type=field.TYPE_MESSAGE,
            type_name=f".test.example.Example.{entry.name}",
        ).options
        options.Extensions[extension.field].map.values.int64.gt = 0
    pool: Any = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.example.Example"))
