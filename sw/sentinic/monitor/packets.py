"""From a ring record, or from the bytes of an IP packet, to the cells of the packet at hand (``P_*``).

Of a plain TCP segment its descriptor may tell all.  Most other packets are taken as the card parsed them.  What it
does not tell (extension headers, fragments, tunnels, headers beyond its window) is read from the slot's bytes, with
checksums in software.
"""

from sentinic.abi.descriptor import HEADROOM
from sentinic.abi.profiles import MAX_VLAN_TAGS
from sentinic.abi.tag import HEADERS, HEADERS_FROM_END, TCP_FROM_END
from sentinic.abi.tag import TCP as TCP_TLV
from sentinic.abi.verdicts import Checksum, Fragment, ParseError
from sentinic.monitor import words
from sentinic.monitor.jit import I64, U8, int64, jit
from sentinic.monitor.state import (
    DROP,
    FAULT_CHECKSUM,
    FAULT_HEADER,
    FAULT_NONE,
    ICMP,
    ICMPV6,
    P_ACKNOWLEDGMENT,
    P_AT,
    P_DESTINATION_HIGH,
    P_DESTINATION_LOW,
    P_DESTINATION_PORT,
    P_END,
    P_FAULT,
    P_FLAGS,
    P_FRAGMENT,
    P_HAVE,
    P_HEADER,
    P_IDENT,
    P_LENGTH,
    P_MISSING,
    P_MORE,
    P_ONE_WAY,
    P_PACKET,
    P_PROTOCOL,
    P_SEQUENCE,
    P_SOURCE_HIGH,
    P_SOURCE_LOW,
    P_SOURCE_PORT,
    P_TIME,
    P_TOTAL,
    P_VERSION,
    P_VLANS,
    P_WINDOW,
    PACKET,
    TCP,
    UDP,
    WHOLE_FRAGMENT,
)
from sentinic.monitor.words import be16, be32, le64

#: What an IPv4-mapped address has before the IPv4 address, as the low half of ``le64``.
_MAPPED = 0xFFFF0000
VXLAN_PORT = 4789
#: Bytes of an Ethernet header's addresses.
ADDRESSES = 12
_NETWORK, _TRANSPORT, _PAYLOAD, _LENGTH = (
    HEADERS.record.member(name).offset - HEADERS_FROM_END
    for name in ("network_offset", "transport_offset", "payload_offset", "payload_length")
)
_WINDOW, _SEQUENCE, _ACKNOWLEDGMENT = (
    TCP_TLV.record.member(name).offset - TCP_FROM_END for name in ("window", "sequence", "acknowledgment")
)
_UNCHECKED, _BAD = int(Checksum.UNCHECKED), int(Checksum.BAD)
_WHOLE = int(Fragment.WHOLE)
_BEYOND = int(ParseError.IP_BEYOND_FRAME)
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _ESP, _AUTHENTICATION, _NO_NEXT, _OPTIONS, _MOBILITY = 0, 43, 44, 50, 51, 59, 60, 135


@jit
def from_record(row: I64, data: U8, ignore: int, vlans: int, packet: I64) -> int:
    """Open the packet of a descriptor: DROP, PACKET, or WHOLE_FRAGMENT as from :func:`open_ip`.

    ``row``: its words; ``vlans``: whether VLAN ids are part of connections' keys.
    """
    last = row[words.LAST]
    if last >> words.PLAIN & 1:
        return _from_descriptor(row, packet)
    if not ignore and last >> words.NETWORK_BAD & 1:
        return DROP
    slot = row[words.PORTS] >> 32 & 0xFFFFFFFF
    count = last >> words.VLANS & 3
    frame = slot + HEADROOM
    tag_end = frame + ADDRESSES + 4 * count
    captured = row[words.HASHED] >> 48 & 0xFFFF
    wire = row[words.HASHED] >> 32 & 0xFFFF
    packet[P_TIME] = row[words.TIME]
    packet[P_MISSING] = wire - captured
    packet[P_VLANS] = 0
    if vlans and count:
        packet[P_VLANS] = _vlan_key(data, slot, tag_end, last >> 56 & 0xFF, count)
    if last >> words.IP_VERSION & 3 == 0:  # no IP, or below more than the card opens
        below = ethernet(data, tag_end - ADDRESSES, frame + captured)
        return open_ip(data, below, frame + captured, frame + wire, ignore, packet) if below >= 0 else DROP

    network = int64(data[tag_end + _NETWORK])
    transport = int64(data[tag_end + _TRANSPORT])
    at = frame + network
    error = last >> words.PARSE_ERROR & 31
    if (error != 0 and error != _BEYOND) or last >> words.FRAGMENT & 3 != _WHOLE or transport == 0:
        return open_ip(data, at, frame + captured, frame + wire, ignore, packet)
    protocol = last >> 16 & 0xFF
    total = last & 0xFFFF
    # What is plain has no header between the two (AH is not opened by Zeek), and tells its length.
    version4 = last >> words.IP_VERSION & 3 == 1
    if version4:
        plain = transport - network == (int64(data[at]) & 15) * 4 and protocol != ICMPV6 and be16(data, at + 2) != 0
    else:
        plain = transport - network == 40 and protocol != ICMP and be16(data, at + 4) != 0
    if not plain or not (protocol == TCP or protocol == UDP or protocol == ICMP or protocol == ICMPV6):
        return open_ip(data, at, frame + captured, frame + wire, ignore, packet)
    if network + total > wire:
        return DROP

    packet[P_SOURCE_HIGH], packet[P_SOURCE_LOW] = row[words.SOURCE], row[words.SOURCE + 1]
    packet[P_DESTINATION_HIGH], packet[P_DESTINATION_LOW] = row[words.DESTINATION], row[words.DESTINATION + 1]
    packet[P_PROTOCOL] = protocol
    packet[P_TOTAL] = total
    packet[P_FLAGS] = last >> 24 & 0xFF
    packet[P_FAULT] = FAULT_NONE
    packet[P_ONE_WAY] = 0
    checksum = last >> words.TRANSPORT & 3
    source, destination = row[words.PORTS] & 0xFFFF, row[words.PORTS] >> 16 & 0xFFFF
    begin = int64(data[tag_end + _PAYLOAD])
    length = be16(data, tag_end + _LENGTH)
    whole = network + total - begin
    if protocol == TCP:
        packet[P_SEQUENCE] = be32(data, tag_end + _SEQUENCE)
        packet[P_ACKNOWLEDGMENT] = be32(data, tag_end + _ACKNOWLEDGMENT)
        packet[P_WINDOW] = be16(data, tag_end + _WINDOW)
        if begin > captured and checksum == _UNCHECKED:
            packet[P_FAULT] = FAULT_HEADER
    elif whole < 0:
        return DROP
    elif protocol == UDP:
        # The card sums what the datagram says it is long, Zeek all that the IP packet carries; VXLAN needs no sum.
        if not ignore and (length != whole or (destination == VXLAN_PORT and checksum == _BAD)):
            return open_ip(data, at, frame + captured, frame + wire, ignore, packet)
    else:
        if begin > captured and checksum == _UNCHECKED:
            return DROP
        packet[P_ONE_WAY], destination = counterpart(protocol, source, destination)
    have = max(min(captured - begin, whole), 0)
    if checksum == _UNCHECKED and have >= whole and not ignore:
        return open_ip(data, at, frame + captured, frame + wire, ignore, packet)
    if checksum == _BAD and not ignore:
        packet[P_FAULT] = FAULT_CHECKSUM
    elif checksum != _UNCHECKED:
        have = whole  # the card has seen all of it, whatever the ring kept
    packet[P_SOURCE_PORT], packet[P_DESTINATION_PORT] = source, destination
    packet[P_LENGTH] = length
    packet[P_HAVE] = have
    packet[P_AT] = frame + begin
    packet[P_END] = min(frame + captured, at + total)
    return PACKET


@jit
def _from_descriptor(row: I64, packet: I64) -> int:
    """Open a plain segment, all of which its descriptor tells."""
    last = row[words.LAST]
    packet[P_TIME] = row[words.TIME]
    packet[P_SOURCE_HIGH], packet[P_SOURCE_LOW] = row[words.SOURCE], row[words.SOURCE + 1]
    packet[P_DESTINATION_HIGH], packet[P_DESTINATION_LOW] = row[words.DESTINATION], row[words.DESTINATION + 1]
    packet[P_SOURCE_PORT], packet[P_DESTINATION_PORT] = row[words.PORTS] & 0xFFFF, row[words.PORTS] >> 16 & 0xFFFF
    packet[P_PROTOCOL] = TCP
    packet[P_FLAGS] = last >> 24 & 0xFF
    packet[P_SEQUENCE] = row[words.PORTS] >> 32 & 0xFFFFFFFF
    packet[P_ACKNOWLEDGMENT] = row[words.HASHED] & 0xFFFFFFFF
    packet[P_WINDOW] = 1 - (last >> words.WINDOW_ZERO & 1)  # only whether it was 0 matters
    headers = 20 * (last >> words.IP_VERSION & 3) + 4 * (last >> words.DATA_OFFSET & 15)
    packet[P_TOTAL] = last & 0xFFFF
    packet[P_LENGTH] = packet[P_HAVE] = (last & 0xFFFF) - headers
    packet[P_FAULT] = FAULT_NONE
    packet[P_ONE_WAY] = packet[P_VLANS] = packet[P_MISSING] = packet[P_AT] = packet[P_END] = 0
    return PACKET


@jit
def _vlan_key(data: U8, slot: int, tag_end: int, tag_words: int, count: int) -> int:
    """VLAN ids, each plus one, as the key holds them."""
    first = tag_end - 4 * tag_words - 4 * count
    key = (be16(data, first + 2) & 0xFFF) + 1
    if count == MAX_VLAN_TAGS:
        key |= ((be16(data, first + 6) & 0xFFF) + 1) << 13
    return key


@jit
def ethernet(data: U8, at: int, end: int) -> int:
    """The IP packet of the Ethernet frame at ``at``, -1 if there is none.

    It may stand behind any number of VLAN tags and MPLS labels, LLC and SNAP, PPPoE, 802.1ah, VN tags and FabricPath.
    """
    at += ADDRESSES
    while at + 2 <= end:
        kind = be16(data, at)
        at += 2
        if kind == 0x0800 or kind == 0x86DD:
            return at
        if kind == 0x8847:
            while at + 4 < end and not data[at + 2] & 1:
                at += 4
            return at + 4
        if kind == 0x8864:
            return at + 8 if at + 8 < end and be16(data, at + 6) in (0x0021, 0x0057) else -1
        if kind == 0x8100 or kind == 0x88A8 or kind == 0x9100:
            at += 2
        elif kind == 0x8926:
            at += 4
        elif kind == 0x88E7:
            at += 4 + ADDRESSES
        elif kind == 0x8903:
            at += 2 + ADDRESSES
        elif kind <= 1500 and at + 8 <= end and be16(data, at) == 0xAAAA:
            at += 6
        else:
            break
    return -1


@jit
def counterpart(protocol: int, kind: int, code: int) -> tuple[int, int]:
    """Whether an ICMP type has no counterpart, and the "responder port": the counterpart, or the code."""
    if protocol == ICMP:
        if kind == 8:
            return 0, 0
        if kind == 0:
            return 0, 8
        if kind == 13 or kind == 15 or kind == 17:
            return 0, kind + 1
        if kind == 14 or kind == 16 or kind == 18:
            return 0, kind - 1
        if kind == 10:
            return 0, 9
        if kind == 9:
            return 0, 10
    else:
        if kind == 128 or kind == 133 or kind == 135 or kind == 139 or kind == 144 or kind == 130:
            return 0, kind + 1
        if kind == 129 or kind == 134 or kind == 136 or kind == 140 or kind == 145 or kind == 131:
            return 0, kind - 1
    return 1, code


@jit
def ones_sum(data: U8, at: int, length: int, total: int) -> int:
    """One's complement sum of 16-bit words from ``total`` on, folded (RFC 1071)."""
    end = at + (length & ~1)
    while at < end:
        total += be16(data, at)
        at += 2
    if length & 1:
        total += int64(data[at]) << 8
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@jit
def _address_sum(word: int) -> int:
    """The four 16-bit words of half an address read by ``le64``, summed in network order."""
    total = int64(0)
    for shift in range(0, 64, 16):
        part = word >> shift & 0xFFFF
        total += (part & 0xFF) << 8 | part >> 8
    return total


@jit
def _pseudo(packet: I64, length: int) -> int:
    """Sum over a pseudo header.  IPv4-mapped addresses bring 0xFFFF twice, which is nothing."""
    total = length + packet[P_PROTOCOL]
    for cell in (P_SOURCE_HIGH, P_SOURCE_LOW, P_DESTINATION_HIGH, P_DESTINATION_LOW):
        total += _address_sum(packet[cell])
    return int64(total)


@jit
def open_ip(data: U8, at: int, end: int, wire_end: int, ignore: int, packet: I64) -> int:
    """Open the IP packet at ``at``, of which bytes up to ``end`` are there and up to ``wire_end`` were sent.

    DROP: not valid.  PACKET: the cells are set; an unknown protocol has ``P_AT``, ``P_END`` only.
    WHOLE_FRAGMENT: a fragment with all its bytes, for reassembly.
    """
    if end - at < 20:
        return DROP
    version = int64(data[at]) >> 4
    packet[P_VERSION] = version
    packet[P_PACKET] = at
    if version == 4:
        header = (int64(data[at]) & 15) * 4
        total = told = be16(data, at + 2)
        if told == 0:  # segmentation offload: as long as what was captured, yet counted as nothing
            if not ignore:
                return DROP
            total = end - at
        if at + total > wire_end or header < 20 or header > total or header > end - at:
            return DROP
        if not ignore and ones_sum(data, at, header, 0) != 0xFFFF:
            return DROP
        packet[P_SOURCE_HIGH] = packet[P_DESTINATION_HIGH] = 0
        packet[P_SOURCE_LOW] = le64(data, at + 8) & ~int64(0xFFFFFFFF) | _MAPPED
        packet[P_DESTINATION_LOW] = le64(data, at + 12) & ~int64(0xFFFFFFFF) | _MAPPED
        packet[P_PROTOCOL] = data[at + 9]
        packet[P_TOTAL] = told
        packet[P_HEADER] = header
        if be16(data, at + 6) & 0x3FFF:
            packet[P_FRAGMENT] = (be16(data, at + 6) & 0x1FFF) * 8
            packet[P_MORE] = be16(data, at + 6) >> 13 & 1
            packet[P_IDENT] = be16(data, at + 4)
            if told == 0:
                return DROP
            if end - at >= total:
                return WHOLE_FRAGMENT
            if packet[P_FRAGMENT]:
                return DROP
    elif version == 6:
        if end - at < 40:
            return DROP
        total = told = 40 + be16(data, at + 4)
        if at + total > wire_end:
            return DROP
        packet[P_SOURCE_HIGH], packet[P_SOURCE_LOW] = le64(data, at + 8), le64(data, at + 16)
        packet[P_DESTINATION_HIGH], packet[P_DESTINATION_LOW] = le64(data, at + 24), le64(data, at + 32)
        packet[P_TOTAL] = told
        packet[P_IDENT] = -1
        past = extensions(data, at + 40, end, int64(data[at + 6]), packet)
        if past < 0 or past - at > total:
            return DROP
        header = past - at
        packet[P_HEADER] = header
        if packet[P_IDENT] >= 0:
            if end - at >= total:
                return WHOLE_FRAGMENT
            if packet[P_FRAGMENT]:
                return DROP
    else:
        return DROP
    cut = end < wire_end
    if version == 6 and total == 40:  # segmentation offload, with which Zeek does not open TCP
        code = open_transport(data, at + header, end, end - at - header, ignore, cut, packet)
        if packet[P_PROTOCOL] == TCP:
            packet[P_FAULT] = FAULT_HEADER
        return code
    return open_transport(data, at + header, end, total - header, ignore, cut, packet)


@jit
def extensions(data: U8, at: int, end: int, following: int, packet: I64) -> int:
    """Pass IPv6 extension headers; where they end, -1 when they are cut or hide what follows.

    A fragment header ends the walk, its offset, M flag and identification in the cells.
    """
    routed = False
    while (
        following == _HOP_BY_HOP
        or following == _ROUTING
        or following == _OPTIONS
        or following == _FRAGMENT
        or following == _AUTHENTICATION
    ):
        if end - at < 8:
            return -1
        if following == _FRAGMENT:
            size = int64(8)
        elif following == _AUTHENTICATION:
            size = (int64(data[at + 1]) + 2) * 4
        else:
            size = (int64(data[at + 1]) + 1) * 8
        if at + size > end:
            return -1
        if following == _ROUTING and not routed and data[at + 3] > 0:
            kind, length = data[at + 2], int64(data[at + 1])
            if (kind == 0 and length >= 2 and length % 2 == 0) or (kind == 2 and length == 2):
                packet[P_DESTINATION_HIGH] = le64(data, at + size - 16)  # the final destination
                packet[P_DESTINATION_LOW] = le64(data, at + size - 8)
                routed = True
        passed = following
        following = int64(data[at])
        if passed == _FRAGMENT:
            packet[P_FRAGMENT] = be16(data, at + 2) & 0xFFF8
            packet[P_MORE] = be16(data, at + 2) & 1
            packet[P_IDENT] = be32(data, at + 4)
            at += size
            break
        at += size
    if following == _ESP or following == _MOBILITY or following == _NO_NEXT:
        return -1
    packet[P_PROTOCOL] = following
    return at


@jit
def open_transport(data: U8, at: int, end: int, length: int, ignore: int, cut: bool, packet: I64) -> int:
    """Open what an IP packet carries in ``length`` bytes at ``at``, of which those up to ``end`` are there.

    ``cut``: the frame, be it behind the packet, is not wholly there.
    """
    protocol = packet[P_PROTOCOL]
    there = min(end - at, length)
    packet[P_FAULT] = FAULT_NONE
    packet[P_ONE_WAY] = 0
    packet[P_AT], packet[P_END] = at, at + there
    check = not ignore and there >= length
    if protocol == TCP:
        if there < 20:
            return DROP
        packet[P_SOURCE_PORT], packet[P_DESTINATION_PORT] = be16(data, at), be16(data, at + 2)
        packet[P_SEQUENCE], packet[P_ACKNOWLEDGMENT] = be32(data, at + 4), be32(data, at + 8)
        packet[P_FLAGS] = data[at + 13]
        packet[P_WINDOW] = be16(data, at + 14)
        header = (int64(data[at + 12]) >> 4) * 4
        packet[P_LENGTH] = length - header
        packet[P_HAVE] = there - header
        packet[P_AT] = at + header
        if header < 20 or header > there:
            packet[P_FAULT] = FAULT_HEADER
        elif check and ones_sum(data, at, length, _pseudo(packet, length)) != 0xFFFF:
            packet[P_FAULT] = FAULT_CHECKSUM
    elif protocol == UDP or protocol == ICMP or protocol == ICMPV6:
        if there < 8:
            return DROP
        packet[P_LENGTH] = length - 8
        packet[P_HAVE] = there - 8
        packet[P_AT] = at + 8
        if protocol == UDP:
            packet[P_SOURCE_PORT], packet[P_DESTINATION_PORT] = be16(data, at), be16(data, at + 2)
            packet[P_LENGTH] = be16(data, at + 4) - 8
            if cut:
                check = False
            elif be16(data, at + 6) == 0:
                vxlan = be16(data, at + 2) == VXLAN_PORT and length > 30 and data[at + 8] & 8 != 0
                check = check and packet[P_VERSION] == 6 and not vxlan
        else:
            kind = int64(data[at])
            packet[P_SOURCE_PORT] = kind
            one_way, port = counterpart(protocol, kind, int64(data[at + 1]))
            packet[P_ONE_WAY], packet[P_DESTINATION_PORT] = one_way, port
        if check:
            pseudo = int64(0) if protocol == ICMP else _pseudo(packet, length)
            if ones_sum(data, at, length, pseudo) != 0xFFFF:
                packet[P_FAULT] = FAULT_CHECKSUM
    return PACKET
