"""TensorBoard's events as bytes, without a package for them.

tensorboardX would import PyTorch wherever that is installed. That takes 1.2 s, as long
as all other imports of a run together. A run writes five kinds of events only.

Reference: `event.proto`, `summary.proto` and `record_writer.h` in the sources
of TensorBoard and TensorFlow, and protobuf's "Encoding".
"""

import struct
import time

__all__ = [
    "image_event",
    "restart_event",
    "scalar_event",
    "text_event",
    "version_event",
]

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5
"""How protobuf marks a field's size."""

_STRING = 7
"""TensorFlow's number of the type of texts."""


def version_event() -> bytes:
    """The first event of a file, which names its format."""
    return _record(_bytes(3, b"brain.Event:2"))


def restart_event(step: int) -> bytes:
    """Tells TensorBoard to forget what it has read of a step and of later ones."""
    start = _varint(1, 1)  # SessionLog.START
    return _record(_varint(2, step) + _bytes(7, start))


def scalar_event(step: int, name: str, value: float) -> bytes:
    """One value of a step; it is stored in float32."""
    scalar = _bytes(1, name.encode()) + _field(2, _FOUR_BYTES) + _float(value)
    return _record(_varint(2, step) + _bytes(5, _bytes(1, scalar)))


def image_event(step: int, name: str, png: bytes, *, height: int, width: int) -> bytes:
    """One picture of a step, in three colours."""
    size = _varint(1, height) + _varint(2, width) + _varint(3, 3)
    value = _bytes(1, name.encode()) + _bytes(4, size + _bytes(4, png))
    return _record(_varint(2, step) + _bytes(5, _bytes(1, value)))


def text_event(step: int, name: str, text: str) -> bytes:
    """A text of a step, which TensorBoard shows as Markdown."""
    one = _bytes(2, _varint(1, 1))  # a vector of one entry
    strings = _varint(1, _STRING) + _bytes(2, one) + _bytes(8, text.encode())
    shown_by = _bytes(9, _bytes(1, _bytes(1, b"text")))
    value = _bytes(1, name.encode()) + _bytes(8, strings) + shown_by
    return _record(_varint(2, step) + _bytes(5, _bytes(1, value)))


def masked_checksum(content: bytes) -> int:
    """Computes the CRC-32C of bytes, turned and shifted as these files hold it."""
    checksum = 0xFFFFFFFF
    for byte in content:
        checksum = checksum >> 8 ^ _TABLE[(checksum ^ byte) & 0xFF]
    checksum ^= 0xFFFFFFFF
    turned = checksum >> 15 | checksum << 17
    return (turned + 0xA282EAD8) & 0xFFFFFFFF


def _float(value: float) -> bytes:
    """Stores a number in float32; one beyond its range becomes infinite."""
    try:
        return struct.pack("<f", value)
    except OverflowError:
        return struct.pack("<f", float("inf") if value > 0 else float("-inf"))


def _record(event: bytes) -> bytes:
    """Adds the time to an event, and its size and checksums around it."""
    content = _field(1, _EIGHT_BYTES) + struct.pack("<d", time.time()) + event
    size = struct.pack("<Q", len(content))
    first, second = (struct.pack("<I", masked_checksum(x)) for x in (size, content))
    return size + first + content + second


def _field(number: int, kind: int) -> bytes:
    """The head of a field."""
    return _number(number << 3 | kind)


def _varint(number: int, value: int) -> bytes:
    """A field that is a whole number, not below 0."""
    return _field(number, _VARINT) + _number(value)


def _bytes(number: int, content: bytes) -> bytes:
    """A field that is a text or a message."""
    return _field(number, _BYTES) + _number(len(content)) + content


def _number(value: int) -> bytes:
    """A whole number in groups of 7 bits, the lowest first."""
    groups = []
    while value > 0x7F:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


def _make_table() -> list[int]:
    """The remainders of CRC-32C for each byte."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _make_table()
