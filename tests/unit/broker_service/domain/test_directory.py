"""How long a service's reservations live."""

from datetime import timedelta

import pytest

from broker_service.domain.directory import reservation_lifetimes
from broker_service.domain.errors import InvalidField
from broker_service.domain.records import DEFAULT_TTL, MAX_TTL

MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize(
    ("default_ttl", "max_ttl", "lifetimes"),
    [
        (None, None, (DEFAULT_TTL, MAX_TTL)),
        (MINUTE, None, (MINUTE, MAX_TTL)),
        (None, 60 * MINUTE, (DEFAULT_TTL, 60 * MINUTE)),
        (None, MINUTE, (MINUTE, MINUTE)),
        (MINUTE, 60 * MINUTE, (MINUTE, 60 * MINUTE)),
        (MINUTE, MINUTE, (MINUTE, MINUTE)),
    ],
)
def test_what_is_not_given_is_filled_in(
    default_ttl: timedelta | None, max_ttl: timedelta | None, lifetimes: tuple[timedelta, timedelta]
) -> None:
    assert reservation_lifetimes(default_ttl, max_ttl) == lifetimes


def test_a_default_beyond_the_longest_is_refused() -> None:
    with pytest.raises(InvalidField) as refusal:
        reservation_lifetimes(2 * MINUTE, MINUTE)
    assert (refusal.value.field, refusal.value.description) == ("default_ttl", "must not exceed max_ttl")
