"""The compiled loop over ring records that keeps connections."""

from sentinic.abi.descriptor import HEADROOM
from sentinic.abi.syn_offload import Reason
from sentinic.abi.tag import ATTEMPT, TAG_HEADER_BYTES
from sentinic.abi.verdicts import Kind
from sentinic.monitor import history, words
from sentinic.monitor.attempts import open_record
from sentinic.monitor.fragments import add_fragment, open_datagram, release_place
from sentinic.monitor.jit import I64, U8, Record, Records, int64, jit, lend
from sentinic.monitor.packets import ADDRESSES, from_record, open_ip
from sentinic.monitor.ports import DNS_BIT, INTERACTIVE_BIT, TCP_BIT, UDP_BIT
from sentinic.monitor.state import (
    ACK,
    ASK_ATTEMPT,
    ASK_DELETE,
    ASK_ESTABLISHED,
    ASK_EXPIRE,
    ATTEMPT_DELAY,
    FAULT_CHECKSUM,
    FAULT_NONE,
    ICMP,
    ICMPV6,
    INACTIVE,
    INTERACTIVE_INACTIVITY,
    NEVER,
    P_DESTINATION_HIGH,
    P_DESTINATION_LOW,
    P_DESTINATION_PORT,
    P_END,
    P_FAULT,
    P_FLAGS,
    P_HAVE,
    P_LENGTH,
    P_MISSING,
    P_PROTOCOL,
    P_SOURCE_PORT,
    P_TIME,
    P_TOTAL,
    PACKET,
    SESSION_TIMER,
    SYN,
    T_DUE,
    T_IGNORE,
    T_LIVE,
    T_NOW,
    T_ROWS,
    T_STAMP,
    T_TAKEN,
    T_TOP,
    T_TOP_ENDS,
    T_TOUCHED,
    T_VLANS,
    TCP,
    TUNNEL_DEPTH,
    UDP,
    WHOLE_FRAGMENT,
)
from sentinic.monitor.table import (
    TIMER_ATTEMPT,
    TIMER_DELETE,
    TIMER_EXPIRE,
    begin,
    expire,
    find,
    from_orig,
    hash_ends,
    push,
    remove,
    room,
    start_timers,
)
from sentinic.monitor.tcp import is_reuse, segment
from sentinic.monitor.tunnels import GRE_PORT, VIOLATION, inner_packet
from sentinic.monitor.words import be32

_PACKET, _REPORT, _REGENERATED = int(Kind.PACKET), int(Kind.REPORT), int(Kind.REGENERATED)
_EXPIRED, _SUPERSEDED = int(Reason.EXPIRED), int(Reason.SUPERSEDED)
_REASON, _AGAIN, _LAST = (ATTEMPT.record.member(name).offset for name in ("reason", "retransmissions", "last"))
#: What one record can need at most: it may hold a packet within each tunnel.
_LEVELS = TUNNEL_DEPTH + 1
#: Records looked ahead at.
_BLOCK = 32
_BROADCAST_HIGH = 0
_BROADCAST_LOW = -65536  #: ::ffff:255.255.255.255


@jit
def _flips(packet: I64, ports: U8) -> bool:
    """Whether the first packet seen was more likely the responder's."""
    source, destination = packet[P_SOURCE_PORT], packet[P_DESTINATION_PORT]
    if packet[P_DESTINATION_HIGH] == _BROADCAST_HIGH and packet[P_DESTINATION_LOW] == _BROADCAST_LOW:
        return False
    if packet[P_PROTOCOL] == UDP:
        return bool(ports[source] & UDP_BIT and not ports[destination] & UDP_BIT)
    if packet[P_PROTOCOL] != TCP:
        return False
    flags = packet[P_FLAGS]
    if flags & SYN and not flags & ACK:
        return False
    if not ports[source] & TCP_BIT:
        return False
    # Both may be servers: not for a SYN-ACK (a scan?), else the smaller port is.
    return bool(not ports[destination] & TCP_BIT or (not flags & SYN and source < destination))


@jit
def _established(connection: Record, orig: Record, ports: U8) -> None:
    """Some services may be silent for long."""
    port = connection.resp_port
    if orig.state == INACTIVE and not ports[port] & TCP_BIT and ports[connection.orig_port] & TCP_BIT:
        port = connection.orig_port
    if ports[port] & INTERACTIVE_BIT:
        connection.inactivity = INTERACTIVE_INACTIVITY


@jit
def _count(connection: Record, is_orig: bool, total: int) -> None:
    if is_orig:
        connection.orig_packets += 1
        connection.orig_ip_bytes += total
    else:
        connection.resp_packets += 1
        connection.resp_ip_bytes += total


@jit
def _datagram(connection: Record, packet: I64, is_orig: bool) -> None:
    """A packet of UDP or ICMP."""
    if packet[P_FAULT] == FAULT_CHECKSUM:
        if packet[P_PROTOCOL] == UDP:
            history.udp_bad_checksum(connection, is_orig)
        return
    connection.last = packet[P_TIME]
    length = packet[P_LENGTH]
    if is_orig:
        connection.orig_length = length if connection.orig_length < 0 else connection.orig_length + length
    else:
        connection.resp_length = length if connection.resp_length < 0 else connection.resp_length + length
    if packet[P_PROTOCOL] == UDP:
        mask = history.UDP_SEEN_ORIG if is_orig else history.UDP_SEEN_RESP
        if not connection.seen & mask:
            connection.seen |= mask
            history.add_letter(connection, history.D if is_orig else history.D + history.LOWER)
    elif packet[P_HAVE] < length:
        return  # Zeek counts whole ICMP packets only
    _count(connection, is_orig, packet[P_TOTAL])


@jit
def _reused(connection: Record, ends: Records, packet: I64) -> bool:
    orig, resp = ends[connection.ends + connection.swapped], ends[connection.ends + 1 - connection.swapped]
    return is_reuse(connection, orig, resp, packet)


@jit
def _track(
    table: I64,
    connections: Records,
    ends: Records,
    blocks: I64,
    rows: Records,
    tracker: I64,
    packet: I64,
    ports: U8,
    short: I64,
    long: I64,
    names: I64,
    idle: I64,
) -> int:
    """The packet at hand, to its connection; the connection's number."""
    number, value = find(table, connections, packet)
    tcp = packet[P_PROTOCOL] == TCP
    if number >= 0:
        connection = connections[number]
        over = min(connection.last + connection.inactivity, connection.over) <= tracker[T_NOW]
        if over or (tcp and packet[P_FLAGS] & SYN and _reused(connection, ends, packet)):
            remove(table, connections, ends, blocks, rows, tracker, number)
            number = int64(-1)
        elif connection.over == connection.last + connection.inactivity:
            connection.over = NEVER  # as it has not been silent: here is a SYN that the card held
    if number < 0:
        number = begin(table, connections, ends, tracker, packet, value, tcp, _flips(packet, ports))
        is_dns = packet[P_PROTOCOL] == UDP and ports[connections[number].resp_port] & DNS_BIT != 0
        start_timers(connections[number], number, tracker, short, names, idle, is_dns)
    connection = connections[number]
    is_orig = from_orig(connection, packet)
    if not tcp:
        _datagram(connection, packet, is_orig)
        return number
    side = connection.swapped if is_orig else 1 - connection.swapped
    end, peer = ends[connection.ends + side], ends[connection.ends + 1 - side]
    if segment(connection, end, peer, blocks, packet):
        _count(connection, end.is_orig != 0, packet[P_TOTAL])
    asked = connection.actions
    if asked:
        connection.actions = 0
        if asked & ASK_ESTABLISHED:
            _established(connection, ends[connection.ends + connection.swapped], ports)
        if asked & ASK_ATTEMPT:
            push(tracker, short, packet[P_TIME] + ATTEMPT_DELAY, number, TIMER_ATTEMPT, connection.timers)
        if asked & ASK_EXPIRE:
            push(tracker, long, connection.last + SESSION_TIMER, number, TIMER_EXPIRE, connection.timers)
        if asked & ASK_DELETE:
            connection.timers = tracker[T_STAMP]  # all others are void
            tracker[T_STAMP] += 1
            push(tracker, short, connection.last + ATTEMPT_DELAY, number, TIMER_DELETE, connection.timers)
    return number


@jit
def _told_of_attempt(row: I64, data: U8) -> tuple[int, int, int]:
    """Of a SYN that the card held: why it comes now, how many more came, and when the last."""
    last = row[words.LAST]
    tag_end = (row[words.PORTS] >> 32 & 0xFFFFFFFF) + HEADROOM + ADDRESSES + 4 * (last >> words.VLANS & 3)
    at = tag_end - 4 * (last >> words.TAG_WORDS & 0xFF) + TAG_HEADER_BYTES
    until = be32(data, at + _LAST) << 32 | be32(data, at + _LAST + 4)
    return int64(data[at + _REASON]), be32(data, at + _AGAIN), until


@jit
def _attempt(
    reason: int,
    again: int,
    until: int,
    table: I64,
    connections: Records,
    ends: Records,
    blocks: I64,
    rows: Records,
    tracker: I64,
    packet: I64,
    ports: U8,
    short: I64,
    long: I64,
    names: I64,
    idle: I64,
) -> None:
    """A SYN that the card held, at hand, and those like it that came meanwhile: each as when it came.

    One that nobody answered, of no connection that is known, goes straight to its row.  So it does when a connection
    began later: a record of it may come behind that one's packets.
    """
    now = tracker[T_NOW]
    tracker[T_NOW] = packet[P_TIME]
    number, value = find(table, connections, packet)
    alone = number < 0 or connections[number].start > until
    if alone and (reason == _EXPIRED or reason == _SUPERSEDED):
        number = begin(table, connections, ends, tracker, packet, value, True, False)
        connection = connections[number]
        end, peer = ends[connection.ends], ends[connection.ends + 1]
        for _ in range(again + 1):
            if segment(connection, end, peer, blocks, packet):
                _count(connection, True, packet[P_TOTAL])
            packet[P_TIME] = until
        remove(table, connections, ends, blocks, rows, tracker, number)
    else:
        for _ in range(again + 1):
            _track(table, connections, ends, blocks, rows, tracker, packet, ports, short, long, names, idle)
            packet[P_TIME] = tracker[T_NOW] = until
    tracker[T_NOW] = now


@jit
def _run(
    batch: I64,
    data: U8,
    start: int,
    table: I64,
    connections: Records,
    ends: Records,
    blocks: I64,
    rows: Records,
    tracker: I64,
    packet: I64,
    ports: U8,
    short: I64,
    long: I64,
    names: I64,
    idle: I64,
    places: I64,
    store: U8,
    mask: U8,
) -> int:
    """Take records from ``start`` on, until all are done or something must grow; returns how far it came."""
    count = batch.shape[0]
    ignore, vlans = tracker[T_IGNORE], tracker[T_VLANS]
    while start < count:
        if batch[start, words.TIME] > tracker[T_NOW]:
            tracker[T_NOW] = batch[start, words.TIME]
        if tracker[T_NOW] >= tracker[T_DUE] and not expire(
            table, connections, ends, blocks, rows, tracker, short, long, names, idle
        ):
            return start
        safe = _records_safe(table, connections, ends, blocks, rows, tracker, short, long, names, idle)
        if safe < 1:
            return start
        end = min(count, start + min(safe, _BLOCK))
        for index in range(start, end):
            _touch(batch[index], table, connections, ends, tracker)
        while start < end:
            row = batch[start]
            if row[words.TIME] > tracker[T_NOW]:
                tracker[T_NOW] = row[words.TIME]
                if row[words.TIME] >= tracker[T_DUE]:
                    break
            start += 1
            tracker[T_TAKEN] += 1
            kind = row[words.LAST] >> words.KIND & 3
            if kind == _PACKET or kind == _REGENERATED:
                code = from_record(row, data, ignore, vlans, packet)
                if code == PACKET and kind == _REGENERATED and packet[P_PROTOCOL] == TCP:
                    reason, again, until = _told_of_attempt(row, data)
                    _attempt(
                        reason, again, until, table, connections, ends, blocks, rows, tracker, packet, ports, short,
                        long, names, idle,
                    )  # fmt: skip
                    if tracker[T_DUE] <= tracker[T_NOW]:
                        break  # it came so late that timers of its own are due
                elif code == PACKET and packet[P_PROTOCOL] == TCP:  # which carries no tunnel
                    _track(table, connections, ends, blocks, rows, tracker, packet, ports, short, long, names, idle)
                elif code:
                    _levels(
                        code, data, table, connections, ends, blocks, rows, tracker, packet, ports, short, long, names,
                        idle, places, store, mask,
                    )  # fmt: skip
            elif kind == _REPORT:
                reason, again, until = open_record(row, data, packet)
                _attempt(
                    reason, again, until, table, connections, ends, blocks, rows, tracker, packet, ports, short, long,
                    names, idle,
                )  # fmt: skip
                if tracker[T_DUE] <= tracker[T_NOW]:
                    break
    return start


@jit
def _touch(row: I64, table: I64, connections: Records, ends: Records, tracker: I64) -> None:
    """Have what the record will need on its way from memory: many records' waits then overlap."""
    value = hash_ends(
        row[words.LAST] >> 16 & 0xFF,
        row[words.SOURCE], row[words.SOURCE + 1], row[words.PORTS] & 0xFFFF,
        row[words.DESTINATION], row[words.DESTINATION + 1], row[words.PORTS] >> 16 & 0xFFFF,
        0,
    )  # fmt: skip
    entry = table[value & (table.shape[0] - 1)]
    if entry:
        connection = connections[(entry & 0xFFFFFFFF) - 1]
        seen = connection.orig_low ^ connection.timers ^ connection.missed ^ connection.letters
        if connection.ends >= 0:
            for side in range(2):
                end = ends[connection.ends + side]
                seen ^= end.start_seq ^ end.pending ^ end.blocks ^ end.state
        tracker[T_TOUCHED] ^= seen


@jit
def _records_safe(
    table: I64,
    connections: Records,
    ends: Records,
    blocks: I64,
    rows: Records,
    tracker: I64,
    short: I64,
    long: I64,
    names: I64,
    idle: I64,
) -> int:
    """How many records can be taken before something might not suffice.

    Each may hold a packet in each tunnel, each of which begins a connection, ends another, and sets some timers.
    """
    free = connections.shape[0] - tracker[T_TOP]
    free = min(free, (ends.shape[0] - tracker[T_TOP_ENDS]) // 2)
    free = min(free, table.shape[0] // 2 - tracker[T_LIVE])
    free = min(free, blocks[0, 1] // 2)
    free = min(free, rows.shape[0] - tracker[T_ROWS])
    free = min(free, min(min(room(short), room(long)), min(room(names), room(idle))) // 4)
    return int64(free // _LEVELS)


@jit
def _levels(
    code: int,
    data: U8,
    table: I64,
    connections: Records,
    ends: Records,
    blocks: I64,
    rows: Records,
    tracker: I64,
    packet: I64,
    ports: U8,
    short: I64,
    long: I64,
    names: I64,
    idle: I64,
    places: I64,
    store: U8,
    mask: U8,
) -> None:
    """The packet at hand, then the one inside it, and so on."""
    ignore = tracker[T_IGNORE]
    held = int64(-1)
    for _ in range(TUNNEL_DEPTH + 1):
        if code == WHOLE_FRAGMENT:
            if held >= 0:
                break  # a fragment within a datagram that was put together: its place is still needed
            held = int64(add_fragment(data, places, store, mask, tracker, packet))
            if held < 0:
                break
            data = store
            code = open_datagram(data, places, held, ignore, packet)
        if code != PACKET:
            break
        protocol = packet[P_PROTOCOL]
        port, not_teredo, number = int64(0), False, int64(-1)
        if protocol == TCP or protocol == UDP or protocol == ICMP or protocol == ICMPV6:
            number = int64(
                _track(table, connections, ends, blocks, rows, tracker, packet, ports, short, long, names, idle)
            )
            if protocol != UDP or packet[P_FAULT] != FAULT_NONE:
                break
            port, not_teredo = int64(connections[number].resp_port), connections[number].not_teredo != 0
        at = inner_packet(data, packet, port, not_teredo)
        if at < 0:
            if at == VIOLATION:
                connections[number].not_teredo = 1
            break
        if held >= 0 or protocol != UDP or port == GRE_PORT:
            packet[P_MISSING] = 0  # Zeek then takes what is there for the whole
        end = packet[P_END]
        code = open_ip(data, at, end, end + packet[P_MISSING], ignore, packet)
    if held >= 0:
        release_place(places, mask, held)


@jit
def run(
    batch: I64,
    data: U8,
    start: int,
    table: I64,
    connections: Records,
    ends: Records,
    blocks: I64,
    rows: Records,
    tracker: I64,
    packet: I64,
    ports: U8,
    short: I64,
    long: I64,
    names: I64,
    idle: I64,
    places: I64,
    store: U8,
    mask: U8,
) -> int:
    """As :func:`_run`, for arrays of Python."""
    return _run(
        lend(batch), lend(data), start, lend(table), lend(connections), lend(ends), lend(blocks), lend(rows),
        lend(tracker), lend(packet), lend(ports), lend(short), lend(long), lend(names), lend(idle), lend(places),
        lend(store), lend(mask),
    )  # fmt: skip
