"""What the parser says of a frame, one step after the other.

Decisions beyond the design, which gateware and this model share
----------------------------------------------------------------
Link
- A VLAN tag counts (``vlan_count``, ``vlanN``) when its TCI and the EtherType behind it are in the frame; a tag cut
  short leaves ``eth_type`` at its TPID.  A third tag is ``VLAN_DEPTH`` whether its bytes are there or not.
- ``eth_type`` < 0x0600: fewer than 3 bytes left is ``LINK_TRUNCATED``; AA AA 03 with fewer than 8 left too.  With
  another LLC, or an OUI other than 000000, class ``OTHER`` and no error; ``eth_type`` keeps the length.  The 802.3
  length is not otherwise used.  A VLAN TPID or a number below 0x0600 as SNAP type is just a type nobody opens.
- MPLS: ``mpls_count`` counts labels wholly in the frame.  A fourth label without bottom-of-stack is ``MPLS_DEPTH``
  whether more bytes follow or not.  Below the labels the first nibble tells what follows (RFC 4928): 4 and 6 are IP,
  anything else is a pseudowire (RFC 4385), class ``OTHER`` and no error.  A pseudowire without control word whose
  first address begins with 4 or 6 looks like IP.
- ``IP_VERSION`` leaves ``network_offset`` set.
- ARP sets neither ``network_offset`` nor addresses.
IP
- ``network_offset`` is set as soon as the type says IP, even with no byte of it in the frame.  Length is looked at
  before version.
- Everything in the fixed IPv4 header (addresses, ``protocol``, ``ip_id``, ``ip_length``, ``fragment``) is taken
  once 20 bytes and version 4 are there, whatever stops the parser later.  A total length of 0 gives ``ip_length`` =
  bytes left.
- ``network_checksum_bad`` stays 0 if IHL < 5 or the header passes the frame's end; with ``IPV4_TOTAL_LENGTH`` it is
  checked.
- Order of checks: IHL, header in frame, total length, ``IP_BEYOND_FRAME``, ``FRAGMENT_RANGE``.
- Whatever stops the parser between IP version and transport leaves class ``IP_OTHER``, offsets and lengths behind
  0.
- IPv6 payload length 0: the frame's rest only if the fixed header's own next header is TCP or UDP; otherwise 40.
- An IPv4 source route is not followed: the pseudo header has the destination field.
Extension headers
- Order: depth; 8 bytes within packet and frame (``EXTENSION_TRUNCATED``); 8 bytes within the window (``WINDOW``);
  its end within packet and frame; its end within the window.  On each of these ``protocol`` is the number of the
  header not passed, and nothing is taken from that header.
- Of several fragment headers the last gives ``ip_id``; ``FIRST`` stays even if an atomic one follows.
  ``FRAGMENT_RANGE`` of IPv6: offset*8 + (IP packet's end - end of that fragment header) > 65535.
- ICMP (1) is known over IPv4 only, ICMPv6 (58) over IPv6 only; otherwise ``IP_OTHER``.
- A ``LATER`` fragment keeps the protocol that its header names, extension header numbers and AH included: class
  ``IP_OTHER``.
Transport
- ``transport_offset`` is set if a byte of it lies before min(packet's end, frame's end), even beyond the window;
  not for protocol 59 nor ``LATER``.
- ``IP_OTHER``: ``transport_offset`` set, ``payload_offset`` and ``payload_length`` 0 (its header is not opened).
- Too few bytes: below min(packet's end, frame's end) is ``TRANSPORT_TRUNCATED``, otherwise beyond the window is
  ``WINDOW``. Both leave class by protocol, ``payload_offset`` and ``payload_length`` 0; ports (ICMP: type, code) if
  4 bytes are there.
- ``TCP_DATA_OFFSET``: ``payload_offset`` 0 too; the other fields are taken, ``has_tcp`` set.  A FIRST fragment that
  does not hold the whole TCP header has this error.
- UDP, FIRST fragment: length below 8 is an error, beyond the packet is not.  With ``UDP_LENGTH``,
  ``payload_offset`` is set.
- ICMP: ``payload_offset`` = transport + 8 even if past the packet's end.
- "No error" for checksums is ``parse_error`` NONE; a bad IPv4 header checksum does not matter.  ``ABSENT`` needs
  the same conditions as a check.  A sum over all-zero bytes is bad (0000 is not FFFF).
- Segments left != 0 of any routing header leaves the checksum ``UNCHECKED``, UDP with field 0 included.
Flow hash
- Ports count for classes TCP, UDP and SCTP of WHOLE packets; 0 if ``ip_version`` is 0.
"""

from dataclasses import dataclass
from functools import lru_cache
from struct import unpack_from

from sentinic.abi.verdicts import Checksum, Fragment, ParseError, Protocol, Verdict

WINDOW = 192
KEY_BITS = 352
VLAN_TPIDS = (0x8100, 0x88A8, 0x9100)
HEADER_BYTES = {Protocol.TCP: 20, Protocol.UDP: 8, Protocol.SCTP: 12, Protocol.ICMP: 4, Protocol.ICMPV6: 4}
CLASSES = {
    1: {1: Protocol.ICMP, 6: Protocol.TCP, 17: Protocol.UDP, 132: Protocol.SCTP},
    2: {58: Protocol.ICMPV6, 6: Protocol.TCP, 17: Protocol.UDP, 132: Protocol.SCTP},
}
AUTHENTICATION, FRAGMENT, ROUTING, NO_NEXT = 51, 44, 43, 59
EXTENSIONS = {1: (AUTHENTICATION,), 2: (0, ROUTING, FRAGMENT, AUTHENTICATION, 60, 135, 139, 140)}
MAX_EXTENSIONS = 6


@dataclass(slots=True)
class Headers:
    """The fields of ``sentinic_hdl.meta.ParsedHeaders``, without ``flow_hash``."""

    eth_type: int = 0
    vlan_count: int = 0
    vlan0: int = 0
    vlan1: int = 0
    mpls_count: int = 0
    ip_version: int = 0
    source: int = 0
    destination: int = 0
    protocol: int = 0
    ip_length: int = 0
    ip_length_is_rest: int = 0
    ip_id: int = 0
    ip_dscp: int = 0
    fragment: int = Fragment.WHOLE
    source_port: int = 0
    destination_port: int = 0
    tcp_flags: int = 0
    tcp_sequence: int = 0
    tcp_acknowledgment: int = 0
    tcp_window: int = 0
    has_tcp: int = 0
    network_offset: int = 0
    transport_offset: int = 0
    payload_offset: int = 0
    payload_length: int = 0
    protocol_class: int = Protocol.OTHER
    parse_error: int = ParseError.NONE
    network_checksum_bad: int = 0
    transport_checksum: int = Checksum.UNCHECKED
    verdict: int = Verdict.CLEAN

    def note(self, error: ParseError) -> None:
        """The first error stays."""
        if self.parse_error == ParseError.NONE:
            self.parse_error = error


def parse(frame: bytes, wire_length: int | None = None) -> Headers:
    """Headers of ``frame``, of which ``wire_length`` bytes were on the wire; None, or fewer than there are, means all.

    Raises ``ValueError`` for runts, which ingress drops before the parser.
    """
    if len(frame) < 14:
        raise ValueError(f"a frame must have at least 14 bytes, not {len(frame)}")
    cut = wire_length is not None and wire_length > len(frame)
    h = Headers()
    _link(h, frame, cut)
    if h.parse_error not in (ParseError.NONE, ParseError.IP_BEYOND_FRAME):
        h.verdict = Verdict.MALFORMED
    elif h.transport_checksum == Checksum.BAD:
        h.verdict = Verdict.BAD_TRANSPORT_CHECKSUM
    elif h.network_checksum_bad:
        h.verdict = Verdict.BAD_NETWORK_CHECKSUM
    elif h.parse_error == ParseError.IP_BEYOND_FRAME or cut:
        h.verdict = Verdict.TRUNCATED
    elif h.fragment != Fragment.WHOLE:
        h.verdict = Verdict.FRAGMENT
    return h


def _link(h: Headers, frame: bytes, cut: bool) -> None:
    """Ethernet, VLAN tags, LLC/SNAP, MPLS; then what they carry."""
    h.eth_type = unpack_from(">H", frame, 12)[0]
    at = 14
    while h.eth_type in VLAN_TPIDS:
        if h.vlan_count == 2:
            return h.note(ParseError.VLAN_DEPTH)
        if at + 4 > len(frame):
            return h.note(ParseError.LINK_TRUNCATED)
        tci, inner = unpack_from(">HH", frame, at)
        if h.vlan_count == 0:
            h.vlan0 = h.eth_type << 16 | tci
        else:
            h.vlan1 = h.eth_type << 16 | tci
        h.vlan_count += 1
        h.eth_type = inner
        at += 4

    if h.eth_type < 0x0600:
        if at + 3 > len(frame):
            return h.note(ParseError.LINK_TRUNCATED)
        if frame[at : at + 3] != b"\xaa\xaa\x03":
            return None
        if at + 8 > len(frame):
            return h.note(ParseError.LINK_TRUNCATED)
        if frame[at + 3 : at + 6] != b"\0\0\0":
            return None
        h.eth_type = unpack_from(">H", frame, at + 6)[0]
        at += 8

    if h.eth_type in (0x8847, 0x8848):
        bottom = False
        while not bottom:
            if h.mpls_count == 4:
                return h.note(ParseError.MPLS_DEPTH)
            if at + 4 > len(frame):
                return h.note(ParseError.LINK_TRUNCATED)
            bottom = bool(frame[at + 2] & 1)
            h.mpls_count += 1
            at += 4
        if at == len(frame):
            return h.note(ParseError.LINK_TRUNCATED)
        version = frame[at] >> 4
        if version == 4:
            _ipv4(h, frame, at, cut)
        elif version == 6:
            _ipv6(h, frame, at, cut)
    elif h.eth_type == 0x0806:
        h.protocol_class = Protocol.ARP
        if at + 28 > len(frame):
            h.note(ParseError.ARP_TRUNCATED)
    elif h.eth_type == 0x0800:
        _ipv4(h, frame, at, cut)
    elif h.eth_type == 0x86DD:
        _ipv6(h, frame, at, cut)
    return None


def _ipv4(h: Headers, frame: bytes, at: int, cut: bool) -> None:
    """RFC 791."""
    h.network_offset = at
    left = len(frame) - at
    if left < 20:
        h.protocol_class = Protocol.IP_OTHER
        return h.note(ParseError.IP_TRUNCATED)
    if frame[at] >> 4 != 4:
        return h.note(ParseError.IP_VERSION)
    h.protocol_class = Protocol.IP_OTHER
    h.ip_version = 1
    service, total, h.ip_id, flags, h.protocol = unpack_from(">xBHHHxB", frame, at)
    h.ip_dscp = service >> 2
    h.source = 0xFFFF << 32 | unpack_from(">I", frame, at + 12)[0]
    h.destination = 0xFFFF << 32 | unpack_from(">I", frame, at + 16)[0]
    h.ip_length = total if total else min(left, 65535)
    h.ip_length_is_rest = int(not total)
    offset = flags & 0x1FFF
    if offset:
        h.fragment = Fragment.LATER
    elif flags & 0x2000:
        h.fragment = Fragment.FIRST

    header = 4 * (frame[at] & 15)
    if header < 20:
        return h.note(ParseError.IPV4_HEADER_LENGTH)
    if header > left:
        return h.note(ParseError.IP_TRUNCATED)
    h.network_checksum_bad = int(not sums_to_ones(frame[at : at + header]))
    if h.ip_length < header:
        return h.note(ParseError.IPV4_TOTAL_LENGTH)
    if h.ip_length > left:
        h.note(ParseError.IP_BEYOND_FRAME)
    if offset * 8 + h.ip_length - header > 65535:
        h.note(ParseError.FRAGMENT_RANGE)
    return _past_ip(h, frame, at + header, cut)


def _ipv6(h: Headers, frame: bytes, at: int, cut: bool) -> None:
    """RFC 8200."""
    h.network_offset = at
    left = len(frame) - at
    if left < 40:
        h.protocol_class = Protocol.IP_OTHER
        return h.note(ParseError.IP_TRUNCATED)
    if frame[at] >> 4 != 6:
        return h.note(ParseError.IP_VERSION)
    h.protocol_class = Protocol.IP_OTHER
    h.ip_version = 2
    payload, h.protocol = unpack_from(">HB", frame, at + 4)
    h.ip_dscp = unpack_from(">H", frame, at)[0] >> 6 & 0x3F
    h.source = int.from_bytes(frame[at + 8 : at + 24], "big")
    h.destination = int.from_bytes(frame[at + 24 : at + 40], "big")
    if payload == 0 and h.protocol in (6, 17):
        h.ip_length = min(left, 65535)  # segmentation offload
        h.ip_length_is_rest = 1
    else:
        h.ip_length = min(40 + payload, 65535)
    if h.ip_length > left:
        h.note(ParseError.IP_BEYOND_FRAME)
    return _past_ip(h, frame, at + 40, cut)


def _past_ip(h: Headers, frame: bytes, at: int, cut: bool) -> None:
    """Extension headers from ``at``, then the transport."""
    ip_end = h.network_offset + h.ip_length
    limit = min(ip_end, len(frame))
    routed = False
    passed = 0
    while h.fragment != Fragment.LATER and h.protocol in EXTENSIONS[h.ip_version]:
        if passed == MAX_EXTENSIONS:
            return h.note(ParseError.EXTENSION_DEPTH)
        if at + 8 > limit:
            return h.note(ParseError.EXTENSION_TRUNCATED)
        if at + 8 > WINDOW:
            return h.note(ParseError.WINDOW)
        following, length = frame[at], frame[at + 1]
        if h.protocol == FRAGMENT:
            end = at + 8
        elif h.protocol == AUTHENTICATION:
            end = at + 4 * (length + 2)
        else:
            end = at + 8 + 8 * length
        if end > limit:
            return h.note(ParseError.EXTENSION_TRUNCATED)
        if end > WINDOW:
            return h.note(ParseError.WINDOW)
        if h.protocol == FRAGMENT:
            flags, h.ip_id = unpack_from(">2xH2xH", frame, at)
            if flags >> 3:
                h.fragment = Fragment.LATER
            elif flags & 1:
                h.fragment = Fragment.FIRST
            if (flags & 0xFFF8) + ip_end - end > 65535:
                h.note(ParseError.FRAGMENT_RANGE)
        elif h.protocol == ROUTING and frame[at + 3]:
            routed = True
        h.protocol = following
        passed += 1
        at = end

    h.protocol_class = CLASSES[h.ip_version].get(h.protocol, Protocol.IP_OTHER)
    if h.fragment == Fragment.LATER:
        h.payload_offset = at
        h.payload_length = ip_end - at
    elif h.protocol != NO_NEXT:
        _transport(h, frame, at, ip_end, checkable=not routed and not cut)
    return None


def _transport(h: Headers, frame: bytes, at: int, ip_end: int, checkable: bool) -> None:
    """TCP (RFC 9293), UDP (RFC 768), SCTP (RFC 9260), ICMP (RFC 792), ICMPv6 (RFC 4443)."""
    limit = min(ip_end, len(frame))
    if at < limit:
        h.transport_offset = at
    kind = h.protocol_class
    if kind == Protocol.IP_OTHER:
        return None
    icmp = kind in (Protocol.ICMP, Protocol.ICMPV6)
    if at + 4 <= min(limit, WINDOW):
        h.source_port, h.destination_port = unpack_from(">BB" if icmp else ">HH", frame, at)
    if at + HEADER_BYTES[Protocol(kind)] > limit:
        return h.note(ParseError.TRANSPORT_TRUNCATED)
    if at + HEADER_BYTES[Protocol(kind)] > WINDOW:
        return h.note(ParseError.WINDOW)

    carried = ip_end - at
    checked = carried
    if kind == Protocol.TCP:
        h.has_tcp = 1
        h.tcp_sequence, h.tcp_acknowledgment = unpack_from(">II", frame, at + 4)
        data_offset, h.tcp_flags, h.tcp_window = unpack_from(">BBH", frame, at + 12)
        header = 4 * (data_offset >> 4)
        if header < 20 or header > carried:
            return h.note(ParseError.TCP_DATA_OFFSET)
        h.payload_offset = at + header
        h.payload_length = carried - header
    elif kind == Protocol.UDP:
        checked = unpack_from(">H", frame, at + 4)[0]
        h.payload_offset = at + 8
        h.payload_length = carried - 8
        if checked < 8 or (checked > carried and h.fragment == Fragment.WHOLE):
            h.note(ParseError.UDP_LENGTH)
        elif h.fragment == Fragment.WHOLE:
            h.payload_length = checked - 8
    elif kind == Protocol.SCTP:
        h.payload_offset = at + 12
        h.payload_length = carried - 12
        return None  # its CRC32c is not checked
    else:
        h.payload_offset = at + 8
        h.payload_length = max(carried - 8, 0)

    if not checkable or h.parse_error != ParseError.NONE or h.fragment != Fragment.WHOLE:
        return None
    covered = frame[at : at + checked]
    if kind == Protocol.UDP and covered[6:8] == b"\0\0":
        h.transport_checksum = Checksum.ABSENT if h.ip_version == 1 else Checksum.BAD
        return None
    if kind != Protocol.ICMP:
        covered = pseudo_header(h, checked) + covered
    h.transport_checksum = Checksum.GOOD if sums_to_ones(covered) else Checksum.BAD
    return None


def pseudo_header(h: Headers, length: int) -> bytes:
    """RFC 9293 3.1, RFC 768, RFC 8200 8.1; ``length`` of the transport header and payload, in bytes."""
    if h.ip_version == 1:
        addresses = (h.source & 0xFFFFFFFF).to_bytes(4, "big") + (h.destination & 0xFFFFFFFF).to_bytes(4, "big")
    else:
        addresses = h.source.to_bytes(16, "big") + h.destination.to_bytes(16, "big")
    # The fields' order and width differ between the versions, the sum of their 16-bit words does not.
    return addresses + length.to_bytes(4, "big") + h.protocol.to_bytes(4, "big")


def sums_to_ones(data: bytes) -> bool:
    """Whether the one's complement sum of the 16-bit words, checksum included, is FFFF (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(unpack_from(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF


def toeplitz(data: bytes, key: int, key_bits: int = KEY_BITS) -> int:
    """XOR of the 32 key bits that begin at each set bit of ``data``, both counted from the most significant bit on."""
    result = 0
    for index in range(8 * len(data)):
        if data[index // 8] >> (7 - index % 8) & 1:
            result ^= key >> (key_bits - 32 - index) & 0xFFFFFFFF
    return result


def flow_hash(headers: Headers, key: int) -> int:
    """The same for both directions of a flow; ``key`` has 352 bits, ``hash_key0`` the lowest 32 of them."""
    if not headers.ip_version:
        return 0
    source_port, destination_port = headers.source_port, headers.destination_port
    has_ports = headers.protocol_class in (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
    if not has_ports or headers.fragment != Fragment.WHOLE:
        source_port = destination_port = 0
    low, high = sorted([(headers.source, source_port), (headers.destination, destination_port)])
    return _hash_of(low, high, headers.protocol, key)


@lru_cache(maxsize=1 << 16)
def _hash_of(low: tuple[int, int], high: tuple[int, int], protocol: int, key: int) -> int:
    addresses = low[0].to_bytes(16, "big") + high[0].to_bytes(16, "big")
    return toeplitz(addresses + low[1].to_bytes(2, "big") + high[1].to_bytes(2, "big") + bytes([protocol]), key)
