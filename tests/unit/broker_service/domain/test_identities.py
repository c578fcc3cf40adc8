"""Ids and fingerprints are part of what is stored: they must never come out differently."""

import pytest

from broker_service.domain.fingerprints import fingerprint
from broker_service.domain.identities import (
    account_id_for,
    account_id_within,
    purchase_id_for,
    reservation_id_for,
    shard_of,
)

REQUEST = "0b6f5b1e-7d5c-4d3e-9f1a-3c2b1a000000"


def test_ids_follow_from_their_request_and_stay_what_they_are() -> None:
    account_id = account_id_for("cus_c", REQUEST)
    assert account_id == "acc_0607bf97cb0eeadcd18283c5"
    assert reservation_id_for(account_id, "Reserve", REQUEST) == "rsv_0607bf97cb0eeadcd18283c5_d85c697a6b7d3fbbbb6bdfec"
    assert shard_of(account_id, 16) == 14
    assert shard_of(account_id, 1) == 0


def test_ids_of_different_scopes_differ() -> None:
    ids = {
        reservation_id_for("acc_" + "a" * 24, "Reserve", REQUEST),
        reservation_id_for("acc_" + "b" * 24, "Reserve", REQUEST),
        reservation_id_for("acc_" + "a" * 24, "Charge", REQUEST),
        purchase_id_for("acc_" + "a" * 24, REQUEST),
    }
    assert len({identity.split("_")[2] for identity in ids}) == 4


def test_an_id_carries_its_account() -> None:
    account_id = account_id_for("cus_c", REQUEST)
    assert account_id_within(reservation_id_for(account_id, "Reserve", REQUEST), "rsv") == account_id
    assert account_id_within(purchase_id_for(account_id, REQUEST), "pur") == account_id


@pytest.mark.parametrize("identity", ["", "rsv", "rsv_x_y", "pur_" + "a" * 24 + "_x", "rsv_" + "a" * 24, "rsv_a_b_c"])
def test_anything_else_carries_none(identity: str) -> None:
    assert account_id_within(identity, "rsv") is None


def test_fingerprints_stay_what_they_are_and_tell_types_apart() -> None:
    assert fingerprint(1, None, "a", {"b": "c"}) == "c4a3679d210ec8f5804a45333d21ed1f"
    assert len({fingerprint(1), fingerprint("1"), fingerprint(True), fingerprint(None), fingerprint("")}) == 5
    assert fingerprint({"a": "b", "c": "d"}) == fingerprint({"c": "d", "a": "b"})
    assert fingerprint("a", "b") != fingerprint("ab", "")


@pytest.mark.parametrize("letter", ["\0", "A", "g", "é", "😀"])
def test_an_id_with_a_letter_that_none_of_ours_has_carries_none(letter: str) -> None:
    assert account_id_within(f"rsv_{letter * 24}_{'a' * 24}", "rsv") is None
    assert account_id_within(f"rsv_{'a' * 24}_{letter * 24}", "rsv") is None
