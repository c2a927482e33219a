"""The little of protobuf's wire format that etcd's API and the objects in it need.

Field numbers are those of etcd's `api/etcdserverpb/rpc.proto`, `api/mvccpb/kv.proto` and of
apimachinery's `runtime/generated.proto`, `meta/v1/generated.proto`. Unknown fields are skipped, as
protobuf demands of every reader.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

Fields = dict[int, list[int | bytes]]


class WireError(ValueError):
    """Bytes that are no protobuf message."""


def varint(number: int) -> bytes:
    """A non-negative number, seven bits a byte, lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def integer(field: int, value: int) -> bytes:
    """A varint field; nothing at all for 0, which is what proto3 writes."""
    return varint(field << 3 | VARINT) + varint(value) if value else b""


def data(field: int, value: bytes) -> bytes:
    """A length-delimited field (bytes, string or message); nothing at all if empty."""
    return varint(field << 3 | BYTES) + varint(len(value)) + value if value else b""


def read_varint(message: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at` and the offset behind it.

    Raises:
        WireError: it runs past the end, or is longer than 64 bits.
    """
    value = shift = 0
    while shift < 70:
        if at >= len(message):
            raise WireError("a number runs past the end")
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise WireError("a number is longer than 64 bits")


def walk(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Each field's number and value in the order they come; fixed-width ones as bytes.

    Raises:
        WireError: this is no protobuf message.
    """
    at = 0
    while at < len(message):
        tag, at = read_varint(message, at)
        field, kind = tag >> 3, tag & 7
        if not field:
            raise WireError("a field has number 0")
        if kind == VARINT:
            number, at = read_varint(message, at)
            yield field, number
            continue
        if kind == BYTES:
            size, at = read_varint(message, at)
        elif kind in {FIXED64, FIXED32}:
            size = 8 if kind == FIXED64 else 4
        else:
            raise WireError(f"field {field} has the unknown wire type {kind}")
        if at + size > len(message):
            raise WireError(f"field {field} runs past the end")
        yield field, message[at : at + size]
        at += size


def fields(message: bytes) -> Fields:
    """All fields of a message by number.

    Raises:
        WireError: this is no protobuf message.
    """
    found: Fields = {}
    for field, value in walk(message):
        found.setdefault(field, []).append(value)
    return found


def number(found: Fields, field: int) -> int:
    """The field's last value as an unsigned number; 0 if it is absent.

    Raises:
        WireError: the field is no number.
    """
    value = found.get(field, [0])[-1]
    if isinstance(value, bytes):
        raise WireError(f"field {field} is no number")
    return value


def blob(found: Fields, field: int) -> bytes:
    """The field's last value as bytes; empty if it is absent.

    Raises:
        WireError: the field is a number.
    """
    return blobs(found, field)[-1] if field in found else b""


def blobs(found: Fields, field: int) -> list[bytes]:
    """All values of a repeated bytes, string or message field.

    Raises:
        WireError: one of them is a number.
    """
    values = found.get(field, [])
    good = [value for value in values if isinstance(value, bytes)]
    if len(good) != len(values):
        raise WireError(f"field {field} is a number")
    return good


def text(found: Fields, field: int) -> str:
    """The field's last value as text; what is not UTF-8 is replaced."""
    return blob(found, field).decode("utf-8", "replace")
