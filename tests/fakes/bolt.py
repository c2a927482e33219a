"""Writes small bbolt images and etcd histories, so that unit tests need no etcd."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from kops_toolkit.etcd import wire
from kops_toolkit.etcd.metas import MAGIC, NO_FREELIST, fnv1a_64

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")
Items = list[tuple[bytes, bytes]]
PAGE = 1024


@dataclass
class Image:
    """A bbolt image under construction.

    Attributes:
        page_size: bytes.
        per_page: elements a page takes before the tree gets another one.
        free: pages of old content to leave lying about.
        freelist: persist the list of free pages, as etcd does not.
    """

    page_size: int = PAGE
    per_page: int = 4
    free: int = 1
    freelist: bool = False
    pages: list[bytes] = field(default_factory=list)

    def build(self, buckets: Mapping[bytes, Items], inline: Sequence[bytes] = ()) -> bytes:
        self.pages = [b"", b""] + [b"old secret".ljust(self.page_size, b"x")] * self.free
        roots: Items = []
        for name, items in sorted(buckets.items()):
            if name in inline:
                body = struct.pack("<QQ", 0, 0) + self._page(0, 2, leaf_elements(items))
            else:
                body = struct.pack("<QQ", self._tree(items), 0)
            roots.append((name, body))
        root = self._add(2, leaf_elements(roots, flags=1))
        freelist = NO_FREELIST
        if self.freelist:
            ids = range(2, 2 + self.free)
            freelist = self._add(0x10, (len(ids), struct.pack(f"<{len(ids)}Q", *ids)))
        for number in (0, 1):
            self.pages[number] = self._meta(number, root, freelist, 8 - number)
        return b"".join(self.pages)

    def _tree(self, items: Items) -> int:
        level = [
            (chunk[0][0] if chunk else b"", self._add(2, leaf_elements(chunk)))
            for chunk in chunks(items, self.per_page)
        ]
        while len(level) > 1:
            level = [
                (chunk[0][0], self._add(1, branch_elements(chunk)))
                for chunk in chunks(level, max(2, self.per_page))
            ]
        return level[0][1]

    def _add(self, flags: int, elements: tuple[int, bytes]) -> int:
        number = sum(max(1, len(page) // self.page_size) for page in self.pages)
        page = self._page(number, flags, elements)
        overflow = -(-len(page) // self.page_size) - 1
        page = struct.pack("<QHHI", number, flags, elements[0], overflow) + page[16:]
        self.pages.append(page.ljust((overflow + 1) * self.page_size, b"\0"))
        return number

    def _page(self, number: int, flags: int, elements: tuple[int, bytes]) -> bytes:
        return struct.pack("<QHHI", number, flags, elements[0], 0) + elements[1]

    def _meta(self, number: int, root: int, freelist: int, txid: int) -> bytes:
        hwm = sum(max(1, len(page) // self.page_size) for page in self.pages)
        body = struct.pack("<IIIIQQQQQ", MAGIC, 2, self.page_size, 0, root, 0, freelist, hwm, txid)
        body += struct.pack("<Q", fnv1a_64(body))
        return (struct.pack("<QHHI", number, 4, 0, 0) + body).ljust(self.page_size, b"\0")


def leaf_elements(items: Sequence[tuple[bytes, bytes]], flags: int = 0) -> tuple[int, bytes]:
    table, data = b"", b""
    for index, (key, value) in enumerate(items):
        pos = 16 * (len(items) - index) + len(data)
        table += struct.pack("<IIII", flags, pos, len(key), len(value))
        data += key + value
    return len(items), table + data


def branch_elements(children: Sequence[tuple[bytes, int]]) -> tuple[int, bytes]:
    table, data = b"", b""
    for index, (key, page) in enumerate(children):
        pos = 16 * (len(children) - index) + len(data)
        table += struct.pack("<IIQ", pos, len(key), page)
        data += key
    return len(children), table + data


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[i : i + size] for i in range(0, len(items), size)] or [[]]


@dataclass
class Etcd:
    """A key history as etcd would store it.

    Attributes:
        records: the key bucket.
        live: what a reader at the last revision sees.
        revision: the last one.
    """

    records: Items = field(default_factory=list)
    live: dict[bytes, bytes] = field(default_factory=dict)
    revision: int = 1
    compacted: int = 0
    created: dict[bytes, tuple[int, int]] = field(default_factory=dict)

    def put(self, key: bytes, value: bytes) -> None:
        self.revision += 1
        create, version = self.created.get(key, (self.revision, 0))
        self.created[key] = (create, version + 1)
        self.live[key] = value
        record = wire.data(1, key) + wire.integer(2, create) + wire.integer(3, self.revision)
        record += wire.integer(4, version + 1) + wire.data(5, value)
        self.records.append((name(self.revision), record))

    def delete(self, key: bytes) -> None:
        self.revision += 1
        self.created.pop(key, None)
        self.live.pop(key, None)
        self.records.append((name(self.revision) + b"t", wire.data(1, key)))

    def bump(self, by: int) -> None:
        """What `etcdutl snapshot restore --bump-revision` leaves: one empty record."""
        self.revision += by
        self.records.append((name(self.revision), b""))

    def buckets(self) -> dict[bytes, Items]:
        member = {"id": 0xABC, "peerURLs": ["https://10.0.0.1:2380"], "name": "one"}
        meta = [
            (b"consistent_index", (77).to_bytes(8, "big")),
            (b"storageVersion", b"3.7.0"),
            (b"term", (3).to_bytes(8, "big")),
        ]
        if self.compacted:
            meta.insert(1, (b"finishedCompactRev", name(self.compacted)))
        return {
            b"alarm": [],
            b"cluster": [(b"clusterVersion", b"3.7.0")],
            b"key": list(self.records),
            b"members": [(b"abc", json.dumps(member).encode())],
            b"meta": meta,
        }

    def image(self, **options: int | bool) -> bytes:
        image = Image(**options)  # type: ignore[arg-type]  # passed on as they came
        return image.build(self.buckets(), inline=(b"alarm", b"cluster", b"members"))

    def snapshot(self, **options: int | bool) -> bytes:
        return sealed(self.image(**options))


def name(main: int, sub: int = 0) -> bytes:
    """A record's key: its revision."""
    return main.to_bytes(8, "big") + b"_" + sub.to_bytes(8, "big")


def sealed(image: bytes) -> bytes:
    """A snapshot as it is streamed: the image and its SHA-256."""
    return image + hashlib.sha256(image).digest()


def example() -> Etcd:
    """Some Kubernetes-like content: changed, deleted and re-created keys, a large value."""
    etcd = Etcd()
    for number in range(12):
        etcd.put(b"/registry/pods/default/p%02d" % number, b"pod %d" % number)
    etcd.put(b"/registry/configmaps/default/large", b"L" * 3000)
    for number in range(0, 12, 3):
        etcd.delete(b"/registry/pods/default/p%02d" % number)
    etcd.put(b"/registry/pods/default/p03", b"again")
    etcd.put(b"/registry/example.com/widgets/default/w", b"{}")
    etcd.put(b"/registry/pods/default/p01", b"changed")
    return etcd
