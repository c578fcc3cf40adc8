"""What can be wrong with the rows of a broker, as SQL for both kinds of database, and the rule that each breaks."""

MOST = 2**63 - 1
LEAST = -(2**63)

_LAST_CAPTURE = (
    "kind = 'CAPTURE' AND sequence = (SELECT max(e.sequence) FROM entries AS e WHERE e.kind = 'CAPTURE'"
    " AND e.account_id = entries.account_id)"
)

ACCOUNTS = {
    "UPDATE accounts SET ledger_credits = ledger_credits + 1": {
        "LEDGER_IS_SUM_OF_ENTRIES",
        "LEDGER_IS_SUM_OF_GRANTS",
        "BOOKS_SUM_TO_ZERO",
    },
    "UPDATE accounts SET reserved_credits = reserved_credits - 1": {
        "RESERVED_IS_SUM_OF_GRANTS",
        "RESERVED_IS_SUM_OF_RESERVATIONS",
    },
    "UPDATE accounts SET reserved_credits = -1": {"ACCOUNT_IN_RANGE"},
    "UPDATE accounts SET reserved_credits = ledger_credits + 1": {"ACCOUNT_IN_RANGE"},
    "UPDATE accounts SET entry_count = entry_count + 1": {"ENTRY_COUNT"},
    "UPDATE accounts SET update_time = 0": {"TIME_NEVER_BACKWARDS"},
    "DELETE FROM accounts": {"ACCOUNT_EXISTS", "BOOKS_SUM_TO_ZERO"},
    "UPDATE accounts SET account_id = 'x' || account_id": {"ACCOUNT_EXISTS", "LEDGER_IS_SUM_OF_ENTRIES"},
    f"UPDATE accounts SET ledger_credits = {MOST}": {"LEDGER_IS_SUM_OF_ENTRIES"},
    f"UPDATE accounts SET ledger_credits = {LEAST}": {"ACCOUNT_IN_RANGE"},
}

ENTRIES = {
    "DELETE FROM entries WHERE sequence = 2": {
        "SEQUENCE_GAPLESS",
        "RUNNING_TOTAL",
        "LEDGER_IS_SUM_OF_ENTRIES",
        "ENTRY_COUNT",
        "BOOKS_SUM_TO_ZERO",
    },
    "DELETE FROM entries": {"LEDGER_IS_SUM_OF_ENTRIES", "ENTRY_COUNT", "GRANT_IS_ENTERED"},
    "UPDATE entries SET ledger_credits_after = ledger_credits_after + 1 WHERE sequence = 2": {"RUNNING_TOTAL"},
    "UPDATE entries SET ledger_credits_after = -1 WHERE sequence = 2": {"RUNNING_TOTAL", "LEDGER_NOT_NEGATIVE"},
    "UPDATE entries SET sequence = sequence + 100 WHERE sequence = 5": {"SEQUENCE_GAPLESS"},
    "UPDATE entries SET sequence = 0 WHERE sequence = 1": {"SEQUENCE_GAPLESS"},
    "UPDATE entries SET time = 0 WHERE sequence = 2": {"TIME_NEVER_BACKWARDS"},
    f"UPDATE entries SET kind = 'REFUND' WHERE {_LAST_CAPTURE}": {
        "DIRECTION_OF_KIND",
        "CAPTURED_IS_SUM_OF_ENTRIES",
        "REFUNDED_IS_SUM_OF_ENTRIES",
    },
    "UPDATE entries SET kind = 'NONSENSE' WHERE kind = 'EXPIRY'": {"COUNTERPART_OF_KIND"},
    "UPDATE entries SET counterpart = 'expired' WHERE kind = 'CAPTURE'": {"COUNTERPART_OF_KIND"},
    "UPDATE entries SET counterpart = 'nobody' WHERE kind = 'CAPTURE'": {"COUNTERPART_OF_KIND", "BOOKS_SUM_TO_ZERO"},
    "UPDATE entries SET credits = -credits WHERE kind = 'TRIAL'": {"DIRECTION_OF_KIND", "GRANT_IS_ENTERED"},
    "UPDATE entries SET credits = 0 WHERE kind = 'EXPIRY'": {"DIRECTION_OF_KIND", "RUNNING_TOTAL"},
    f"UPDATE entries SET credits = {MOST}": {"RUNNING_TOTAL", "LEDGER_IS_SUM_OF_ENTRIES", "DIRECTION_OF_KIND"},
    f"UPDATE entries SET credits = {LEAST}": {"RUNNING_TOTAL", "LEDGER_IS_SUM_OF_ENTRIES", "DIRECTION_OF_KIND"},
    f"UPDATE entries SET ledger_credits_after = {MOST}": {"RUNNING_TOTAL"},
    "UPDATE entries SET reservation_id = NULL WHERE kind = 'CAPTURE'": {
        "ENTRY_NAMES_ITS_CAUSE",
        "CAPTURED_IS_SUM_OF_ENTRIES",
    },
    "UPDATE entries SET purchase_id = NULL WHERE kind = 'PURCHASE'": {"ENTRY_NAMES_ITS_CAUSE", "GRANT_IS_ENTERED"},
    "UPDATE entries SET reservation_id = (SELECT min(reservation_id) FROM reservations WHERE state = 'RELEASED')"
    " WHERE kind = 'CAPTURE'": {"CAPTURED_IS_SUM_OF_ENTRIES"},
    "UPDATE entries SET reservation_id = 'rsv_none' WHERE kind = 'REFUND'": {
        "RESERVATION_EXISTS",
        "REFUNDED_IS_SUM_OF_ENTRIES",
    },
    "UPDATE entries SET account_id = 'acc_none' WHERE account_id = (SELECT min(account_id) FROM accounts)": {
        "ACCOUNT_EXISTS",
        "ENTRY_COUNT",
    },
    "UPDATE entries SET account_id = '' WHERE sequence = 5 AND account_id = (SELECT min(account_id) FROM accounts)": {
        "ACCOUNT_EXISTS"
    },
    "UPDATE entries SET account_id = 'z' WHERE sequence = 5 AND account_id = (SELECT min(account_id) FROM accounts)": {
        "ACCOUNT_EXISTS"
    },
    "UPDATE entries SET shard_id = 1 - shard_id": {"ACCOUNT_EXISTS", "ENTRY_COUNT"},
}

RESERVATIONS = {
    "DELETE FROM reservations WHERE state = 'CAPTURED'": {"RESERVATION_EXISTS"},
    "DELETE FROM reservations WHERE state = 'ACTIVE'": {"GRANT_RESERVED", "RESERVED_IS_SUM_OF_RESERVATIONS"},
    "UPDATE reservations SET captured_credits = captured_credits - 1 WHERE state = 'CAPTURED'": {
        "CAPTURED_IS_SUM_OF_ENTRIES",
        "CAPTURED_IS_SUM_OF_ALLOCATIONS",
        "RESOLVED_ONCE",
    },
    "UPDATE reservations SET reserved_credits = reserved_credits + 1 WHERE state = 'ACTIVE'": {
        "RESERVED_IS_SUM_OF_ALLOCATIONS",
        "RESERVED_IS_SUM_OF_RESERVATIONS",
    },
    "UPDATE reservations SET refunded_credits = refunded_credits - 1 WHERE refunded_credits > 0": {
        "REFUNDED_IS_SUM_OF_ENTRIES",
        "REFUNDED_IS_SUM_OF_ALLOCATIONS",
    },
    "UPDATE reservations SET refunded_credits = captured_credits + 1": {"RESERVATION_IN_RANGE"},
    "UPDATE reservations SET released_credits = -1": {"RESERVATION_IN_RANGE"},
    "UPDATE reservations SET released_credits = reserved_credits + 1": {"RESERVATION_IN_RANGE"},
    "UPDATE reservations SET released_credits = released_credits - 1 WHERE state = 'RELEASED'": {"RESOLVED_ONCE"},
    "UPDATE reservations SET state = 'RELEASED' WHERE state = 'ACTIVE'": {
        "RESOLVED_ONCE",
        "RESOLVE_TIME",
        "GRANT_RESERVED",
        "RESERVED_IS_SUM_OF_RESERVATIONS",
    },
    "UPDATE reservations SET state = 'NONSENSE'": {"STATE_KNOWN"},
    "UPDATE reservations SET resolve_time = NULL WHERE state <> 'ACTIVE'": {"RESOLVE_TIME"},
    "UPDATE reservations SET resolve_time = create_time WHERE state = 'ACTIVE'": {"RESOLVE_TIME"},
    "UPDATE reservations SET resolve_time = 0 WHERE state <> 'ACTIVE'": {"RESERVATION_TIMES"},
    "UPDATE reservations SET expire_time = 0": {"RESERVATION_TIMES"},
    "UPDATE reservations SET expire_time = expire_time + 1 WHERE state = 'EXPIRED'": {"RESERVATION_TIMES"},
    "UPDATE reservations SET account_id = 'acc_none' WHERE state = 'ACTIVE'": {"ACCOUNT_EXISTS", "ID_NAMES_ACCOUNT"},
    "UPDATE reservations SET account_id = (SELECT max(account_id) FROM accounts)": {"ID_NAMES_ACCOUNT", "GRANT_EXISTS"},
    "UPDATE reservations SET shard_id = 1 - shard_id": {"ACCOUNT_EXISTS", "RESERVATION_EXISTS"},
    f"UPDATE reservations SET reserved_credits = {MOST}": {"RESERVED_IS_SUM_OF_ALLOCATIONS", "RESOLVED_ONCE"},
    f"UPDATE reservations SET captured_credits = {MOST}, released_credits = {MOST}": {"RESERVATION_IN_RANGE"},
    f"UPDATE reservations SET captured_credits = {LEAST}, released_credits = {LEAST}": {"RESERVATION_IN_RANGE"},
    f"UPDATE reservations SET reserved_credits = {LEAST}": {"RESERVATION_IN_RANGE"},
}

_ALLOCATIONS = {
    "": {"ALLOCATIONS_READABLE"},
    "nonsense": {"ALLOCATIONS_READABLE"},
    "[": {"ALLOCATIONS_READABLE"},
    "null": {"ALLOCATIONS_READABLE"},
    "7": {"ALLOCATIONS_READABLE"},
    '{"grt_x": [1, 0, 0]}': {"ALLOCATIONS_READABLE"},
    "[7]": {"ALLOCATIONS_READABLE"},
    "[[]]": {"ALLOCATIONS_READABLE"},
    '[["grt_x",1,0]]': {"ALLOCATIONS_READABLE"},
    '[["grt_x",1,0,0,0]]': {"ALLOCATIONS_READABLE"},
    '[["grt_x",1,"0",0]]': {"ALLOCATIONS_READABLE"},
    '[["grt_x",1,0.5,0]]': {"ALLOCATIONS_READABLE"},
    "[[7,1,0,0]]": {"ALLOCATIONS_READABLE"},
    "[]": {"RESERVED_IS_SUM_OF_ALLOCATIONS"},
    '[["grt_none",1,0,0]]': {"GRANT_EXISTS", "RESERVED_IS_SUM_OF_ALLOCATIONS"},
    '[["grt_none",1,2,0]]': {"ALLOCATION_IN_RANGE"},
    '[["grt_none",1,0,1]]': {"ALLOCATION_IN_RANGE"},
    '[["grt_none",1,-1,-2]]': {"ALLOCATION_IN_RANGE"},
    f'[["grt_none",{10**18 - 1},{10**18 - 1},0],["grt_none",{10**18 - 1},0,0]]': {"RESERVED_IS_SUM_OF_ALLOCATIONS"},
}
RESERVATIONS |= {f"UPDATE reservations SET allocations = '{text}'": rules for text, rules in _ALLOCATIONS.items()}

GRANTS = {
    "UPDATE grants SET remaining_credits = remaining_credits - 1 WHERE expire_time IS NULL": {
        "LEDGER_IS_SUM_OF_GRANTS",
        "GRANT_REMAINING",
    },
    "UPDATE grants SET credits = credits + 1 WHERE kind = 'TRIAL'": {"GRANT_REMAINING", "GRANT_IS_ENTERED"},
    "UPDATE grants SET credits = credits - 1 WHERE kind = 'PROMOTIONAL'": {"GRANT_REMAINING", "GRANT_IS_ENTERED"},
    "UPDATE grants SET reserved_credits = reserved_credits - 1 WHERE reserved_credits > 0": {
        "GRANT_RESERVED",
        "RESERVED_IS_SUM_OF_GRANTS",
    },
    "UPDATE grants SET reserved_credits = -1": {"GRANT_IN_RANGE"},
    "UPDATE grants SET reserved_credits = remaining_credits + 1": {"GRANT_IN_RANGE"},
    "UPDATE grants SET remaining_credits = credits + 1": {"GRANT_IN_RANGE"},
    f"UPDATE grants SET remaining_credits = {MOST}, credits = {LEAST}": {"GRANT_IN_RANGE", "LEDGER_IS_SUM_OF_GRANTS"},
    "UPDATE grants SET spent = NOT spent": {"GRANT_SPENT"},
    "UPDATE grants SET kind = 'NONSENSE' WHERE kind = 'TRIAL'": {"GRANT_KIND", "GRANT_IS_ENTERED"},
    "UPDATE grants SET kind = 'PROMOTIONAL' WHERE kind = 'PAID'": {"GRANT_KIND", "GRANT_IS_ENTERED"},
    "UPDATE grants SET kind = 'PROMOTIONAL' WHERE kind = 'TRIAL'": {"GRANT_IS_ENTERED"},
    "UPDATE grants SET revoked = (1 = 1)": {"GRANT_REVOKED"},
    "UPDATE grants SET revoked = (1 = 0)": {"GRANT_REVOKED"},
    "UPDATE grants SET purchase_id = 'pur_none' WHERE kind = 'PAID'": {"PURCHASE_IS_GRANTED", "GRANT_IS_ENTERED"},
    "DELETE FROM grants WHERE reserved_credits > 0": {
        "PURCHASE_IS_GRANTED",
        "GRANT_EXISTS",
        "GRANT_IS_ENTERED",
        "LEDGER_IS_SUM_OF_GRANTS",
        "RESERVED_IS_SUM_OF_GRANTS",
    },
    "UPDATE grants SET account_id = 'acc_none'": {"ACCOUNT_EXISTS", "GRANT_EXISTS"},
    "UPDATE grants SET shard_id = 1 - shard_id": {"ACCOUNT_EXISTS", "LEDGER_IS_SUM_OF_GRANTS"},
}

OPERATIONS = {
    "UPDATE operations SET account_id = 'acc_none'": {"ACCOUNT_EXISTS", "ID_NAMES_ACCOUNT"},
    "UPDATE operations SET operation_id = 'ope_' || operation_id": {"ID_NAMES_ACCOUNT"},
    "UPDATE operations SET captured_credits = -1": {"OPERATION_IN_RANGE"},
    "UPDATE operations SET shard_id = 1 - shard_id": {"ACCOUNT_EXISTS"},
}

# So many that one page of the audit names each of them.
_FIRST_MOVEMENTS = (
    "journal_entry_id IN (SELECT journal_entry_id FROM journal_entries ORDER BY journal_entry_id LIMIT 20)"
)

MONEY = {
    "UPDATE purchases SET state = 'FAILED' WHERE state = 'PAID'": {"PURCHASE_IS_GRANTED", "SALE_IS_BOOKED"},
    "UPDATE purchases SET state = 'PAID' WHERE state = 'FAILED'": {"PURCHASE_IS_GRANTED", "PAID_AT_A_TIME"},
    "UPDATE purchases SET state = 'NONSENSE'": {"STATE_KNOWN"},
    "UPDATE purchases SET credits = credits + 1 WHERE state = 'PAID'": {"PURCHASE_IS_GRANTED"},
    "UPDATE purchases SET pay_time = NULL": {"PAID_AT_A_TIME"},
    "UPDATE purchases SET commission_minor_units = price_minor_units + 1": {"COMMISSION_IN_RANGE", "SALE_IS_BOOKED"},
    "UPDATE purchases SET commission_minor_units = 0": {"SALE_IS_BOOKED"},
    "UPDATE purchases SET account_id = 'acc_none'": {"ACCOUNT_EXISTS", "ID_NAMES_ACCOUNT", "PURCHASE_IS_GRANTED"},
    "DELETE FROM purchases": {"PURCHASE_IS_GRANTED", "SALE_IS_BOOKED", "REFUND_OF_A_SALE"},
    "UPDATE purchases SET chargeback_told = (1 = 1)": {"CHARGEBACK_APPLIED"},
    "UPDATE purchases SET origin = 'NONSENSE'": {"STATE_KNOWN"},
    f"UPDATE journal_postings SET amount_minor_units = amount_minor_units + 1 WHERE line = 1 AND {_FIRST_MOVEMENTS}": {
        "JOURNAL_SUMS_TO_ZERO"
    },
    f"UPDATE journal_postings SET currency = 'USD' WHERE line = 1 AND {_FIRST_MOVEMENTS}": {"JOURNAL_SUMS_TO_ZERO"},
    f"UPDATE journal_postings SET amount_minor_units = {MOST} WHERE {_FIRST_MOVEMENTS}": {"JOURNAL_SUMS_TO_ZERO"},
    f"DELETE FROM journal_postings WHERE line = 2 AND {_FIRST_MOVEMENTS}": {"JOURNAL_SUMS_TO_ZERO"},
    "DELETE FROM journal_postings": {"SALE_IS_BOOKED"},
    f"DELETE FROM journal_entries WHERE {_FIRST_MOVEMENTS}": {"JOURNAL_ENTRY_EXISTS"},
    "UPDATE journal_entries SET kind = 'NONSENSE'": {"JOURNAL_KIND"},
    "UPDATE journal_entries SET purchase_id = 'pur_none'": {"SALE_IS_BOOKED"},
    "UPDATE journal_postings SET amount_minor_units = amount_minor_units * 2": {"SALE_IS_BOOKED"},
    "UPDATE journal_postings SET money_account = 'provider_payable:prv_other'"
    " WHERE money_account LIKE 'provider_payable%'": {"SALE_IS_BOOKED"},
}

PAYOUTS = {
    "UPDATE payouts SET amount_minor_units = amount_minor_units + 1": {"PAYOUT_IS_BOOKED"},
    f"UPDATE payouts SET amount_minor_units = {MOST}": {"PAYOUT_IS_BOOKED"},
    "UPDATE payouts SET amount_minor_units = 0": {"PAYOUT_IN_RANGE", "PAYOUT_IS_BOOKED"},
    "UPDATE payouts SET currency = 'USD'": {"PAYOUT_IS_BOOKED"},
    "UPDATE payouts SET provider_id = 'prv_none'": {"PROVIDER_EXISTS", "PAYOUT_IS_BOOKED"},
    "UPDATE payouts SET state = 'NONSENSE'": {"STATE_KNOWN", "PAYOUT_IS_BOOKED"},
    "UPDATE payouts SET state = 'PAID' WHERE state = 'FAILED'": {"PAYOUT_IS_BOOKED"},
    "UPDATE payouts SET state = 'FAILED' WHERE state = 'PAID'": {"PAYOUT_IS_BOOKED"},
    "UPDATE payouts SET state = 'IN_TRANSIT' WHERE state = 'PAID'": {"PAYOUT_RESOLUTION", "PAYOUT_IS_BOOKED"},
    "UPDATE payouts SET state = 'PAID' WHERE state = 'IN_TRANSIT'": {"PAYOUT_RESOLUTION"},
    "UPDATE payouts SET resolve_time = NULL WHERE state = 'PAID'": {"PAYOUT_RESOLUTION", "PAYOUT_IS_BOOKED"},
    "UPDATE payouts SET resolve_time = create_time WHERE state = 'IN_TRANSIT'": {"PAYOUT_RESOLUTION"},
    "UPDATE payouts SET resolution_id = NULL WHERE state = 'FAILED'": {"PAYOUT_RESOLUTION"},
    "UPDATE payouts SET resolution_fingerprint = NULL WHERE state = 'FAILED'": {"PAYOUT_RESOLUTION"},
    "UPDATE payouts SET resolution_id = 'res_none' WHERE state = 'IN_TRANSIT'": {"PAYOUT_RESOLUTION"},
    "UPDATE payouts SET resolve_time = 0 WHERE state <> 'IN_TRANSIT'": {"PAYOUT_TIMES", "PAYOUT_IS_BOOKED"},
    "UPDATE payouts SET create_time = create_time - 1": {"PAYOUT_IS_BOOKED"},
    "DELETE FROM payouts": {"PAYOUT_IS_BOOKED"},
    "DELETE FROM payouts WHERE state = 'IN_TRANSIT'": {"PAYOUT_IS_BOOKED"},
    "UPDATE payouts SET payout_id = 'x' || payout_id": {"PAYOUT_IS_BOOKED"},
    "DELETE FROM journal_entries WHERE kind = 'PAYOUT_PAID'": {"PAYOUT_IS_BOOKED", "JOURNAL_ENTRY_EXISTS"},
    "UPDATE journal_entries SET kind = 'PAYOUT_FAILED' WHERE kind = 'PAYOUT_PAID'": {"PAYOUT_IS_BOOKED"},
    "UPDATE journal_entries SET kind = 'PAYOUT' WHERE kind = 'SALE'": {"PAYOUT_IS_BOOKED"},
    "UPDATE journal_entries SET kind = 'SALE' WHERE kind = 'PAYOUT'": {"PAYOUT_IS_BOOKED", "SALE_IS_BOOKED"},
    "UPDATE journal_entries SET payout_id = NULL WHERE kind = 'PAYOUT'": {"PAYOUT_IS_BOOKED"},
    "UPDATE journal_entries SET payout_id = 'pay_none' WHERE kind = 'PAYOUT_FAILED'": {"PAYOUT_IS_BOOKED"},
    "UPDATE journal_entries SET provider_id = 'prv_other' WHERE kind = 'PAYOUT'": {"PAYOUT_IS_BOOKED"},
    "UPDATE journal_entries SET time = time + 1 WHERE kind = 'PAYOUT'": {"PAYOUT_IS_BOOKED"},
    "UPDATE journal_entries SET journal_entry_id = 'again:' || payout_id WHERE kind = 'PAYOUT_PAID'": {
        "PAYOUT_IS_BOOKED",
        "JOURNAL_ENTRY_EXISTS",
    },
    "INSERT INTO journal_entries (journal_entry_id, kind, provider_id, payout_id, time)"
    " SELECT 'again:' || payout_id, 'PAYOUT', provider_id, payout_id, create_time FROM payouts": {"PAYOUT_IS_BOOKED"},
    "UPDATE journal_postings SET amount_minor_units = amount_minor_units * 2 WHERE journal_entry_id LIKE 'payout:%'": {
        "PAYOUT_IS_BOOKED"
    },
    "UPDATE journal_postings SET money_account = 'provider_payable:prv_other'"
    " WHERE money_account LIKE 'provider_payable%' AND journal_entry_id LIKE 'payout%'": {"PAYOUT_IS_BOOKED"},
    "DELETE FROM journal_postings WHERE journal_entry_id LIKE 'payout_paid:%'": {"PAYOUT_IS_BOOKED"},
}

REFUNDS = {
    "UPDATE purchases SET state = 'PAID' WHERE state = 'REFUNDED'": {"REFUNDED_BY_STATE"},
    "UPDATE purchases SET state = 'REFUNDED' WHERE state = 'PARTIALLY_REFUNDED'": {"REFUNDED_BY_STATE"},
    "UPDATE purchases SET state = 'PARTIALLY_REFUNDED' WHERE state = 'REFUNDED'": {"REFUNDED_BY_STATE"},
    "UPDATE purchases SET state = 'CHARGED_BACK' WHERE state = 'REFUNDED'": {"CHARGED_BACK_ONCE"},
    "UPDATE purchases SET state = 'REFUNDED' WHERE state = 'CHARGED_BACK'": {"CHARGED_BACK_ONCE"},
    "UPDATE purchases SET state = 'FAILED', pay_time = NULL WHERE state = 'CHARGED_BACK'": {
        "REFUNDED_BY_STATE",
        "REFUND_OF_A_SALE",
        "SALE_IS_BOOKED",
    },
    "UPDATE purchases SET refunded_credits = refunded_credits + 1 WHERE state = 'PARTIALLY_REFUNDED'": {
        "REFUNDS_ADD_UP",
        "REFUND_IS_ENTERED",
    },
    "UPDATE purchases SET refunded_credits = 0 WHERE state = 'CHARGED_BACK'": {"REFUNDS_ADD_UP", "REFUND_IS_ENTERED"},
    "UPDATE purchases SET refunded_minor_units = refunded_minor_units + 1 WHERE state = 'PARTIALLY_REFUNDED'": {
        "REFUNDS_ADD_UP"
    },
    "UPDATE purchases SET refunded_minor_units = 0 WHERE state = 'REFUNDED'": {"REFUNDED_BY_STATE", "REFUNDS_ADD_UP"},
    "UPDATE purchases SET refunded_commission_minor_units = 1 WHERE state = 'PARTIALLY_REFUNDED'": {"REFUNDS_ADD_UP"},
    "UPDATE purchases SET refunded_commission_minor_units = commission_minor_units WHERE state = 'PAID'": {
        "REFUNDED_BY_STATE"
    },
    "UPDATE entries SET purchase_id = 'pur_none' WHERE kind = 'PURCHASE_REFUND'": {"REFUND_IS_ENTERED"},
    "UPDATE entries SET purchase_id = NULL WHERE kind = 'PURCHASE_REFUND'": {"ENTRY_NAMES_ITS_CAUSE"},
    "UPDATE purchase_refunds SET amount_minor_units = amount_minor_units + 1": {
        "REFUNDS_ADD_UP",
        "REFUND_IS_BOOKED",
        "CHARGEBACK_IS_BOOKED",
    },
    "UPDATE purchase_refunds SET commission_minor_units = commission_minor_units - 1 WHERE kind = 'REFUND'": {
        "REFUNDS_ADD_UP",
        "REFUND_IS_BOOKED",
    },
    "UPDATE purchase_refunds SET credits = credits + 1 WHERE kind = 'CHARGEBACK'": {"REFUNDS_ADD_UP"},
    "UPDATE purchase_refunds SET credits = 0 WHERE kind = 'REFUND'": {"REFUND_IN_RANGE", "REFUNDS_ADD_UP"},
    "UPDATE purchase_refunds SET amount_minor_units = -1": {"REFUND_IN_RANGE"},
    "UPDATE purchase_refunds SET state = 'PAID', resolve_time = create_time WHERE state = 'REQUESTED'": {
        "REFUND_IS_BOOKED"
    },
    "UPDATE purchase_refunds SET state = 'FAILED' WHERE state = 'PAID' AND kind = 'REFUND'": {"REFUND_IS_BOOKED"},
    "UPDATE purchase_refunds SET state = 'FAILED' WHERE state = 'REQUESTED'": {"REFUND_RESOLVED"},
    "UPDATE purchase_refunds SET resolve_time = NULL WHERE state <> 'REQUESTED'": {"REFUND_RESOLVED"},
    "UPDATE purchase_refunds SET state = 'FAILED' WHERE kind = 'CHARGEBACK'": {"REFUND_RESOLVED"},
    "UPDATE purchase_refunds SET state = 'NONSENSE'": {"STATE_KNOWN", "REFUNDS_ADD_UP"},
    "UPDATE purchase_refunds SET kind = 'NONSENSE'": {"STATE_KNOWN", "REFUNDS_ADD_UP"},
    "UPDATE purchase_refunds SET kind = 'REFUND' WHERE kind = 'CHARGEBACK'": {
        "CHARGED_BACK_ONCE",
        "CHARGEBACK_IS_BOOKED",
    },
    "UPDATE purchase_refunds SET purchase_id = 'pur_none'": {"REFUND_OF_A_SALE", "REFUNDS_ADD_UP"},
    "UPDATE purchase_refunds SET account_id = 'acc_none'": {"ID_NAMES_ACCOUNT", "REFUND_OF_A_SALE"},
    "UPDATE purchase_refunds SET currency = 'USD'": {"REFUND_IS_BOOKED", "CHARGEBACK_IS_BOOKED"},
    "DELETE FROM purchase_refunds": {"REFUNDS_ADD_UP", "REFUND_IS_BOOKED", "CHARGED_BACK_ONCE"},
    "DELETE FROM journal_postings WHERE journal_entry_id LIKE 'refund:%'": {"REFUND_IS_BOOKED"},
    "DELETE FROM journal_postings WHERE journal_entry_id LIKE 'refund_paid:%'": {"REFUND_IS_BOOKED"},
    "DELETE FROM journal_postings WHERE journal_entry_id LIKE 'refund_returned:%'": {"REFUND_IS_BOOKED"},
    "UPDATE purchase_refunds SET times_returned = 0": {"REFUND_IS_BOOKED"},
    "UPDATE purchase_refunds SET times_returned = times_returned + 1 WHERE state = 'PAID' AND kind = 'REFUND'": {
        "REFUND_IS_BOOKED"
    },
    "UPDATE purchase_refunds SET times_returned = -1": {"REFUND_IN_RANGE"},
    "UPDATE journal_entries SET journal_entry_id = journal_entry_id || ':2' WHERE kind = 'REFUND_RETURNED'": {
        "REFUND_IS_BOOKED"
    },
    "DELETE FROM journal_postings WHERE journal_entry_id LIKE 'chargeback:%'": {"CHARGEBACK_IS_BOOKED"},
    "UPDATE journal_entries SET kind = 'REFUND' WHERE kind = 'REFUND_PAID'": {"REFUND_IS_BOOKED"},
    "UPDATE journal_entries SET kind = 'SALE' WHERE kind = 'CHARGEBACK'": {"SALE_IS_BOOKED"},
    "UPDATE journal_entries SET purchase_id = NULL WHERE kind <> 'SALE'": {"REFUND_IS_BOOKED", "CHARGEBACK_IS_BOOKED"},
}

CORRUPTIONS = ACCOUNTS | ENTRIES | RESERVATIONS | GRANTS | OPERATIONS | MONEY | REFUNDS | PAYOUTS
