"""One page of a bbolt image: its elements, which must lie exactly as bbolt packs them.

bbolt writes a table of elements behind the page's header, and the keys and values one after the
other right behind the table (`internal/common`: page.go, inode.go). Anything else is damage, and
so is a length or an offset that leads out of the page.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from kops_toolkit.errors import ArtefactInvalidError

BRANCH, LEAF, META, FREELIST = 0x01, 0x02, 0x04, 0x10
HEADER = struct.Struct("<QHHI")  # id, flags, count, overflow

_ELEMENT = struct.Struct("<IIII")  # leaf: flags, pos, key size, value size
_CHILD = struct.Struct("<IIQ")  # branch: pos, key size, page


class PageDamageError(ArtefactInvalidError):
    """The pages of a file do not form a bbolt tree; the message speaks of the file as `it`."""


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


def leaf(page: bytes, count: int, offset: int, where: str) -> Leaf:
    """Read a leaf page of `count` elements; `where` names it in errors."""
    start = at = HEADER.size + count * _ELEMENT.size
    if start > len(page):
        raise PageDamageError(f"{where} counts more elements than fit")
    entries: list[tuple[int, bytes, int, int]] = []
    expected = start - HEADER.size  # `pos` counts from its own element
    last: bytes | None = None
    for flags, pos, key_size, value_size in _ELEMENT.iter_unpack(page[HEADER.size : start]):
        middle = at + key_size
        end = middle + value_size
        key = page[at:middle]
        if pos != expected or flags > 1 or (last is not None and key <= last):
            raise PageDamageError(
                f"{where}: element {len(entries)} is out of place or out of order"
            )
        entries.append((flags, key, middle, end))
        expected += key_size + value_size - _ELEMENT.size
        last = key
        at = end
    if at > len(page):
        raise PageDamageError(f"{where} holds more bytes than it has")
    return Leaf(page, offset, entries, start, at)


def branch(page: bytes, count: int, number: int) -> list[tuple[bytes, int]]:
    """Read a branch page: each child's first key and page."""
    start = at = HEADER.size + count * _CHILD.size
    if start > len(page):
        raise PageDamageError(f"page {number} counts more children than fit")
    children: list[tuple[bytes, int]] = []
    expected = start - HEADER.size
    for pos, key_size, child in _CHILD.iter_unpack(page[HEADER.size : start]):
        key = page[at : at + key_size]
        if pos != expected or (children and key <= children[-1][0]):
            raise PageDamageError(f"page {number}: child {len(children)} is out of place or order")
        children.append((key, child))
        expected += key_size - _CHILD.size
        at += key_size
    if at > len(page):
        raise PageDamageError(f"page {number} holds more bytes than it has")
    return children


def inline(page: bytes, name: bytes) -> Leaf:
    """Read the page that a small bucket holds in place of a tree of its own."""
    if len(page) < HEADER.size:
        raise PageDamageError(f"bucket {name!r} has neither a page nor inline content")
    _, flags, count, overflow = HEADER.unpack_from(page, 0)
    if flags != LEAF or overflow:
        raise PageDamageError(f"bucket {name!r} has an inline page that is no leaf")
    return leaf(page, count, -1, f"bucket {name!r}")
