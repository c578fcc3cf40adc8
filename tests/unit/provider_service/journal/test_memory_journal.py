import uuid

import pytest

from provider_service.journal.entries import Entry, RequestKey, new_entry
from provider_service.journal.memory import MemoryJournal


def entry() -> Entry:
    return new_entry((b"account", str(uuid.uuid4())), digest="digest", service="echo", account_token="token")


async def settle(journal: MemoryJournal, *, size: int = 0) -> RequestKey:
    opened = entry()
    await journal.open(opened)
    await journal.working(opened.key, reservation_id="rsv_1")
    await journal.done(opened.key, credits=1, output=b"x" * size)
    journal.captured(opened.key, reservation_id="rsv_1", credits=1)
    return opened.key


async def test_the_oldest_make_room_when_there_are_too_many() -> None:
    journal = MemoryJournal(requests_maximum=2)
    keys = [await settle(journal) for _ in range(3)]
    assert [await journal.find(key) is None for key in keys] == [True, False, False]


async def test_the_oldest_make_room_when_they_are_too_large() -> None:
    journal = MemoryJournal(bytes_maximum=100_000)
    keys = [await settle(journal, size=45_000) for _ in range(3)]
    assert [await journal.find(key) is None for key in keys] == [True, False, False]


async def test_an_output_that_does_not_fit_at_all_is_not_kept() -> None:
    journal = MemoryJournal(bytes_maximum=10_000)
    assert await journal.find(await settle(journal, size=45_000)) is None


async def test_what_is_still_open_is_kept_however_much_there_is() -> None:
    journal = MemoryJournal(requests_maximum=1)
    opened = [entry() for _ in range(3)]
    for it in opened:
        await journal.open(it)
    assert [await journal.find(it.key) for it in opened] == opened


@pytest.mark.parametrize("times", [1, 3])
async def test_what_settles_again_takes_its_own_room(times: int) -> None:
    journal = MemoryJournal(bytes_maximum=100_000)
    other, key = await settle(journal, size=40_000), await settle(journal, size=40_000)
    for _ in range(times):
        journal.captured(key, reservation_id="rsv_1", credits=1)
    assert await journal.find(other) is not None
    assert await journal.find(key) is not None
