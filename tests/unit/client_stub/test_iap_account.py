from datetime import UTC, datetime

import pytest
from iap.broker.v1 import account_pb2

from tests.unit.client_stub.command_line import iap
from tests.unit.client_stub.scripted_server import ScriptedServer, serving

OPEN, BALANCE, ENTRIES = (f"AccountService.{name}" for name in ("OpenAccount", "GetBalance", "ListEntries"))
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
ACCOUNT = account_pb2.Account(
    account_id="acc_1", customer_id="cus_1", service="sms", state=account_pb2.ACCOUNT_STATE_ACTIVE
)
OPENED = account_pb2.OpenAccountResponse(
    account=ACCOUNT, account_token="tok_secret", balance={"ledger_credits": 3, "available_credits": 3}
)
HELD = account_pb2.GetBalanceResponse(
    account=ACCOUNT,
    balance={"ledger_credits": 93, "reserved_credits": 5, "available_credits": 88},
    grants=[
        account_pb2.Grant(
            grant_id="gra_1",
            kind=account_pb2.GRANT_KIND_PAID,
            credits=100,
            remaining_credits=93,
            reserved_credits=5,
            create_time=NOON,
        ),
        account_pb2.Grant(kind=account_pb2.GRANT_KIND_TRIAL, credits=3, create_time=NOON, expire_time=NOON),
    ],
)
BOUGHT = account_pb2.Entry(
    time=NOON, kind=account_pb2.ENTRY_KIND_PURCHASE, credits=100, ledger_credits_after=100, description="Small"
)
SPENT = account_pb2.Entry(
    time=NOON, kind=account_pb2.ENTRY_KIND_CAPTURE, credits=-7, ledger_credits_after=93, description="1e5"
)
PAGES = [
    account_pb2.ListEntriesResponse(entries=[BOUGHT], next_page_token="two"),
    account_pb2.ListEntriesResponse(entries=[SPENT]),
]


async def test_open_prints_the_token_once_and_how_to_use_it() -> None:
    async with serving(ScriptedServer({OPEN: OPENED})) as broker:
        outcome = await iap("open", "sms", IAP_BROKER=broker.target, IAP_CUSTOMER_KEY="key_1")
    assert outcome.exit_code == 0
    assert outcome.output.count("tok_secret") == 1
    assert "export IAP_ACCOUNT_TOKEN=tok_secret" in outcome.output
    assert "acc_1" in outcome.output
    assert broker.calls[0].metadata["authorization"] == "Bearer key_1"
    assert broker.calls[0].request.service == "sms"


async def test_open_again_says_that_the_token_was_shown() -> None:
    replay = account_pb2.OpenAccountResponse(account=ACCOUNT, replayed=True)
    request_id = "0b6f2f5e-57cb-4b60-8a6a-7c8f1c2d3e4f"
    async with serving(ScriptedServer({OPEN: replay})) as broker:
        outcome = await iap(
            "open", "sms", "--request-id", request_id, "--broker", broker.target, "--customer-key", "key_1"
        )
    assert outcome.exit_code == 0
    assert "opened before" in outcome.output
    assert "export" not in outcome.output
    assert broker.calls[0].request.request_id == request_id


async def test_open_without_a_customer_key_is_a_usage_error() -> None:
    outcome = await iap("open", "sms")
    assert outcome.exit_code == 2
    assert "--customer-key or IAP_CUSTOMER_KEY" in outcome.errors


async def test_balance_shows_credits_and_grants() -> None:
    async with serving(ScriptedServer({BALANCE: HELD})) as broker:
        outcome = await iap("balance", IAP_BROKER=broker.target, IAP_ACCOUNT_TOKEN="tok_secret")
    assert outcome.exit_code == 0
    rows = [line.split("  ") for line in outcome.output.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert ["ledger credits", "93"] in cells
    assert ["reserved credits", "5"] in cells
    assert ["available credits", "88"] in cells
    assert ["2026-01-31 12:00:00", "paid", "100", "93", "5", "never"] in cells
    assert ["2026-01-31 12:00:00", "trial", "3", "0", "0", "2026-01-31 12:00:00"] in cells
    assert "tok_secret" not in outcome.output + outcome.errors
    (call,) = broker.calls
    assert call.request == account_pb2.GetBalanceRequest(account_token="tok_secret")
    assert "authorization" not in call.metadata


async def test_balance_as_json_has_the_fields_of_the_contract() -> None:
    async with serving(ScriptedServer({BALANCE: HELD})) as broker:
        outcome = await iap("--json", "balance", "--broker", broker.target, "--account-token", "tok_secret")
    document = outcome.document
    assert document["balance"] == {"ledger_credits": 93, "reserved_credits": 5, "available_credits": 88}
    assert document["account"]["state"] == "ACCOUNT_STATE_ACTIVE"
    assert document["grants"][0]["create_time"] == "2026-01-31T12:00:00Z"
    assert document["grants"][1]["remaining_credits"] == 0


async def test_the_account_can_be_named_by_its_id_with_the_customers_key() -> None:
    async with serving(ScriptedServer({BALANCE: HELD})) as broker:
        outcome = await iap(
            "balance",
            "--account-id",
            "acc_1",
            IAP_BROKER=broker.target,
            IAP_CUSTOMER_KEY="key_1",
            IAP_ACCOUNT_TOKEN="tok_other",
        )
    assert outcome.exit_code == 0
    (call,) = broker.calls
    assert call.request == account_pb2.GetBalanceRequest(account_id="acc_1")
    assert call.metadata["authorization"] == "Bearer key_1"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["balance"], "--account-token or IAP_ACCOUNT_TOKEN"),
        (["balance", "--account-id", "acc_1"], "--customer-key or IAP_CUSTOMER_KEY"),
    ],
)
async def test_an_account_is_needed(arguments: list[str], expected: str) -> None:
    outcome = await iap(*arguments)
    assert outcome.exit_code == 2
    assert expected in outcome.errors


async def test_statement_shows_all_pages_and_that_the_sums_agree() -> None:
    async with serving(ScriptedServer({ENTRIES: PAGES, BALANCE: HELD})) as broker:
        outcome = await iap("statement", IAP_BROKER=broker.target, IAP_ACCOUNT_TOKEN="tok_secret")
    assert outcome.exit_code == 0
    assert outcome.output.splitlines() == [
        "time (UTC)           kind        credits    credits after  description",
        "-------------------  --------  ---------  ---------------  -------------",
        "2026-01-31 12:00:00  purchase       +100              100  Small",
        "2026-01-31 12:00:00  capture          -7               93  1e5",
        "",
        "2 entries, together 93 credits: the sum agrees with the account's ledger credits",
    ]


async def test_statement_that_does_not_add_up_fails() -> None:
    page = account_pb2.ListEntriesResponse(entries=[BOUGHT])
    async with serving(ScriptedServer({ENTRIES: page, BALANCE: HELD})) as broker:
        outcome = await iap("statement", IAP_BROKER=broker.target, IAP_ACCOUNT_TOKEN="tok_secret")
    assert outcome.exit_code == 1
    assert "together 100 credits, but the account's ledger credits are 93" in outcome.errors


async def test_statement_of_an_account_that_changes_meanwhile_is_read_again() -> None:
    pages = [account_pb2.ListEntriesResponse(entries=[BOUGHT]), *PAGES]
    async with serving(ScriptedServer({ENTRIES: pages, BALANCE: HELD})) as broker:
        outcome = await iap("statement", "--json", IAP_BROKER=broker.target, IAP_ACCOUNT_TOKEN="tok_secret")
    assert outcome.exit_code == 0
    assert outcome.document["agrees"] is True
    assert [entry["credits"] for entry in outcome.document["entries"]] == [100, -7]


async def test_a_part_of_a_statement_is_not_compared() -> None:
    page = account_pb2.ListEntriesResponse(entries=[SPENT])
    async with serving(ScriptedServer({ENTRIES: page})) as broker:
        outcome = await iap(
            "statement",
            "--since",
            "2026-01-31T13:00:00+01:00",
            "--until",
            "2026-02-01",
            IAP_BROKER=broker.target,
            IAP_ACCOUNT_TOKEN="tok_secret",
        )
    assert outcome.exit_code == 0
    assert outcome.output.endswith("1 entry, together -7 credits\n")
    assert broker.calls[0].request == account_pb2.ListEntriesRequest(
        account_token="tok_secret", start_time=NOON, end_time=datetime(2026, 2, 1, tzinfo=UTC), page_size=1000
    )


async def test_a_wrong_time_is_named() -> None:
    outcome = await iap("statement", "--since", "yesterday", IAP_ACCOUNT_TOKEN="tok_secret")
    assert outcome.exit_code == 2
    assert "'--since' / '--start': 'yesterday' is no time" in outcome.errors


async def test_an_account_without_entries_has_an_empty_statement() -> None:
    script = ScriptedServer(
        {ENTRIES: account_pb2.ListEntriesResponse(), BALANCE: account_pb2.GetBalanceResponse(account=ACCOUNT)}
    )
    async with serving(script) as broker:
        outcome = await iap("statement", IAP_BROKER=broker.target, IAP_ACCOUNT_TOKEN="tok_secret")
    assert outcome.exit_code == 0
    assert "0 entries, together 0 credits: the sum agrees" in outcome.output


async def test_what_others_wrote_cannot_control_the_terminal() -> None:
    entry = account_pb2.Entry(credits=93, description="\x1b[2Jgone\nnext line")
    page = account_pb2.ListEntriesResponse(entries=[entry])
    async with serving(ScriptedServer({ENTRIES: page, BALANCE: HELD})) as broker:
        outcome = await iap("statement", IAP_BROKER=broker.target, IAP_ACCOUNT_TOKEN="tok_secret")
    assert "\x1b" not in outcome.output
    assert "[2Jgone next line" in outcome.output
