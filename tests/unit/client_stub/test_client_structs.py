import pytest
from google.protobuf.struct_pb2 import Struct

from client_stub.structs import from_struct, to_struct


def test_what_json_can_express_survives_a_round_trip() -> None:
    mapping = {
        "text": "hällo",
        "whole": 3,
        "largest": 2**53,
        "fraction": 0.5,
        "flag": True,
        "none": None,
        "list": [1, "two", [None], {"deep": False}],
        "empty": {},
    }
    struct = to_struct(mapping)
    assert Struct.FromString(struct.SerializeToString()) == struct
    assert from_struct(struct) == mapping


def test_whole_numbers_come_back_as_integers_and_truth_as_truth() -> None:
    value = from_struct(to_struct({"whole": 2.0, "flag": True}))
    assert isinstance(value["whole"], int)
    assert value["flag"] is True


def test_numbers_too_large_to_be_exact_come_back_as_they_are() -> None:
    assert from_struct(to_struct({"large": 1e300})) == {"large": 1e300}


@pytest.mark.parametrize("number", [2**53 + 1, -(2**53) - 1, float("nan"), float("inf")])
def test_a_number_that_would_change_is_refused(number: float) -> None:
    with pytest.raises(ValueError, match=r"would lose digits|no JSON number"):
        to_struct({"list": [number]})


@pytest.mark.parametrize("value", [b"bytes", object(), {1, 2}, {1: "number as a name"}])
def test_what_json_cannot_express_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        to_struct({"field": value})
