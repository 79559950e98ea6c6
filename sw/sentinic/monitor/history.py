"""Zeek's history strings: which letters are added, how often, and what happens when roles are flipped."""

from sentinic.monitor.jit import Record, jit
from sentinic.monitor.state import HISTORY_BYTES

LOWER = 32  #: added to an upper case letter: the responder's
SEEN_SYN, SEEN_FIN, SEEN_RST, SEEN_FIN_RST, SEEN_DATA, SEEN_ACK, SEEN_MULTI = 1, 2, 4, 8, 0x10, 0x20, 0x40
UDP_SEEN_ORIG, UDP_SEEN_RESP = 1, 2
# Letters of a history; E741 minds an I that might be taken for a 1.
A, C, D, F, G, H, I, Q, R, S, T, W = (ord(letter) for letter in "ACDFGHIQRSTW")  # noqa: E741
FLIPPED = ord("^")


@jit
def add_letter(connection: Record, letter: int) -> None:
    """Append; beyond ``HISTORY_BYTES`` letters nothing more is kept."""
    count = connection.letters
    if count < HISTORY_BYTES:
        connection.history[count] = letter
        connection.letters = count + 1


@jit
def flip(connection: Record) -> None:
    """Exchange originator and responder of a connection without TCP endpoints."""
    connection.orig_high, connection.resp_high = connection.resp_high, connection.orig_high
    connection.orig_low, connection.resp_low = connection.resp_low, connection.orig_low
    connection.orig_port, connection.resp_port = connection.resp_port, connection.orig_port
    add_letter(connection, FLIPPED)


@jit
def flip_tcp(connection: Record, end: Record, peer: Record) -> None:
    """Exchange originator and responder, with all that was counted; what history has seen stays as it is."""
    packets, size = connection.orig_packets, connection.orig_ip_bytes
    connection.orig_packets, connection.orig_ip_bytes = connection.resp_packets, connection.resp_ip_bytes
    connection.resp_packets, connection.resp_ip_bytes = packets, size
    connection.swapped = 1 - connection.swapped
    end.is_orig = 1 - end.is_orig
    peer.is_orig = 1 - peer.is_orig
    seen = connection.first_seen
    connection.first_seen = (seen & 1) << 1 | (seen & 2) >> 1
    connection.partial = 0
    flip(connection)


@jit
def note(connection: Record, end: Record, peer: Record, mask: int, letter: int) -> bool:
    """Add a letter of ``end`` the first time its kind is seen; whether it was seen before.

    A connection that so far had one SYN-ACK and now carries data or an acknowledgment is flipped: it is no scan, its
    SYN was missed.
    """
    if (letter == A or letter == D) and connection.letters == 1 and connection.history[0] == H:
        flip_tcp(connection, end, peer)
        connection.history[0] = FLIPPED
        connection.history[1] = H + LOWER
        connection.letters = 2
        connection.first_seen |= 1
    if not end.is_orig:
        mask <<= 16
        letter += LOWER
    if connection.seen & mask:
        return True
    connection.seen |= mask
    add_letter(connection, letter)
    return False


@jit
def note_side(connection: Record, end: Record, letter: int) -> None:
    """Append ``letter``, in the case of ``end``'s side."""
    add_letter(connection, letter if end.is_orig else letter + LOWER)


@jit
def next_threshold(threshold: int) -> int:
    """Letters of these kinds come at the 1st, 10th, 100th, ... time."""
    return threshold * 10 if threshold < 1_000_000_000 // 10 else threshold


@jit
def bad_checksum(connection: Record, end: Record) -> None:
    end.bad_count += 1
    if end.bad_count == end.bad_next:
        note_side(connection, end, C)
        end.bad_next = next_threshold(end.bad_next)


@jit
def retransmitted(connection: Record, end: Record) -> None:
    end.again_count += 1
    if end.again_count == end.again_next:
        note_side(connection, end, T)
        end.again_next = next_threshold(end.again_next)


@jit
def zero_window(connection: Record, end: Record) -> None:
    end.window_count += 1
    if end.window_count == end.window_next:
        note_side(connection, end, W)
        end.window_next = next_threshold(end.window_next)


@jit
def gap(connection: Record, end: Record) -> None:
    end.gap_count += 1
    if end.gap_count == end.gap_next:
        note_side(connection, end, G)
        end.gap_next = next_threshold(end.gap_next)


@jit
def udp_bad_checksum(connection: Record, is_orig: bool) -> None:
    if is_orig:
        connection.orig_bad_count += 1
        if connection.orig_bad_count == connection.orig_bad_next:
            add_letter(connection, C)
            connection.orig_bad_next = next_threshold(connection.orig_bad_next)
    else:
        connection.resp_bad_count += 1
        if connection.resp_bad_count == connection.resp_bad_next:
            add_letter(connection, C + LOWER)
            connection.resp_bad_next = next_threshold(connection.resp_bad_next)
