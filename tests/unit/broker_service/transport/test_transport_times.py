"""Instants and spans, to the microsecond."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from iap.broker.v1 import account_pb2, broker_pb2

from broker_service.domain.errors import InvalidField
from broker_service.transport.times import (
    instant_of,
    microseconds_of,
    optional_instant,
    optional_span,
    to_duration,
    to_timestamp,
)

instants = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds it
spans = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=4_000))


def reserve_for(ttl: Duration) -> broker_pb2.ReserveRequest:
    return broker_pb2.ReserveRequest(ttl=ttl)


def entries_from(start_time: Timestamp) -> account_pb2.ListEntriesRequest:
    return account_pb2.ListEntriesRequest(start_time=start_time)


@given(instants)
def test_an_instant_survives_the_way_there_and_back(instant: datetime) -> None:
    rendered = to_timestamp(instant)
    assert rendered.ToDatetime(tzinfo=UTC) == instant
    assert optional_instant(entries_from(rendered), "start_time") == instant
    assert instant_of(microseconds_of(instant)) == instant


@given(spans)
def test_a_span_survives_the_way_there_and_back(span: timedelta) -> None:
    rendered = to_duration(span)
    assert rendered.ToTimedelta() == span
    assert optional_span(reserve_for(rendered), "ttl") == span


def test_what_is_absent_is_none() -> None:
    assert optional_span(broker_pb2.ReserveRequest(), "ttl") is None
    assert optional_instant(account_pb2.ListEntriesRequest(), "start_time") is None


@pytest.mark.parametrize("nanos", [1, 999])
def test_what_is_finer_than_a_microsecond_is_cut_off(nanos: int) -> None:
    assert optional_span(reserve_for(Duration(seconds=5, nanos=nanos)), "ttl") == timedelta(seconds=5)
    request = entries_from(Timestamp(seconds=5, nanos=nanos))
    assert optional_instant(request, "start_time") == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize("nanos", [-1, 1_000_000_000, 2**31 - 1])
def test_nanos_that_are_none_are_refused(nanos: int) -> None:
    with pytest.raises(InvalidField) as refused:
        optional_span(reserve_for(Duration(seconds=5, nanos=nanos)), "ttl")
    assert refused.value.field == "ttl.nanos"
    with pytest.raises(InvalidField) as refused:
        optional_instant(entries_from(Timestamp(seconds=5, nanos=nanos)), "start_time")
    assert refused.value.field == "start_time.nanos"


@pytest.mark.parametrize("seconds", [253_402_300_800, 2**62, 2**63 - 1, -(2**63)])
def test_an_instant_beyond_the_calendar_is_refused(seconds: int) -> None:
    with pytest.raises(InvalidField) as refused:
        optional_instant(entries_from(Timestamp(seconds=seconds)), "start_time")
    assert refused.value.field == "start_time"
