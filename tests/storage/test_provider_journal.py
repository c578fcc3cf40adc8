"""The provider's journal on both databases: what is written, what is found, and who may write it."""

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from provider_service.journal import committer
from provider_service.journal.durable import DurableJournal, open_journal
from provider_service.journal.entries import Entry, RequestKey, Step, new_entry, new_move
from provider_service.journal.errors import JournalUnavailableError, JournalUnusableError
from provider_service.journal.store import Batch, Verdict
from tests.databases import DatabaseKind, connected, cut_connections, no_connections, only_on, run_sql, sqlite_url

POSTGRESQL_ONLY = only_on(DatabaseKind.POSTGRESQL, reason="processes share no SQLite journal")
SQLITE_ONLY = only_on(DatabaseKind.SQLITE, reason="a file of the process's own")


def entry(request_id: str | None = None, *, digest: str = "digest", service_input: bytes | None = None) -> Entry:
    key = (b"account", request_id or str(uuid.uuid4()))
    return new_entry(key, digest=digest, service="echo", account_token="secret", service_input=service_input)


@asynccontextmanager
async def opened(url: str, tell_writable: Callable[[bool], None] = lambda _: None) -> AsyncIterator[DurableJournal]:
    journal = await open_journal(url, tell_writable=tell_writable)
    try:
        yield journal
    finally:
        await journal.close()


@pytest.fixture
async def journal(database_url: str) -> AsyncIterator[DurableJournal]:
    async with opened(database_url) as journal:
        yield journal


async def work(journal: DurableJournal, it: Entry | None = None) -> RequestKey:
    it = it or entry()
    assert await journal.open(it) is None
    assert await journal.working(it.key, reservation_id="rsv_1")
    return it.key


async def finish(journal: DurableJournal, key: RequestKey) -> None:
    assert await journal.done(key, credits=3, output=b"output")
    journal.captured(key, reservation_id="rsv_1", credits=3)
    # Behind what is written behind.
    assert await journal.open(entry(key[1])) is not None


async def lose_connection(journal: DurableJournal) -> None:
    """Ends its connection, and with it its lock; it connects again when it is asked for something."""
    await journal._store.close()


async def step_of(journal: DurableJournal, key: RequestKey) -> Step | None:
    found = await journal.find(key)
    return None if found is None else found.step


async def test_a_request_is_opened_once_and_found_as_it_stands(journal: DurableJournal) -> None:
    it = entry()
    assert await journal.open(it) is None
    found = await journal.open(entry(it.request_id, digest="another"))
    assert found == it._replace(owner=journal.owner)
    await journal.working(it.key, reservation_id="rsv_1")
    await finish(journal, it.key)
    found = await journal.open(entry(it.request_id))
    assert found is not None
    assert (found.step, found.is_open, found.credits, found.output) == (Step.CAPTURED, 0, 3, b"output")
    assert (found.reservation_id, found.digest) == ("rsv_1", "digest")


async def test_the_same_id_of_another_account_is_another_entry(journal: DurableJournal) -> None:
    it = entry()
    await journal.open(it)
    assert await journal.open(it._replace(account=b"other")) is None


async def test_secrets_are_kept_only_as_long_as_they_are_needed(journal: DurableJournal) -> None:
    it = entry(service_input=b"{}")
    await journal.open(it)
    found = await journal.find(it.key)
    assert found is not None
    assert (found.account_token, found.service_input) == ("secret", b"{}")
    await journal.working(it.key, reservation_id="rsv_1")
    found = await journal.find(it.key)
    assert found is not None
    assert (found.account_token, found.service_input) == (None, b"{}")
    await journal.done(it.key, credits=1, output=b"")
    found = await journal.find(it.key)
    assert found is not None
    assert (found.service_input, found.output) == (None, b"")


async def test_many_at_once_each_get_their_own_answer(journal: DurableJournal) -> None:
    known = [entry() for _ in range(20)]
    await asyncio.gather(*(journal.open(it) for it in known))
    mixed = [entry(it.request_id) for it in known] + [entry() for _ in range(300)]
    found = await asyncio.gather(*(journal.open(it) for it in mixed))
    assert [it is not None for it in found] == [True] * 20 + [False] * 300
    written = await asyncio.gather(
        *(journal.working(it.key, reservation_id=it.request_id) for it in mixed),
        journal.working(entry().key, reservation_id="nobody's"),
    )
    assert written == [True] * 320 + [False]
    again = await asyncio.gather(*(journal.find(it.key) for it in mixed))
    assert [it and it.reservation_id for it in again] == [it.request_id for it in mixed]


async def test_changes_of_one_entry_keep_their_order(journal: DurableJournal) -> None:
    it = entry()
    calls = [
        journal.open(it),
        journal.working(it.key, reservation_id="rsv_1"),
        journal.metered(it.key, credits=1),
        journal.metered(it.key, credits=2),
        journal.done(it.key, credits=2, output=None),
    ]
    assert await asyncio.gather(*calls) == [None, True, True, True, True]
    assert await step_of(journal, it.key) is Step.DONE


async def test_a_batch_whose_answer_was_lost_is_written_again_with_the_same_outcome(journal: DurableJournal) -> None:
    known, new = entry()._replace(owner=journal.owner), entry()._replace(owner=journal.owner)
    await journal.open(known)
    gone = new_move(entry().key, Step.WORKING, reservation_id="rsv_1")
    for batch, found, refused in [
        (Batch(openings=[new, known._replace(open_time=1)]), {known.key: known}, set()),
        (Batch(moves=[new_move(new.key, Step.WORKING, reservation_id="rsv_1"), gone]), {}, {gone.key}),
        (Batch(moves=[new_move(new.key, Step.DONE, credits=1, output=b"")], removals=[known.key]), {}, set()),
        (Batch(moves=[new_move(new.key, Step.CAPTURED, credits=1)]), {}, set()),
    ]:
        for _ in range(2):
            verdict = await journal._store.apply(batch)
            assert verdict == Verdict(found, frozenset(refused))
    assert await step_of(journal, known.key) is None


async def test_a_step_back_is_refused(journal: DurableJournal) -> None:
    key = await work(journal)
    await finish(journal, key)
    assert not await journal.failed(key, reservation_id="rsv_1")
    assert not await journal.working(key, reservation_id="rsv_2")
    assert not await journal.done(key, credits=1, output=b"other")
    journal.released(key)
    journal.remove(key)
    found = await journal.open(entry(key[1]))
    assert found is not None
    assert (found.step, found.output) == (Step.CAPTURED, b"output")


async def test_a_refused_request_leaves_its_id_free(journal: DurableJournal) -> None:
    it = entry()
    await journal.open(it)
    journal.remove(it.key)
    assert await journal.open(entry(it.request_id, digest="another")) is None


async def test_one_that_failed_stays_so(journal: DurableJournal) -> None:
    key = await work(journal)
    assert await journal.failed(key, reservation_id="rsv_1")
    assert not await journal.done(key, credits=1, output=b"")
    journal.released(key, reservation_id="rsv_1")
    found = await journal.open(entry(key[1]))
    assert found is not None
    assert (found.step, found.is_open, found.reservation_id) == (Step.RELEASED, 0, "rsv_1")


async def test_what_a_dead_process_left_open_is_adopted_once(database_url: str) -> None:
    async with opened(database_url) as first:
        settled = await work(first)
        await finish(first, settled)
        left = {await work(first) for _ in range(130)}
        reserving = entry()
        await first.open(reserving)
    async with opened(database_url) as second:
        adopted = [*await second.adopt(), *await second.adopt()]
        assert await second.adopt() == []
        assert {it.key for it in adopted} == left | {reserving.key}
        assert {it.account_token for it in adopted} == {None, "secret"}
        # They are its own now.
        assert await second.failed(adopted[0].key, reservation_id="rsv_1")


async def test_outputs_are_not_loaded_for_adoption(database_url: str) -> None:
    async with opened(database_url) as first:
        key = await work(first)
        await first.done(key, credits=1, output=b"large")
    async with opened(database_url) as second:
        (adopted,) = await second.adopt()
        assert (adopted.step, adopted.credits, adopted.output) == (Step.DONE, 1, None)
        second.captured(key, reservation_id="rsv_1", credits=1)
        found = await second.open(entry(key[1]))
        assert found is not None
        assert found.output == b"large"


async def test_only_what_is_settled_and_old_is_pruned(journal: DurableJournal) -> None:
    old, recent = entry()._replace(open_time=1), entry()
    for it in (old, recent):
        await work(journal, it)
        await finish(journal, it.key)
    still_open = await work(journal, entry()._replace(open_time=1))
    assert await journal.prune(before=1_000) == 1
    assert await journal.prune(before=1_000) == 0
    assert [await step_of(journal, key) for key in (old.key, recent.key, still_open)] == [
        None,
        Step.CAPTURED,
        Step.WORKING,
    ]


async def test_a_newer_journal_is_left_alone(database_url: str) -> None:
    async with opened(database_url):
        pass
    run_sql(database_url, "UPDATE journal SET version = 99")
    with pytest.raises(JournalUnusableError, match="newer than this program's"):
        await open_journal(database_url, tell_writable=lambda _: None)


@SQLITE_ONLY
async def test_two_processes_never_share_a_file(database_url: str) -> None:
    async with opened(database_url):
        with pytest.raises(JournalUnusableError, match="another process uses the journal"):
            await open_journal(database_url, tell_writable=lambda _: None)
    async with opened(database_url):
        pass


@SQLITE_ONLY
async def test_a_file_that_is_none_is_refused(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be looked at as one " * 40)
    for url, complaint in [
        (sqlite_url(tmp_path / "notes.txt"), "file is not a database"),
        (sqlite_url(tmp_path), "Is a directory|unable to open"),
        ("sqlite://", "is not of the form"),
        ("mysql://x/y", "is not of the form"),
    ]:
        with pytest.raises(JournalUnusableError, match=complaint):
            await open_journal(url, tell_writable=lambda _: None)


@SQLITE_ONLY
async def test_a_full_disk_refuses_and_what_waits_is_written_once_there_is_room(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "PROBE_SECONDS", 0.02)
    told: list[bool] = []
    async with opened(database_url, told.append) as journal:
        key = await work(journal)
        await limit_pages(journal, 1)
        with pytest.raises(JournalUnavailableError, match="full"):
            await journal.done(key, credits=1, output=b"x" * 1_000_000)
        journal.released(key, reservation_id="rsv_1")
        assert told[0] is False
        await limit_pages(journal, 1_000_000)
        async with asyncio.timeout(20):
            while told[-1] is False or await step_of(journal, key) is Step.WORKING:  # noqa: ASYNC110 - a probe, in time
                await asyncio.sleep(0.01)
        assert await step_of(journal, key) is Step.RELEASED
        assert await journal.open(entry()) is None


async def limit_pages(journal: DurableJournal, pages: int) -> None:
    """Makes the database's file full, as a disk would be; SQLite allows no fewer pages than there are."""
    store: Any = journal._store
    await asyncio.get_running_loop().run_in_executor(
        store._thread, lambda: store._connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()
    )


@POSTGRESQL_ONLY
async def test_a_living_process_keeps_its_entries(database_url: str) -> None:
    async with opened(database_url) as first, opened(database_url) as second:
        key = await work(first)
        assert await second.adopt() == []
        found = await second.open(entry(key[1]))
        assert found is not None
        assert (found.owner, found.step) == (first.owner, Step.WORKING)
        assert not await second.done(key, credits=1, output=b"")
        assert await first.done(key, credits=1, output=b"")


@POSTGRESQL_ONLY
async def test_a_process_that_was_taken_for_dead_cannot_settle_any_more(database_url: str) -> None:
    async with opened(database_url) as first, opened(database_url) as second:
        key = await work(first)
        await lose_connection(first)
        (adopted,) = await second.adopt()
        assert adopted.key == key
        # It has connected again, and knows nothing of it.
        assert not await first.done(key, credits=1, output=b"")
        assert await second.failed(key, reservation_id="rsv_1")
        # What it begins from now on is its own.
        other = await work(first)
        assert await second.adopt() == []
        assert await first.done(other, credits=1, output=b"")


@POSTGRESQL_ONLY
async def test_a_cut_connection_is_made_again_and_the_batch_repeated(database_url: str) -> None:
    async with opened(database_url) as journal:
        key = await work(journal)
        cut_connections(database_url)
        assert await journal.done(key, credits=1, output=b"")
        assert await step_of(journal, key) is Step.DONE


@POSTGRESQL_ONLY
async def test_a_server_that_is_gone_refuses_until_it_is_back(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer, "PROBE_SECONDS", 0.05)
    told: list[bool] = []
    async with opened(database_url, told.append) as journal:
        key = await work(journal)
        with no_connections(database_url):
            with pytest.raises(JournalUnavailableError):
                await journal.done(key, credits=1, output=b"")
            with pytest.raises(JournalUnavailableError):
                await journal.open(entry())
            assert told == [False]
        async with asyncio.timeout(10):
            while told[-1] is False:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
        assert await journal.done(key, credits=1, output=b"")


@POSTGRESQL_ONLY
async def test_hot_statements_find_their_rows_by_an_index(journal: DurableJournal, database_url: str) -> None:
    from provider_service.journal import postgresql  # noqa: PLC0415 - needs its driver

    await work(journal)
    with connected(database_url) as other:
        for name, value in postgresql._SETTINGS.items():
            other.sql(f"SET {name} = '{value}'")
        types = dict(re.findall(r"\$(\d+)::([a-z]+(?:\[\])?)", postgresql._WRITE))
        declared = ", ".join(types[str(number)] for number in range(1, len(types) + 1))
        other.sql(f"PREPARE hot ({declared}) AS {postgresql._WRITE}")
        nothing = ", ".join(["1"] + ["'{}'"] * (len(types) - 1))
        plan = "\n".join(line for (line,) in other.sql(f"EXPLAIN EXECUTE hot({nothing})"))
    assert "Seq Scan on requests" not in plan
    assert plan.count("Index Scan using requests_pkey") == 2


def test_a_file_is_its_owners_alone(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "made" / "journal.db")
    with closing(asyncio.new_event_loop()) as loop:
        loop.run_until_complete(_open_and_close(url))
    assert (tmp_path / "made" / "journal.db").stat().st_mode & 0o077 == 0


async def _open_and_close(url: str) -> None:
    async with opened(url):
        pass
