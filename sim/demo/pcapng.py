"""Takes from a pcapng file what tells of the machine that captured it: processor, kernel, program and device."""

import struct

__all__ = ["without_origin"]

SECTION_HEADER = 0x0A0D0D0A
INTERFACE_DESCRIPTION = 1
ENHANCED_PACKET = 6
OPTION_TIMESTAMP_RESOLUTION = 9
NANOSECONDS = 9


def _block(kind: int, body: bytes) -> bytes:
    length = len(body) + 12
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def without_origin(data: bytes) -> bytes:
    """Keep the packets, the link type and the nanosecond resolution of a little-endian capture from one interface.

    Raises ValueError when it is not one, or is not in nanoseconds. Layout: draft-ietf-opsawg-pcapng, section 4.
    """
    kept = []
    offset = 0
    while offset < len(data):
        kind, length = struct.unpack_from("<II", data, offset)
        body = data[offset + 8 : offset + length - 4]
        if kind == SECTION_HEADER:
            if body[:4] != struct.pack("<I", 0x1A2B3C4D):
                raise ValueError("byte order must be little-endian")
            kept.append(_block(kind, body[:8] + b"\xff" * 8))
        elif kind == INTERFACE_DESCRIPTION:
            resolution = struct.pack("<HHB3x", OPTION_TIMESTAMP_RESOLUTION, 1, NANOSECONDS)
            if resolution not in body[8:]:
                raise ValueError("timestamps must be in nanoseconds")
            kept.append(_block(kind, body[:8] + resolution + bytes(4)))
        elif kind == ENHANCED_PACKET:
            kept.append(_block(kind, body))
        offset += length
    return b"".join(kept)
