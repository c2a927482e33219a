"""The two meta pages of a bbolt image, which name its root (bbolt: `internal/common/meta.go`)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kops_toolkit.etcd.pages import HEADER, META, PageDamageError

if TYPE_CHECKING:
    import mmap

MAGIC = 0xED0CDAED
VERSION = 2
NO_FREELIST = 0xFFFF_FFFF_FFFF_FFFF  # etcd does not persist the list of free pages

_META = struct.Struct("<IIIIQQQQQQ")  # magic, version, page size, flags, root, … checksum
_CHECKED = 56  # bytes that the checksum covers
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}


@dataclass(frozen=True)
class Meta:
    """One of the two pages that name the root of the tree.

    Attributes:
        page_size: bytes.
        root: page id of the root bucket's tree.
        freelist: page id of the list of free pages, or NO_FREELIST.
        hwm: high-water mark: the first page id past the end.
        txid: of the transaction that wrote it.
    """

    page_size: int
    root: int
    freelist: int
    hwm: int
    txid: int


def read(data: mmap.mmap | bytes) -> tuple[Meta | None, Meta | None]:
    """Both metas, None in place of an invalid one."""
    first = _meta(data, 0, 0)
    if first:
        return first, _meta(data, first.page_size, 1)
    for shift in range(10, 25):  # 1 KiB … 16 MiB: where bbolt itself looks for the second one
        second = _meta(data, 1 << shift, 1)
        if second and second.page_size == 1 << shift:
            return None, second
    return None, None


def _meta(data: mmap.mmap | bytes, offset: int, number: int) -> Meta | None:
    start = offset + HEADER.size
    body = bytes(data[start : start + _META.size])
    if len(body) < _META.size:
        return None
    page, flags, _, _ = HEADER.unpack_from(data, offset)
    magic, version, size, _, root, _, freelist, hwm, txid, checksum = _META.unpack(body)
    if (page, flags, magic, version) != (number, META, MAGIC, VERSION):
        return None
    if fnv1a_64(body[:_CHECKED]) != checksum or size < 1024 or size & (size - 1) or hwm < 3:
        return None
    return Meta(size, root, freelist, hwm, txid)


def no_bolt(data: mmap.mmap | bytes) -> PageDamageError:
    """The error for a file without a valid meta, with what it seems to be instead."""
    start = bytes(data[:32])
    for magic, name in _COMPRESSED.items():
        if start.startswith(magic):
            return PageDamageError(
                f"it is {name}-compressed", "unpack it first; kt reads the plain file"
            )
    if start[16:20] == MAGIC.to_bytes(4, "big"):
        return PageDamageError(
            "it was written by a big-endian machine (s390x), which kt cannot read"
        )
    return PageDamageError(
        "it is no etcd snapshot: neither of its first two pages is a valid bbolt meta page"
    )


def fnv1a_64(data: bytes) -> int:
    """The FNV-1a hash that guards a meta page, 64 bits wide."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFF_FFFF_FFFF_FFFF
    return value
