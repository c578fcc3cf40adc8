"""Every refusal names what it is about, as the contract says it does."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.book import Book
from broker_service.domain.commands import (
    ChangeAccountState,
    Charge,
    Command,
    GrantCredits,
    OpenAccount,
    Reserve,
    RotateToken,
)
from broker_service.domain.decide import decide_batch
from broker_service.domain.errors import (
    AccountNotFound,
    AccountSuspended,
    BalanceOverflow,
    InsufficientCredits,
    InvalidField,
    PackArchived,
    PackOfOtherService,
    ProviderSuspended,
    PurchaseFailed,
    PurchaseNotFound,
    PurchasePaid,
    Refusal,
    RequestIdReused,
    ReservationCaptured,
    ReservationExpired,
    ReservationNotFound,
    ReservationReleased,
    ServiceRetired,
)
from broker_service.domain.purchase_commands import CompleteSandboxPayment, PackTerms, StartPurchase
from broker_service.domain.records import MAX_BALANCE, MAX_CREDITS, AccountState
from tests.unit.broker_service.domain.ledger_world import (
    ACCOUNT,
    PROVIDER,
    START,
    World,
    capture,
    charge,
    extend,
    gift,
    grant,
    new_id,
    refund,
    release,
    reserve,
    world,
)

MINUTE = timedelta(minutes=1)
OPENING = OpenAccount("req_1", ACCOUNT, "cus_c", PROVIDER, "sms", False, 0, "hash")
ROTATION = RotateToken("req_1", ACCOUNT, "cus_c", MINUTE, "hash")
PURCHASE = StartPurchase(
    "req_1",
    ACCOUNT,
    PackTerms("pck_1", "sms", PROVIDER, "a title", 100, None, "EUR", 501, 2_500, False, False, False),
    "",
)


def refused(it: World, command: Command) -> Refusal:
    (outcome,) = it.decide(command)
    assert isinstance(outcome, Refusal)
    return outcome


def pack(**changes: object) -> StartPurchase:
    return replace(PURCHASE, pack=replace(PURCHASE.pack, **changes))


def payment(it: World, *, succeeded: bool = True) -> CompleteSandboxPayment:
    it.result(PURCHASE)
    return CompleteSandboxPayment("req_1", ACCOUNT, PURCHASE.purchase_id, succeeded)


@pytest.mark.parametrize(
    "command",
    [
        reserve(1),
        charge(1),
        gift(1),
        PURCHASE,
        ROTATION,
        ChangeAccountState(ACCOUNT, AccountState.SUSPENDED, "", "chg_1"),
    ],
)
def test_an_account_that_is_not_there_is_named(command: Command) -> None:
    (outcome,) = decide_batch({ACCOUNT: Book(ACCOUNT)}, [command], START).outcomes
    assert isinstance(outcome, AccountNotFound)
    assert outcome.facts == {"account_id": ACCOUNT}


def test_another_customer_s_account_is_named_like_one_that_is_not_there() -> None:
    refusal = refused(world(), replace(ROTATION, customer_id="cus_other"))
    assert isinstance(refusal, AccountNotFound)
    assert refusal.facts == {"account_id": ACCOUNT}


@pytest.mark.parametrize("ask", [capture, release, extend, refund])
def test_a_reservation_that_is_not_there_is_named(ask: object) -> None:
    it = world(grant(10))
    command = ask(it.reserve(4))  # type: ignore[operator]
    for change in ({"reservation_id": "rsv_x"}, {"provider_id": "prv_other"}):
        asked = replace(command, **change)
        refusal = refused(it, asked)
        assert isinstance(refusal, ReservationNotFound)
        assert refusal.facts == {"reservation_id": asked.reservation_id}


def test_a_purchase_that_is_not_there_is_named() -> None:
    refusal = refused(world(), CompleteSandboxPayment(new_id(), ACCOUNT, "pur_x", succeeded=True))
    assert isinstance(refusal, PurchaseNotFound)
    assert refusal.facts == {"purchase_id": "pur_x"}


def test_a_purchase_without_its_account_is_not_there() -> None:
    it = world()
    command = payment(it)
    books = {ACCOUNT: Book(ACCOUNT, purchases=it.book.purchases)}
    (outcome,) = decide_batch(books, [command], START).outcomes
    assert isinstance(outcome, PurchaseNotFound)


@pytest.mark.parametrize(
    ("first", "changes", "rpc"),
    [
        (reserve(1), {"credits": 2}, "Reserve"),
        (charge(1), {"credits": 2}, "Charge"),
        (gift(1), {"credits": 2}, "GrantCredits"),
        (OPENING, {"service": "fax"}, "OpenAccount"),
        (ROTATION, {"overlap": 2 * MINUTE}, "RotateAccountToken"),
        (PURCHASE, {"return_url": "https://example.com"}, "CreatePurchase"),
    ],
)
def test_a_request_id_used_before_is_named_with_its_rpc(
    first: Reserve | Charge | GrantCredits | OpenAccount | RotateToken | StartPurchase,
    changes: dict[str, object],
    rpc: str,
) -> None:
    it = World(Book(ACCOUNT)) if isinstance(first, OpenAccount) else world(grant(10))
    it.result(first)
    refusal = refused(it, replace(first, **changes))
    assert isinstance(refusal, RequestIdReused)
    assert refusal.facts == {"request_id": first.request_id, "rpc": rpc}


@pytest.mark.parametrize(
    ("ask", "changes", "rpc"),
    [
        (capture, {"credits": 1}, "Capture"),
        (release, {"reason": "b"}, "Release"),
        (extend, {"additional_credits": 1}, "Extend"),
        (refund, {"credits": 1}, "Refund"),
    ],
)
def test_a_request_id_used_before_on_a_reservation_is_named_with_its_rpc(
    ask: object, changes: dict[str, object], rpc: str
) -> None:
    it = world(grant(10))
    reservation = it.do(charge(4)).reservation if ask is refund else it.reserve(4)
    first = ask(reservation)  # type: ignore[operator]
    it.result(first)
    refusal = refused(it, replace(first, **changes))
    assert isinstance(refusal, RequestIdReused)
    assert refusal.facts == {"request_id": first.request_id, "rpc": rpc}


def test_a_request_id_used_before_for_another_end_of_a_payment_is_named_with_its_rpc() -> None:
    it = world()
    first = payment(it)
    it.result(first)
    refusal = refused(it, replace(first, succeeded=False))
    assert isinstance(refusal, RequestIdReused)
    assert refusal.facts == {"request_id": "req_1", "rpc": "CompleteSandboxPayment"}


@pytest.mark.parametrize("command", [reserve(1), charge(1), PURCHASE])
def test_a_suspended_account_is_named(command: Command) -> None:
    refusal = refused(world(grant(10), state=AccountState.SUSPENDED), command)
    assert isinstance(refusal, AccountSuspended)
    assert refusal.facts == {"account_id": ACCOUNT}


@pytest.mark.parametrize(
    "command", [reserve(1, provider_suspended=True), charge(1, provider_suspended=True), pack(provider_suspended=True)]
)
def test_a_suspended_provider_is_named(command: Command) -> None:
    refusal = refused(world(grant(10)), command)
    assert isinstance(refusal, ProviderSuspended)
    assert refusal.facts == {"provider_id": PROVIDER}


def test_a_retired_service_is_named() -> None:
    for it, command in (
        (World(Book(ACCOUNT)), replace(OPENING, service_retired=True)),
        (world(), pack(service_retired=True)),
    ):
        refusal = refused(it, command)
        assert isinstance(refusal, ServiceRetired)
        assert refusal.facts == {"service": "sms"}


def test_a_pack_that_is_not_on_sale_is_named() -> None:
    refusal = refused(world(), pack(archived=True))
    assert isinstance(refusal, PackArchived)
    assert refusal.facts == {"pack_id": "pck_1"}


def test_a_pack_of_another_service_is_named_with_both_services() -> None:
    refusal = refused(world(), pack(service="fax"))
    assert isinstance(refusal, PackOfOtherService)
    assert refusal.facts == {"pack_id": "pck_1", "pack_service": "fax", "account_service": "sms"}


@pytest.mark.parametrize(("succeeded", "kind"), [(True, PurchasePaid), (False, PurchaseFailed)])
def test_a_purchase_that_has_ended_is_named(succeeded: bool, kind: type[Refusal]) -> None:
    it = world()
    command = payment(it, succeeded=succeeded)
    it.result(command)
    refusal = refused(it, replace(command, request_id=new_id()))
    assert type(refusal) is kind
    assert refusal.facts == {"purchase_id": PURCHASE.purchase_id}


@pytest.mark.parametrize("ask", [capture, release, lambda reservation: extend(reservation, 1)])
@pytest.mark.parametrize(
    ("end", "kind"), [(capture, ReservationCaptured), (release, ReservationReleased), (None, ReservationExpired)]
)
def test_a_reservation_that_has_ended_is_named_and_an_expired_one_with_its_end(
    ask: object, end: object, kind: type[Refusal]
) -> None:
    it = world(grant(10))
    reservation = it.reserve(4, ttl=MINUTE)
    facts = {"reservation_id": reservation.reservation_id}
    if end is None:
        it.now += 2 * MINUTE
        facts["expire_time"] = "2026-01-01T00:01:00Z"
    else:
        it.do(end(reservation))  # type: ignore[operator]
    refusal = refused(it, ask(reservation))  # type: ignore[operator]
    assert type(refusal) is kind
    assert refusal.facts == facts


@pytest.mark.parametrize("command", [reserve(7), charge(7)])
def test_missing_credits_are_counted_and_their_service_is_named(command: Command) -> None:
    it = world(grant(10))
    it.reserve(4)
    refusal = refused(it, command)
    assert isinstance(refusal, InsufficientCredits)
    assert (refusal.service, refusal.missing_credits) == ("sms", 1)
    assert refusal.facts == {"available": 6, "required": 7, "missing": 1}


def test_an_account_that_cannot_hold_that_much_is_named() -> None:
    it = world(grant(MAX_BALANCE))
    refusal = refused(it, gift(1))
    assert isinstance(refusal, BalanceOverflow)
    assert refusal.facts == {"account_id": ACCOUNT}


def test_a_field_that_breaks_a_rule_is_named_with_the_rule() -> None:
    it = world(grant(10))
    reservation = it.reserve(4)
    too_long = "must be at most the service's max_ttl, 0:00:30"
    too_many = "must leave the reservation with at most 1000000000000 credits in all"
    for command, field, description in (
        (reserve(1, ttl=MINUTE, max_ttl=MINUTE / 2), "ttl", too_long),
        (extend(reservation, ttl=MINUTE, max_ttl=MINUTE / 2), "ttl", too_long),
        (extend(reservation, MAX_CREDITS), "additional_credits", too_many),
        (gift(1, expire_time=START), "expire_time", "must be in the future"),
    ):
        refusal = refused(it, command)
        assert isinstance(refusal, InvalidField)
        assert (refusal.field, refusal.description) == (field, description)
        assert refusal.facts == {"field": field, "description": description}
        assert str(refusal) == f"{field}: {description}"
