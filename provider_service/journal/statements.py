"""The journal's statements, alike on both databases but for how many rows reach them at once."""

from typing import Final

from provider_service.journal.entries import Entry, Move, Step

# The version of the tables that these statements are made for; see tables.py.
VERSION: Final = 1
ENTRY_COLUMNS: Final = Entry._fields
MOVE_COLUMNS: Final = Move._fields
KEY_COLUMNS: Final = ("account", "request_id")
_ENTRY: Final = ", ".join(f"requests.{name}" for name in ENTRY_COLUMNS)
# Outputs may be large, and whoever settles an entry needs none.
_ENTRY_WITHOUT_OUTPUT: Final = _ENTRY.replace("requests.output", "NULL AS output")

INSERT: Final = f"INSERT INTO requests ({', '.join(ENTRY_COLUMNS)})"
ON_CONFLICT: Final = "ON CONFLICT (account, request_id) DO NOTHING"

# An entry is found by its key; the rest says whether the step is allowed (entries.Move.is_allowed and .apply).
MOVE: Final = f"""
UPDATE requests SET
    step = given.step,
    is_open = given.is_open,
    account_token = NULL,
    service_input = CASE WHEN given.step = {Step.WORKING:d} THEN requests.service_input END,
    reservation_id = coalesce(given.reservation_id, requests.reservation_id),
    credits = coalesce(given.credits, requests.credits),
    output = coalesce(given.output, requests.output),
    update_time = given.update_time
"""  # noqa: S608 - a constant
MOVE_WHERE: Final = """
WHERE requests.account = given.account AND requests.request_id = given.request_id
    AND requests.step BETWEEN given.lowest AND given.highest
    AND (requests.owner = {owner} OR requests.is_open = 0)
"""

REMOVE_WHERE: Final = f"step = {Step.RESERVING:d} AND owner = {{owner}}"

FIND: Final = f"SELECT {_ENTRY} FROM requests WHERE account = {{account}} AND request_id = {{request_id}}"  # noqa: S608

OTHER_OWNERS: Final = "SELECT DISTINCT owner FROM requests WHERE is_open = 1 AND owner <> {owner}"

# The oldest first; not too many, for each may hold an input.
ADOPT: Final = f"""
UPDATE requests SET owner = {{owner}} WHERE (account, request_id) IN (
    SELECT account, request_id FROM requests WHERE is_open = 1 AND owner = {{former}} ORDER BY open_time LIMIT 100
) RETURNING {_ENTRY_WITHOUT_OUTPUT}
"""  # noqa: S608 - names of our own columns

PRUNE: Final = """
DELETE FROM requests WHERE (account, request_id) IN (
    SELECT account, request_id FROM requests WHERE open_time < {before} AND is_open = 0 ORDER BY open_time LIMIT 500
)
"""

FIND_VERSION: Final = "SELECT version FROM journal"
PROBE: Final = "UPDATE journal SET probe_time = {now}"
