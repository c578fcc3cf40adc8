-- The baseline: one stored procedure per operation, one transaction each, on the broker's own schema.
--
-- They lock and write what the broker locks and writes, with the same values in the same columns, and leave out what
-- only the broker checks (replays, suspensions, expiry): whatever they are slower by is not that.

CREATE FUNCTION bench_suffix(source text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN left(md5(source), 24);

CREATE FUNCTION bench_account(number bigint) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 'acc_' || bench_suffix('account ' || number);

CREATE FUNCTION bench_now() RETURNS bigint LANGUAGE sql VOLATILE PARALLEL SAFE
RETURN (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;

CREATE FUNCTION bench_reserve(
    paying text, request_id text, wanted bigint, ttl bigint, work text, labels text
) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    account accounts%ROWTYPE;
    paying_grant grants%ROWTYPE;
    instant bigint;
    made text := 'rsv_' || substr(paying, 5) || '_' || bench_suffix('Reserve' || request_id);
BEGIN
    SELECT * INTO STRICT account FROM accounts
    WHERE shard_id = 0 AND account_id = paying FOR UPDATE;
    instant := bench_now();
    IF account.ledger_credits - account.reserved_credits < wanted THEN
        RAISE EXCEPTION 'insufficient credits';
    END IF;
    SELECT * INTO STRICT paying_grant FROM grants
    WHERE shard_id = 0 AND account_id = paying AND spent IS false AND remaining_credits - reserved_credits >= wanted
    ORDER BY priority LIMIT 1;
    UPDATE accounts SET reserved_credits = reserved_credits + wanted, update_time = instant
    WHERE shard_id = 0 AND account_id = paying;
    UPDATE grants SET reserved_credits = reserved_credits + wanted
    WHERE shard_id = 0 AND account_id = paying AND grant_id = paying_grant.grant_id;
    INSERT INTO reservations (
        shard_id, reservation_id, account_id, provider_id, service, state,
        reserved_credits, captured_credits, released_credits, refunded_credits,
        allocations, fingerprint,
        create_time, expire_time, resolve_time, description, metadata
    ) VALUES (
        0, made, paying, account.provider_id, account.service, 'ACTIVE',
        wanted, 0, 0, 0,
        '[["' || paying_grant.grant_id || '",' || wanted || ',0,0]]', md5(wanted || work || labels),
        instant, instant + ttl, NULL, work, labels
    );
    RETURN made;
END $$;

CREATE FUNCTION bench_capture(paying text, request_id text, reserved text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    account accounts%ROWTYPE;
    reservation reservations%ROWTYPE;
    paying_grant text;
    taken bigint;
    instant bigint;
BEGIN
    SELECT * INTO STRICT account FROM accounts
    WHERE shard_id = 0 AND account_id = paying FOR UPDATE;
    instant := bench_now();
    SELECT * INTO STRICT reservation FROM reservations
    WHERE shard_id = 0 AND reservation_id = reserved;
    IF reservation.state <> 'ACTIVE' THEN
        RAISE EXCEPTION 'not active';
    END IF;
    taken := reservation.reserved_credits - reservation.captured_credits - reservation.released_credits;
    paying_grant := reservation.allocations::json -> 0 ->> 0;
    UPDATE accounts SET
        ledger_credits = ledger_credits - taken, reserved_credits = reserved_credits - taken,
        entry_count = entry_count + 1, update_time = instant
    WHERE shard_id = 0 AND account_id = paying;
    UPDATE grants SET
        remaining_credits = remaining_credits - taken, reserved_credits = reserved_credits - taken,
        spent = (remaining_credits = taken)
    WHERE shard_id = 0 AND account_id = paying AND grant_id = paying_grant;
    UPDATE reservations SET
        state = 'CAPTURED', captured_credits = captured_credits + taken, resolve_time = instant,
        allocations = '[["' || paying_grant || '",' || reserved_credits || ',' || taken || ',0]]'
    WHERE shard_id = 0 AND reservation_id = reserved;
    INSERT INTO entries (
        shard_id, account_id, sequence, kind, credits, counterpart, ledger_credits_after, time,
        reservation_id, purchase_id, description
    ) VALUES (
        0, paying, account.entry_count + 1, 'CAPTURE', -taken, 'redeemed', account.ledger_credits - taken, instant,
        reserved, NULL, reservation.description
    );
    INSERT INTO operations (
        shard_id, operation_id, account_id, kind, fingerprint, time,
        captured_credits, released_credits, refunded_credits
    ) VALUES (
        0, 'ope_' || substr(paying, 5) || '_' || bench_suffix('Capture' || request_id), paying, 'Capture',
        md5(reserved), instant,
        taken, 0, 0
    );
END $$;
