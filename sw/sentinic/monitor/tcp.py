"""What a TCP segment does to a connection, as Zeek's TCP analyzer sees it."""

from sentinic.monitor import history
from sentinic.monitor.jit import I64, Record, int64, jit
from sentinic.monitor.state import (
    ACK,
    ASK_ATTEMPT,
    ASK_DELETE,
    ASK_ESTABLISHED,
    ASK_EXPIRE,
    CLOSED,
    ESTABLISHED,
    FAULT_CHECKSUM,
    FAULT_HEADER,
    FIN,
    INACTIVE,
    P_ACKNOWLEDGMENT,
    P_FAULT,
    P_FLAGS,
    P_HAVE,
    P_LENGTH,
    P_SEQUENCE,
    P_TIME,
    P_WINDOW,
    PARTIAL,
    RESET,
    RST,
    SYN,
    SYN_ACK_SENT,
    SYN_SENT,
    TCP_INACTIVITY,
)
from sentinic.monitor.streams import acknowledged, data_pending, data_sent

_MASK = 0xFFFFFFFF
_TOO_LARGE = 1048576  #: a jump of sequence numbers that SYN and RST are not believed


@jit
def signed(value: int) -> int:
    """A difference of 32-bit sequence numbers."""
    value &= _MASK
    return value - (1 << 32) if value >= 1 << 31 else value


@jit
def _relative(end: Record, current: int, last: int, wraps: int) -> tuple[int, bool]:
    """``current`` counted from ``end``'s SYN, and whether it lies before it."""
    delta = signed(current - last)
    if delta < 0 and wraps and current > last:
        wraps -= 1
    elif delta > 0 and current < last:
        wraps += 1
    if wraps == 0:
        delta = signed(current - end.start_seq)
        return delta, delta < 0
    return (wraps << 32) + current - end.start_seq, False


@jit
def begin_endpoint(end: Record, is_orig: bool) -> None:
    end.start_seq = end.last_seq = end.ack_seq = end.seq_wraps = end.ack_wraps = end.fin_seq = 0
    end.delivered = end.trimmed = 1
    end.pending = end.seen_syn = end.seen_fin = end.seen_rst = 0
    end.blocks = -1
    end.fins = end.bad_count = end.again_count = end.window_count = end.gap_count = 0
    end.bad_next = end.again_next = end.window_next = end.gap_next = 1
    end.state = end.previous = INACTIVE
    end.closed = end.ended = end.skipping = 0
    end.is_orig = 1 if is_orig else 0


@jit
def _start_at(end: Record, sequence: int, last: int) -> None:
    end.start_seq = end.ack_seq = sequence & _MASK
    end.last_seq = last


@jit
def _init_endpoint(end: Record, flags: int, sequence: int, past: int) -> None:
    state = end.state
    if state == INACTIVE:
        if flags & SYN:
            _start_at(end, sequence, past)
        else:  # as if there had been a SYN; the first packet is no retransmission
            _start_at(end, sequence - 1, sequence)
    elif state == SYN_SENT or state == SYN_ACK_SENT:
        if flags & SYN and sequence != end.start_seq:
            _start_at(end, sequence, past)
    elif state == ESTABLISHED or state == PARTIAL:
        if flags & SYN:  # perhaps this is the SYN that really establishes it
            _start_at(end, sequence, past)
    elif state == RESET and flags & SYN and end.previous == INACTIVE:
        _start_at(end, sequence, past)  # the numbers came from a RST, perhaps a forged one


@jit
def _history(connection: Record, end: Record, peer: Record, flags: int, relative: int, length: int) -> None:
    kinds = flags & (SYN | FIN | RST)
    if kinds & (kinds - 1):
        if flags & FIN and flags & RST:
            history.note(connection, end, peer, history.SEEN_FIN_RST, history.I)
        else:
            history.note(connection, end, peer, history.SEEN_MULTI, history.Q)
    elif kinds == SYN:
        letter = history.H if flags & ACK else history.S
        if history.note(connection, end, peer, history.SEEN_SYN, letter) and relative != end.seen_syn:
            history.note_side(connection, end, letter)
        end.seen_syn = relative
    elif kinds == FIN:
        after = relative + length
        if history.note(connection, end, peer, history.SEEN_FIN, history.F) and after != end.seen_fin:
            history.note_side(connection, end, history.F)
        end.seen_fin = after
    elif kinds == RST:
        if history.note(connection, end, peer, history.SEEN_RST, history.R) and relative != end.seen_rst:
            history.note_side(connection, end, history.R)
        end.seen_rst = relative
    elif length:
        history.note(connection, end, peer, history.SEEN_DATA, history.D)
    elif flags & ACK:
        history.note(connection, end, peer, history.SEEN_ACK, history.A)


@jit
def _update_last(connection: Record, end: Record, past: int, flags: int, length: int) -> None:
    delta = signed(past - end.last_seq)
    if flags & (SYN | RST) and (delta > _TOO_LARGE or delta < -_TOO_LARGE):
        return
    if flags & FIN and end.last_seq == (end.start_seq + 1) & _MASK:
        pass  # of more than 2 GB only SYN and FIN were seen: believe the FIN
    elif end.state == RESET:
        return
    elif delta <= 0:
        if length > 0:
            history.retransmitted(connection, end)
        return
    if past < end.last_seq:
        end.seq_wraps += 1
    end.last_seq = past


@jit
def _update_ack(peer: Record, number: int) -> None:
    delta = signed(number - peer.ack_seq)
    if delta > 0 and not (number == 0 and delta > _TOO_LARGE):
        if number < peer.ack_seq:
            peer.ack_wraps += 1
        peer.ack_seq = number


@jit
def _handshaking(state: int) -> bool:
    return state == INACTIVE or state == SYN_SENT or state == SYN_ACK_SENT


@jit
def _set_state(connection: Record, end: Record, peer: Record, state: int) -> None:
    if state != end.state:
        if not _handshaking(state) and _handshaking(end.state) and _handshaking(peer.state):
            connection.inactivity = TCP_INACTIVITY
        end.previous = end.state
        end.state = state


@jit
def _closed(connection: Record, end: Record, peer: Record) -> None:
    """``end`` has closed; when its data is whole, see what is left to wait for."""
    if data_pending(end, peer):
        connection.deferred = 1
        return
    connection.deferred = 0
    if end.closed:
        return
    end.closed = 1
    if end.state == RESET or peer.closed or peer.state == INACTIVE:
        connection.actions |= ASK_DELETE
    elif end.previous != INACTIVE:
        connection.actions |= ASK_EXPIRE


@jit
def _check_end(connection: Record, end: Record, peer: Record) -> None:
    """Once: all of a closed side's data is delivered."""
    if end.ended or not (end.fins > 0 or end.state == CLOSED or end.state == RESET) or data_pending(end, peer):
        return
    end.ended = 1
    if connection.deferred:
        _closed(connection, end, peer)
        connection.deferred = 0


@jit
def _from_inactive(
    connection: Record, end: Record, peer: Record, flags: int, sequence: int, length: int, is_orig: bool
) -> bool:
    closing = False
    if flags & SYN:
        if is_orig:
            _set_state(connection, end, peer, SYN_ACK_SENT if flags & ACK else SYN_SENT)
            connection.actions |= ASK_ATTEMPT
        else:
            if not flags & ACK and peer.state == SYN_ACK_SENT and sequence == end.start_seq:
                # SYN and SYN-ACK were captured in the wrong order.
                connection.partial = 0
                history.flip_tcp(connection, end, peer)
                _set_state(connection, peer, end, ESTABLISHED)
                connection.first_seen |= 1
            if peer.state == SYN_SENT:
                _set_state(connection, peer, end, ESTABLISHED)
            _set_state(connection, end, peer, ESTABLISHED)
            if peer.state != PARTIAL:
                connection.actions |= ASK_ESTABLISHED
    if flags & FIN:
        _set_state(connection, end, peer, CLOSED)
        closing = True
    if flags & RST:
        _set_state(connection, end, peer, RESET)
        closing = True
    if end.state == INACTIVE:
        orig = end if end.is_orig else peer
        if not is_orig and length == 0 and orig.state == SYN_SENT:
            pass  # some acknowledge a SYN before they answer it
        elif flags & ACK and peer.state == ESTABLISHED:
            _set_state(connection, end, peer, ESTABLISHED)  # we missed the SYN
            connection.partial = 0
            connection.first_seen |= 1 if is_orig else 2
        else:
            _set_state(connection, end, peer, PARTIAL)
    return closing


@jit
def _advance(
    connection: Record, end: Record, peer: Record, flags: int, sequence: int, length: int, is_orig: bool
) -> bool:
    """The state machine; whether ``end`` now closes.  ``is_orig`` is as before any flip by this packet."""
    state = end.state
    if state == INACTIVE:
        return _from_inactive(connection, end, peer, flags, sequence, length, is_orig)
    closing = False
    if state == SYN_SENT or state == SYN_ACK_SENT:
        if flags & FIN:
            _set_state(connection, end, peer, CLOSED)
            closing = True
        if flags & RST:
            _set_state(connection, end, peer, RESET)
            connection.active = 0
            closing = True
    elif state == ESTABLISHED or state == PARTIAL:
        if flags & SYN and not flags & ACK and state == PARTIAL and peer.state == INACTIVE:
            _set_state(connection, end, peer, SYN_SENT)
        if flags & FIN and not flags & RST:
            _set_state(connection, end, peer, CLOSED)
            if peer.state == RESET and peer.previous == CLOSED:
                _set_state(connection, peer, end, CLOSED)  # FIN, then RST: a normal end after all
            closing = True
        if flags & RST:
            _set_state(connection, end, peer, RESET)
            closing = True
            if peer.state != RESET or peer.previous != ESTABLISHED:
                connection.active = 0
    elif state == CLOSED and flags & RST and peer.state != CLOSED:
        _set_state(connection, end, peer, RESET)
        closing = not end.closed
    return closing


@jit
def is_reuse(connection: Record, orig: Record, resp: Record, packet: I64) -> bool:
    """Whether a SYN begins another connection of the same addresses and ports."""
    flags = packet[P_FLAGS]
    if not flags & SYN or packet[P_FAULT] == FAULT_HEADER:
        return False
    first = orig
    if flags & ACK:
        if orig.state != INACTIVE:
            return False
        first = resp
    if orig.closed or resp.closed:
        return True
    if packet[P_SEQUENCE] == first.start_seq:
        return False
    # SYN and SYN-ACK in the wrong order are one connection.
    return not (
        not flags & ACK
        and first.state == SYN_ACK_SENT
        and resp.state == INACTIVE
        and packet[P_SEQUENCE] == resp.start_seq
    )


@jit
def segment(connection: Record, end: Record, peer: Record, blocks: I64, packet: I64) -> bool:
    """A segment of ``end``; whether it counts, having a header and a checksum that are right.

    At least one block must be free.
    """
    if packet[P_FAULT] == FAULT_HEADER:
        return False
    if packet[P_FAULT] == FAULT_CHECKSUM:
        history.bad_checksum(connection, end)
        return False
    flags, length = packet[P_FLAGS], packet[P_LENGTH]
    sequence, acknowledgment = packet[P_SEQUENCE], packet[P_ACKNOWLEDGMENT]
    is_orig = end.is_orig != 0

    if is_orig:
        if not connection.first_seen & 1:
            connection.partial = 1 if not flags & SYN or flags & ACK else 0
    elif not connection.first_seen & 2 and not connection.partial:
        connection.partial = 0 if flags & SYN else 1

    occupies = (0 if flags & RST else length) + (1 if flags & SYN else 0) + (1 if flags & FIN else 0)
    past = (sequence + occupies) & _MASK
    _init_endpoint(end, flags, sequence, past)
    relative, underflow = _relative(end, sequence, end.last_seq, end.seq_wraps)
    _history(connection, end, peer, flags, relative, length)
    if packet[P_WINDOW] == 0 and not flags & RST and peer.state != CLOSED and end.state != RESET:
        history.zero_window(connection, end)
    if not end.closed or not peer.closed:
        connection.last = packet[P_TIME]
    if flags & FIN:
        end.fins += 1
        end.fin_seq = relative + occupies

    relative_ack = int64(0)
    if flags & ACK:
        if peer.state == INACTIVE:
            relative_ack = int64(1)
            before = acknowledgment - 1
            _start_at(peer, before, before & _MASK)
        else:
            relative_ack, before_start = _relative(peer, acknowledgment, peer.ack_seq, peer.ack_wraps)
            if before_start:
                relative_ack = int64(0)
            elif not flags & RST:
                _update_ack(peer, acknowledgment)

    _update_last(connection, end, past, flags, length)
    closing = _advance(connection, end, peer, flags, sequence, length, is_orig)
    if flags & ACK and acknowledged(connection, peer, end, blocks, relative_ack):
        _check_end(connection, peer, end)
    connection.first_seen |= 1 if is_orig else 2
    # A cut payload is not there: it becomes a gap.
    if length > 0 and packet[P_HAVE] >= length and not flags & RST and not underflow:
        data_sent(end, peer, blocks, relative + (1 if flags & SYN else 0), length)
    _check_end(connection, end, peer)
    if closing:
        _closed(connection, end, peer)
    return True
