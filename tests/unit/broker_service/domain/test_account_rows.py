"""Every row that accounts, gifts, tokens and purchases are made of, and every result, to the last field."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.accounts import AccountResult
from broker_service.domain.book import Book, Changes
from broker_service.domain.commands import ChangeAccountState, OpenAccount, RotateToken, Settle
from broker_service.domain.identities import event_id_for, notice_id_for
from broker_service.domain.operator_grants import GrantResult
from broker_service.domain.purchase_commands import CompleteSandboxPayment, PackTerms, StartPurchase
from broker_service.domain.purchases import PurchaseResult
from broker_service.domain.records import (
    DEFAULT_PRIORITY,
    Account,
    AccountState,
    AccountToken,
    Balance,
    Counterpart,
    Entry,
    EntryKind,
    Event,
    EventType,
    Grant,
    GrantKind,
    JournalEntry,
    JournalKind,
    Operation,
    PaymentNotice,
    PaymentNoticeKind,
    PaymentNoticeOutcome,
    Posting,
    Purchase,
    PurchaseOrigin,
    PurchaseState,
    SavedPaymentMethod,
    TrialClaim,
)
from broker_service.domain.tokens import TokenResult
from tests.unit.broker_service.domain.ledger_world import (
    ACCOUNT,
    PROVIDER,
    START,
    World,
    charge,
    gift,
    grant,
    new_id,
    world,
)

HOUR = timedelta(hours=1)
LATER = START + HOUR


def open_account(trial_credits: int) -> OpenAccount:
    return OpenAccount(
        request_id=new_id(),
        account_id=ACCOUNT,
        customer_id="cus_c",
        provider_id=PROVIDER,
        service="sms",
        service_retired=False,
        trial_credits=trial_credits,
        token_hash="hash",
    )


def opened(ledger_credits: int, entry_count: int) -> Account:
    return Account(
        account_id=ACCOUNT,
        customer_id="cus_c",
        provider_id=PROVIDER,
        service="sms",
        state=AccountState.ACTIVE,
        ledger_credits=ledger_credits,
        reserved_credits=0,
        entry_count=entry_count,
        create_time=START,
        update_time=START,
        state_reason="",
        token_epoch=0,
    )


def issued(sequence: int, kind: EntryKind, amount: int, description: str, purchase_id: str | None = None) -> Entry:
    """The entry by which an account without credits gets some."""
    return Entry(
        account_id=ACCOUNT,
        sequence=sequence,
        kind=kind,
        credits=amount,
        counterpart=Counterpart.ISSUED,
        ledger_credits_after=amount,
        time=START,
        reservation_id=None,
        purchase_id=purchase_id,
        description=description,
    )


TOKEN = AccountToken("hash", ACCOUNT, create_time=START, expire_time=None)


class TestOpening:
    @pytest.mark.parametrize("trial_credits", [1, 5])
    def test_with_trial_credits_it_writes_their_grant_entry_and_claim(self, trial_credits: int) -> None:
        it = World(Book(ACCOUNT))
        account = opened(trial_credits, 1)
        assert it.result(open_account(trial_credits)) == AccountResult(account)
        assert it.written == [
            Changes(
                account=account,
                grants=(
                    Grant(
                        account_id=ACCOUNT,
                        grant_id="grt_1abd157b2f448a5c8d19fec2",
                        kind=GrantKind.TRIAL,
                        priority=DEFAULT_PRIORITY,
                        credits=trial_credits,
                        remaining_credits=trial_credits,
                        reserved_credits=0,
                        expire_time=None,
                        purchase_id=None,
                        create_time=START,
                    ),
                ),
                entries=(issued(1, EntryKind.TRIAL, trial_credits, "trial credits"),),
                trial_claims=(TrialClaim("cus_c", "sms", ACCOUNT, START),),
                account_tokens=(TOKEN,),
            )
        ]
        assert it.book.trial_claims == {("cus_c", "sms"): TrialClaim("cus_c", "sms", ACCOUNT, START)}

    def test_without_them_it_writes_the_account_and_its_token(self) -> None:
        it = World(Book(ACCOUNT))
        assert it.result(open_account(0)) == AccountResult(opened(0, 0))
        assert it.written == [Changes(account=opened(0, 0), account_tokens=(TOKEN,))]

    def test_a_customer_who_has_had_them_gets_the_account_and_its_token(self) -> None:
        it = World(Book(ACCOUNT, trial_claims={("cus_c", "sms"): TrialClaim("cus_c", "sms", "acc_1", START)}))
        assert it.result(open_account(5)) == AccountResult(opened(0, 0))
        assert it.written == [Changes(account=opened(0, 0), account_tokens=(TOKEN,))]

    def test_again_it_gets_the_account_as_it_now_stands_and_writes_nothing(self) -> None:
        it = World(Book(ACCOUNT))
        command = open_account(5)
        it.result(command)
        it.do(charge(2))
        again = it.result(replace(command, token_hash="another"))
        assert again == AccountResult(it.account, replayed=True)
        assert (it.balance, it.written[2:]) == (Balance(3, 0), [Changes()])


class TestState:
    def test_a_change_writes_the_account(self) -> None:
        it = world(grant(10))
        before, it.now = it.account, LATER
        result = it.result(ChangeAccountState(ACCOUNT, AccountState.SUSPENDED, "fraud", "chg_1"))
        account = replace(before, state=AccountState.SUSPENDED, state_reason="fraud", update_time=LATER)
        assert result == AccountResult(account)
        suspended = Event(
            event_id=event_id_for("account.suspended", f"{ACCOUNT} chg_1"),
            type=EventType.ACCOUNT_SUSPENDED,
            provider_id=PROVIDER,
            customer_id=account.customer_id,
            account_id=ACCOUNT,
            data={"service": "sms", "reason": "fraud"},
            time=LATER,
            entry_count=1,
        )
        assert it.written == [Changes(account=account, events=(suspended,))]

    def test_resuming_writes_the_account_alone(self) -> None:
        it = world(grant(10), state=AccountState.SUSPENDED)
        it.result(ChangeAccountState(ACCOUNT, AccountState.ACTIVE, "", "chg_1"))
        assert it.written == [Changes(account=it.account)]

    def test_no_change_writes_nothing(self) -> None:
        it = world(grant(10))
        unchanged = AccountResult(it.account)
        assert it.result(ChangeAccountState(ACCOUNT, AccountState.ACTIVE, "why not", "chg_1")) == unchanged
        assert it.written == [Changes()]

    def test_settling_writes_what_time_has_done_and_gets_the_account_as_it_then_stands(self) -> None:
        it = world(grant(4, "short", expire_time=LATER), grant(10, "long"))
        it.now = LATER
        assert it.result(Settle(ACCOUNT)) == AccountResult(it.account)
        assert it.balance == Balance(10, 0)
        assert [len(changes.entries) for changes in it.written] == [1, 0]
        assert it.written[1] == Changes()


def test_a_gift_writes_its_grant_entry_and_record() -> None:
    it = world()
    command = gift(5, kind=GrantKind.PROMOTIONAL, priority=7, expire_time=LATER, reason="sorry")
    before = it.account
    result = it.result(command)
    given = Grant(
        account_id=ACCOUNT,
        grant_id=command.grant_id,
        kind=GrantKind.PROMOTIONAL,
        priority=7,
        credits=5,
        remaining_credits=5,
        reserved_credits=0,
        expire_time=LATER,
        purchase_id=None,
        create_time=START,
    )
    assert result == GrantResult(given, Balance(5, 0))
    assert it.written == [
        Changes(
            account=replace(before, ledger_credits=5, entry_count=1),
            grants=(given,),
            entries=(issued(1, EntryKind.PROMOTIONAL, 5, "sorry"),),
            operations=(Operation(ACCOUNT, command.operation_id, "GrantCredits", command.fingerprint, START),),
        )
    ]
    assert it.result(command) == replace(result, replayed=True)
    assert it.written[1:] == [Changes()]


def test_a_rotation_writes_the_tokens_that_stop_the_one_that_starts_and_its_record() -> None:
    it = world()
    old = AccountToken("old", ACCOUNT, START, None)
    it.book.account_tokens["old"] = old
    it.now = LATER
    command = RotateToken(new_id(), ACCOUNT, "cus_c", HOUR, "new")
    account = replace(it.account, update_time=LATER, token_epoch=1)
    result = it.result(command)
    tokens = (replace(old, expire_time=LATER + HOUR), AccountToken("new", ACCOUNT, LATER, None))
    assert result == TokenResult(account, tokens)
    assert it.written == [
        Changes(
            account=account,
            account_tokens=tokens,
            operations=(Operation(ACCOUNT, command.operation_id, "RotateAccountToken", command.fingerprint, LATER),),
        )
    ]
    assert it.result(replace(command, token_hash="another")) == TokenResult(it.account, tokens, replayed=True)
    assert it.written[1:] == [Changes()]


TERMS = PackTerms(
    pack_id="pck_1",
    service="sms",
    provider_id=PROVIDER,
    title="100 segments",
    credits=100,
    validity=HOUR,
    currency="EUR",
    price_minor_units=501,
    commission_basis_points=2_500,
    archived=False,
    service_retired=False,
    provider_suspended=False,
)


def started() -> tuple[World, StartPurchase, Purchase]:
    """An account for which a purchase was started at START."""
    it = world()
    command = StartPurchase(new_id(), ACCOUNT, TERMS, "https://example.com", saves_method=True)
    result = it.result(command)
    assert isinstance(result, PurchaseResult)
    return it, command, result.purchase


def told(command: CompleteSandboxPayment, kind: str, detail: str, now: datetime) -> PaymentNotice:
    """What the sandbox has told of a payment, as it is kept."""
    return PaymentNotice(
        account_id=ACCOUNT,
        notice_id=notice_id_for("sandbox", command.operation_id, kind, command.purchase_id, ""),
        gateway="sandbox",
        gateway_event_id=command.operation_id,
        kind=PaymentNoticeKind(kind),
        purchase_id=command.purchase_id,
        currency=None,
        amount_minor_units=None,
        outcome=PaymentNoticeOutcome.APPLIED,
        detail=detail,
        times_received=1,
        receive_time=now,
    )


class TestPurchases:
    def test_starting_one_writes_it_with_the_pack_s_terms(self) -> None:
        it, command, purchase = started()
        assert purchase == Purchase(
            account_id=ACCOUNT,
            purchase_id=command.purchase_id,
            provider_id=PROVIDER,
            service="sms",
            pack_id="pck_1",
            pack_title="100 segments",
            credits=100,
            validity=HOUR,
            currency="EUR",
            price_minor_units=501,
            commission_minor_units=125,
            state=PurchaseState.PENDING,
            fingerprint=command.fingerprint,
            create_time=START,
            pay_time=None,
            origin=PurchaseOrigin.CUSTOMER,
            gateway="sandbox",
            gateway_reference="",
            checkout_url="",
            return_url="https://example.com",
            checkout_expire_time=START + timedelta(hours=24),
            saves_method=True,
        )
        assert it.written == [Changes(account=it.account, purchases=(purchase,))]
        assert it.account.update_time == START
        assert it.result(command) == PurchaseResult(purchase, replayed=True)
        assert it.written[1:] == [Changes()]

    @pytest.mark.parametrize(("validity", "expire_time"), [(HOUR, LATER), (None, None)])
    def test_paying_writes_the_grant_its_entry_the_money_and_the_record(
        self, validity: timedelta | None, expire_time: object
    ) -> None:
        it, _, purchase = started()
        purchase = replace(purchase, validity=validity)
        it.book.purchases[purchase.purchase_id] = purchase
        it.written.clear()
        before = it.account
        command = CompleteSandboxPayment(new_id(), ACCOUNT, purchase.purchase_id, succeeded=True)
        paid = replace(purchase, state=PurchaseState.PAID, pay_time=START, gateway_reference=command.operation_id)
        assert it.result(command) == PurchaseResult(paid)
        (changes,) = it.written
        (bought,) = changes.grants
        assert bought == Grant(
            account_id=ACCOUNT,
            grant_id=bought.grant_id,
            kind=GrantKind.PAID,
            priority=DEFAULT_PRIORITY,
            credits=100,
            remaining_credits=100,
            reserved_credits=0,
            expire_time=expire_time,  # type: ignore[arg-type]
            purchase_id=purchase.purchase_id,
            create_time=START,
        )
        assert changes == Changes(
            account=replace(before, ledger_credits=100, entry_count=1),
            grants=(bought,),
            entries=(issued(1, EntryKind.PURCHASE, 100, "100 segments", purchase.purchase_id),),
            purchases=(paid,),
            operations=(
                Operation(ACCOUNT, command.operation_id, "CompleteSandboxPayment", command.fingerprint, START),
            ),
            payment_notices=(told(command, "SUCCEEDED", "the purchase is paid", START),),
            payment_methods=(SavedPaymentMethod(ACCOUNT, "sandbox", f"sandbox:{ACCOUNT}", "sandbox", START),),
            events=(
                Event(
                    event_id=event_id_for("purchase.paid", purchase.purchase_id),
                    type=EventType.PURCHASE_PAID,
                    provider_id=PROVIDER,
                    customer_id=before.customer_id,
                    account_id=ACCOUNT,
                    data={
                        "purchase_id": purchase.purchase_id,
                        "pack_id": "pck_1",
                        "origin": "CUSTOMER",
                        "credits": 100,
                        "currency": "EUR",
                        "price_minor_units": 501,
                        "commission_minor_units": 125,
                        "provider_share_minor_units": 376,
                        "ledger_credits": 100,
                    },
                    time=START,
                    entry_count=1,
                ),
            ),
            journal_entries=(
                JournalEntry(
                    journal_entry_id=f"sale:{purchase.purchase_id}",
                    kind=JournalKind.SALE,
                    provider_id=PROVIDER,
                    purchase_id=purchase.purchase_id,
                    payout_id=None,
                    time=START,
                    postings=(
                        Posting("gateway_clearing", "EUR", 501),
                        Posting(f"provider_payable:{PROVIDER}", "EUR", -376),
                        Posting("commission", "EUR", -125),
                    ),
                ),
            ),
        )
        assert it.result(command) == PurchaseResult(paid, replayed=True)
        assert it.written[1:] == [Changes()]

    def test_a_failed_payment_writes_the_purchase_and_the_record(self) -> None:
        it, _, purchase = started()
        it.written.clear()
        before = it.account
        it.now = LATER
        command = CompleteSandboxPayment(new_id(), ACCOUNT, purchase.purchase_id, succeeded=False)
        failed = replace(purchase, state=PurchaseState.FAILED)
        assert it.result(command) == PurchaseResult(failed)
        operation = Operation(ACCOUNT, command.operation_id, "CompleteSandboxPayment", command.fingerprint, LATER)
        account = replace(before, update_time=LATER)
        notice = told(command, "FAILED", "the payment failed", LATER)
        assert it.written == [
            Changes(account=account, purchases=(failed,), operations=(operation,), payment_notices=(notice,))
        ]
        assert it.result(command) == PurchaseResult(failed, replayed=True)
