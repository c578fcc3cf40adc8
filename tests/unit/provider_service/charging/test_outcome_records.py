import uuid

import pytest
from google.protobuf.struct_pb2 import Struct
from iap.broker.v1.broker_pb2 import Balance

from client_stub.structs import to_struct
from mesh_runtime.call_errors import CallError
from provider_service.charging.outcomes import Refused, Served
from provider_service.charging.paid_request import PaidRequest
from provider_service.charging.records import Records
from provider_service.charging.refusals import not_settled
from tests.unit.provider_service.example_services import ExampleService


def request(text: str = "hello", *, request_id: str | None = None, token: str = "token") -> PaidRequest:
    return PaidRequest(
        request_id=request_id or str(uuid.uuid4()),
        account_token=token,
        service=ExampleService(),
        service_input={"text": text},
        credits=1,
    )


def served(output: Struct | None) -> Served:
    return Served(output=output, reservation_id="rsv_1", charged_credits=1, balance=Balance())


def test_an_outcome_is_found_by_account_and_id() -> None:
    records, asked = Records(), request()
    outcome = served(to_struct({"echo": "hello"}))
    records.keep(asked, outcome)
    assert records.find(request(request_id=asked.request_id)) is outcome
    assert records.find(request()) is None
    assert records.find(request(request_id=asked.request_id, token="other")) is None


def test_an_id_that_comes_with_another_input_is_refused() -> None:
    records, asked = Records(), request()
    records.keep(asked, served(Struct()))
    with pytest.raises(CallError, match="was used before"):
        records.find(request("world", request_id=asked.request_id))


@pytest.mark.parametrize("outcome", [served(None), Refused(error=not_settled())])
def test_what_uses_up_no_id_or_what_the_broker_knows_as_well_is_not_kept(outcome: Served | Refused) -> None:
    records, asked = Records(), request()
    records.keep(asked, outcome)
    assert records.find(asked) is None


def test_the_oldest_make_room_when_there_are_too_many() -> None:
    records = Records(requests_maximum=2)
    requests = [request() for _ in range(3)]
    for asked in requests:
        records.keep(asked, Refused(error=not_settled(), released_reservation_id="rsv_1"))
    assert [records.find(asked) is None for asked in requests] == [True, False, False]


def test_the_oldest_make_room_when_they_are_too_large() -> None:
    records = Records(bytes_maximum=100_000)
    requests = [request() for _ in range(3)]
    for asked in requests:
        records.keep(asked, served(to_struct({"echo": "x" * 45_000})))
    assert [records.find(asked) is None for asked in requests] == [True, False, False]


def test_an_output_that_does_not_fit_at_all_is_not_kept() -> None:
    records, asked = Records(bytes_maximum=10_000), request()
    records.keep(asked, served(to_struct({"echo": "x" * 45_000})))
    assert records.find(asked) is None


def test_an_outcome_that_replaces_another_takes_its_room() -> None:
    records, asked, other = Records(bytes_maximum=100_000), request(), request()
    records.keep(other, served(to_struct({"echo": "x" * 40_000})))
    for _ in range(3):
        records.keep(asked, served(to_struct({"echo": "x" * 40_000})))
    assert records.find(other) is not None
    assert records.find(asked) is not None


def test_neither_token_nor_input_shows_in_a_request() -> None:
    asked = request("secret text", token="secret token")
    assert "secret" not in repr(asked)
    assert "secret" not in repr(asked.key)


def test_the_order_of_the_inputs_fields_makes_no_difference() -> None:
    one = PaidRequest(
        request_id="1", account_token="t", service=ExampleService(), service_input={"a": 1, "b": None}, credits=1
    )
    two = PaidRequest(
        request_id="1", account_token="t", service=ExampleService(), service_input={"b": None, "a": 1}, credits=1
    )
    assert one.digest == two.digest
