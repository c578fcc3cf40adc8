"""The operations of a pipeline that have no answer yet.

One whose terms are remembered goes straight into the committer's queue and is answered from a callback. One that needs
a look into the database gets a task of its own, and holds up no other.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from functools import partial
from typing import Any

from iap.broker.v1 import broker_pb2

from broker_service.domain.directory import Role
from broker_service.domain.errors import InsufficientCredits, TokenOutdated
from broker_service.domain.outcomes import ReservationResult
from broker_service.engine.committer import Answer, Committer
from broker_service.transport.endpoint import NOBODY, Caller, Gate
from broker_service.transport.errors import DOMAIN, EXPECTED_ERRORS, cancelled, to_call_error
from broker_service.transport.operations import OPERATIONS, OperationKind, Terms, TermsDirectory
from mesh_runtime.call_errors import CallError, internal
from mesh_runtime.logs import get_logger

Outcome = ReservationResult | CallError

_logger = get_logger(__name__)


class Running:
    """One of them. `work` is what its outcome is awaited from, `trace` what its caller tells for tracing."""

    __slots__ = ("caller", "deadline", "name", "outdated", "request", "sequence", "started", "trace", "work")

    def __init__(self, operation: broker_pb2.PipelineOperation, started: float) -> None:
        self.sequence = operation.sequence
        self.name = operation.WhichOneof("request") or ""
        self.request: Any = getattr(operation, self.name) if self.name else None
        self.started = started
        self.trace: Mapping[str, str] = operation.metadata
        self.deadline: float | None = None
        if operation.HasField("timeout"):
            timeout = operation.timeout
            self.deadline = started + timeout.seconds + timeout.nanos * 1e-9
        self.caller = NOBODY
        self.work: Answer | asyncio.Task[None] | None = None
        # Whether the account token was found to be, and so is looked up again.
        self.outdated = False

    @property
    def kind(self) -> OperationKind[Any]:
        """What to do."""
        return OPERATIONS[self.name]


class PipelineWork:
    """Begins operations and tells `on_outcome` what became of each, once; until `finish` it counts as running."""

    def __init__(
        self,
        gate: Gate,
        terms: TermsDirectory,
        committer: Committer,
        on_outcome: Callable[[Running, Outcome], None],
    ) -> None:
        self._gate = gate
        self._terms = terms
        self._committer = committer
        self._on_outcome = on_outcome
        self._running: dict[int, Running] = {}

    def __len__(self) -> int:
        return len(self._running)

    def is_free(self, sequences: Collection[int]) -> bool:
        """Tells whether none of these sequences is in use."""
        return self._running.keys().isdisjoint(sequences)

    def begin(self, operation: broker_pb2.PipelineOperation, caller: Caller | CallError, now: float) -> None:
        """Begins an operation whose sequence is free; `caller` may be what it is refused with."""
        running = Running(operation, now)
        self._running[running.sequence] = running
        if isinstance(caller, CallError):
            self._on_outcome(running, caller)
            return
        running.caller = caller
        try:
            self._check(running, operation, caller)
            terms = self._terms.known_terms(running.kind, running.request, caller)
            if terms is None:
                self._look_up(running)
            else:
                self._submit(running, terms)
        except Exception as error:  # noqa: BLE001 - each operation is answered, whatever it meets
            self._fail(running, error)

    def cancel(self, sequence: int) -> None:
        """Drops an operation if nothing of it has been done yet."""
        running = self._running.get(sequence)
        work = None if running is None else running.work
        if isinstance(work, asyncio.Task):
            work.cancel()
        elif work is not None:
            self._committer.withdraw(work)

    def finish(self, running: Running) -> None:
        """Forgets an operation whose outcome has been told."""
        del self._running[running.sequence]

    def abandon(self) -> None:
        """Drops all that can be dropped: nobody is there any more to be answered."""
        for sequence in self._running:
            self.cancel(sequence)

    def _check(self, running: Running, operation: broker_pb2.PipelineOperation, caller: Caller) -> None:
        if not running.name:
            self._gate.check_message(operation)
        # The request by itself, so that its fields are named as a unary call names them.
        self._gate.admit_one(caller, running.request, Role.PROVIDER)
        if running.trace or (running.deadline is not None and running.deadline < running.started):
            self._gate.check_message(operation)

    def _submit(self, running: Running, terms: Terms) -> None:
        command = running.kind.command(running.request, terms)
        running.work = self._committer.submit(command, running.deadline)
        running.work.add_done_callback(partial(self._take_answer, running))

    def _take_answer(self, running: Running, answer: Answer) -> None:
        if answer.cancelled():
            self._on_outcome(running, cancelled())
        elif (error := answer.exception()) is None:
            self._on_outcome(running, answer.result())  # type: ignore[arg-type]  # what these commands come to
        elif isinstance(error, TokenOutdated) and not running.outdated:
            # Nothing has been done. Once more, with the token as it is now.
            running.outdated = True
            self._gate.forget_token(running.request)
            self._look_up(running)
        else:
            self._fail(running, error)

    def _look_up(self, running: Running) -> None:
        self._start(running, self._look_up_and_submit(running))

    async def _look_up_and_submit(self, running: Running) -> None:
        try:
            terms = await self._terms.terms(running.kind, running.request, running.caller)
        except TokenOutdated:
            if running.outdated:
                raise
            running.outdated = True
            self._gate.forget_token(running.request)
            terms = await self._terms.terms(running.kind, running.request, running.caller)
        self._submit(running, terms)

    def _fail(self, running: Running, error: BaseException) -> None:
        if isinstance(error, CallError):
            self._on_outcome(running, error)
        elif isinstance(error, InsufficientCredits):
            # Its offer is looked up.
            self._start(running, self._explain(running, error))
        elif isinstance(error, EXPECTED_ERRORS):
            self._on_outcome(running, to_call_error(error))
        else:
            self._on_outcome(running, _bug(running, error))

    async def _explain(self, running: Running, error: InsufficientCredits) -> None:
        self._on_outcome(running, await self._gate.explain(error))

    def _start(self, running: Running, work: Coroutine[Any, Any, None]) -> None:
        running.work = task = asyncio.create_task(work)
        task.add_done_callback(partial(self._end_task, running))

    def _end_task(self, running: Running, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._on_outcome(running, cancelled())
        elif (error := task.exception()) is not None:
            self._fail(running, error)


def render(running: Running, outcome: Outcome, result: broker_pb2.PipelineResult) -> CallError | None:
    """Writes what became of an operation into its result; returns the error if it is one."""
    result.sequence = running.sequence
    if not isinstance(outcome, CallError):
        try:
            getattr(result, running.name).CopyFrom(running.kind.response(outcome))
        except Exception as error:  # noqa: BLE001 - one that cannot be shown must not end the others
            outcome = _bug(running, error)
        else:
            return None
    try:
        result.error.CopyFrom(outcome.to_status())
    except Exception as error:  # noqa: BLE001 - such as metadata that is not text
        outcome = _bug(running, error)
        result.error.CopyFrom(outcome.to_status())
    return outcome


def _bug(running: Running, error: BaseException) -> CallError:
    _logger.error("call.bug", method="Pipeline", operation=running.name, exc_info=error)
    return internal(DOMAIN)
