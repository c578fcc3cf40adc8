import argparse
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from iap.broker.v1 import broker_pb2, broker_pb2_grpc

from bench import __main__ as command
from bench import frames
from bench.echo_server import EchoServicer
from bench.engine_runs import check_books
from bench.frames import Rpc
from bench.history import add_history
from bench.report import BEGIN, END, TITLES, MarksMissingError, render, write_into
from bench.results import Findings, Results, SectionResult, read_results, write_section
from bench.rounds import Measure, Sample, Spread, medians, ratios, rotated, take_turns
from bench.seeding import make_database
from deploy.node_process import ROOT
from tests.databases import DatabaseKind


def samples(*rates: float) -> list[Sample]:
    return [Sample(rate=rate) for rate in rates]


def section(findings: Findings) -> SectionResult:
    return SectionResult(
        time="now",
        machine={"CPUs used": "2"},
        facts={"load": "some"},
        figures=findings.figures,
        comparisons=findings.comparisons,
    )


# What figures come to.


def test_a_spread_is_the_median_and_the_range() -> None:
    assert Spread.of([5.0, 1.0, 3.0]) == Spread(3.0, 1.0, 5.0)
    assert Spread.of([4.0, 2.0]) == Spread(3.0, 2.0, 4.0)


def test_every_subject_comes_first_in_turn() -> None:
    assert [rotated(["a", "b", "c"], number) for number in range(4)] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["a", "b", "c"],
    ]


async def test_subjects_alternate_and_keep_their_own_samples() -> None:
    order: list[str] = []

    def measuring(name: str, rates: Sequence[float]) -> Measure:
        left = iter(rates)

        async def measure() -> Sample:
            order.append(name)
            return Sample(rate=next(left))

        return measure

    subjects = {"ours": measuring("ours", [2, 4]), "theirs": measuring("theirs", [1, 8])}
    taken = await take_turns(subjects, rounds=2, tell=lambda _: None)
    assert order == ["ours", "theirs", "theirs", "ours"]
    assert taken == {"ours": samples(2, 4), "theirs": samples(1, 8)}


def test_a_ratio_is_one_of_the_same_round() -> None:
    # The machine was half as fast in the second round: the ratio does not care.
    assert ratios(samples(12, 6, 9), samples(10, 5, 10)) == [1.2, 1.2, 0.9]


def test_a_target_is_kept_by_the_median_and_a_limit_by_the_largest() -> None:
    findings = Findings()
    taken = {"ours": samples(11, 13, 15), "theirs": samples(10, 10, 10)}
    findings.compare(taken, "ours", "theirs", at_least=1.3)
    findings.compare(taken, "ours", "theirs", at_least=1.31)
    findings.add_ratios("memory", [1.05], at_most=1.05)
    findings.add_ratios("memory", [1.0, 1.06], at_most=1.05)
    assert [it.passed for it in findings.comparisons] == [True, False, True, False]


def test_medians_are_of_those_turns_that_have_the_name() -> None:
    assert medians([{"a": 1, "b": 5}, {"a": 3}, {"a": 2}]) == {"a": 2, "b": 5}


# What is written.


def test_a_section_replaces_itself_and_leaves_the_others(tmp_path: Path) -> None:
    findings = Findings()
    findings.add_figures({"ours": samples(100.123456, 50)}, unit="pairs/s")
    path = tmp_path / "new" / "results.json"
    write_section(path, "engine", section(Findings()))
    write_section(path, "grpc", section(Findings()))
    write_section(path, "engine", section(findings))
    found = read_results(path)
    assert set(found.sections) == {"engine", "grpc"}
    assert found.sections["engine"].figures[0].rounds == [100.12, 50]


def test_a_missed_target_is_shown(tmp_path: Path) -> None:
    findings = Findings()
    findings.compare({"ours": samples(1), "theirs": samples(2)}, "ours", "theirs", at_least=0.9)
    document = tmp_path / "performance.md"
    document.write_text(f"Before\n{BEGIN}\nold\n{END}\nAfter\n")
    write_into(document, Results({"engine": section(findings)}))
    text = document.read_text()
    assert text.startswith(f"Before\n{BEGIN}\n\n### {TITLES['engine']}")
    assert "| ours / theirs | 0.50 | 0.50 – 0.50 | ≥ 0.9 | **FAIL** |" in text
    assert text.endswith(f"{END}\nAfter\n")
    assert "old" not in text


def test_a_document_without_a_place_for_figures_is_left_alone(tmp_path: Path) -> None:
    document = tmp_path / "performance.md"
    document.write_text("Before\n")
    with pytest.raises(MarksMissingError):
        write_into(document, Results())
    assert document.read_text() == "Before\n"


def test_the_document_shows_what_was_measured_last() -> None:
    published = ROOT / "docs" / "performance.json"
    document = (ROOT / "docs" / "performance.md").read_text()
    assert BEGIN in document
    assert not published.exists() or render(read_results(published)) in document


# What measures.


async def send_to(
    servicer: broker_pb2_grpc.BrokerServiceServicer | None, capsys: pytest.CaptureFixture[str], **changes: object
) -> str:
    server = grpc.aio.server()
    if servicer is not None:
        broker_pb2_grpc.add_BrokerServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sending = {"connections": 2, "in_flight": 8, "rate": None, "rpc": Rpc.RESERVE, "pipelined": False, "accounts": 3}
    measured = {"target": f"127.0.0.1:{port}", "warm_up": 0.1, "seconds": 0.2, "meter": []}
    await frames.main(argparse.Namespace(**(sending | measured | changes)))
    await server.stop(None)
    return capsys.readouterr().out


async def test_the_generator_sends_what_a_server_understands(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[broker_pb2.ReserveRequest] = []

    class Servicer(EchoServicer):
        # The RPC's name.
        async def Reserve(self, request: broker_pb2.ReserveRequest, context: object) -> broker_pb2.ReserveResponse:  # noqa: N802
            seen.append(request)
            return await super().Reserve(request, context)

    sent = json.loads(await send_to(Servicer(broker_pb2.ReserveResponse(replayed=True)), capsys))
    assert sent["answered"] > 0
    assert sent["failed"] == 0
    assert len({request.request_id for request in seen}) == len(seen)
    assert len({request.account_token for request in seen}) == 3


async def test_the_generator_sends_streams_that_a_server_understands(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[broker_pb2.PipelineOperation] = []

    class Servicer(broker_pb2_grpc.BrokerServiceServicer):
        async def Pipeline(self, requests: Any, _context: object) -> AsyncIterator[broker_pb2.PipelineResponse]:  # noqa: N802
            async for message in requests:
                seen.extend(message.operations)
                results = [
                    broker_pb2.PipelineResult(sequence=operation.sequence, reserve=broker_pb2.ReserveResponse())
                    for operation in message.operations
                ]
                yield broker_pb2.PipelineResponse(results=results)

    sent = json.loads(await send_to(Servicer(), capsys, pipelined=True))
    assert sent["answered"] > 0
    assert sent["failed"] == 0
    assert {operation.WhichOneof("request") for operation in seen} == {"reserve"}
    assert {operation.timeout.seconds for operation in seen} == {10}
    assert len({operation.reserve.request_id for operation in seen}) == len(seen)


async def test_the_generator_keeps_to_a_rate(capsys: pytest.CaptureFixture[str]) -> None:
    reserve = broker_pb2.ReserveResponse(replayed=True)
    sent = json.loads(await send_to(EchoServicer(reserve), capsys, in_flight=None, rate=200.0, seconds=0.5))
    assert sent["failed"] == 0
    assert 50 <= sent["answered"] <= 110


async def test_the_generator_counts_what_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    sent = json.loads(await send_to(None, capsys))
    assert sent["answered"] == 0
    assert sent["failed"] > 0


async def test_a_long_past_passes_the_audit(database_url: str) -> None:
    await make_database(database_url, accounts=3)
    await add_history(database_url, each=4)
    await check_books(database_url)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["engine", "serve"])
async def test_a_section_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # This process keeps its own.
    monkeypatch.setattr(command, "use_few_cpus", lambda: None)
    path = tmp_path / "results.json"
    assert await command.main([name, "--quick", "--seconds", "0.2", "--results", str(path)]) == 0
    found = read_results(path).sections[name]
    assert render(read_results(path)) in capsys.readouterr().out
    assert all(figure.median > 0 for figure in found.figures)
    for kind in DatabaseKind if name != "serve" else ():
        assert any(kind in figure.subject for figure in found.figures)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["everything"], "there is no section everything"),
        (["--quick", "--publish"], "--quick measures nothing that could be published"),
        (["--rounds", "0"], "sizes must be greater than 0"),
    ],
)
async def test_wrong_arguments_are_refused(
    arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        await command.main(arguments)
    assert error in capsys.readouterr().err
