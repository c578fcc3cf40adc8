"""The engine sells, gives back and pays out as the naive model does, whatever it is asked and told, by whom, and when.

`IAP_CHAOS_SECONDS=600 pytest tests/money_model` goes on for that long on each kind of database, along other paths each
time; `IAP_CHAOS_SEED` takes the paths of a seed that a failure has told.
"""

import os
import random
import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count, cycle, islice, takewhile

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from broker_service.bootstrap import initialize
from broker_service.payments.gateways import Gateways
from broker_service.storage.audit import Violation
from tests.databases import DatabaseKind
from tests.ledger_model.brokers import START, Brokers
from tests.money_model.brokers import GatewaysOutside, MoneyBroker
from tests.money_model.machine import MoneyMachine

CHAOS_SECONDS = float(os.environ.get("IAP_CHAOS_SECONDS", "0"))
CHAOS_SEED = int(os.environ.get("IAP_CHAOS_SEED", random.randrange(2**32)))

# A failure takes some minutes more, until it is told by the fewest steps.
pytestmark = pytest.mark.timeout(600 + CHAOS_SECONDS)

_EXAMPLES = 10
_SETTINGS = settings(
    stateful_step_count=40,
    deadline=None,
    database=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def run_machine(url: str, shards: int, seeds: Iterable[int], *, examples: int = _EXAMPLES) -> None:
    initialize(url, shards=shards, clock=lambda: START)
    gateways, known = GatewaysOutside(), set[Violation]()
    with Brokers(url, partial(MoneyBroker, gateways=Gateways(*gateways.all)), shards=shards) as brokers:

        class Machine(MoneyMachine):
            def __init__(self) -> None:
                super().__init__(brokers, gateways, known)

        for number in seeds:
            try:
                run_state_machine_as_test(seed(number)(Machine), settings=settings(_SETTINGS, max_examples=examples))
            except Exception as error:
                error.add_note(f"This is seed {number} with {shards} shards.")
                raise


# What is decided does not depend on the database, and `make soak` takes many more paths on each.
def test_money_goes_as_in_the_naive_model(database_url: str, database_kind: DatabaseKind) -> None:
    run_machine(database_url, 2, range(1), examples=10 if database_kind is DatabaseKind.SQLITE else 6)


@pytest.mark.skipif(not CHAOS_SECONDS, reason="IAP_CHAOS_SECONDS tells for how long to run")
def test_money_goes_as_in_the_naive_model_along_random_paths(new_database: Callable[[], str]) -> None:
    end = time.monotonic() + CHAOS_SECONDS
    seeds = takewhile(lambda _: time.monotonic() < end, count(CHAOS_SEED))
    # A new database now and then: each example audits all that is in it.
    for shards in takewhile(lambda _: time.monotonic() < end, cycle([1, 2, 3])):
        run_machine(new_database(), shards, islice(seeds, 10))
