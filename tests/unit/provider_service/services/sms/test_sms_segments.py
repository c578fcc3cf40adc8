import pytest
from hypothesis import given
from hypothesis import strategies as st

from provider_service.services.sms.segments import (
    CHARACTERS_PER_SEGMENT_MAXIMUM,
    GSM_BASIC,
    GSM_EXTENSION,
    Encoding,
    has_surrogates,
    split_text,
)

# The default alphabet of 3GPP TS 23.038, 6.2.1, as code positions 0x00 to 0x7F; 0x1B is the escape.
BASIC_BY_POSITION = [
    *(0x40, 0xA3, 0x24, 0xA5, 0xE8, 0xE9, 0xF9, 0xEC, 0xF2, 0xC7, 0x0A, 0xD8, 0xF8, 0x0D, 0xC5, 0xE5),
    *(
        0x394,
        0x5F,
        0x3A6,
        0x393,
        0x39B,
        0x3A9,
        0x3A0,
        0x3A8,
        0x3A3,
        0x398,
        0x39E,
        None,
        0xC6,
        0xE6,
        0xDF,
        0xC9,
    ),
    *(0x20, 0x21, 0x22, 0x23, 0xA4, *range(0x25, 0x40)),
    *(0xA1, *range(0x41, 0x5B), 0xC4, 0xD6, 0xD1, 0xDC, 0xA7),
    *(0xBF, *range(0x61, 0x7B), 0xE4, 0xF6, 0xF1, 0xFC, 0xE0),
]
EXTENSION_BY_POSITION = {
    0x0A: 0x0C,
    0x14: 0x5E,
    0x28: 0x7B,
    0x29: 0x7D,
    0x2F: 0x5C,
    0x3C: 0x5B,
    0x3D: 0x7E,
    0x3E: 0x5D,
    0x40: 0x7C,
    0x65: 0x20AC,
}

EMOJI = "😀"

gsm_texts = st.text(st.sampled_from(sorted(GSM_BASIC)) | st.sampled_from(sorted(GSM_EXTENSION)), max_size=700)
any_texts = st.text(st.sampled_from("aé€ç語") | st.just(EMOJI) | st.characters(exclude_categories=["Cs"]), max_size=400)


def encode_gsm(text: str) -> list[bytes]:
    """Each character's septets, by the tables above."""
    septets = {chr(code): bytes([position]) for position, code in enumerate(BASIC_BY_POSITION) if code}
    septets |= {chr(code): bytes([0x1B, position]) for position, code in EXTENSION_BY_POSITION.items()}
    return [septets[character] for character in text]


def encode_utf16(text: str) -> list[bytes]:
    return [character.encode("utf-16-be") for character in text]


def count_naively(units: list[bytes], *, alone: int, joined: int) -> int:
    """Fills segments with bytes, one character at a time, and counts them."""
    if len(b"".join(units)) <= alone:
        return 1
    segments = [b""]
    for unit in units:
        if len(segments[-1] + unit) > joined:
            segments.append(b"")
        segments[-1] += unit
    return len(segments)


def count_segments(text: str) -> int:
    return len(split_text(text).segments)


def test_the_tables_are_those_of_the_standard() -> None:
    assert {ord(character) for character in GSM_BASIC} == set(BASIC_BY_POSITION) - {None}
    assert len(GSM_BASIC) == 127
    assert {ord(character) for character in GSM_EXTENSION} == set(EXTENSION_BY_POSITION.values())


@pytest.mark.parametrize(
    ("length", "segments"),
    [(0, 1), (1, 1), (153, 1), (154, 1), (160, 1), (161, 2), (306, 2), (307, 3), (459, 3), (460, 4)],
)
def test_gsm_text_takes_160_septets_alone_and_153_joined(length: int, segments: int) -> None:
    split = split_text("a" * length)
    assert (split.encoding, len(split.segments)) == (Encoding.GSM_7, segments)


@pytest.mark.parametrize(
    ("length", "segments"),
    [(1, 1), (67, 1), (68, 1), (70, 1), (71, 2), (134, 2), (135, 3), (201, 3), (202, 4)],
)
def test_other_text_takes_70_units_alone_and_67_joined(length: int, segments: int) -> None:
    split = split_text("語" * length)
    assert (split.encoding, len(split.segments)) == (Encoding.UCS_2, segments)


@pytest.mark.parametrize("text", ["é", "Ç", "ñ", "€", "{}", "Ω", "\n", "\r", "\f", "~^\\[]|"])
def test_characters_of_the_gsm_tables_go_as_gsm(text: str) -> None:
    assert split_text(text).encoding is Encoding.GSM_7


@pytest.mark.parametrize("text", ["ç", "á", "`", "ω", "\t", "\x1b", "\u2019", "\u00a0", "e\u0301", EMOJI])
def test_other_characters_go_as_ucs2(text: str) -> None:
    assert split_text("Hello " + text).encoding is Encoding.UCS_2


def test_an_extension_character_counts_two() -> None:
    assert count_segments("€" * 80) == 1
    assert count_segments("€" * 80 + "a") == 2
    assert count_segments("a" * 158 + "€") == 1
    assert count_segments("a" * 159 + "€") == 2


def test_an_escape_and_its_septet_stay_in_one_segment() -> None:
    assert split_text("a" * 151 + "€" + "b" * 10).segments == ("a" * 151 + "€", "b" * 10)
    assert split_text("a" * 152 + "€" + "b" * 10).segments == ("a" * 152, "€" + "b" * 10)
    # 306 septets would fill two segments; the pair on the border needs a third.
    assert count_segments("a" * 151 + "€" + "b" * 153) == 2
    assert count_segments("a" * 152 + "€" + "b" * 152) == 3


def test_a_surrogate_pair_stays_in_one_segment() -> None:
    assert split_text("語" * 65 + EMOJI + "字" * 5).segments == ("語" * 65 + EMOJI, "字" * 5)
    assert split_text("語" * 66 + EMOJI + "字" * 5).segments == ("語" * 66, EMOJI + "字" * 5)
    assert count_segments("語" * 65 + EMOJI + "字" * 67) == 2
    assert count_segments("語" * 66 + EMOJI + "字" * 66) == 3


def test_an_emoji_counts_two() -> None:
    assert count_segments(EMOJI * 35) == 1
    assert count_segments(EMOJI * 35 + "a") == 2
    assert count_segments(EMOJI * 36) == 2
    assert count_segments("\uffff" * 70) == 1  # the last character with one unit
    assert count_segments("\U00010000" * 36) == 2  # the first with two


@given(gsm_texts)
def test_gsm_segments_hold_the_text_and_no_more_than_they_can(text: str) -> None:
    split = split_text(text)
    assert split.text == "".join(split.segments) == text
    assert split.encoding is Encoding.GSM_7
    limit = 160 if len(split.segments) == 1 else 153
    assert all(len(b"".join(encode_gsm(segment))) <= limit for segment in split.segments)
    assert all(split.segments) or text == ""
    assert len(split.segments) == count_naively(encode_gsm(text), alone=160, joined=153)


@given(any_texts.map(lambda text: text + "ç"))
def test_ucs2_segments_hold_the_text_and_no_more_than_they_can(text: str) -> None:
    split = split_text(text)
    assert split.text == "".join(split.segments) == text
    assert split.encoding is Encoding.UCS_2
    limit = 140 if len(split.segments) == 1 else 134
    assert all(len(segment.encode("utf-16-be")) <= limit for segment in split.segments)
    assert len(split.segments) == count_naively(encode_utf16(text), alone=140, joined=134)


@given(any_texts)
def test_the_encoding_is_gsm_only_when_every_character_is_in_its_tables(text: str) -> None:
    in_tables = set(map(ord, text)) <= {*BASIC_BY_POSITION, *EXTENSION_BY_POSITION.values()}
    assert (split_text(text).encoding is Encoding.GSM_7) == in_tables


@given(gsm_texts | any_texts)
def test_no_text_has_more_characters_than_its_segments_can_hold(text: str) -> None:
    segments = count_segments(text)
    assert len(text) <= max(160, segments * CHARACTERS_PER_SEGMENT_MAXIMUM)


@pytest.mark.parametrize("code", [0xD800, 0xDBFF, 0xDC00, 0xDFFF])
def test_half_a_surrogate_pair_is_found(code: int) -> None:
    assert has_surrogates(f"a{chr(code)}b")


@given(any_texts)
def test_whole_characters_are_no_surrogates(text: str) -> None:
    assert not has_surrogates(text + "\ud7ff\ue000" + EMOJI)
