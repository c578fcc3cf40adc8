"""`iap-provider serve --service module:function`, and functions as entry points."""

import asyncio
import importlib
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from client_stub.provider import ProviderClient
from client_stub.structs import from_struct
from mesh_runtime.addresses import Address
from mesh_runtime.startup_errors import StartupError
from provider_service.service_choice import create_services, find_services
from provider_service.services.service import Service
from provider_service.settings import Settings
from tests.unit.provider_service.broker_double import BrokerDouble
from tests.unit.provider_service.provider_process import finish, start

MODULE = """
from dataclasses import dataclass
from provider_service.sdk import Charge, service

@dataclass
class Text:
    text: str

@dataclass
class Settings:
    greeting: str = "hello"

async def lifespan(settings):
    print("opened with", settings.greeting, flush=True)
    if settings.greeting == "nothing":
        raise ConnectionError("nobody\\nthere")
    yield settings.greeting
    print("closed", flush=True)

@service(name="greet", title="Greetings", unit="greeting", options=Settings, lifespan=lifespan)
async def greet(request: Text, charge: Charge, greeting: str) -> dict[str, str]:
    return {"text": f"{greeting} {request.text}"}

@service(name="shout", title="Shouting", unit="shout")
async def shout(request: Text, charge: Charge) -> dict[str, str]:
    return {"text": request.text.upper()}

@service(name="shout", title="Shouting, too", unit="shout")
async def rival(request: Text, charge: Charge) -> dict[str, str]:
    return {}

async def bare(request: Text, charge: Charge) -> dict[str, str]:
    return {}
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with modules in it, none of them installed."""
    work = tmp_path / "work"
    (work / "shop").mkdir(parents=True)
    (work / "shop" / "greetings.py").write_text(MODULE)
    (work / "broken.py").write_text("import nowhere_at_all\n")
    (work / "wrong.py").write_text(
        "from provider_service.sdk import service\n"
        "@service(name='wrong', title='Wrong', unit='piece', price=0)\n"
        "async def wrong(request, charge): ...\n"
    )
    (work / "unreadable.py").write_text("def")
    return work


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A directory with a distribution that offers a function as a service, and another one that is none."""
    site = tmp_path / "site"
    metadata = site / "greetings-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "greetings.py").write_text(MODULE)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: greetings\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[iap_mesh.services]\ngreet = greetings:greet\nbare = greetings:bare\n")
    return site


@asynccontextmanager
async def running(
    directory: Path, installed: Path, broker_address: str, *arguments: str
) -> AsyncIterator[tuple[list[str], ProviderClient]]:
    """Yields what the process has printed before it listens, and a client; the process ends in good order."""
    process = await start(
        installed, "--listen", "127.0.0.1:0", "--broker", broker_address, *arguments, directory=directory
    )
    assert process.stdout is not None
    printed: list[str] = []
    try:
        async with asyncio.timeout(20):
            while not (line := (await process.stdout.readline()).decode().strip()).startswith("listening on"):
                assert line, (await finish(process))[2]
                printed.append(line)
        async with ProviderClient.connect(line.removeprefix("listening on ")) as client:
            yield printed, client
        process.send_signal(signal.SIGTERM)
        code, output, _ = await finish(process)
        assert code == 0
        printed += output.splitlines()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_functions_are_served_from_the_directory_they_are_in(
    broker: BrokerDouble, broker_address: str, directory: Path, installed: Path
) -> None:
    arguments = ("--service", "shop.greetings:greet", "--service", "shop.greetings:shout")
    async with running(directory, installed, broker_address, *arguments, "--option", "greet.greeting=bye") as (
        printed,
        client,
    ):
        assert printed == ["opened with bye"]
        assert [entry.service for entry in (await client.list_services()).services] == ["greet", "shout"]
        token = broker.open_account(1, service="greet")
        served = await client.serve(service="greet", input={"text": "Ada"}, account_token=token)
        assert from_struct(served.output) == {"text": "bye Ada"}
    assert printed == ["opened with bye", "closed"]


def choose(*references: str, services: tuple[str, ...] | None = None, **options: str) -> list[Service]:
    """What a process would serve."""
    settings = Settings(
        listen=Address(host="127.0.0.1", port=0),
        broker="127.0.0.1:1",
        key="key",
        service_names=services,
        service_references=references,
        options={("greet", option): value for option, value in options.items()},
    )
    return create_services(settings, find_services())


@pytest.fixture
def here(directory: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Makes this process one that was started in the directory, until the test ends."""
    monkeypatch.chdir(directory)
    monkeypatch.setattr(sys, "path", [str(installed), *sys.path])
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {"shop", "broken", "wrong", "unreadable", "greetings"}:
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.mark.usefixtures("here")
def test_a_function_may_be_an_entry_point_and_stand_beside_another() -> None:
    chosen = choose("shop.greetings:shout", services=("greet", "sms"))
    assert sorted(service.name for service in chosen) == ["greet", "shout", "sms"]
    assert [service.name for service in choose("shop.greetings:shout")] == ["shout"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "nowhere:greet",
            "--service nowhere:greet: there is no module nowhere, neither in this directory nor installed",
        ),
        ("shop.no:greet", "--service shop.no:greet: there is no module shop.no, neither"),
        ("shop.greetings:no", "--service shop.greetings:no: the module shop.greetings has no no"),
        ("shop.greetings:bare", "--service shop.greetings:bare: bare is no service; write @service(…)"),
        ("shop.greetings:Text", "--service shop.greetings:Text: Text is no service"),
        ("broken:x", "--service broken:x cannot be imported: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("unreadable:x", "--service unreadable:x cannot be imported: SyntaxError"),
        ("wrong:wrong", "--service wrong:wrong cannot be imported: InvalidDeclaration: @service: price must be"),
    ],
)
def test_what_is_no_service_is_named(reference: str, message: str) -> None:
    with pytest.raises(StartupError) as caught:
        choose(reference)
    assert str(caught.value).startswith(message)


@pytest.mark.usefixtures("here")
def test_services_that_do_not_fit_together_are_named() -> None:
    with pytest.raises(StartupError, match=r"two services are named shout: shop.greetings:shout and shop.greetings:ri"):
        choose("shop.greetings:shout", "shop.greetings:rival")
    with pytest.raises(StartupError, match="the service greet is named by --service and --services"):
        choose("shop.greetings:greet", services=("greet",))
    with pytest.raises(StartupError, match=r"option greet.size is unknown; there are greeting"):
        choose("shop.greetings:greet", size="3")
    with pytest.raises(StartupError, match=r"--option greet.size: the service 'greet' is not served here"):
        choose("shop.greetings:shout", size="3")
    with pytest.raises(StartupError, match="the service bare is a bare function; write @service"):
        choose(services=("bare",))


async def test_a_lifespan_that_cannot_begin_ends_the_process_with_one_line(directory: Path, installed: Path) -> None:
    arguments = ("--service", "shop.greetings:greet", "--option", "greet.greeting=nothing")
    code, output, errors = await finish(await start(installed, *arguments, directory=directory))
    assert code == 2
    assert output == "opened with nothing\n"
    assert errors == "iap-provider: error: the service greet cannot be opened: ConnectionError: nobody there\n"
