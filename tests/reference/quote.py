"""Which TCP packet an ICMP error quotes, one step after the other, for what the card reads of it.

Decisions beyond the RFCs, which gateware and this model share
--------------------------------------------------------------
- The error is a whole packet with its first 4 bytes within the window, malformed in nothing but that it may end
  before its length says.
- Of the quote 72 bytes count, as far as they lie within the error and the first 190 bytes of the frame.
- Its IP version is the error's, and its own length covers 8 bytes of TCP.
- Fragments do not count, atomic ones do (RFC 6946).
- No checksum is looked at.
"""

from dataclasses import dataclass
from struct import unpack_from

from sentinic.abi.verdicts import Fragment, ParseError, Protocol
from tests.reference.parser import AUTHENTICATION, EXTENSIONS, FRAGMENT, Headers, parse

#: RFC 1122 3.2.2, RFC 4443 2.1.
ERRORS = {Protocol.ICMP: (3, 4, 5, 11, 12), Protocol.ICMPV6: (1, 2, 3, 4)}
BYTES, DEPTH = 72, 190


@dataclass(frozen=True)
class Quote:
    """The fields of ``sentinic_hdl.meta.Quote``."""

    source: int
    destination: int
    source_port: int
    destination_port: int
    sequence: int


def quoted(frame: bytes, wire_length: int | None = None) -> Quote | None:
    """What ``frame`` quotes, if it is an error that quotes a TCP packet."""
    h = parse(frame, wire_length)
    if h.source_port not in ERRORS.get(Protocol(h.protocol_class), ()) or h.fragment != Fragment.WHOLE:
        return None
    if not h.payload_offset or h.parse_error not in (ParseError.NONE, ParseError.IP_BEYOND_FRAME):
        return None
    start = h.transport_offset + 8
    packet = frame[start : min(start + BYTES, h.network_offset + h.ip_length, DEPTH)]
    return (_ipv4 if h.ip_version == 1 else _ipv6)(h, packet)


def _ipv4(h: Headers, packet: bytes) -> Quote | None:
    if len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    header = 4 * (packet[0] & 15)
    length = int.from_bytes(packet[2:4], "big") or len(packet)
    if not 20 <= header <= min(len(packet), length) or int.from_bytes(packet[6:8], "big") & 0x3FFF:
        return None
    addresses = [0xFFFF << 32 | each for each in unpack_from(">II", packet, 12)]
    return _past_ip(1, packet[9], packet[:length], header, addresses)


def _ipv6(h: Headers, packet: bytes) -> Quote | None:
    if len(packet) < 40 or packet[0] >> 4 != 6:
        return None
    payload, following = unpack_from(">HB", packet, 4)
    length = 40 + payload if payload or following not in (6, 17) else len(packet)
    addresses = [int.from_bytes(packet[at : at + 16], "big") for at in (8, 24)]
    return _past_ip(2, following, packet[:length], 40, addresses)


def _past_ip(version: int, protocol: int, packet: bytes, at: int, addresses: list[int]) -> Quote | None:
    while protocol in EXTENSIONS[version]:
        if at + 8 > len(packet):
            return None
        if protocol == FRAGMENT and int.from_bytes(packet[at + 2 : at + 4], "big") & 0xFFF9:
            return None
        units = 4 if protocol == AUTHENTICATION else 8
        length = 8 if protocol == FRAGMENT else 8 + units * packet[at + 1]
        protocol, at = packet[at], at + length
    if protocol != 6 or at + 8 > len(packet):
        return None
    return Quote(*addresses, *unpack_from(">HHI", packet, at))
