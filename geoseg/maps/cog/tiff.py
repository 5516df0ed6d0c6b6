"""Write the header of a Cloud Optimized GeoTIFF.

Layout as GDAL's COG driver documents it (https://gdal.org/drivers/raster/cog.html): directories,
then their lists of blocks, then the blocks from the smallest overview to the full image, each row
by row, with its size before and its last four bytes behind it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoseg.maps.cog.pyramid import BLOCK

CLASSIC_END = 2**32 - 1
"""Bytes that a classic TIFF can count; what is larger is a BigTIFF."""
LEADER = TRAILER = 4
"""Bytes before and behind a block."""
_STRUCTURE = (
    b"LAYOUT=IFDS_BEFORE_DATA\nBLOCK_ORDER=ROW_MAJOR\nBLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\nKNOWN_INCOMPATIBLE_EDITION=NO\n "
)
GHOST = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(_STRUCTURE) + _STRUCTURE
"""Stands before the first directory, and tells readers that they may rely on the layout."""
SUBFILE, WIDTH, HEIGHT, COMPRESSION = 254, 256, 257, 259
BLOCK_WIDTH, BLOCK_HEIGHT, OFFSETS, COUNTS = 322, 323, 324, 325
_OF_OVERVIEWS = {258, 262, 277, 284, 320, 339, 42113}
"""What overviews take over: bits, palette, band, planes, colours, sample format, nodata."""
_DEFLATE = 8
_SHORT, _LONG, _LONG8 = 3, 4, 16
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8}
"""Of a value of each type."""


@dataclass(frozen=True)
class Tag:
    """A field of a directory."""

    kind: int
    """Type by its number in TIFF."""
    content: bytes
    """Values, little-endian."""

    @property
    def count(self) -> int:
        return len(self.content) // _BYTES[self.kind]


def parse(tiff: bytes) -> dict[int, Tag]:
    """The tags of the first directory of a classic little-endian TIFF."""
    assert tiff[:4] == b"II*\0"
    (start,) = struct.unpack_from("<I", tiff, 4)
    (number,) = struct.unpack_from("<H", tiff, start)
    tags = {}
    for entry in range(start + 2, start + 2 + 12 * number, 12):
        tag, kind, count = struct.unpack_from("<HHI", tiff, entry)
        size = _BYTES[kind] * count
        place = entry + 8 if size <= 4 else struct.unpack_from("<I", tiff, entry + 8)[0]
        tags[tag] = Tag(kind, tiff[place : place + size])
    return tags


def header(
    tags: dict[int, Tag], shapes: Sequence[tuple[int, int]], sizes: Sequence[np.ndarray]
) -> bytes:
    """All that stands before the blocks.

    tags: of a GeoTIFF with the same CRS, place and meaning. shapes: height and width of the image
    and its overviews. sizes: bytes of their blocks, int64 (rows, columns) each.
    Returns: the header of a classic TIFF if that can count all its bytes, else of a BigTIFF.
    """
    blocks = int(sum((size + LEADER + TRAILER).sum() for size in sizes))
    length = len(_header(tags, shapes, sizes, 0, False))
    big = length + blocks > CLASSIC_END
    if big:
        length = len(_header(tags, shapes, sizes, 0, True))
    return _header(tags, shapes, sizes, length, big)


def _header(
    tags: dict[int, Tag],
    shapes: Sequence[tuple[int, int]],
    sizes: Sequence[np.ndarray],
    length: int,
    big: bool,
) -> bytes:
    """The header if it has this length, which doesn't depend on what is said here."""
    mark = b"II+\0" + struct.pack("<HH", 8, 0) if big else b"II*\0"
    begin = len(mark) + (8 if big else 4) + len(GHOST)
    begin += begin % 2
    start = mark + struct.pack("<Q" if big else "<I", begin) + GHOST
    directories = [
        _directory(tags, shape, _lists(places, size, big), overview=level > 0)
        for level, (shape, places, size) in enumerate(
            zip(shapes, _places(sizes, length), sizes, strict=True)
        )
    ]
    heads, _ = _lay_out(directories, begin, 0, big)
    # The lists of blocks, by far the longest part, stand behind what explains the file.
    heads, lists = _lay_out(directories, begin, begin + len(heads), big)
    return _even(start) + heads + lists


def _places(sizes: Sequence[np.ndarray], start: int) -> list[np.ndarray]:
    """Where the blocks begin in a file whose data starts there."""
    found = []
    for size in reversed(sizes):
        ends = start + np.cumsum(size + LEADER + TRAILER).reshape(size.shape)
        found.append(ends - TRAILER - size)
        start = int(ends[-1, -1])
    return found[::-1]


def _lists(places: np.ndarray, sizes: np.ndarray, big: bool) -> dict[int, Tag]:
    kind = _LONG8 if big else _LONG
    offsets = places.astype("<u8" if big else "<u4").tobytes()
    return {OFFSETS: Tag(kind, offsets), COUNTS: Tag(_LONG, sizes.astype("<u4").tobytes())}


def _directory(
    tags: dict[int, Tag], shape: tuple[int, int], lists: dict[int, Tag], *, overview: bool
) -> dict[int, Tag]:
    kept = {tag: field for tag, field in tags.items() if not overview or tag in _OF_OVERVIEWS}
    height, width = (Tag(_LONG, struct.pack("<I", side)) for side in shape)
    side = Tag(_SHORT, struct.pack("<H", BLOCK))
    kept |= {HEIGHT: height, WIDTH: width, BLOCK_HEIGHT: side, BLOCK_WIDTH: side}
    kept[COMPRESSION] = Tag(_SHORT, struct.pack("<H", _DEFLATE))
    if overview:
        kept[SUBFILE] = Tag(_LONG, struct.pack("<I", 1))
    return kept | lists


def _lay_out(
    directories: Sequence[dict[int, Tag]], begin: int, lists_at: int, big: bool
) -> tuple[bytes, bytes]:
    """Directories that follow each other from `begin` on, and their lists from `lists_at` on."""
    heads, lists = b"", b""
    for number, tags in enumerate(directories):
        last = number + 1 == len(directories)
        head, more = _serialize(tags, begin + len(heads), lists_at + len(lists), big, last)
        heads += head
        lists += more
    return heads, lists


def _serialize(
    tags: dict[int, Tag], at: int, lists_at: int, big: bool, last: bool
) -> tuple[bytes, bytes]:
    """A directory that stands `at`, and its lists of blocks."""
    number, entry, pointer = ("<Q", "<HHQ", "<Q") if big else ("<H", "<HHI", "<I")
    room = struct.calcsize(pointer)  # what is no larger than a pointer stands in its place
    fixed = struct.calcsize(number) + len(tags) * (struct.calcsize(entry) + room) + room
    entries, values, lists = b"", b"", b""
    for tag in sorted(tags):
        kind, content = tags[tag].kind, tags[tag].content
        if len(content) <= room:
            place = content.ljust(room, b"\0")
        elif tag in (OFFSETS, COUNTS):
            place = struct.pack(pointer, lists_at + len(lists))
            lists += _even(content)
        else:
            place = struct.pack(pointer, at + fixed + len(values))
            values += _even(content)
        entries += struct.pack(entry, tag, kind, tags[tag].count) + place
    values = _even(values)
    end = at + fixed + len(values)
    # Directories begin at even places, as TIFF wants it.
    gap = end % 2
    following = struct.pack(pointer, 0 if last else end + gap)
    head = struct.pack(number, len(tags)) + entries + following + values + bytes(gap)
    return head, lists


def framed(block: bytes) -> bytes:
    """A block as it stands in the file, for readers that stream it."""
    return struct.pack("<I", len(block)) + block + block[-TRAILER:]


def _even(content: bytes) -> bytes:
    return content + bytes(len(content) % 2)
