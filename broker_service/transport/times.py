"""Instants and spans between Python and protobuf, in whole microseconds; finer parts of a request are cut off."""

from datetime import UTC, datetime, timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from broker_service.domain.errors import InvalidField

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_timestamp(instant: datetime) -> Timestamp:
    """Renders an instant."""
    since = instant - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def to_duration(span: timedelta) -> Duration:
    """Renders a span of time."""
    return Duration(seconds=span.days * 86_400 + span.seconds, nanos=span.microseconds * 1_000)


def from_duration(duration: Duration) -> timedelta:
    """Parses a span of time whose range the field rules have checked."""
    return timedelta(seconds=duration.seconds, microseconds=duration.nanos // 1_000)


def from_timestamp(timestamp: Timestamp, field: str) -> datetime:
    """Parses an instant. Raises InvalidField if it lies beyond the year 9999."""
    try:
        return _EPOCH + timedelta(seconds=timestamp.seconds, microseconds=timestamp.nanos // 1_000)
    except OverflowError as error:
        raise InvalidField(field=field, description="must be before the year 10000") from error
