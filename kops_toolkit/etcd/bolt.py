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
from typing import TYPE_CHECKING, NamedTuple

from kops_toolkit.errors import ArtefactInvalidError, NotFoundError
from kops_toolkit.etcd import metas, pages
from kops_toolkit.etcd.pages import BRANCH, FREELIST, HEADER, LEAF, PageDamageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kops_toolkit.etcd.pages import Leaf

TRAILER = 32  # bytes of the SHA-256 that a snapshot stream ends in
SECTOR = 512  # a bbolt image is a multiple of it, so a remainder of 32 tells of a trailer
DEPTH = 64  # levels; a tree of 2^64 keys with two children a page is no deeper

_BUCKET = struct.Struct("<QQ")  # root page or 0 for inline, sequence


class Bucket(NamedTuple):
    """A bucket of the root: its tree's root page, or 0 and the inline page's bytes."""

    name: bytes
    root: int
    inline: bytes


class Bolt:
    """An open bbolt image, optionally followed by a snapshot's SHA-256 trailer.

    Args:
        data: the whole file.

    Attributes:
        size: of the whole file, bytes.
        metas: both meta pages, None in place of an invalid one.
        meta: the valid one of the higher transaction id.
        trailer: the last 32 bytes if the size says that there is a trailer, else None.

    Raises:
        PageDamageError: this is no bbolt image, or it is shorter than it says it is.
    """

    def __init__(self, data: mmap.mmap | bytes) -> None:
        self._data = data
        self.size = len(data)
        self.trailer = bytes(data[-TRAILER:]) if self.size % SECTOR == TRAILER else None
        self.metas = metas.read(data)
        valid = [meta for meta in self.metas if meta]
        if not valid:
            raise metas.no_bolt(data)
        self.meta = max(valid, key=lambda meta: meta.txid)
        if self.image > self.size:
            raise PageDamageError(
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
                    raise PageDamageError(f"its root holds something that is no bucket: {name!r}")
                root, _sequence = _BUCKET.unpack_from(leaf.page, start)
                found.append(Bucket(name, root, leaf.page[start + _BUCKET.size : end]))
        return found

    def leaves(self, bucket: Bucket) -> Iterator[Leaf]:
        """The leaf pages of a bucket in key order; only once, for a page is reached only once."""
        if bucket.root:
            if bucket.inline:
                raise PageDamageError(f"bucket {bucket.name!r} is both inline and not")
            source = self._tree(bucket.root)
        else:
            source = iter([pages.inline(bucket.inline, bucket.name)])
        for leaf in source:
            if any(entry[0] for entry in leaf.entries):
                raise PageDamageError(f"bucket {bucket.name!r} holds a bucket, as etcd's never do")
            yield leaf

    def read(self, start: int, end: int) -> bytes:
        """Bytes of the file, by offsets."""
        return self._data[start:end]

    def leaf_again(self, offset: int) -> Leaf:
        """A leaf page that `leaves` yielded before, by its offset."""
        _, _, count, overflow = HEADER.unpack_from(self._data, offset)
        page = self._data[offset : offset + (1 + overflow) * self.meta.page_size]
        return pages.leaf(page, count, offset, f"page {offset // self.meta.page_size}")

    def check_free(self) -> int:
        """Once all buckets were read: every page must be in use or free. Returns the free ones.

        Raises:
            PageDamageError: the persisted list of free pages contradicts the tree.
        """
        if self.meta.freelist == metas.NO_FREELIST:
            return self.meta.hwm - self.reached
        page, flags, count, _ = self._page(self.meta.freelist)
        if flags != FREELIST:
            raise PageDamageError(
                f"page {self.meta.freelist} should list the free pages and does not"
            )
        start = HEADER.size
        if count == 0xFFFF and len(page) >= start + 8:  # the real count comes first, 8 bytes wide
            count = int.from_bytes(page[start : start + 8], "little")
            start += 8
        if start + 8 * count > len(page):
            raise PageDamageError("its list of free pages is longer than its page")
        for number in struct.unpack_from(f"<{count}Q", page, start):
            self._claim(number, 1)
        if self.reached != self.meta.hwm:
            lost = self._claimed.index(0)
            raise PageDamageError(f"page {lost} is neither in use nor free")
        return count

    def _claim(self, first: int, count: int) -> None:
        if first + count > self.meta.hwm:
            raise PageDamageError(f"page {first} lies past the end ({self.meta.hwm} pages)")
        if self._claimed.find(1, first, first + count) >= 0:
            raise PageDamageError(f"page {first} is reached twice")
        self._claimed[first : first + count] = b"\x01" * count

    def _page(self, number: int) -> tuple[bytes, int, int, int]:
        """A page's bytes with its overflow, its flags, count and offset; it is claimed."""
        if number >= self.meta.hwm:
            raise PageDamageError(f"page {number} lies past the end ({self.meta.hwm} pages)")
        offset = number * self.meta.page_size
        page_id, flags, count, overflow = HEADER.unpack_from(self._data, offset)
        if page_id != number:
            raise PageDamageError(f"page {number} says that it is page {page_id}")
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
                leaf = pages.leaf(page, count, offset, f"page {number}")
                self._in_range([entry[1] for entry in leaf.entries], low, high, number)
                yield leaf
            elif flags == BRANCH:
                if depth >= DEPTH or not count:
                    raise PageDamageError(
                        f"page {number} is a branch without end or without children"
                    )
                children = pages.branch(page, count, number)
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
                raise PageDamageError(
                    f"page {number} is neither branch nor leaf (flags {flags:#x})"
                )

    def _in_range(self, keys: list[bytes], low: bytes, high: bytes | None, number: int) -> None:
        if keys and (keys[0] < low or (high is not None and keys[-1] >= high)):
            raise PageDamageError(f"page {number} holds keys that belong elsewhere")


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
        with mapped(descriptor) as bolt:
            yield bolt
    finally:
        os.close(descriptor)


@contextmanager
def mapped(descriptor: int) -> Iterator[Bolt]:
    """As `opened`, for a regular file that is open already."""
    if os.fstat(descriptor).st_size == 0:
        raise PageDamageError("it is empty")
    try:
        data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError, OverflowError) as cause:
        raise ArtefactInvalidError(f"it cannot be mapped into memory: {cause}") from cause
    with data:
        yield Bolt(data)


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
