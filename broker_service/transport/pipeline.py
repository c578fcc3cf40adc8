"""Pipeline: many operations over one stream, each answered as its unary call would be.

What a call costs beside its operation (a task, a context, a look at its credentials, a line in the log) is paid once
for a stream or for a message.
"""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Final

import grpc
import grpc.aio
from iap.broker.v1 import broker_pb2

from broker_service.engine.committer import Committer
from broker_service.transport.endpoint import Caller, Context, Gate
from broker_service.transport.errors import DOMAIN, EXPECTED_ERRORS, renewing, stopping, to_call_error
from broker_service.transport.operations import TermsDirectory
from broker_service.transport.pipeline_work import Outcome, PipelineWork, Running, render
from mesh_runtime.call_errors import CallError, invalid_argument
from mesh_runtime.field_rules import FieldViolation
from mesh_runtime.logs import get_logger

# Of one stream: read, and not yet in an answer on its way. A message that is read may exceed it by its own operations.
MAX_RUNNING: Final = 2_000
MAX_OPERATIONS: Final = 1_000
# Callers take 4 MiB; one answer alone is far smaller than what is left.
_MAX_RESPONSE_BYTES: Final = 1024 * 1024
# A stream outlives its connection's age, which gRPC varies by a tenth, so that the next one goes elsewhere.
_AGE_OF_CONNECTION: Final = 1.2

_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """What ends a stream that its caller does not end: `closing` is set when the broker stops."""

    closing: asyncio.Event
    max_connection_age_seconds: float | None = None

    @property
    def max_age_seconds(self) -> float | None:
        """How long a stream may live; None: without end."""
        age_seconds = self.max_connection_age_seconds
        return None if age_seconds is None else age_seconds * _AGE_OF_CONNECTION


class Pipelines:
    """Runs streams."""

    def __init__(self, gate: Gate, terms: TermsDirectory, committer: Committer, limits: StreamLimits) -> None:
        self._gate = gate
        self._terms = terms
        self._committer = committer
        self._limits = limits

    async def run(self, context: Context) -> None:
        """Serves one stream to its end. Raises CallError."""
        try:
            await self._gate.caller_with_key(context)
            # Tells the caller that its operations will be read: what it sends before is sent into the blue.
            await context.send_initial_metadata(())
            await _Stream(context, self._gate, self._terms, self._committer).run(self._limits)
        except EXPECTED_ERRORS as error:
            raise await self._gate.explain(error) from error


class _Stream:
    """Reads and writes, each as fast as it goes."""

    def __init__(self, context: Context, gate: Gate, terms: TermsDirectory, committer: Committer) -> None:
        self._context = context
        self._gate = gate
        self._work = PipelineWork(gate, terms, committer, self._add_outcome)
        self._outcomes: deque[tuple[Running, Outcome]] = deque()
        self._has_outcomes = asyncio.Event()
        self._has_room = asyncio.Event()
        self._is_ending = False
        self._operations = self._errors = 0
        # Asked once, so that an operation below the level costs no line that nobody sees.
        self._log = _logger.debug if _logger.is_enabled_for(logging.DEBUG) else None

    async def run(self, limits: StreamLimits) -> None:
        """Serves it until its caller sends no more or `limits` end it. Raises CallError."""
        reading = asyncio.create_task(self._read_all())
        writing = asyncio.create_task(self._write_all())
        closing = asyncio.create_task(limits.closing.wait())
        tasks = (reading, writing, closing)
        try:
            await asyncio.wait(tasks, timeout=limits.max_age_seconds, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                end = reading.exception()
            else:
                reading.cancel()
                end = stopping() if limits.closing.is_set() else renewing()
            self._is_ending = True
            self._has_outcomes.set()
            await writing
            if end is not None:
                raise end
        finally:
            self._work.abandon()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            _logger.info("pipeline.ended", operations=self._operations, errors=self._errors)

    async def _read_all(self) -> None:
        while (message := await self._context.read()) is not grpc.aio.EOF:
            await self._take(message)
            while len(self._work) >= MAX_RUNNING:
                self._has_room.clear()
                await self._has_room.wait()

    async def _take(self, message: broker_pb2.PipelineRequest) -> None:
        """Begins the operations of a message, all at once. Raises CallError if the stream is to end."""
        self._check(message)
        # For each message: the key may have been revoked since the last one.
        caller = await self._admit()
        now = time.monotonic()
        for operation in message.operations:
            self._work.begin(operation, caller, now)
        for sequence in message.cancelled_sequences:
            self._work.cancel(sequence)
        if isinstance(caller, CallError) and caller.code is grpc.StatusCode.UNAUTHENTICATED:
            raise caller

    async def _admit(self) -> Caller | CallError:
        """Returns who calls, or what all operations of the message are refused with."""
        try:
            return await self._gate.caller_with_key(self._context)
        except CallError as error:
            return error
        except EXPECTED_ERRORS as error:
            return to_call_error(error)

    def _check(self, message: broker_pb2.PipelineRequest) -> None:
        """Raises CallError for what breaks the rules of the stream. Each operation is checked by itself later."""
        operations, cancelled = message.operations, message.cancelled_sequences
        if not (operations or cancelled) or max(len(operations), len(cancelled)) > MAX_OPERATIONS:
            self._gate.check_message(message)
        sequences = [operation.sequence for operation in operations]
        if len(set(sequences)) < len(sequences) or not self._work.is_free(sequences):
            raise invalid_argument(DOMAIN, [self._taken(sequences)])

    def _taken(self, sequences: list[int]) -> FieldViolation:
        index = next(
            index
            for index, sequence in enumerate(sequences)
            if sequence in sequences[:index] or not self._work.is_free([sequence])
        )
        return FieldViolation(f"operations[{index}].sequence", "is that of an operation that has no answer yet")

    def _add_outcome(self, running: Running, outcome: Outcome) -> None:
        self._outcomes.append((running, outcome))
        self._has_outcomes.set()

    async def _write_all(self) -> None:
        """Writes what is ready, all of it together, until the stream ends and nothing is left."""
        while True:
            while not self._outcomes:
                if self._is_ending and not self._work:
                    return
                self._has_outcomes.clear()
                await self._has_outcomes.wait()
            await self._context.write(self._next_response())
            if len(self._work) < MAX_RUNNING:
                self._has_room.set()

    def _next_response(self) -> broker_pb2.PipelineResponse:
        response = broker_pb2.PipelineResponse()
        size_bytes = 0
        while self._outcomes and size_bytes < _MAX_RESPONSE_BYTES:
            running, outcome = self._outcomes.popleft()
            # Before it is written: as soon as the caller has its answer, the sequence is free.
            self._work.finish(running)
            result = response.results.add()
            error = render(running, outcome, result)
            size_bytes += result.ByteSize()
            self._operations += 1
            self._errors += error is not None
            if self._log is not None:
                self._report(running, error)
        return response

    def _report(self, running: Running, error: CallError | None) -> None:
        code, reason = ("OK", None) if error is None else (error.code.name, error.reason)
        fields = dict(running.trace) if reason is None else {**running.trace, "reason": reason}
        duration_ms = round((time.monotonic() - running.started) * 1000, 3)
        _logger.debug("pipeline.operation", operation=running.name, code=code, duration_ms=duration_ms, **fields)
