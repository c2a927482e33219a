from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kops_toolkit.etcd import messages, wire

NUMBERS = st.integers(0, (1 << 64) - 1)


@given(NUMBERS)
def test_a_number_comes_back(number: int) -> None:
    assert wire.read_varint(wire.varint(number), 0) == (number, len(wire.varint(number)))


@given(st.lists(st.tuples(st.integers(1, 500), st.one_of(NUMBERS, st.binary()))))
def test_fields_come_back_in_order(pairs: list[tuple[int, int | bytes]]) -> None:
    message = b""
    wanted = []
    for field, value in pairs:
        encode = wire.data(field, value) if isinstance(value, bytes) else wire.integer(field, value)
        message += encode
        wanted += [(field, value)] if encode else []
    assert list(wire.walk(message)) == wanted


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(message: bytes) -> None:
    for read in (messages.status, messages.members, messages.range_one, messages.blob):
        try:
            read(message)
        except (wire.WireError, UnicodeDecodeError):
            continue


@pytest.mark.parametrize(
    "message",
    [b"\x08", b"\x08\x80", b"\x0a\x05abc", b"\x0b", b"\x00\x01", b"\x09abc", b"\xff" * 12],
    ids=["no number", "cut number", "cut bytes", "group", "field 0", "cut fixed", "long number"],
)
def test_what_is_no_message(message: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.fields(message)


def test_a_field_of_the_wrong_kind() -> None:
    found = wire.fields(wire.integer(1, 5) + wire.data(2, b"x"))
    with pytest.raises(wire.WireError):
        wire.blob(found, 1)
    with pytest.raises(wire.WireError):
        wire.number(found, 2)


def test_absent_fields_are_zero() -> None:
    assert wire.number({}, 1) == 0
    assert wire.blob({}, 1) == b""
    assert wire.text({}, 1) == ""


def test_fixed_width_fields_are_passed_over() -> None:
    message = b"\x09" + b"8" * 8 + b"\x15" + b"4" * 4 + wire.integer(3, 9)
    assert wire.number(wire.fields(message), 3) == 9


def test_a_store_that_was_never_compacted() -> None:
    answer = wire.integer(2, 123) + wire.integer(3, (1 << 64) - 1)
    assert messages.kv_hash(answer, 7) == messages.KvHash(123, 7, -1, 0, 0)
