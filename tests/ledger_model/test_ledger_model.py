"""The engine answers as the naive model does, whatever is asked of it, in whatever order and at whatever time.

`IAP_CHAOS_SECONDS=600 pytest tests/ledger_model` goes on for that long on each kind of database, along other paths each
time; `IAP_CHAOS_SEED` takes the paths of a seed that a failure has told.
"""

import os
import random
import time
from collections.abc import Callable, Iterable
from itertools import count, cycle, islice, takewhile

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from broker_service.bootstrap import initialize
from tests.databases import DatabaseKind
from tests.ledger_model.brokers import START, Broker, Brokers
from tests.ledger_model.machine import LedgerMachine

CHAOS_SECONDS = float(os.environ.get("IAP_CHAOS_SECONDS", "0"))
CHAOS_SEED = int(os.environ.get("IAP_CHAOS_SEED", random.randrange(2**32)))

# A failure takes some minutes more, until it is told by the fewest steps.
pytestmark = pytest.mark.timeout(600 + CHAOS_SECONDS)

# Ten examples for each seed: those that Hypothesis makes after the tenth are mostly variations of the ones before.
_SETTINGS = settings(
    max_examples=10,
    stateful_step_count=50,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def run_machine(url: str, shards: int, seeds: Iterable[int]) -> None:
    initialize(url, shards=shards, clock=lambda: START)
    with Brokers(url, Broker, shards=shards) as brokers:

        class Machine(LedgerMachine):
            def __init__(self) -> None:
                super().__init__(brokers)

        for number in seeds:
            try:
                run_state_machine_as_test(seed(number)(Machine), settings=_SETTINGS)
            except Exception as error:
                error.add_note(f"This is seed {number} with {shards} shards.")
                raise


# What is decided does not depend on the database, and `make soak` takes many more paths on each.
@pytest.mark.parametrize("shards", [1, 3])
def test_engine_answers_as_the_naive_model_does(database_url: str, database_kind: DatabaseKind, shards: int) -> None:
    seeds = 2 if database_kind is DatabaseKind.SQLITE else 1
    run_machine(database_url, shards, range(4 * shards, 4 * shards + seeds))


@pytest.mark.skipif(not CHAOS_SECONDS, reason="IAP_CHAOS_SECONDS tells for how long to run")
def test_engine_answers_as_the_naive_model_does_along_random_paths(new_database: Callable[[], str]) -> None:
    end = time.monotonic() + CHAOS_SECONDS
    seeds = takewhile(lambda _: time.monotonic() < end, count(CHAOS_SEED))
    # A new database now and then: each example audits all that is in it.
    for shards in takewhile(lambda _: time.monotonic() < end, cycle([1, 2, 3])):
        run_machine(new_database(), shards, islice(seeds, 10))
