"""Reads a bbolt image, the file that is an etcd member's backend and its snapshot's body.

The format is bbolt's (`internal/common`: meta.go, page.go, inode.go, bucket.go); everything is
little-endian. No page carries a checksum of its own, so nothing here is believed: every offset is
bounded, every page may be reached once only, and elements must lie exactly as bbolt packs them
(one after the other, right behind the element table). Reading is therefore also the structure
check, under the rules of bbolt's `tx_check.go`, and damage of any kind ends in one sentence.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from kops_toolkit.errors import ArtefactInvalidError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAGIC = 0xED0CDAED
VERSION = 2
TRAILER = 32  # bytes of the SHA-256 that a snapshot stream ends in
SECTOR = 512  # a bbolt image is a multiple of it, so a remainder of 32 tells of a trailer
NO_FREELIST = 0xFFFF_FFFF_FFFF_FFFF  # etcd does not persist the list of free pages
BRANCH, LEAF, META, FREELIST = 0x01, 0x02, 0x04, 0x10
DEPTH = 64  # levels; a tree of 2^64 keys with two children a page is no deeper

_HEADER = struct.Struct("<QHHI")  # id, flags, count, overflow
_META = struct.Struct("<IIIIQQQQQQ")  # magic … checksum, see Meta
_ELEMENT = struct.Struct("<IIII")  # leaf: flags, pos, key size, value size
_CHILD = struct.Struct("<IIQ")  # branch: pos, key size, page
_BUCKET = struct.Struct("<QQ")  # root page or 0 for inline, sequence
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"PK\x03\x04": "zip"}


class PageDamageError(ArtefactInvalidError):
    """The pages of a file do not form a bbolt tree."""


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


class Leaf(NamedTuple):
    """A leaf page with its elements in key order.

    Attributes:
        page: its bytes, overflow pages included.
        offset: of `page` in the file; -1 for an inline bucket.
        entries: (flags, key, start of value, end of value), offsets into `page`.
        start: where in `page` the first key begins; keys and values lie without gaps from there…
        end: … to here.
    """

    page: bytes
    offset: int
    entries: list[tuple[int, bytes, int, int]]
    start: int
    end: int


class Bucket(NamedTuple):
    """A bucket of the root: its tree's root page, or 0 and the inline page's bytes."""

    name: bytes
    root: int
    inline: bytes


class Bolt:
    """An open bbolt image, optionally followed by a snapshot's SHA-256 trailer.

    Args:
        data: the whole file.
        name: what to call it in errors.

    Attributes:
        size: of the whole file, bytes.
        metas: both meta pages, None in place of an invalid one.
        meta: the valid one of the higher transaction id.
        trailer: the last 32 bytes if the size says that there is a trailer, else None.

    Raises:
        PageDamageError: this is no bbolt image, or it is shorter than it says it is.
    """

    def __init__(self, data: mmap.mmap | bytes, name: str) -> None:
        self._data = data
        self._name = name
        self.size = len(data)
        self.trailer = bytes(data[-TRAILER:]) if self.size % SECTOR == TRAILER else None
        self.metas = self._read_metas()
        valid = [meta for meta in self.metas if meta]
        if not valid:
            raise self._no_bolt()
        self.meta = max(valid, key=lambda meta: meta.txid)
        if self.image > self.size:
            raise self.damage(
                f"it is cut off: {self.size} bytes are left of {self.image + TRAILER}"
            )
        self._claimed = bytearray(self.meta.hwm)
        self._claim(0, 1)
        self._claim(1, 1)

    @property
    def image(self) -> int:
        """Bytes that the pages take, i.e. the file without its trailer and without slack."""
        return self.meta.hwm * self.meta.page_size

    @property
    def reached(self) -> int:
        """Pages reached so far, both metas included; after `buckets` and `leaves`, all in use."""
        return self._claimed.count(1)

    def buckets(self) -> list[Bucket]:
        """The buckets of the root in name order; call it once, for it reaches their pages."""
        found = []
        for leaf in self._tree(self.meta.root):
            for flags, name, start, end in leaf.entries:
                if not flags & 1 or end - start < _BUCKET.size:
                    raise self.damage(f"its root holds something that is no bucket: {name!r}")
                root, _sequence = _BUCKET.unpack_from(leaf.page, start)
                found.append(Bucket(name, root, leaf.page[start + _BUCKET.size : end]))
        return found

    def leaves(self, bucket: Bucket) -> Iterator[Leaf]:
        """The leaf pages of a bucket in key order; only once, for a page is reached only once."""
        if bucket.root:
            if bucket.inline:
                raise self.damage(f"bucket {bucket.name!r} is both inline and not")
            source = self._tree(bucket.root)
        else:
            source = iter([self._inline(bucket)])
        for leaf in source:
            if any(entry[0] for entry in leaf.entries):
                raise self.damage(f"bucket {bucket.name!r} holds a bucket, as etcd's never do")
            yield leaf

    def read(self, start: int, end: int) -> bytes:
        """Bytes of the file, by offsets."""
        return self._data[start:end]

    def leaf_again(self, offset: int) -> Leaf:
        """A leaf page that `leaves` yielded before, by its offset."""
        _, _, count, overflow = _HEADER.unpack_from(self._data, offset)
        page = self._data[offset : offset + (1 + overflow) * self.meta.page_size]
        return self._leaf(page, count, offset, f"page {offset // self.meta.page_size}")

    def check_free(self) -> int:
        """Once all buckets were read: every page must be in use or free. Returns the free ones.

        Raises:
            PageDamageError: the persisted list of free pages contradicts the tree.
        """
        if self.meta.freelist == NO_FREELIST:
            return self.meta.hwm - self.reached
        page, flags, count, _ = self._page(self.meta.freelist)
        if flags != FREELIST:
            raise self.damage(f"page {self.meta.freelist} should list the free pages and does not")
        start = _HEADER.size
        if count == 0xFFFF and len(page) >= start + 8:  # the real count comes first, 8 bytes wide
            count = int.from_bytes(page[start : start + 8], "little")
            start += 8
        if start + 8 * count > len(page):
            raise self.damage("its list of free pages is longer than its page")
        for number in struct.unpack_from(f"<{count}Q", page, start):
            self._claim(number, 1)
        if self.reached != self.meta.hwm:
            lost = self._claimed.index(0)
            raise self.damage(f"page {lost} is neither in use nor free")
        return count

    def damage(self, what: str) -> PageDamageError:
        """The error for a structure that cannot be."""
        return PageDamageError(f"{self._name} is damaged: {what}")

    def _read_metas(self) -> tuple[Meta | None, Meta | None]:
        first = self._meta(0, 0)
        if first:
            return first, self._meta(first.page_size, 1)
        for shift in range(10, 25):  # 1 KiB … 16 MiB: where bbolt itself looks for the second one
            second = self._meta(1 << shift, 1)
            if second and second.page_size == 1 << shift:
                return None, second
        return None, None

    def _meta(self, offset: int, number: int) -> Meta | None:
        start = offset + _HEADER.size
        body = bytes(self._data[start : start + _META.size])
        if len(body) < _META.size:
            return None
        page, flags, _, _ = _HEADER.unpack_from(self._data, offset)
        magic, version, size, _, root, _, freelist, hwm, txid, checksum = _META.unpack(body)
        if (page, flags, magic, version) != (number, META, MAGIC, VERSION):
            return None
        if fnv1a_64(body[:56]) != checksum or size < 1024 or size & (size - 1) or hwm < 3:
            return None
        return Meta(size, root, freelist, hwm, txid)

    def _no_bolt(self) -> PageDamageError:
        start = bytes(self._data[:32])
        for magic, name in _COMPRESSED.items():
            if start.startswith(magic):
                return PageDamageError(
                    f"{self._name} is {name}-compressed", "unpack it first; kt reads the plain file"
                )
        if start[16:20] == MAGIC.to_bytes(4, "big"):
            return PageDamageError(
                f"{self._name} was written by a big-endian machine (s390x), which kt cannot read"
            )
        return PageDamageError(
            f"{self._name} is no etcd snapshot: neither of its first two pages is a valid bbolt"
            " meta page"
        )

    def _claim(self, first: int, count: int) -> None:
        if first + count > self.meta.hwm:
            raise self.damage(f"page {first} lies past the end ({self.meta.hwm} pages)")
        if self._claimed.find(1, first, first + count) >= 0:
            raise self.damage(f"page {first} is reached twice")
        self._claimed[first : first + count] = b"\x01" * count

    def _page(self, number: int) -> tuple[bytes, int, int, int]:
        """A page's bytes with its overflow, its flags, count and offset; it is claimed."""
        if number >= self.meta.hwm:
            raise self.damage(f"page {number} lies past the end ({self.meta.hwm} pages)")
        offset = number * self.meta.page_size
        page_id, flags, count, overflow = _HEADER.unpack_from(self._data, offset)
        if page_id != number:
            raise self.damage(f"page {number} says that it is page {page_id}")
        self._claim(number, 1 + overflow)
        return (
            self._data[offset : offset + (1 + overflow) * self.meta.page_size],
            flags,
            count,
            offset,
        )

    def _tree(self, root: int) -> Iterator[Leaf]:
        """Leaf pages below `root`, in key order, without recursion."""
        # Each item: page, its depth, and the half-open range that its keys must lie in.
        todo: list[tuple[int, int, bytes, bytes | None]] = [(root, 0, b"", None)]
        while todo:
            number, depth, low, high = todo.pop()
            page, flags, count, offset = self._page(number)
            if flags == LEAF:
                leaf = self._leaf(page, count, offset, f"page {number}")
                self._in_range([entry[1] for entry in leaf.entries], low, high, number)
                yield leaf
            elif flags == BRANCH:
                if depth >= DEPTH or not count:
                    raise self.damage(f"page {number} is a branch without end or without children")
                children = self._branch(page, count, number)
                keys = [key for key, _ in children]
                self._in_range(keys, low, high, number)
                uppers: list[bytes | None] = [*keys[1:], high]
                todo.extend(
                    (child, depth + 1, key, upper)
                    for (key, child), upper in zip(
                        reversed(children), reversed(uppers), strict=True
                    )
                )
            else:
                raise self.damage(f"page {number} is neither branch nor leaf (flags {flags:#x})")

    def _in_range(self, keys: list[bytes], low: bytes, high: bytes | None, number: int) -> None:
        if keys and (keys[0] < low or (high is not None and keys[-1] >= high)):
            raise self.damage(f"page {number} holds keys that belong elsewhere")

    def _leaf(self, page: bytes, count: int, offset: int, where: str) -> Leaf:
        start = at = _HEADER.size + count * _ELEMENT.size
        if start > len(page):
            raise self.damage(f"{where} counts more elements than fit")
        entries: list[tuple[int, bytes, int, int]] = []
        expected = start - _HEADER.size  # `pos` counts from its own element
        last: bytes | None = None
        for flags, pos, key_size, value_size in _ELEMENT.iter_unpack(page[_HEADER.size : start]):
            middle = at + key_size
            end = middle + value_size
            key = page[at:middle]
            if pos != expected or flags > 1 or (last is not None and key <= last):
                raise self.damage(
                    f"{where}: element {len(entries)} is out of place or out of order"
                )
            entries.append((flags, key, middle, end))
            expected += key_size + value_size - _ELEMENT.size
            last = key
            at = end
        if at > len(page):
            raise self.damage(f"{where} holds more bytes than it has")
        return Leaf(page, offset, entries, start, at)

    def _branch(self, page: bytes, count: int, number: int) -> list[tuple[bytes, int]]:
        start = at = _HEADER.size + count * _CHILD.size
        if start > len(page):
            raise self.damage(f"page {number} counts more children than fit")
        children: list[tuple[bytes, int]] = []
        expected = start - _HEADER.size
        for pos, key_size, child in _CHILD.iter_unpack(page[_HEADER.size : start]):
            key = page[at : at + key_size]
            if pos != expected or (children and key <= children[-1][0]):
                raise self.damage(f"page {number}: child {len(children)} is out of place or order")
            children.append((key, child))
            expected += key_size - _CHILD.size
            at += key_size
        if at > len(page):
            raise self.damage(f"page {number} holds more bytes than it has")
        return children

    def _inline(self, bucket: Bucket) -> Leaf:
        page = bucket.inline
        if len(page) < _HEADER.size:
            raise self.damage(f"bucket {bucket.name!r} has neither a page nor inline content")
        _, flags, count, overflow = _HEADER.unpack_from(page, 0)
        if flags != LEAF or overflow:
            raise self.damage(f"bucket {bucket.name!r} has an inline page that is no leaf")
        return self._leaf(page, count, -1, f"bucket {bucket.name!r}")


@contextmanager
def opened(path: Path) -> Iterator[Bolt]:
    """Map a file and read its metas.

    Raises:
        NotFoundError: there is no such file.
        ArtefactInvalidError: it cannot be read, or is no bbolt image.
    """
    size_of(path)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as cause:
        raise ArtefactInvalidError(f"{path} cannot be read: {cause.strerror}") from cause
    try:
        with mapped(descriptor, path.name) as bolt:
            yield bolt
    finally:
        os.close(descriptor)


@contextmanager
def mapped(descriptor: int, name: str) -> Iterator[Bolt]:
    """As `opened`, for a regular file that is open already."""
    if os.fstat(descriptor).st_size == 0:
        raise PageDamageError(f"{name} is empty")
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
        yield Bolt(data, name)


def size_of(path: Path) -> int:
    """Bytes of a regular file; anything else is refused, for opening a FIFO would hang.

    Raises:
        NotFoundError: there is no such file.
        ArtefactInvalidError: it is no regular file, or cannot be reached.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as cause:
        raise NotFoundError(f"there is no file {path}") from cause
    except (OSError, ValueError) as cause:
        raise ArtefactInvalidError(f"{str(path)!r} cannot be read: {cause}") from cause
    if not stat.S_ISREG(found.st_mode):
        raise ArtefactInvalidError(f"{path} is not a regular file")
    return found.st_size


def fnv1a_64(data: bytes) -> int:
    """The FNV-1a hash that guards a meta page, 64 bits wide."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFF_FFFF_FFFF_FFFF
    return value
