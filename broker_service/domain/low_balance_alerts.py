"""SetLowBalanceAlert: from which balance on a customer is told, and where."""

from datetime import datetime

from msgspec import Struct
from msgspec.structs import replace

from broker_service.domain.book import Book, Changes
from broker_service.domain.checks import account_of
from broker_service.domain.commands import SetLowBalanceAlert
from broker_service.domain.errors import AccountNotFound
from broker_service.domain.records import EventType
from broker_service.domain.webhooks import Webhook, WebhookOwner


class AlertResult(Struct, frozen=True):
    """An account's alert as it stands after the command; without a URL there is no secret."""

    account_id: str
    threshold_credits: int
    webhook_url: str
    signing_secret: str
    replayed: bool = False


def decide_set_low_balance_alert(book: Book, command: SetLowBalanceAlert, now: datetime) -> tuple[Changes, AlertResult]:
    """Sets an account's threshold, and its webhook along with it; done twice, it changes nothing.

    A URL that stays keeps its secret. A threshold of 0 ends the webhook.
    """
    account = account_of(book)
    if account.customer_id != command.customer_id:
        raise AccountNotFound(account_id=account.account_id)
    # Nothing can be refused from here on.
    webhook = _webhook_after(book.webhooks.get(command.webhook_id), command, now)
    changes = Changes(
        webhooks=() if webhook is None or webhook is book.webhooks.get(webhook.webhook_id) else (webhook,)
    )
    if changes.webhooks or account.low_balance_credits != command.threshold_credits:
        account = replace(account, low_balance_credits=command.threshold_credits, update_time=now)
        changes = replace(changes, account=account)
    return changes, AlertResult(
        account.account_id,
        command.threshold_credits,
        webhook_url="" if webhook is None else webhook.url,
        signing_secret="" if webhook is None else webhook.signing_secret,
    )


def _webhook_after(kept: Webhook | None, command: SetLowBalanceAlert, now: datetime) -> Webhook | None:
    """Returns the account's webhook as it shall be; `kept` itself if it need not change."""
    url = command.webhook_url if command.threshold_credits else ""
    if kept is None and not url:
        return None
    if kept is not None and kept.url == url:
        return kept
    return Webhook(
        command.webhook_id,
        WebhookOwner.ACCOUNT,
        command.account_id,
        url,
        (EventType.BALANCE_LOW,),
        signing_secret=command.signing_secret if url else "",
        fingerprint="",
        create_time=now,
    )
