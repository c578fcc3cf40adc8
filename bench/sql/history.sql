-- Reservations of the last ninety days, all captured, with their entries and operations: :each for every account.
-- The same statements for PostgreSQL and SQLite; bench_suffix and md5 are made beforehand where they are missing.

INSERT INTO reservations (
    shard_id, reservation_id, account_id, provider_id, service, state,
    reserved_credits, captured_credits, released_credits, refunded_credits,
    allocations, fingerprint, create_time, expire_time, resolve_time, description, metadata
)
WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < :each)
SELECT
    accounts.shard_id,
    'rsv_' || substr(accounts.account_id, 5) || '_' || bench_suffix('old' || accounts.account_id || number),
    accounts.account_id, provider_id, service, 'CAPTURED',
    3, 3, 0, 0,
    '[["' || grant_id || '",3,3,0]]', md5('old' || number),
    :start + number * :step, :start + number * :step + 86400000000, :start + number * :step + 1000, 'bench', '{}'
FROM accounts
JOIN grants ON grants.shard_id = accounts.shard_id AND grants.account_id = accounts.account_id
CROSS JOIN numbers
ORDER BY accounts.account_id, number;

INSERT INTO entries (
    shard_id, account_id, sequence, kind, credits, counterpart, ledger_credits_after, time,
    reservation_id, purchase_id, description
)
WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < :each)
SELECT
    shard_id, account_id, entry_count + number, 'CAPTURE', -3, 'redeemed', ledger_credits - 3 * number,
    :start + number * :step + 1000,
    'rsv_' || substr(account_id, 5) || '_' || bench_suffix('old' || account_id || number), NULL, 'bench'
FROM accounts CROSS JOIN numbers
ORDER BY account_id, number;

INSERT INTO operations (
    shard_id, operation_id, account_id, kind, fingerprint, time,
    captured_credits, released_credits, refunded_credits
)
WITH RECURSIVE numbers (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < :each)
SELECT
    shard_id, 'ope_' || substr(account_id, 5) || '_' || bench_suffix('old capture' || account_id || number),
    account_id, 'Capture', md5('old capture' || number), :start + number * :step + 1000,
    3, 0, 0
FROM accounts CROSS JOIN numbers
ORDER BY account_id, number;

-- As if the accounts had been opened, and their credits granted, before.
UPDATE entries SET time = :start WHERE sequence = 1;

UPDATE accounts SET
    ledger_credits = ledger_credits - 3 * :each, entry_count = entry_count + :each, create_time = :start;

UPDATE grants SET remaining_credits = remaining_credits - 3 * :each, create_time = :start;
