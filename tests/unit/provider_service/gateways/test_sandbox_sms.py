import asyncio
import os
import re
import resource
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st

from provider_service.gateways import sandbox_sms
from provider_service.gateways.gateway_error import GatewayError
from provider_service.gateways.sandbox_sms import FAILING_RECIPIENT, SandboxSmsGateway
from provider_service.gateways.sms import SmsMessage, SmsReceipt
from provider_service.services.sms.recipients import parse_recipient

TO = "+12025550143"


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "down" / "outbox.txt"


@pytest_asyncio.fixture
async def gateway(outbox: Path) -> AsyncIterator[SandboxSmsGateway]:
    gateway = SandboxSmsGateway(outbox=outbox, remembered_ids_maximum=100)
    yield gateway
    await gateway.close()


def message(request_id: str = "r-1", *, to: str = TO, text: str = "Hi") -> SmsMessage:
    return SmsMessage(request_id=request_id, to=to, text=text, segments=1, encoding="GSM-7")


def read(outbox: Path) -> str:
    return outbox.read_text(encoding="utf-8")


def read_ids(outbox: Path) -> list[str]:
    return re.findall(r"^    id        (.*)$", read(outbox), flags=re.MULTILINE)


async def test_a_message_is_laid_out_for_a_person(gateway: SandboxSmsGateway, outbox: Path) -> None:
    receipt = await gateway.send(message(text="Your code is 123456.\n\nBye"))
    assert receipt == SmsReceipt(message_id="sandbox-r-1")
    time, written = read(outbox).split("  ", 1)
    assert written == (
        "text message to +12025550143\n"
        "    id        r-1\n"
        "    segments  1 (GSM-7)\n"
        "    | Your code is 123456.\n"
        "    | \n"
        "    | Bye\n"
        "\n"
    )
    assert timedelta() <= datetime.now(UTC) - datetime.fromisoformat(time) < timedelta(minutes=1)


@pytest.fixture
def older_messages(outbox: Path) -> str:
    outbox.parent.mkdir(parents=True)
    outbox.write_text("what was there before\n")
    return "what was there before\n"


async def test_messages_are_appended(gateway: SandboxSmsGateway, outbox: Path, older_messages: str) -> None:
    await gateway.send(message("r-1"))
    await gateway.send(message("r-2"))
    assert read(outbox).startswith(older_messages)
    assert read_ids(outbox) == ["r-1", "r-2"]


@given(st.text() | st.text(st.sampled_from("a\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029\x1b 2"), max_size=30))
def test_a_text_cannot_pass_for_another_message(text: str) -> None:
    entry = sandbox_sms._render(message(text=text, request_id=text, to=text), time=datetime.now(UTC))
    first, *others = entry.splitlines()
    assert entry.count("\n") == len(others) + 1
    assert " text message to " in first
    assert all(line == "" or line.startswith("    ") for line in others)
    assert others.index("") == len(others) - 1
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", entry)


async def test_control_characters_are_spelt_out(gateway: SandboxSmsGateway, outbox: Path) -> None:
    await gateway.send(message(text="a\r\nb\rc\x1b[2J\u2028d\ttab \ud83d 👩\u200d🚀 é"))
    assert r"    | a" + "\n" + r"    | b\rc\x1b[2J\u2028d\ttab \ud83d " + "👩\u200d🚀 é\n" in read(outbox)


async def test_the_default_failing_number_fails(gateway: SandboxSmsGateway, outbox: Path) -> None:
    assert parse_recipient(FAILING_RECIPIENT).number == FAILING_RECIPIENT
    with pytest.raises(GatewayError) as caught:
        await gateway.send(message(to=FAILING_RECIPIENT))
    assert not caught.value.retryable
    await gateway.send(message())
    assert FAILING_RECIPIENT not in read(outbox)


async def test_a_request_id_is_written_once(gateway: SandboxSmsGateway, outbox: Path) -> None:
    receipts = await asyncio.gather(*(gateway.send(message()) for _ in range(5)))
    assert {*receipts, await gateway.send(message())} == {SmsReceipt(message_id="sandbox-r-1")}
    assert read_ids(outbox) == ["r-1"]


async def test_only_so_many_request_ids_are_remembered(gateway: SandboxSmsGateway, outbox: Path) -> None:
    await asyncio.gather(*(gateway.send(message(f"r-{number}")) for number in range(101)))
    assert len(gateway._remembered_ids) == 100
    await gateway.send(message("r-1"))
    assert read_ids(outbox).count("r-1") == 1
    await gateway.send(message("r-0"))
    assert read_ids(outbox).count("r-0") == 2


async def test_many_at_once_are_all_written_whole(gateway: SandboxSmsGateway, outbox: Path) -> None:
    ids = [f"r-{number}" for number in range(50)]
    receipts = await asyncio.gather(*(gateway.send(message(id_, text=f"{id_}\n" * 200)) for id_ in ids))
    assert [receipt.message_id for receipt in receipts] == [f"sandbox-{id_}" for id_ in ids]
    entries = read(outbox).split("\n\n")[:-1]
    assert read_ids(outbox) == ids
    for id_, entry in zip(ids, entries, strict=True):
        assert entry.count(f"    | {id_}\n") == 200


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator["WatchedDisk"]:
    disk = WatchedDisk()
    monkeypatch.setattr(os, "fsync", disk.fsync)
    yield disk
    disk.may_sync.set()


class WatchedDisk:
    """Notes what each fsync found in the file, and lets a test hold it back or make it fail."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.threads: set[str] = set()
        self.may_sync = threading.Event()
        self.may_sync.set()
        self.syncing = threading.Event()
        self.error: OSError | None = None
        self._fsync = os.fsync

    def fsync(self, descriptor: int) -> None:
        self.syncing.set()
        assert self.may_sync.wait(10)
        if self.error is not None:
            raise self.error
        self._fsync(descriptor)
        self.sizes.append(os.fstat(descriptor).st_size)
        self.threads.add(threading.current_thread().name)


async def test_a_message_is_on_disk_before_send_returns(
    gateway: SandboxSmsGateway, outbox: Path, disk: WatchedDisk
) -> None:
    disk.may_sync.clear()
    sending = asyncio.create_task(gateway.send(message()))
    await asyncio.to_thread(disk.syncing.wait, 10)  # and the event loop runs on meanwhile
    assert not sending.done()
    disk.may_sync.set()
    await sending
    assert disk.sizes == [len(read(outbox))]
    assert disk.threads == {"sms-outbox_0"}


async def test_messages_that_wait_together_share_a_write(
    gateway: SandboxSmsGateway, outbox: Path, disk: WatchedDisk
) -> None:
    disk.may_sync.clear()
    first = asyncio.create_task(gateway.send(message("r-0")))
    await asyncio.to_thread(disk.syncing.wait, 10)
    others = [asyncio.create_task(gateway.send(message(f"r-{number}"))) for number in range(1, 50)]
    await asyncio.sleep(0)
    disk.may_sync.set()
    await asyncio.gather(first, *others)
    assert len(disk.sizes) == 2
    assert disk.sizes[-1] == len(read(outbox))


async def test_a_cancelled_message_that_still_waits_is_not_written(
    gateway: SandboxSmsGateway, outbox: Path, disk: WatchedDisk
) -> None:
    disk.may_sync.clear()
    written = asyncio.create_task(gateway.send(message("written")))
    await asyncio.to_thread(disk.syncing.wait, 10)
    waiting = asyncio.create_task(gateway.send(message("waiting")))
    await asyncio.sleep(0)
    for task in (written, waiting):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    disk.may_sync.set()
    await gateway.send(message("written"))  # cancelled too late, and so remembered
    await gateway.send(message("last"))
    assert read_ids(outbox) == ["written", "last"]


async def test_a_disk_that_fails_is_a_failure_worth_a_retry(
    gateway: SandboxSmsGateway, outbox: Path, disk: WatchedDisk
) -> None:
    disk.error = OSError("no space left")
    failures = await asyncio.gather(
        *(gateway.send(message(f"r-{number}")) for number in range(3)), return_exceptions=True
    )
    for failure in failures:
        assert isinstance(failure, GatewayError)
        assert failure.retryable
        assert str(failure) == "the sandbox could not write its outbox"
    disk.error = None
    await gateway.send(message("r-1"))  # not taken for sent, though it may stand there twice now
    assert read_ids(outbox)[-1] == "r-1"


@pytest.mark.parametrize("outbox", [Path("/dev/full"), Path("/dev/null/outbox.txt")])
async def test_an_outbox_that_cannot_be_written_is_a_failure(gateway: SandboxSmsGateway) -> None:
    with pytest.raises(GatewayError, match=r"^the sandbox could not write its outbox$"):
        await gateway.send(message())


@pytest.fixture
def small_disk() -> Iterator[None]:
    """Lets no file of this process grow beyond a megabyte."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.usefixtures("small_disk")
async def test_a_message_written_in_part_is_a_failure(gateway: SandboxSmsGateway) -> None:
    with pytest.raises(GatewayError):
        await gateway.send(message(text="a" * 2_000_000))


async def test_closing_writes_what_waits(outbox: Path, disk: WatchedDisk) -> None:
    gateway = SandboxSmsGateway(outbox=outbox)
    sending = asyncio.create_task(gateway.send(message()))
    await asyncio.sleep(0)
    await gateway.close()
    assert read_ids(outbox) == ["r-1"]
    await sending
