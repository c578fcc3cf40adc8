"""Making, listing and ending webhooks, and the alerts of accounts."""

from functools import partial
from typing import Final

from broker_service.domain.commands import SetLowBalanceAlert
from broker_service.domain.fingerprints import fingerprint
from broker_service.domain.identities import webhook_id_for
from broker_service.domain.low_balance_alerts import AlertResult
from broker_service.domain.records import EventType
from broker_service.domain.webhooks import Audience, Webhook, WebhookHealth, WebhookOwner
from broker_service.engine.clock import Clock
from broker_service.engine.committer import Committer
from broker_service.engine.secrets import SecretSource, random_secret
from broker_service.engine.webhook_addresses import WebhookAddresses
from broker_service.engine.writing import write_with_retries
from broker_service.storage import webhooks as rows
from broker_service.storage.database import Database

SIGNING_SECRET_PREFIX: Final = "iap_whs"  # noqa: S105 - a prefix, not a secret


class Webhooks:
    """An owner's webhooks; an account's goes with its low-balance alert."""

    def __init__(
        self,
        database: Database,
        committer: Committer,
        addresses: WebhookAddresses,
        clock: Clock,
        *,
        new_secret: SecretSource = random_secret,
    ) -> None:
        self._database = database
        self._committer = committer
        self._addresses = addresses
        self._clock = clock
        self._new_secret = new_secret

    async def create(
        self, audience: Audience, *, request_id: str, url: str, types: tuple[EventType, ...]
    ) -> tuple[Webhook, WebhookHealth, bool]:
        """Makes a webhook; returns it, how it is doing, and whether the request was a replay.

        A replay is answered whatever has become of the URL's host. Raises InvalidField, RequestIdReused.
        """
        owner_role = WebhookOwner(audience.role.value)
        wanted = Webhook(
            webhook_id=webhook_id_for(f"{owner_role} {audience.owner_id}", "CreateWebhook", request_id),
            owner_role=owner_role,
            owner_id=audience.owner_id,
            url=url,
            types=types,
            signing_secret=self._new_secret(SIGNING_SECRET_PREFIX),
            fingerprint=fingerprint(url, *types),
            create_time=self._clock(),
        )
        self._addresses.check_form(url, "url")
        made = await self._database.read(partial(rows.webhook_made_before, wanted=wanted, request_id=request_id))
        if made is None:
            await self._addresses.check(url, "url")
        add = partial(rows.add_webhook, wanted=wanted, request_id=request_id)
        webhook, replayed = await write_with_retries(self._database, add)
        health = await self._database.read(partial(rows.health_of, webhook_id=webhook.webhook_id))
        return webhook, health, replayed

    async def webhooks_after(
        self, audience: Audience, after_id: str, limit: int
    ) -> list[tuple[Webhook, WebhookHealth]]:
        """Returns an owner's webhooks behind an id, by their ids, and how each is doing."""
        return await self._database.read(
            partial(
                rows.webhooks_after,
                owner_role=WebhookOwner(audience.role.value),
                owner_id=audience.owner_id,
                after_id=after_id,
                limit=limit,
            )
        )

    async def delete(self, audience: Audience, webhook_id: str) -> None:
        """Ends a webhook, with what it still had to deliver. Raises WebhookNotFound."""
        await write_with_retries(
            self._database,
            partial(
                rows.delete_webhook,
                owner_role=WebhookOwner(audience.role.value),
                owner_id=audience.owner_id,
                webhook_id=webhook_id,
            ),
        )

    async def set_low_balance_alert(
        self, *, account_id: str, customer_id: str, threshold_credits: int, webhook_url: str
    ) -> AlertResult:
        """Sets an account's alert; returns it as it then stands. Raises InvalidField, AccountNotFound."""
        if webhook_url:
            await self._addresses.check(webhook_url, "webhook_url")
        return await self._committer.execute(
            SetLowBalanceAlert(
                account_id=account_id,
                customer_id=customer_id,
                threshold_credits=threshold_credits,
                webhook_url=webhook_url,
                signing_secret=self._new_secret(SIGNING_SECRET_PREFIX),
            )
        )
