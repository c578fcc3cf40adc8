"""Account tokens: rotated, replayed, and tried again after a commit whose answer was lost."""

from datetime import datetime, timedelta

import pytest
from msgspec.structs import replace

from broker_service.domain.accounts import AccountResult
from broker_service.domain.book import Book
from broker_service.domain.commands import OpenAccount, RotateToken
from broker_service.domain.decide import decide_batch
from broker_service.domain.errors import AccountNotFound, RequestIdReused
from broker_service.domain.records import AccountState, AccountToken, Balance
from broker_service.domain.tokens import TokenResult
from tests.unit.broker_service.domain.ledger_world import ACCOUNT, PROVIDER, START, TICK, World, new_id, world

DAY = timedelta(days=1)


def rotate(token_hash: str = "new", overlap: timedelta = timedelta(0), **changes: object) -> RotateToken:
    command = RotateToken(new_id(), ACCOUNT, "cus_c", overlap, token_hash)
    return replace(command, **changes)


def ask(it: World, command: RotateToken) -> TokenResult:
    result = it.result(command)
    assert isinstance(result, TokenResult)
    return result


def with_tokens(**expire_times: datetime | None) -> World:
    it = world()
    for name, expire_time in expire_times.items():
        it.book.account_tokens[name] = AccountToken(name, ACCOUNT, START, expire_time)
    return it


def ends(it: World) -> dict[str, datetime | None]:
    return {name: token.expire_time for name, token in it.book.account_tokens.items()}


def test_the_new_token_works_for_ever_and_the_old_one_stops_at_once() -> None:
    it = with_tokens(old=None)
    it.now += DAY
    result = ask(it, rotate())
    assert ends(it) == {"old": START + DAY, "new": None}
    assert it.book.account_tokens["new"].create_time == START + DAY
    assert (result.replayed, result.account) == (False, it.account)
    assert {token.token_hash: token for token in result.tokens} == it.book.account_tokens


@pytest.mark.parametrize("overlap", [TICK, DAY, 30 * DAY])
def test_the_old_token_goes_on_for_the_overlap(overlap: timedelta) -> None:
    it = with_tokens(old=None)
    ask(it, rotate(overlap=overlap))
    assert ends(it) == {"old": START + overlap, "new": None}


def test_a_token_that_stops_earlier_or_has_stopped_is_left_alone() -> None:
    it = with_tokens(
        stopped=START - DAY, now=START, soon=START + DAY, then=START + 2 * DAY, later=START + 3 * DAY, never=None
    )
    ask(it, rotate(overlap=2 * DAY))
    assert ends(it) == {
        "stopped": START - DAY,
        "now": START,
        "soon": START + DAY,
        "then": START + 2 * DAY,
        "later": START + 2 * DAY,
        "never": START + 2 * DAY,
        "new": None,
    }
    assert [token.token_hash for token in it.written[-1].account_tokens] == ["later", "never", "new"]


def test_rotating_moves_no_credits() -> None:
    it = with_tokens(old=None)
    before = it.account
    ask(it, rotate())
    assert (it.account, it.entries) == (replace(before, token_epoch=1), [])


def test_a_rotation_is_a_change_of_the_account_that_time_does_not_run_back_behind() -> None:
    it = with_tokens(old=None)
    it.now += DAY
    result = ask(it, rotate("first"))
    assert it.account.update_time == result.account.update_time == START + DAY
    it.now = START
    ask(it, rotate("second"))
    assert it.book.account_tokens["second"].create_time == START + DAY


def test_another_try_gets_no_secret_and_makes_no_token() -> None:
    it = with_tokens(old=None)
    command = rotate("first", DAY)
    ask(it, command)
    before = dict(it.book.account_tokens)
    again = ask(it, replace(command, token_hash="second"))
    assert again.replayed
    assert (it.book.account_tokens, it.account.token_epoch) == (before, 1)


def test_two_tries_in_one_batch_make_one_token() -> None:
    it = with_tokens(old=None)
    command = rotate("first")
    it.decide(command, replace(command, token_hash="second"))
    assert ends(it) == {"old": START, "first": None}


def test_the_very_same_try_run_again_still_shows_its_secret() -> None:
    it = with_tokens(old=None)
    command = rotate()
    ask(it, command)
    written = len(it.written)
    it.now += DAY
    again = ask(it, command)
    assert not again.replayed
    assert {token.token_hash for token in again.tokens} == {"old", "new"}
    assert all(changes.account_tokens == () for changes in it.written[written:])


def test_another_overlap_under_the_same_id_is_refused() -> None:
    it = with_tokens(old=None)
    command = rotate()
    ask(it, command)
    for token_hash in ("new", "other"):
        with pytest.raises(RequestIdReused) as refusal:
            ask(it, replace(command, overlap=TICK, token_hash=token_hash))
    assert refusal.value.facts["rpc"] == "RotateAccountToken"


def test_a_second_rotation_stops_the_first_one_s_token() -> None:
    it = with_tokens(old=None)
    ask(it, rotate("first", 2 * DAY))
    ask(it, rotate("second", DAY))
    assert ends(it) == {"old": START + DAY, "first": START + DAY, "second": None}


def test_a_suspended_account_can_stop_a_token_that_has_leaked() -> None:
    it = with_tokens(old=None)
    it.book.account = replace(it.account, state=AccountState.SUSPENDED)
    ask(it, rotate())
    assert ends(it)["old"] == START


def test_an_unknown_or_another_customer_s_account_is_not_found() -> None:
    (outcome,) = decide_batch({ACCOUNT: Book(ACCOUNT)}, [rotate()], START).outcomes
    assert isinstance(outcome, AccountNotFound)
    with pytest.raises(AccountNotFound):
        ask(with_tokens(old=None), rotate(customer_id="cus_other"))


def test_opening_an_account_run_again_by_the_very_same_try_still_shows_its_secret() -> None:
    it = World(Book(ACCOUNT))
    command = OpenAccount(
        request_id=new_id(),
        account_id=ACCOUNT,
        customer_id="cus_c",
        provider_id=PROVIDER,
        service="sms",
        service_retired=False,
        trial_credits=5,
        token_hash="mine",
    )
    outcomes = [it.result(replace(command, token_hash=token_hash)) for token_hash in ("mine", "mine", "another try's")]
    assert [outcome.replayed for outcome in outcomes if isinstance(outcome, AccountResult)] == [False, False, True]
    assert (it.balance, list(it.book.account_tokens)) == (Balance(5, 0), ["mine"])
