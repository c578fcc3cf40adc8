import asyncio

import click
import pytest

from mesh_runtime.commands import environment_prefix, invoke, run_event_loop
from mesh_runtime.startup_errors import StartupError


@click.group()
def group() -> None:
    """An example of a program."""


@group.command()
@click.option("--port", type=click.IntRange(1, 9))
@click.option("--database", envvar="IAP_EXAMPLE_DATABASE")
def serve(port: int | None, database: str | None) -> int:
    """Serve nothing."""
    if port is None:
        raise StartupError("no port:\n  nothing to serve")
    click.echo(f"{port} {database}")
    return port


@group.command()
def interrupt() -> None:
    raise KeyboardInterrupt


def exit_code(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["iap-example", *arguments])
    with pytest.raises(SystemExit) as caught:
        invoke(group, "iap-example")
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_exit_code_is_what_the_command_returns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(monkeypatch, "serve", "--port", "3") == 3
    assert capsys.readouterr().out == "3 None\n"


def test_flags_come_before_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("IAP_EXAMPLE_SERVE_PORT", "4")
    monkeypatch.setenv("IAP_EXAMPLE_DATABASE", "sqlite:///x")
    assert exit_code(monkeypatch, "serve") == 4
    assert exit_code(monkeypatch, "serve", "--port", "5") == 5
    assert capsys.readouterr().out == "4 sqlite:///x\n5 sqlite:///x\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve"], "no port: nothing to serve"),
        (["serve", "--port", "10"], "Invalid value for '--port': 10 is not in the range 1<=x<=9."),
        (["fly"], "No such command 'fly'."),
        (["serve", "--port"], "Option '--port' requires an argument."),
    ],
)
def test_what_is_wrong_is_one_line_on_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert exit_code(monkeypatch, *arguments) == 2
    printed = capsys.readouterr()
    assert printed.err == f"iap-example: error: {message}\n"
    assert printed.out == ""


def test_a_program_without_arguments_shows_what_it_can_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(monkeypatch) == 2
    assert "Serve nothing." in capsys.readouterr().err


def test_an_interrupted_command_ends_as_shells_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exit_code(monkeypatch, "interrupt") == 130


def test_the_environment_prefix_is_the_name_of_the_program() -> None:
    assert environment_prefix("iap-broker") == "IAP_BROKER"


def test_the_event_loop_is_a_fast_one() -> None:
    async def name_of_loop() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert run_event_loop(name_of_loop()) == "uvloop"
