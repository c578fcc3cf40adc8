import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from bench import loadtest
from bench.ghz_run import CONFIGURATIONS, Report
from bench.ghz_tool import GHZ_VERSION, can_install_ghz, find_ghz
from bench.loadtest import Outcome, compare_books
from deploy.local_mesh import Books

HAS_GHZ = find_ghz() is not None or can_install_ghz()


def report(ok_count: int, **errors: int) -> Report:
    """What ghz says of this many requests, in its own words."""
    statuses = [f"  [OK]            {ok_count} responses"] if ok_count else []
    failures = [f"  [{number}]   {error}" for error, number in errors.items()]
    lines = [
        "Summary:",
        "  Name:\t\tCall",
        f"  Count:\t{ok_count + sum(errors.values())}",
        "Status code distribution:",
        *statuses,
        *(f"  [Unavailable]   {number} responses" for number in errors.values()),
        *(["Error distribution:", *failures] if failures else []),
    ]
    return Report.from_summary("Call", "\n".join(lines))


BOOKS = Books(
    accounts_checked=1, entries_checked=4, ledger_credits=94, reserved_credits=5, captured_credits=6, violations=()
)
OUTCOME = Outcome(reserve=report(5), serve_request=report(3), reserved_credits_each=1, charged_credits_each=2)


# Installing ghz takes a minute, once.
@pytest.mark.timeout(660)
@pytest.mark.skipif(not HAS_GHZ, reason="there is neither ghz nor Go to install it with")
async def test_the_books_have_what_a_short_load_test_was_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # This process keeps its own.
    monkeypatch.setattr(loadtest, "_use_few_cpus", lambda: None)
    exit_code = await loadtest.main(["--requests", "40", "--concurrency", "8"])
    output, errors = capsys.readouterr()
    if "loadtest: error: ghz is needed" in errors:
        pytest.skip(errors.strip())
    assert (exit_code, errors) == (0, "")
    assert re.findall(r"\[OK\] +(\d+) responses", output) == ["40", "40"]
    assert "The books agree: 40 credits reserved and 40 captured" in output


async def test_without_ghz_and_go_there_is_one_line_and_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await loadtest.main([]) == 2
    assert capsys.readouterr() == (
        "",
        "loadtest: error: ghz is needed: put it on the PATH "
        f"(https://ghz.sh/docs/install, {GHZ_VERSION}), or install Go\n",
    )


@pytest.mark.parametrize("duration", ["10", "0s", "6m", "soon"])
async def test_a_wrong_duration_is_refused(duration: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        await loadtest.main(["--duration", duration])
    assert f"'{duration}' is no time from 1s to 5m" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["reserve.json", "serve_request.json"])
def test_the_configurations_measure_what_they_should(name: str) -> None:
    configuration = json.loads((CONFIGURATIONS / name).read_text(encoding="utf-8"))
    assert configuration["data"]["request_id"] == "{{newUUID}}"
    assert configuration["duration-stop"] == "wait"
    assert configuration["count-errors"] is True
    assert configuration["connections"] > 1


def test_books_that_agree_have_no_differences() -> None:
    assert compare_books(BOOKS, OUTCOME) == []


@pytest.mark.parametrize(
    ("books", "difference"),
    [
        (replace(BOOKS, reserved_credits=4), "4 credits are reserved, 5 were answered"),
        (replace(BOOKS, captured_credits=7), "7 credits are captured, 6 were answered"),
        (replace(BOOKS, violations=("RULE account: text",)), "the audit found RULE account: text"),
    ],
)
def test_books_that_differ_are_told(books: Books, difference: str) -> None:
    assert compare_books(books, OUTCOME) == [difference]


def test_errors_are_a_problem_and_so_is_nothing_sent() -> None:
    assert report(5).problems() == []
    assert report(5, late=2).problems() == ["Call: 2 times late"]
    assert report(0).problems() == ["Call: ghz sent nothing"]
