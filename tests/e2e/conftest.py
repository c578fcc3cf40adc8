"""What tests of whole processes share."""

import os

import pytest

from tests.databases import DatabaseKind

# What is stored how is for the tests of storage and contract, which run on both kinds. Here a process starts for every
# step, so `make test` keeps to one, and `make soak` takes both.
KINDS = list(DatabaseKind) if os.environ.get("IAP_E2E_DATABASES") == "all" else [DatabaseKind.SQLITE]


@pytest.fixture(scope="session", params=KINDS, ids=str)
def database_kind(request: pytest.FixtureRequest) -> DatabaseKind:
    """Runs what depends on it once for each kind of database that is to be tested; `only_on` narrows it."""
    return DatabaseKind(request.param)
