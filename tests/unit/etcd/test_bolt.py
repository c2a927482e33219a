"""The bbolt reader, on images made here."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from kops_toolkit.errors import ArtefactInvalidError, NotFoundError
from kops_toolkit.etcd import bolt as bolts
from kops_toolkit.etcd.bolt import Bolt
from kops_toolkit.etcd.metas import fnv1a_64
from kops_toolkit.etcd.pages import PageDamageError
from tests.fakes.bolt import PAGE, Image

if TYPE_CHECKING:
    from pathlib import Path

ITEMS = [(b"k%02d" % number, b"v%d" % number * 3) for number in range(40)]


def content(bolt: Bolt) -> dict[bytes, list[tuple[bytes, bytes]]]:
    return {
        bucket.name: [
            (key, leaf.page[start:end])
            for leaf in bolt.leaves(bucket)
            for _, key, start, end in leaf.entries
        ]
        for bucket in bolt.buckets()
    }


def broken(image: bytes, match: str) -> None:
    with pytest.raises(PageDamageError, match=match):
        check(image)


def check(image: bytes) -> Bolt:
    bolt = Bolt(image)
    content(bolt)
    bolt.check_free()
    return bolt


def patched(image: bytes, offset: int, form: str, *values: int) -> bytes:
    changed = bytearray(image)
    struct.pack_into("<" + form, changed, offset, *values)
    return bytes(changed)


@pytest.fixture
def image() -> bytes:
    return Image(free=3).build({b"one": ITEMS, b"two": ITEMS[:2], b"none": []}, inline=[b"two"])


def leaf_page(image: bytes, flags: int = 2) -> int:
    """The offset of the first page of that kind that holds something."""
    for offset in range(0, len(image), PAGE):
        number, kind, count = struct.unpack_from("<QHH", image, offset)
        if (number, kind) == (offset // PAGE, flags) and count:
            return offset
    raise AssertionError("no such page")


def test_everything_written_is_read_in_order(image: bytes) -> None:
    bolt = Bolt(image)
    assert content(bolt) == {b"none": [], b"one": ITEMS, b"two": ITEMS[:2]}
    assert bolt.check_free() == 3


def test_a_value_larger_than_a_page_is_read_whole() -> None:
    items = [(b"a", b"x" * 5000), (b"b", b"y")]
    assert content(Bolt(Image().build({b"big": items}))) == {b"big": items}


def test_a_persisted_free_list_must_cover_what_is_not_in_use() -> None:
    good = Image(free=2, freelist=True).build({b"one": ITEMS})
    assert check(good).reached == check(good).meta.hwm
    at = leaf_page(good, 0x10)
    broken(patched(good, at + 16, "Q", 9), "page 9 is reached twice")
    broken(patched(good, at + 10, "H", 1), "page 3 is neither in use nor free")
    broken(patched(good, at + 10, "H", 60000), "longer than its page")


def test_the_newer_of_two_valid_metas_counts(image: bytes) -> None:
    assert Bolt(image).meta.txid == 8
    without_first = Bolt(patched(image, 24, "I", 1))
    assert without_first.metas[0] is None
    assert without_first.meta.txid == 7
    broken(patched(patched(image, 24, "I", 1), PAGE + 24, "I", 1), "neither of its first two")


def test_a_trailer_is_told_by_the_size(image: bytes) -> None:
    assert Bolt(image).trailer is None
    assert Bolt(image + b"t" * 32).trailer == b"t" * 32


@pytest.mark.parametrize("cut", [1, 512, 5000])
def test_a_shorter_file_is_cut_off(image: bytes, cut: int) -> None:
    broken(image[:-cut], "cut off")


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\x03\x04", "zip")],
)
def test_a_compressed_file_is_named_as_such(start: bytes, kind: str) -> None:
    broken(start.ljust(3000, b"z"), f"{kind}-compressed")


def test_a_page_that_claims_to_be_another(image: bytes) -> None:
    broken(patched(image, leaf_page(image), "Q", 77), "says that it is page 77")


def test_a_page_of_no_kind(image: bytes) -> None:
    broken(patched(image, leaf_page(image) + 8, "H", 3), "neither branch nor leaf")


def test_an_element_that_points_elsewhere(image: bytes) -> None:
    broken(patched(image, leaf_page(image) + 16 + 4, "I", 60), "out of place")


def test_a_value_that_leaves_its_page(image: bytes) -> None:
    at = leaf_page(image) + 16 + 3 * 16
    broken(patched(image, at + 12, "I", 1 << 30), "more bytes than it has")


def test_more_elements_than_fit(image: bytes) -> None:
    broken(patched(image, leaf_page(image) + 10, "H", 65535), "more elements than fit")


def test_overflow_past_the_end(image: bytes) -> None:
    broken(patched(image, leaf_page(image) + 12, "I", 0xFFFF_FFFF), "past the end")


def test_keys_out_of_order(image: bytes) -> None:
    at = leaf_page(image) + 16 + 4 * 16
    broken(image[:at] + b"k99" + image[at + 3 :], "out of order")


def test_keys_that_belong_to_another_page(image: bytes) -> None:
    first, last = leaf_page(image) + 16 + 4 * 16, b"k03"
    at = image.index(last, first)
    broken(image[:at] + b"k05" + image[at + 3 :], "belong elsewhere")


def test_a_loop_in_the_tree_ends(image: bytes) -> None:
    at = leaf_page(image, 1)
    number = at // PAGE
    broken(patched(image, at + 16 + 8, "Q", number), f"page {number} is reached twice")


def test_a_child_past_the_end(image: bytes) -> None:
    broken(patched(image, leaf_page(image, 1) + 16 + 8, "Q", 1 << 60), "lies past the end")


def test_a_root_past_the_end_is_damage_even_under_a_right_checksum(image: bytes) -> None:
    for meta in (0, PAGE):
        image = patched(image, meta + 32, "Q", 1 << 40)
        image = patched(image, meta + 72, "Q", fnv1a_64(image[meta + 16 : meta + 72]))
    broken(image, "lies past the end")


def test_fnv_1a() -> None:
    assert fnv1a_64(b"") == 0xCBF29CE484222325
    assert fnv1a_64(b"foobar") == 0x85944171F73967E8


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no file"), bolts.opened(tmp_path / "no"):
        pass
    with pytest.raises(ArtefactInvalidError, match="regular"), bolts.opened(tmp_path):
        pass
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ArtefactInvalidError, match="regular"), bolts.opened(tmp_path / "pipe"):
        pass
    (tmp_path / "empty").touch()
    with pytest.raises(PageDamageError, match="empty"), bolts.opened(tmp_path / "empty"):
        pass


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_bytes(b"x")

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ArtefactInvalidError, match="Permission denied"), bolts.opened(file):
        pass
