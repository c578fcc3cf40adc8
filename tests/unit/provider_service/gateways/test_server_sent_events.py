import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provider_service.gateways.server_sent_events import EventDecoder


def decode(*chunks: bytes) -> list[str]:
    decoder = EventDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.end()


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"", []),
        (b"data: one\n\ndata: two\n\n", ["one", "two"]),
        (b"data: one\r\n\r\ndata: two\r\n\r\n", ["one", "two"]),
        (b"data: one\r\rdata: two\r\r", ["one", "two"]),
        (b"data: one\r\n\ndata: two\n\r\n", ["one", "two"]),
        (b"data:one\n\ndata:  two\n\n", ["one", " two"]),
        (b"data: one\ndata: more\n\n", ["one\nmore"]),
        (b"data: one\ndata\ndata: more\n\n", ["one\n\nmore"]),
        (b": ping\n\ndata: one\n: ping\n\n:\n\n", ["one"]),
        (b"event: message\nid: 7\nretry: 10\ndata: one\n\n", ["one"]),
        (b"event: ping\n\ndata\n\ndata:\n\ndata: one\n\n", ["one"]),
        (b"Data: no\n data: no\ndatum: no\n\ndata: one\n\n", ["one"]),
        (b"\xef\xbb\xbfdata: one\n\n\xef\xbb\xbfdata: no\n\n", ["one"]),
        (b"data: one\n\ndata: cut off", ["one", "cut off"]),
        (b"data: one\n\ndata: cut off\n", ["one", "cut off"]),
        (b"data: one\n\ndata: cut off\r", ["one", "cut off"]),
        (b"data: \xff\n\n", ["\ufffd"]),
        ("data: Grüße 😀\n\n".encode(), ["Grüße 😀"]),
    ],
)
def test_events_are_the_same_however_the_stream_is_cut(stream: bytes, events: list[str]) -> None:
    assert decode(stream) == events
    for size in (1, 2, 3, 5):
        assert decode(*(stream[start : start + size] for start in range(0, len(stream), size))) == events


@settings(max_examples=50)
@given(
    events=st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1)),
    end=st.sampled_from(["\n", "\r", "\r\n"]),
    cuts=st.lists(st.integers(0, 400)),
)
def test_what_was_written_is_read(events: list[str], end: str, cuts: list[int]) -> None:
    stream = "".join(f"data: {event}{end}{end}" for event in events).encode()
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    assert decode(*(stream[start:stop] for start, stop in itertools.pairwise(bounds))) == events


def test_an_event_is_told_as_soon_as_it_ends() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: one\r\n\r") == ["one"]
    assert decoder.feed(b"\ndata: two\n") == []
    assert decoder.feed(b"\n") == ["two"]


@pytest.mark.parametrize("event", [b"data: " + b"a" * 100, b"data: a\n" * 60, b":" + b"a" * 101])
def test_an_event_that_is_too_long_is_refused(event: bytes) -> None:
    decoder = EventDecoder(event_maximum_bytes=100)
    with pytest.raises(ValueError, match=r"^the event is too long$"):
        decoder.feed(event)


def test_many_short_events_are_no_long_one() -> None:
    decoder = EventDecoder(event_maximum_bytes=10)
    assert decoder.feed(b"data: 1\n\n" * 1000) == ["1"] * 1000
