"""IP fragments put together in software, as many datagrams at once as there are places.

As in Zeek, a datagram is known by its addresses and identification alone, what came first stays where fragments
overlap, and it is opened once it is whole, as one packet as long as its parts without their extra headers.
"""

from sentinic.monitor.jit import I64, U8, int64, jit
from sentinic.monitor.packets import extensions, open_transport
from sentinic.monitor.state import (
    DROP,
    FRAGMENT_TIMEOUT,
    P_DESTINATION_HIGH,
    P_DESTINATION_LOW,
    P_FRAGMENT,
    P_HEADER,
    P_IDENT,
    P_MORE,
    P_PACKET,
    P_PROTOCOL,
    P_SOURCE_HIGH,
    P_SOURCE_LOW,
    P_TIME,
    P_TOTAL,
    P_VERSION,
    T_FRAGMENTS,
)

#: Bytes kept for a datagram; with the place's mask, twice that.
PLACE_BYTES = 66048
#: Cells of a place: the key, when it began (-1: unused), what is known of its size, the end of what is whole from 0 on,
#: headers of the first fragment seen, protocol of the fragment at offset 0, one past the last byte written.
F_SOURCE_HIGH, F_SOURCE_LOW, F_DESTINATION_HIGH, F_DESTINATION_LOW, F_IDENT = range(5)
F_BEGAN, F_SIZE, F_WHOLE, F_HEADER, F_PROTOCOL, F_EXTENT = range(5, 11)
F_CELLS = 11


@jit
def release_place(places: I64, mask: U8, place: int) -> None:
    base = place * PLACE_BYTES
    mask[base : base + places[place, F_EXTENT]] = 0
    places[place, F_EXTENT] = 0
    places[place, F_BEGAN] = -1


@jit
def _find(places: I64, mask: U8, tracker: I64, packet: I64) -> int:
    """The datagram's place, or another, emptied: an unused or the least recently given out one."""
    time = packet[P_TIME]
    for place in range(places.shape[0]):
        row = places[place]
        if (
            row[F_BEGAN] >= 0
            and row[F_IDENT] == packet[P_IDENT]
            and row[F_SOURCE_HIGH] == packet[P_SOURCE_HIGH]
            and row[F_SOURCE_LOW] == packet[P_SOURCE_LOW]
            and row[F_DESTINATION_HIGH] == packet[P_DESTINATION_HIGH]
            and row[F_DESTINATION_LOW] == packet[P_DESTINATION_LOW]
            and time - row[F_BEGAN] < FRAGMENT_TIMEOUT
        ):
            return place
    place = tracker[T_FRAGMENTS]
    for step in range(places.shape[0]):
        candidate = (tracker[T_FRAGMENTS] + step) % places.shape[0]
        if places[candidate, F_BEGAN] < 0:
            place = candidate
            break
    tracker[T_FRAGMENTS] = (place + 1) % places.shape[0]
    release_place(places, mask, place)
    row = places[place]
    row[F_SOURCE_HIGH], row[F_SOURCE_LOW] = packet[P_SOURCE_HIGH], packet[P_SOURCE_LOW]
    row[F_DESTINATION_HIGH], row[F_DESTINATION_LOW] = packet[P_DESTINATION_HIGH], packet[P_DESTINATION_LOW]
    row[F_IDENT] = packet[P_IDENT]
    row[F_BEGAN] = time
    row[F_SIZE] = row[F_WHOLE] = 0
    row[F_HEADER] = packet[P_HEADER] - (8 if packet[P_VERSION] == 6 else 0)
    row[F_PROTOCOL] = packet[P_PROTOCOL]
    return int64(place)


@jit
def add_fragment(data: U8, places: I64, store: U8, mask: U8, tracker: I64, packet: I64) -> int:
    """Take the fragment at hand; its place once its datagram is whole, otherwise -1.

    ``store`` and ``mask`` hold ``PLACE_BYTES`` for each place: bytes, and which of them came.
    """
    place = _find(places, mask, tracker, packet)
    row = places[place]
    base = place * PLACE_BYTES
    offset = packet[P_FRAGMENT]
    length = packet[P_TOTAL] - packet[P_HEADER]
    upper = offset + length
    if upper > PLACE_BYTES:
        return -1
    if offset == 0:
        row[F_PROTOCOL] = packet[P_PROTOCOL]
    if not packet[P_MORE] or (row[F_SIZE] and upper > row[F_SIZE]):
        row[F_SIZE] = max(row[F_SIZE], upper)
    source = packet[P_PACKET] + packet[P_HEADER] - offset
    for at in range(offset, upper):
        if not mask[base + at]:
            mask[base + at] = 1
            store[base + at] = data[source + at]
    row[F_EXTENT] = max(row[F_EXTENT], upper)
    whole = row[F_WHOLE]
    while whole < row[F_EXTENT] and mask[base + whole]:
        whole += 1
    row[F_WHOLE] = whole
    return place if row[F_SIZE] and whole >= row[F_SIZE] else -1


@jit
def open_datagram(store: U8, places: I64, place: int, ignore: int, packet: I64) -> int:
    """Open a datagram put together as ``open_ip`` opens a packet; ``store`` read-only."""
    row = places[place]
    at = place * PLACE_BYTES
    size = row[F_WHOLE]
    packet[P_PROTOCOL] = row[F_PROTOCOL]
    packet[P_TOTAL] = row[F_HEADER] + size
    past = int64(at)
    if packet[P_VERSION] == 6:
        past = int64(extensions(store, at, at + size, row[F_PROTOCOL], packet))
        if past < 0:
            return DROP
    return open_transport(store, past, at + size, size - (past - at), ignore, False, packet)
