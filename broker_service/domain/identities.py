"""Ids that follow from what they name.

A resource made under a request_id gets its id from that request_id and its scope. So a retry finds what the first
try made by primary key, and no second record of the request is needed. The ids of what belongs to an account carry that
account, so they are unique in its shard and neighbours in an index; and an account's shard follows from its id.
"""

import hashlib
import re
from zlib import crc32

_DIGEST_BYTES = 12
# Of what belongs to an account: kind, account, and what it is by itself.
_WITHIN_ACCOUNT = re.compile(r"([a-z]{3})_([0-9a-f]{24})_[0-9a-f]{24}")


def derived_suffix(*scope: str) -> str:
    """Returns 24 hexadecimal digits (96 bits) that follow from the scope's parts."""
    return hashlib.blake2b("\0".join(scope).encode(), digest_size=_DIGEST_BYTES).hexdigest()


def account_id_for(customer_id: str, request_id: str) -> str:
    """Returns the id of the account that this OpenAccount makes."""
    return f"acc_{derived_suffix('OpenAccount', customer_id, request_id)}"


def reservation_id_for(account_id: str, rpc: str, request_id: str) -> str:
    """Returns the id of the reservation that this Reserve or Charge makes."""
    return f"rsv_{account_id[4:]}_{derived_suffix(rpc, account_id, request_id)}"


def purchase_id_for(account_id: str, request_id: str) -> str:
    """Returns the id of the purchase that this CreatePurchase makes."""
    return f"pur_{account_id[4:]}_{derived_suffix('CreatePurchase', account_id, request_id)}"


def purchase_refund_id_for(account_id: str, cause: str, cause_id: str) -> str:
    """Returns the id of the return of money that a RefundPurchase's request or a purchase's chargeback is."""
    return f"rfd_{account_id[4:]}_{derived_suffix(cause, account_id, cause_id)}"


def notice_id_for(gateway: str, gateway_event_id: str, *scope: str) -> str:
    """Returns the id of what a gateway tells in one of its events.

    `scope` is what it tells of, so that events that share an id, against all custom, are not taken for each other.
    """
    return f"ntc_{derived_suffix('notice', gateway, gateway_event_id, *scope)}"


def event_id_for(event_type: str, cause_id: str) -> str:
    """Returns the id of the event that something causes."""
    return f"evt_{derived_suffix('event', event_type, cause_id)}"


def account_id_within(identity: str, prefix: str) -> str | None:
    """Returns the account that an id carries; None if it is no such id.

    `prefix` is a reservation's (`rsv`), a purchase's (`pur`) or a purchase refund's (`rfd`).
    """
    parsed = _WITHIN_ACCOUNT.fullmatch(identity)
    return f"acc_{parsed[2]}" if parsed is not None and parsed[1] == prefix else None


def operation_id_for(account_id: str, rpc: str, request_id: str) -> str:
    """Returns the id of the record of a request that makes nothing, such as Capture or Release."""
    return f"ope_{account_id[4:]}_{derived_suffix(rpc, account_id, request_id)}"


def payout_id_for(provider_id: str, request_id: str) -> str:
    """Returns the id of the payout that this CreatePayout makes."""
    return f"pay_{derived_suffix('CreatePayout', provider_id, request_id)}"


def resolution_id_for(payout_id: str, rpc: str, request_id: str) -> str:
    """Returns the id under which a payout remembers the request that resolved it."""
    return f"res_{derived_suffix(rpc, payout_id, request_id)}"


def grant_id_for(source: str) -> str:
    """Returns the id of the grant that comes from `source`, such as a purchase's id."""
    return f"grt_{derived_suffix('grant', source)}"


def webhook_id_for(owner: str, rpc: str, request_id: str = "") -> str:
    """Returns the id of the webhook that this CreateWebhook, or this account's SetLowBalanceAlert, makes."""
    return f"whk_{derived_suffix(rpc, owner, request_id)}"


def shard_of(account_id: str, shards: int) -> int:
    """Returns the shard an account lives in, 0 … shards − 1. Never changes for a given number of shards."""
    return crc32(account_id.encode()) % shards
