"""What becomes of each request, step by step, kept where a crash does not reach it.

A `Journal` (journal.py) has one entry for each request that somebody pays for, by its account and its id:

    RESERVING ─▶ WORKING ─▶ DONE ─▶ CAPTURED
                    │          └──▶ UNPAID ─▶ CAPTURED      the reservation had ended before it was captured
                    └─▶ FAILED ─▶ RELEASED

Steps that others rely on are awaited: they are on the disk when the call returns. The last ones are written behind: a
crash that loses them finds the step before, and what that leads to is the same once more.

    found = await journal.open(new_entry(…))      before Reserve; returns the entry there is, or None for a new one
    await journal.working(key, reservation_id=…)  before the work
    await journal.done(key, credits=…, output=…)  before Capture
    await journal.failed(key, reservation_id=…)   instead, before callers are told
    journal.captured(key, …) / journal.released(key, …)
    journal.remove(key)                           when the broker refused to reserve: the id is not used up

For a stream, which is charged as it goes, the entry is of `Kind.STREAM`:

    found = await journal.open(new_entry(…, kind=Kind.STREAM))
    await journal.working(key, reservation_id=…)
    await journal.metered(key, credits=…)         the total so far, before the next chunk is asked for
    await journal.done(key, credits=…, output=None)

After a crash a stream that was WORKING is captured up to what was metered, and the rest is released.

Each of the awaited writes returns whether this process could still make it: another one that took it for dead may have
settled the request meanwhile. All raise JournalUnavailableError when nothing can be written.
"""
