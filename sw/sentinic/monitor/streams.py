"""One direction of a TCP stream without its bytes: what arrived, what was acknowledged, what is missing.

Zeek's reassembler keeps data until it is acknowledged; only where its blocks begin and end matters for a log, and below
the first hole not even that.  So an endpoint holds the point up to which the stream is whole, and the stretches of data
above holes as a sorted list in a pool of blocks: ``int64[n, 3]`` of first, end and next, whose row 0 holds the first
free row and how many are free.
"""

import numpy as np

from sentinic.monitor.history import gap
from sentinic.monitor.jit import I64, Record, int64, jit
from sentinic.monitor.state import (
    CLOSED,
    ESTABLISHED,
    INACTIVE,
    MAX_INITIAL_WINDOW,
    MAX_WITHOUT_ACKS,
    RESET,
    SYN_SENT,
)

FIRST, END, NEXT = 0, 1, 2


@jit
def full_last(end: Record) -> int:
    """One past the highest sequence number sent, with wraps."""
    return int64((end.seq_wraps << 32) + end.last_seq)


@jit
def full_ack(end: Record) -> int:
    return int64((end.ack_wraps << 32) + end.ack_seq)


@jit
def nothing_acknowledged(end: Record) -> bool:
    """None of its data, at most its SYN."""
    return bool(0 <= full_ack(end) - end.start_seq <= 1)


@jit
def stream_size(end: Record, peer: Record) -> int:
    """Payload bytes by sequence numbers."""
    if end.previous == SYN_SENT and end.state == RESET and peer.state == INACTIVE and not nothing_acknowledged(end):
        return 0  # a half-open connection, found and aborted: the numbers are another connection's
    size = max(full_last(end), full_ack(end)) - end.start_seq
    if size != 0:
        size -= 1  # the SYN
    if end.fins > 0 and size != 0:
        size -= 1
    return int64(size)


@jit
def release(end: Record, blocks: I64) -> None:
    """Give all blocks back."""
    at = int64(end.blocks)
    while at >= 0:
        following = blocks[at, NEXT]
        blocks[at, NEXT] = blocks[0, NEXT]
        blocks[0, NEXT] = at
        blocks[0, END] += 1
        at = following
    end.blocks = -1
    end.pending = 0


@jit
def _insert(end: Record, blocks: I64, first: int, upper: int) -> None:
    """Merge [first, upper) into the list; what touches becomes one block."""
    before = int64(-1)
    at = int64(end.blocks)
    while at >= 0 and blocks[at, END] < first:
        before = at
        at = blocks[at, NEXT]
    while at >= 0 and blocks[at, FIRST] <= upper:
        first = min(first, blocks[at, FIRST])
        upper = max(upper, blocks[at, END])
        end.pending -= blocks[at, END] - blocks[at, FIRST]
        following = blocks[at, NEXT]
        blocks[at, NEXT] = blocks[0, NEXT]
        blocks[0, NEXT] = at
        blocks[0, END] += 1
        at = following
    new = blocks[0, NEXT]
    blocks[0, NEXT] = blocks[new, NEXT]
    blocks[0, END] -= 1
    blocks[new, FIRST] = first
    blocks[new, END] = upper
    blocks[new, NEXT] = at
    if before < 0:
        end.blocks = new
    else:
        blocks[before, NEXT] = new
    end.pending += upper - first


@jit
def _pop(end: Record, blocks: I64) -> None:
    """Take the first block off; its data is delivered."""
    at = int64(end.blocks)
    end.delivered = blocks[at, END]
    end.pending -= blocks[at, END] - blocks[at, FIRST]
    end.blocks = blocks[at, NEXT]
    blocks[at, NEXT] = blocks[0, NEXT]
    blocks[0, NEXT] = at
    blocks[0, END] += 1


@jit
def data_sent(end: Record, peer: Record, blocks: I64, first: int, length: int) -> None:
    """Data of ``end`` at relative sequence number ``first``.  At least one block must be free."""
    if end.skipping:
        return
    upper = first + length
    first = max(first, full_ack(end) - end.start_seq, end.trimmed, end.delivered)
    if upper > first:
        if first == end.delivered and end.blocks < 0:
            end.delivered = upper
            _delivered(end, peer)
        else:
            _insert(end, blocks, first, upper)
            if blocks[end.blocks, FIRST] <= end.delivered:
                _pop(end, blocks)
                _delivered(end, peer)
    if end.blocks >= 0 and nothing_acknowledged(end):
        at = int64(end.blocks)
        while blocks[at, NEXT] >= 0:
            at = blocks[at, NEXT]
        if blocks[at, END] - end.delivered > MAX_INITIAL_WINDOW:
            release(end, blocks)
            end.skipping = 1
    if end.delivered - end.trimmed + end.pending > MAX_WITHOUT_ACKS:
        release(end, blocks)
        end.skipping = 1


@jit
def _delivered(end: Record, peer: Record) -> None:
    if nothing_acknowledged(end) and stream_size(end, peer) > MAX_INITIAL_WINDOW:
        end.trimmed = end.delivered  # we do not see the other side's acknowledgments: do not wait for them


@jit
def _clean(end: Record) -> bool:
    return bool(end.state == ESTABLISHED or (end.state == CLOSED and end.previous == ESTABLISHED))


@jit
def _gap(connection: Record, end: Record, peer: Record, length: int) -> None:
    """Missing data counts between two sides that both were properly established."""
    if _clean(end) and _clean(peer):
        gap(connection, end)
        connection.missed += length


@jit
def acknowledged(connection: Record, end: Record, peer: Record, blocks: I64, upto: int) -> bool:
    """``peer`` acknowledged ``end``'s data; whether that was news."""
    if end.fins > 0 and np.uint64(upto) >= np.uint64(end.fin_seq):
        upto = end.fin_seq - 1
    if np.uint64(upto) <= np.uint64(end.trimmed):
        return False
    # Up to 2 in a partial connection: its start was made up, what is missing there is nothing.
    if upto > end.delivered and not (upto <= 2 and connection.partial):
        if not end.skipping:
            while end.blocks >= 0 and blocks[end.blocks, FIRST] < upto:
                _gap(connection, end, peer, blocks[end.blocks, FIRST] - end.delivered)
                _pop(end, blocks)
                _delivered(end, peer)
            if upto > end.delivered:
                _gap(connection, end, peer, upto - end.delivered)
        end.delivered = max(end.delivered, upto)
    end.trimmed = upto
    if end.blocks >= 0 and blocks[end.blocks, FIRST] <= end.delivered:
        _pop(end, blocks)
        _delivered(end, peer)
    return True


@jit
def data_pending(end: Record, peer: Record) -> bool:
    """Whether data of ``end`` is still to be delivered, or ``end`` has still data to acknowledge."""
    if end.skipping:
        return False
    delivered = end.start_seq + end.delivered
    last = full_last(end)
    if last < delivered:
        return False
    if delivered != last - 1 and delivered != last:
        return True
    if end.state == RESET or peer.skipping:
        return False
    return bool(peer.blocks >= 0 or peer.delivered > peer.trimmed)
