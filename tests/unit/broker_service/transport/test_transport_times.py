"""Instants and spans, to the microsecond."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from broker_service.domain.errors import InvalidField
from broker_service.transport.times import from_duration, from_timestamp, to_duration, to_timestamp

instants = st.datetimes(min_value=datetime(1970, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds it
spans = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=4_000))


@given(instants)
def test_an_instant_survives_the_way_there_and_back(instant: datetime) -> None:
    rendered = to_timestamp(instant)
    assert rendered.ToDatetime(tzinfo=UTC) == instant
    assert from_timestamp(rendered, "time") == instant


@given(spans)
def test_a_span_survives_the_way_there_and_back(span: timedelta) -> None:
    rendered = to_duration(span)
    assert rendered.ToTimedelta() == span
    assert from_duration(rendered) == span


@pytest.mark.parametrize("nanos", [1, 999])
def test_what_is_finer_than_a_microsecond_is_cut_off(nanos: int) -> None:
    assert from_duration(Duration(seconds=5, nanos=nanos)) == timedelta(seconds=5)
    assert from_timestamp(Timestamp(seconds=5, nanos=nanos), "time") == datetime(1970, 1, 1, 0, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize("seconds", [253_402_300_800, 2**62, 2**63 - 1, -(2**63)])
def test_an_instant_beyond_the_calendar_is_refused(seconds: int) -> None:
    with pytest.raises(InvalidField) as refused:
        from_timestamp(Timestamp(seconds=seconds), "start_time")
    assert refused.value.field == "start_time"
