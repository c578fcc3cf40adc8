"""RotateToken: another secret for an account."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import account_of
from broker_service.domain.commands import RotateToken
from broker_service.domain.errors import AccountNotFound, RequestIdReused
from broker_service.domain.records import Account, AccountToken, Operation


class TokenResult(Struct, frozen=True):
    """An account and all tokens it has had, as they stand after the command."""

    account: Account
    tokens: tuple[AccountToken, ...]
    replayed: bool = False


def decide_rotate_token(book: Book, command: RotateToken, now: datetime) -> tuple[Changes, TokenResult]:
    """Gives an account a token without expiry; those that work stop `overlap` from now, or earlier if they were to.

    A suspended account gets one too: a token that has leaked must be stopped all the same.
    """
    account = account_of(book)
    if account.customer_id != command.customer_id:
        raise AccountNotFound(account_id=account.account_id)
    first = book.operations.get(command.operation_id)
    if first is not None:
        if first.fingerprint != command.fingerprint:
            raise RequestIdReused(request_id=command.request_id, rpc="RotateAccountToken")
        replayed = not is_same_try(book, command.token_hash)
        return Changes(), TokenResult(account, tuple(book.account_tokens.values()), replayed)
    # Nothing can be refused from here on.
    end = now + command.overlap
    stopping = tuple(
        replace(token, expire_time=end)
        for token in book.account_tokens.values()
        if token.expire_time is None or token.expire_time > end
    )
    added = AccountToken(command.token_hash, account.account_id, create_time=now, expire_time=None)
    operation = Operation(account.account_id, command.operation_id, "RotateAccountToken", command.fingerprint, now)
    account = replace(account, update_time=now, token_epoch=account.token_epoch + 1)
    changed = (*stopping, added)
    tokens = {**book.account_tokens, **{token.token_hash: token for token in changed}}
    return (
        Changes(account=account, account_tokens=changed, operations=(operation,)),
        TokenResult(account, tuple(tokens.values())),
    )


def is_same_try(book: Book, token_hash: str) -> bool:
    """Tells whether a command that makes a token is the very try that made it, and not a later one.

    Each try makes another secret. If its hash is here already, the batch was committed, its answer was lost and it is
    run again; the caller has not seen the secret yet.
    """
    return token_hash in book.account_tokens
