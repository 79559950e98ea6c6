"""The tracker's table of connections, its timers, and what a connection leaves behind."""

from sentinic.monitor import history
from sentinic.monitor.jit import I64, Record, Records, int64, jit
from sentinic.monitor.state import (
    ATTEMPT_DELAY,
    CLOSED,
    DNS_SESSION,
    DNS_SILENCE,
    ESTABLISHED,
    HELD_BEHIND,
    INACTIVE,
    LINGER,
    NEVER,
    OTH,
    OTHER_INACTIVITY,
    P_DESTINATION_HIGH,
    P_DESTINATION_LOW,
    P_DESTINATION_PORT,
    P_ONE_WAY,
    P_PROTOCOL,
    P_SOURCE_HIGH,
    P_SOURCE_LOW,
    P_SOURCE_PORT,
    P_TIME,
    P_VLANS,
    PARTIAL,
    REJ,
    RESET,
    RSTO,
    RSTOS0,
    RSTR,
    RSTRH,
    S0,
    S1,
    S2,
    S3,
    SESSION_TIMER,
    SF,
    SH,
    SHR,
    SYN_ACK_SENT,
    SYN_SENT,
    T_DUE,
    T_FREE,
    T_FREE_ENDS,
    T_HELD,
    T_LIVE,
    T_NOW,
    T_ROWS,
    T_SERIAL,
    T_STAMP,
    T_TAKEN,
    T_TOP,
    T_TOP_ENDS,
    TCP,
    UDP,
)
from sentinic.monitor.streams import release, stream_size
from sentinic.monitor.tcp import begin_endpoint
from sentinic.monitor.words import mix

# A queue of timers, in the order of their deadlines: int64[1 + 2**n, 3] of deadline, connection * 4 + what, and the
# stamp (serial, in the queue of inactivity) it is valid with.  Row 0: how many were taken out, how many were put in.
DEADLINE, WHAT, STAMP = 0, 1, 2
TIMER_EXPIRE, TIMER_ATTEMPT, TIMER_DELETE = range(3)


@jit
def push(tracker: I64, queue: I64, deadline: int, number: int, what: int, stamp: int) -> None:
    """There must be room: see :func:`room`."""
    at, first, mask = queue[0, 1], queue[0, 0], queue.shape[0] - 2
    queue[0, 1] = at + 1
    if deadline < tracker[T_DUE]:
        tracker[T_DUE] = deadline
    # Hardly ever is one due before those that are there: a SYN that the card held comes late.
    row = 1 + (at & mask)
    while at > first and queue[1 + (at - 1 & mask), DEADLINE] > deadline:
        before = 1 + (at - 1 & mask)
        for cell in range(3):
            queue[row, cell] = queue[before, cell]
        row = before
        at -= 1
    queue[row, DEADLINE] = deadline
    queue[row, WHAT] = number * 4 + what
    queue[row, STAMP] = stamp


@jit
def room(queue: I64) -> int:
    return int64(queue.shape[0] - 1 - (queue[0, 1] - queue[0, 0]))


@jit
def hash_ends(protocol: int, high: int, low: int, port: int, high2: int, low2: int, port2: int, vlans: int) -> int:
    """32 bits, the same for both directions."""
    one = mix(mix(mix(protocol, high), low), port)
    two = mix(mix(mix(protocol, high2), low2), port2)
    return mix(one + two, vlans) & 0xFFFFFFFF


@jit
def from_orig(connection: Record, packet: I64) -> bool:
    return bool(
        connection.orig_low == packet[P_SOURCE_LOW]
        and connection.orig_high == packet[P_SOURCE_HIGH]
        and connection.orig_port == packet[P_SOURCE_PORT]
    )


@jit
def _same(connection: Record, packet: I64) -> bool:
    if connection.protocol != packet[P_PROTOCOL] or connection.vlans != packet[P_VLANS]:
        return False
    if (
        from_orig(connection, packet)
        and connection.resp_low == packet[P_DESTINATION_LOW]
        and connection.resp_high == packet[P_DESTINATION_HIGH]
        and connection.resp_port == packet[P_DESTINATION_PORT]
    ):
        return True
    return bool(
        not packet[P_ONE_WAY]
        and connection.resp_low == packet[P_SOURCE_LOW]
        and connection.resp_high == packet[P_SOURCE_HIGH]
        and connection.resp_port == packet[P_SOURCE_PORT]
        and connection.orig_low == packet[P_DESTINATION_LOW]
        and connection.orig_high == packet[P_DESTINATION_HIGH]
        and connection.orig_port == packet[P_DESTINATION_PORT]
    )


@jit
def find(table: I64, connections: Records, packet: I64) -> tuple[int, int]:
    """The connection of the packet at hand (-1 if there is none), and the packet's hash.

    ``table``: a power of two of hash << 32 | number + 1, or 0.
    """
    value = hash_ends(
        packet[P_PROTOCOL], packet[P_SOURCE_HIGH], packet[P_SOURCE_LOW], packet[P_SOURCE_PORT],
        packet[P_DESTINATION_HIGH], packet[P_DESTINATION_LOW], packet[P_DESTINATION_PORT], packet[P_VLANS],
    )  # fmt: skip
    mask = int64(table.shape[0] - 1)
    at = value & mask
    while True:
        entry = table[at]
        if entry == 0:
            return int64(-1), value
        if entry >> 32 & 0xFFFFFFFF == value:
            number = (entry & 0xFFFFFFFF) - 1
            if _same(connections[number], packet):
                return number, value
        at = (at + 1) & mask


@jit
def insert(table: I64, value: int, number: int) -> None:
    mask = int64(table.shape[0] - 1)
    at = value & mask
    while table[at]:
        at = (at + 1) & mask
    table[at] = value << 32 | (number + 1)


@jit
def rehash(old: I64, new: I64) -> None:
    for index in range(old.shape[0]):
        if old[index]:
            insert(new, old[index] >> 32 & 0xFFFFFFFF, (old[index] & 0xFFFFFFFF) - 1)


@jit
def _erase(table: I64, value: int, number: int) -> None:
    """Take an entry out and close the gap, so that probing needs no marks of what was there."""
    mask = int64(table.shape[0] - 1)
    at = value & mask
    while table[at] & 0xFFFFFFFF != number + 1:
        at = (at + 1) & mask
    hole = at
    while True:
        at = (at + 1) & mask
        entry = table[at]
        if entry == 0:
            break
        home = entry >> 32 & mask
        if (at - home) & mask >= (at - hole) & mask:
            table[hole] = entry
            hole = at
    table[hole] = 0


@jit
def begin(
    table: I64, connections: Records, ends: Records, tracker: I64, packet: I64, value: int, tcp: bool, flipped: bool
) -> int:
    """A new connection from the packet at hand; its number.  One connection and two endpoints must be free."""
    number = tracker[T_FREE]
    if number >= 0:
        tracker[T_FREE] = connections[number].following
    else:
        number = tracker[T_TOP]
        tracker[T_TOP] += 1
    insert(table, value, number)
    tracker[T_LIVE] += 1
    new = connections[number]
    new.hash = value
    new.orig_high, new.orig_low = packet[P_SOURCE_HIGH], packet[P_SOURCE_LOW]
    new.resp_high, new.resp_low = packet[P_DESTINATION_HIGH], packet[P_DESTINATION_LOW]
    new.orig_port, new.resp_port = packet[P_SOURCE_PORT], packet[P_DESTINATION_PORT]
    new.protocol = packet[P_PROTOCOL]
    new.one_way = packet[P_ONE_WAY]
    new.vlans = packet[P_VLANS]
    new.start = new.last = packet[P_TIME]
    new.inactivity = OTHER_INACTIVITY
    new.over = NEVER
    new.serial = tracker[T_SERIAL]
    tracker[T_SERIAL] += 1
    new.timers = tracker[T_STAMP]
    tracker[T_STAMP] += 1
    new.orig_packets = new.orig_ip_bytes = new.resp_packets = new.resp_ip_bytes = new.missed = 0
    new.orig_length = new.resp_length = -1
    new.seen = new.letters = new.actions = 0
    new.orig_bad_count = new.resp_bad_count = 0
    new.orig_bad_next = new.resp_bad_next = 1
    new.swapped = new.partial = new.first_seen = new.deferred = new.not_teredo = 0
    new.active = 1
    new.ends = -1
    if flipped:
        history.flip(new)
    if tcp:
        pair = tracker[T_FREE_ENDS]
        if pair >= 0:
            tracker[T_FREE_ENDS] = ends[pair].blocks
        else:
            pair = tracker[T_TOP_ENDS]
            tracker[T_TOP_ENDS] += 2
        new.ends = pair
        begin_endpoint(ends[pair], True)
        begin_endpoint(ends[pair + 1], False)
    return int64(number)


@jit
def _tcp_state(connection: Record, orig: Record, resp: Record, orig_bytes: int, resp_bytes: int) -> int:
    """``conn_state``, as scripts/base/protocols/conn/main.zeek derives it."""
    first, second = orig.state, resp.state
    first_quiet = first == INACTIVE or first == PARTIAL
    second_quiet = second == INACTIVE or second == PARTIAL
    if second == RESET:
        if first == SYN_SENT or first == SYN_ACK_SENT or (first == RESET and orig_bytes == 0 and resp_bytes == 0):
            return REJ
        return RSTRH if first_quiet else RSTR
    if first == RESET:
        if not second_quiet:
            return RSTO
        return RSTOS0 if _scan_like(connection) else OTH
    if first == CLOSED and second == CLOSED:
        return SF
    if first == CLOSED:
        return SH if second_quiet else S2
    if second == CLOSED:
        return SHR if first_quiet else S3
    if first == SYN_SENT and second == INACTIVE:
        return S0
    return S1 if first == ESTABLISHED and second == ESTABLISHED else OTH


@jit
def _scan_like(connection: Record) -> bool:
    """Whether the history matches ``^?S[^HAFGIQ]*R.*`` (its first letter taken literally)."""
    at = 1 if connection.letters and connection.history[0] == history.FLIPPED else 0
    if connection.letters <= at or connection.history[at] != history.S:
        return False
    for index in range(at + 1, connection.letters):
        letter = connection.history[index]
        if letter == history.R:
            return True
        if (
            letter == history.H
            or letter == history.A
            or letter == history.F
            or letter == history.G
            or letter == history.I
            or letter == history.Q
        ):
            return False
    return False


@jit
def write_row(connection: Record, ends: Records, row: Record) -> None:
    """What the log says of a connection."""
    row.ts = connection.start
    row.duration = connection.last - connection.start
    row.serial = connection.serial
    row.orig_high, row.orig_low = connection.orig_high, connection.orig_low
    row.resp_high, row.resp_low = connection.resp_high, connection.resp_low
    row.orig_p, row.resp_p = connection.orig_port, connection.resp_port
    row.protocol = connection.protocol
    row.vlan = (connection.vlans & 0x1FFF) - 1
    row.inner_vlan = (connection.vlans >> 13) - 1
    row.missed_bytes = connection.missed
    row.orig_pkts, row.orig_ip_bytes = connection.orig_packets, connection.orig_ip_bytes
    row.resp_pkts, row.resp_ip_bytes = connection.resp_packets, connection.resp_ip_bytes
    for index in range(connection.letters):
        row.history[index] = connection.history[index]
    for index in range(connection.letters, len(row.history)):
        row.history[index] = 0
    if connection.ends >= 0:
        orig, resp = ends[connection.ends + connection.swapped], ends[connection.ends + 1 - connection.swapped]
        row.orig_bytes, row.resp_bytes = stream_size(orig, resp), stream_size(resp, orig)
        row.state = _tcp_state(connection, orig, resp, row.orig_bytes, row.resp_bytes)
        return
    row.orig_bytes, row.resp_bytes = max(connection.orig_length, 0), max(connection.resp_length, 0)
    row.state = OTH
    if connection.protocol == UDP:
        if connection.orig_length >= 0:
            row.state = SF if connection.resp_length >= 0 else S0
        elif connection.resp_length >= 0:
            row.state = SHR


@jit
def remove(
    table: I64, connections: Records, ends: Records, blocks: I64, rows: Records, tracker: I64, number: int
) -> None:
    """End a connection and write its row, for which there must be room."""
    gone = connections[number]
    write_row(gone, ends, rows[tracker[T_ROWS]])
    tracker[T_ROWS] += 1
    _erase(table, gone.hash, number)
    tracker[T_LIVE] -= 1
    if gone.ends >= 0:
        release(ends[gone.ends], blocks)
        release(ends[gone.ends + 1], blocks)
        ends[gone.ends].blocks = tracker[T_FREE_ENDS]
        tracker[T_FREE_ENDS] = gone.ends
    gone.serial = gone.timers = -1
    gone.following = tracker[T_FREE]
    tracker[T_FREE] = number


@jit
def remove_all(table: I64, connections: Records, ends: Records, blocks: I64, rows: Records, tracker: I64) -> None:
    """End every connection; there must be room for their rows."""
    for number in range(tracker[T_TOP]):
        gone = connections[number]
        if gone.serial >= 0:
            write_row(gone, ends, rows[tracker[T_ROWS]])
            tracker[T_ROWS] += 1
            gone.serial = gone.timers = -1
            if gone.ends >= 0:
                release(ends[gone.ends], blocks)
                release(ends[gone.ends + 1], blocks)
    table[:] = 0
    tracker[T_LIVE] = tracker[T_TOP] = tracker[T_TOP_ENDS] = 0
    tracker[T_FREE] = tracker[T_FREE_ENDS] = -1


@jit
def _expired(connection: Record, orig: Record, resp: Record, now: int) -> bool:
    """Zeek's check of a connection after its close, or one on which nothing valid ever came."""
    if not connection.last + LINGER < now:
        return False
    if orig.closed and resp.closed:
        return True
    reset = orig.state == RESET or resp.state == RESET
    if (orig.closed or resp.closed) and (reset or orig.state == INACTIVE or resp.state == INACTIVE):
        return True
    return bool(orig.state == INACTIVE and resp.state == INACTIVE)


@jit
def expire(
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
) -> bool:
    """Run the timers that are due; False when rows or queues must grow first."""
    now = tracker[T_NOW]
    for queue in (short, long):
        while _due(queue, now):
            if tracker[T_ROWS] >= rows.shape[0] or room(short) < 1 or room(long) < 1:
                return False
            entry = _take(queue)
            number = entry[WHAT] >> 2
            connection = connections[number]
            if connection.timers == entry[STAMP]:
                if _tcp_over(connection, ends, entry[WHAT] & 3, now):
                    attempt = entry[WHAT] & 3 == TIMER_ATTEMPT
                    if attempt:
                        _mark(connection, tracker, entry[DEADLINE])
                    if not attempt or _gone(connection, tracker):
                        remove(table, connections, ends, blocks, rows, tracker, number)
                    else:
                        push(tracker, short, now + ATTEMPT_DELAY, number, TIMER_ATTEMPT, connection.timers)
                elif entry[WHAT] & 3 == TIMER_EXPIRE and connection.active:
                    push(tracker, long, now + SESSION_TIMER, number, TIMER_EXPIRE, connection.timers)
    while _due(names, now):
        if tracker[T_ROWS] >= rows.shape[0]:
            return False
        entry = _take(names)
        number = entry[WHAT] >> 2
        connection = connections[number]
        if connection.serial == entry[STAMP]:
            if now - connection.last >= DNS_SILENCE:
                remove(table, connections, ends, blocks, rows, tracker, number)
            else:
                push(tracker, names, now + DNS_SESSION, number, 0, connection.serial)
    while _due(idle, now):
        if tracker[T_ROWS] >= rows.shape[0]:
            return False
        entry = _take(idle)
        number = entry[WHAT] >> 2
        connection = connections[number]
        if connection.serial == entry[STAMP]:
            if connection.over == NEVER and connection.last + connection.inactivity <= now:
                _mark(connection, tracker, connection.last + connection.inactivity)
            if _gone(connection, tracker):
                remove(table, connections, ends, blocks, rows, tracker, number)
            else:
                # Late by at most as much again: the connection's own next packet looks for itself.
                push(tracker, idle, now + OTHER_INACTIVITY, number, 0, connection.serial)
    due = int64(NEVER)
    for queue in (short, long, names, idle):
        if queue[0, 0] < queue[0, 1]:
            due = min(due, queue[1 + (queue[0, 0] & (queue.shape[0] - 2)), DEADLINE])
    tracker[T_DUE] = due
    return True


@jit
def _gone(connection: Record, tracker: I64) -> bool:
    """Whether a connection is over, and no SYN from before it was can come any more."""
    if connection.over == NEVER or connection.over + tracker[T_HELD] > tracker[T_NOW]:
        return False
    return bool(not tracker[T_HELD] or tracker[T_TAKEN] - connection.over_since >= HELD_BEHIND)


@jit
def _mark(connection: Record, tracker: I64, over: int) -> None:
    """The connection is over; but the card may hold a SYN from before, of which nothing else can tell."""
    if connection.over == NEVER:
        connection.over, connection.over_since = over, tracker[T_TAKEN]


@jit
def _due(queue: I64, now: int) -> bool:
    return bool(queue[0, 0] < queue[0, 1] and queue[1 + (queue[0, 0] & (queue.shape[0] - 2)), DEADLINE] <= now)


@jit
def _take(queue: I64) -> I64:
    taken = queue[0, 0]
    queue[0, 0] = taken + 1
    return queue[1 + (taken & (queue.shape[0] - 2))]


@jit
def _tcp_over(connection: Record, ends: Records, what: int, now: int) -> bool:
    """Whether a timer that went off ends its connection."""
    orig, resp = ends[connection.ends + connection.swapped], ends[connection.ends + 1 - connection.swapped]
    if what == TIMER_DELETE:
        return True
    if not connection.active:
        return False
    if what == TIMER_ATTEMPT:
        return bool((orig.state == SYN_SENT or orig.state == SYN_ACK_SENT) and resp.state == INACTIVE)
    return _expired(connection, orig, resp, now)


@jit
def start_timers(
    connection: Record, number: int, tracker: I64, short: I64, names: I64, idle: I64, is_dns: bool
) -> None:
    now = tracker[T_NOW]
    push(tracker, idle, now + OTHER_INACTIVITY, number, 0, connection.serial)
    if connection.protocol == TCP:
        push(tracker, short, now + ATTEMPT_DELAY, number, TIMER_EXPIRE, connection.timers)
    elif is_dns:
        push(tracker, names, now + DNS_SESSION, number, 0, connection.serial)
