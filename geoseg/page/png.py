"""Write pictures of tiles as PNG."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RGBA = 6
LEVEL = 1
"""Of deflate: a tile goes no further than to this machine's browser."""


def png(picture: np.ndarray) -> bytes:
    """(H, W, 4) uint8, red, green, blue, alpha, as a file."""
    height, width = picture.shape[:2]
    rows = np.zeros((height, 1 + 4 * width), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = picture.reshape(height, -1)
    head = struct.pack(">IIBBBBB", width, height, 8, RGBA, 0, 0, 0)
    data = zlib.compress(rows.tobytes(), LEVEL)
    return SIGNATURE + _chunk(b"IHDR", head) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    check = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)
