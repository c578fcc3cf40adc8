from provider_service.charging.paid_request import PaidRequest
from provider_service.services.service import AfterCrash
from tests.unit.provider_service.example_services import ExampleService


def request(token: str = "token", *, after_crash: AfterCrash = AfterCrash.RELEASE, **given: object) -> PaidRequest:
    service = ExampleService()
    service.after_crash = after_crash
    return PaidRequest(
        request_id="1",
        account_token=token,
        service=service,
        service_input=given,  # type: ignore[arg-type]
        credits=1,
    )


def test_neither_token_nor_input_shows_in_a_request() -> None:
    asked = request("secret token", text="secret text")
    assert "secret" not in repr(asked)
    assert "secret" not in repr(asked.key)


def test_the_order_of_the_inputs_fields_makes_no_difference() -> None:
    assert request(a=1, b=None).digest == request(b=None, a=1).digest
    assert request(a=1).digest != request(a=2).digest


def test_an_input_is_kept_only_where_the_work_goes_on_after_a_crash() -> None:
    assert request(text="hello").to_entry().service_input is None
    assert request(text="hello", after_crash=AfterCrash.RESUME).to_entry().service_input == b'{"text": "hello"}'
