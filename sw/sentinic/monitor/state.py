"""What the connection tracker holds: records of connections, TCP endpoints and finished rows, and their constants.

Numbers that take part in arithmetic are signed: numba turns ``uint64`` mixed with ``int64`` into floating point.
"""

import numpy as np

SECOND = 1_000_000_000

# Zeek's defaults (scripts/base/init-bare.zeek, base/protocols/conn/inactivity.zeek), in ns.
TCP_INACTIVITY = 300 * SECOND
OTHER_INACTIVITY = 60 * SECOND  #: UDP, ICMP, and TCP until its handshake is done
INTERACTIVE_INACTIVITY = 3600 * SECOND  #: established TCP to the ports below
ATTEMPT_DELAY = 5 * SECOND  #: tcp_attempt_delay, tcp_SYN_timeout and tcp_close_delay are the same
LINGER = 5 * SECOND  #: tcp_connection_linger
SESSION_TIMER = 6 * SECOND  #: tcp_session_timer
DNS_SESSION = 10 * SECOND  #: dns_session_timeout
DNS_SILENCE = 9 * SECOND
NEVER = (1 << 63) - 1
MAX_INITIAL_WINDOW = 16384  #: bytes: tcp_max_initial_window, tcp_max_above_hole_without_any_acks
MAX_WITHOUT_ACKS = 10 * 1024 * 1024  #: bytes: tcp_excessive_data_without_further_acks
#: Records that come at most before a SYN whose time on the card is over, where nothing is lost on the way.
HELD_BEHIND = 1 << 16
FRAGMENT_TIMEOUT = 300 * SECOND
TUNNEL_DEPTH = 4  #: Tunnel::max_depth

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58
FIN, SYN, RST, ACK = 1, 2, 4, 16

# States of a TCP endpoint.
INACTIVE, SYN_SENT, SYN_ACK_SENT, PARTIAL, ESTABLISHED, CLOSED, RESET = range(7)

#: Letters of a history that are kept.
HISTORY_BYTES = 64

#: Names of ``conn_state``; rows hold an index.
STATES = ("OTH", "S0", "S1", "S2", "S3", "SF", "REJ", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR")
(OTH, S0, S1, S2, S3, SF, REJ, RSTO, RSTR, RSTOS0, RSTRH, SH, SHR) = range(len(STATES))

#: One side of a TCP connection.  Sequence numbers called relative count from the SYN's.
ENDPOINT = np.dtype(
    [
        ("start_seq", "<i8"),  # of the SYN; one before the first seen if there was none
        ("last_seq", "<i8"),  # 32 bits: one past the highest sent
        ("ack_seq", "<i8"),  # 32 bits: highest acknowledged by the other side
        ("seq_wraps", "<i8"),
        ("ack_wraps", "<i8"),
        ("fin_seq", "<i8"),  # relative
        ("delivered", "<i8"),  # relative: the stream is whole, or given up, up to here
        ("trimmed", "<i8"),  # relative: acknowledged up to here
        ("pending", "<i8"),  # bytes of data above a hole
        ("seen_syn", "<i8"),  # relative sequence numbers of the last SYN, FIN and RST
        ("seen_fin", "<i8"),
        ("seen_rst", "<i8"),
        ("blocks", "<i4"),  # first stretch of data above a hole, -1 if none
        ("fins", "<i4"),
        ("bad_count", "<i4"),  # counters of logarithmic history letters, and what they must reach
        ("bad_next", "<i4"),
        ("again_count", "<i4"),
        ("again_next", "<i4"),
        ("window_count", "<i4"),
        ("window_next", "<i4"),
        ("gap_count", "<i4"),
        ("gap_next", "<i4"),
        ("state", "i1"),
        ("previous", "i1"),
        ("closed", "i1"),  # its close was reported
        ("ended", "i1"),  # all of its data was delivered
        ("skipping", "i1"),  # its stream is no longer followed
        ("is_orig", "i1"),
    ],
    align=True,
)

CONNECTION = np.dtype(
    [
        ("orig_high", "<i8"),
        ("orig_low", "<i8"),
        ("resp_high", "<i8"),
        ("resp_low", "<i8"),
        ("orig_port", "<i4"),
        ("resp_port", "<i4"),
        ("protocol", "<i4"),
        ("vlans", "<i4"),  # inner VLAN id + 1 << 13 | VLAN id + 1, where they are part of the key
        ("start", "<i8"),
        ("last", "<i8"),
        ("inactivity", "<i8"),
        ("over", "<i8"),  # it is, at this time, but a SYN from before may still come; NEVER unless this was found
        ("over_since", "<i8"),  # so many records had been taken
        ("serial", "<i8"),  # -1 while unused
        ("timers", "<i8"),  # timers with another stamp are void
        ("orig_packets", "<i8"),
        ("orig_ip_bytes", "<i8"),
        ("resp_packets", "<i8"),
        ("resp_ip_bytes", "<i8"),
        ("orig_length", "<i8"),  # payload of UDP and ICMP, -1: nothing yet
        ("resp_length", "<i8"),
        ("missed", "<i8"),
        ("ends", "<i4"),  # index of its two TCP endpoints, -1 if none
        ("following", "<i4"),  # next unused connection
        ("seen", "<i4"),  # history letters seen, the responder's 16 bits higher
        ("letters", "<i4"),
        ("orig_bad_count", "<i4"),  # UDP, as for endpoints
        ("orig_bad_next", "<i4"),
        ("resp_bad_count", "<i4"),
        ("resp_bad_next", "<i4"),
        ("actions", "<i4"),  # what a packet asks the tracker to do
        ("hash", "<i8"),
        ("swapped", "i1"),  # the originator is the second endpoint
        ("active", "i1"),
        ("partial", "i1"),
        ("first_seen", "i1"),  # 1: a packet of the originator, 2: of the responder
        ("deferred", "i1"),  # closing waits for data
        ("one_way", "i1"),
        ("not_teredo", "i1"),
        ("history", "u1", HISTORY_BYTES),
    ],
    align=True,
)

# What a packet asks the tracker to do with the connection's timers.
ASK_ATTEMPT, ASK_DELETE, ASK_EXPIRE, ASK_ESTABLISHED = 1, 2, 4, 8

#: A finished connection.  Times in ns; counts of bytes; ports of ICMP as Zeek logs them.
ROW = np.dtype(
    [
        ("ts", "<i8"),
        ("duration", "<i8"),
        ("serial", "<i8"),  # numbers connections in the order of their first packets
        ("orig_h", "u1", 16),  # network order, IPv4 as IPv4-mapped
        ("resp_h", "u1", 16),
        ("orig_p", "<u2"),
        ("resp_p", "<u2"),
        ("protocol", "u1"),  # IP protocol number
        ("state", "u1"),  # index into STATES
        ("vlan", "<i2"),  # -1 if none, or not part of the key
        ("inner_vlan", "<i2"),
        ("orig_bytes", "<i8"),
        ("resp_bytes", "<i8"),
        ("missed_bytes", "<i8"),
        ("orig_pkts", "<i8"),
        ("orig_ip_bytes", "<i8"),
        ("resp_pkts", "<i8"),
        ("resp_ip_bytes", "<i8"),
        ("history", "S64"),
    ],
    align=True,
)
_FIELDS = dict(ROW.fields or {})
_SAME = [name for name in _FIELDS if name not in ("orig_h", "resp_h", "history")]
#: The same memory as compiled code writes it.
ROW_WORDS = np.dtype(
    {
        "names": [
            *_SAME,
            *("orig_high", "orig_low", "resp_high", "resp_low"),
            "history",
        ],
        "formats": [*(ROW[name] for name in _SAME), *["<i8"] * 4, ("u1", HISTORY_BYTES)],
        "offsets": [*(_FIELDS[name][1] for name in _SAME), *(24, 32, 40, 48), _FIELDS["history"][1]],
        "itemsize": ROW.itemsize,
    }
)

# Cells of the packet at hand (int64).
(
    P_TIME,
    P_SOURCE_HIGH,
    P_SOURCE_LOW,
    P_DESTINATION_HIGH,
    P_DESTINATION_LOW,
    P_SOURCE_PORT,
    P_DESTINATION_PORT,
    P_PROTOCOL,
    P_TOTAL,  # length of the IP packet
    P_LENGTH,  # of the transport payload, as its headers tell
    P_HAVE,  # bytes of it that were captured
    P_FAULT,  # FAULT_*
    P_FLAGS,
    P_SEQUENCE,
    P_ACKNOWLEDGMENT,
    P_WINDOW,
    P_ONE_WAY,  # ICMP without a counterpart
    P_AT,  # where the transport payload, or what an unopened protocol carries, begins in the buffer
    P_END,  # where what was captured of it ends
    P_VLANS,
    P_HEADER,  # bytes of IP headers before the payload
    P_FRAGMENT,  # offset in bytes
    P_MORE,  # more fragments follow
    P_IDENT,
    P_VERSION,
    P_PACKET,  # where the IP packet begins in the buffer
    P_MISSING,  # bytes of the frame that were not captured
) = range(27)
P_CELLS = 32
FAULT_NONE, FAULT_HEADER, FAULT_CHECKSUM = range(3)

# What became of opening a packet.
DROP, PACKET, WHOLE_FRAGMENT = range(3)

# Cells of the tracker (int64).
(
    T_NOW,  # time of the newest packet, ns
    T_SERIAL,  # connections so far
    T_STAMP,  # timer stamps so far
    T_LIVE,
    T_FREE,  # first unused connection, -1 if none
    T_TOP,  # connections ever in use at once
    T_FREE_ENDS,
    T_TOP_ENDS,
    T_ROWS,
    T_IGNORE,  # checksums are ignored
    T_VLANS,  # VLAN ids are part of the key
    T_FRAGMENTS,  # next reassembly place
    T_DUE,  # deadline of the first timer
    T_TOUCHED,
    T_HELD,  # how long the card holds a SYN at most, ns
    T_TAKEN,  # records
) = range(16)
T_CELLS = 16
