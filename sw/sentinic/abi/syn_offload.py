"""SYN offload: why a SYN that the card held goes on or ends, and what is told of the attempt."""

from enum import IntEnum

from sentinic.abi.layout import Bits, ByteOrder, Member, Record
from sentinic.abi.tag import Tlv


class Reason(IntEnum):
    """Why a held SYN leaves the table of attempts."""

    NONE = 0
    ANSWERED = 1  #: the responder sent something: SYN+ACK, a SYN of its own, data
    REFUSED = 2  #: the responder sent a RST
    INTERRUPTED = 3  #: the originator sent something else than the SYN once more
    SUPERSEDED = 4  #: the originator began anew: a SYN with another sequence number
    EXPIRED = 5  #: nobody answered in time
    EVICTED = 6  #: the table was full, and this attempt the oldest
    UNREACHABLE = 7  #: an ICMP or ICMPv6 error came that quotes the SYN


#: Reasons after which the attempt is over: no answer was seen.
UNANSWERED = (Reason.SUPERSEDED, Reason.EXPIRED, Reason.EVICTED)
#: SYNs sent once more that an attempt counts; the next one begins a new attempt.
MAX_RETRANSMISSIONS = 0xFFFF

RECORD = Tlv(
    0x12,
    Record(
        "unanswered",
        64,
        ByteOrder.BIG,
        (
            Member("type", 0, 1, "TLV type"),
            Member("length", 1, 1, "length of the TLV", "32-bit words"),
            Member("reason", 2, 1, "Reason: why it is over"),
            Member("origin", 3, 1, "bits 1..0 ingress port, 3..2 IP version (1 IPv4, 2 IPv6), 4 the window was 0"),
            Member("tcp_flags", 4, 1, "flags of the SYN, CWR..FIN"),
            Member("ip_length", 5, 1, "length of the SYN's IP packet", "bytes"),
            Member("retransmissions", 6, 2, "how many more of the same SYN came", "packets"),
            Member("first", 8, 8, "wire time of the SYN", "ns"),
            Member("last", 16, 8, "wire time of the last of the same SYN", "ns"),
            Member("sequence", 24, 4, "its sequence number"),
            Member("source_port", 28, 2, "source port"),
            Member("destination_port", 30, 2, "destination port"),
            Member("source", 32, 1, "source address, network order; IPv4 as IPv4-mapped", count=16),
            Member("destination", 48, 1, "destination address, as source", count=16),
        ),
        {
            "origin": (
                Bits("port", 0, 2, "ingress port"),
                Bits("ip_version", 2, 2, "1 IPv4, 2 IPv6"),
                Bits("window_zero", 4, 1, "the SYN's window field was 0"),
            )
        },
    ),
    False,
    "An attempt that nobody answered, of which the card has kept the SYNs to itself.",
)
