"""IP packets within packets: IP in IP, 6in4, GRE, Teredo, VXLAN, Geneve, GTPv1, AYIYA.

Zeek's rules: the inner packet of IP in IP, Teredo and GTP must fill what carries it; what UDP carries is known by the
responder's port, Teredo and AYIYA anywhere by how they begin.
"""

from sentinic.monitor.jit import I64, U8, int64, jit
from sentinic.monitor.packets import VXLAN_PORT, ethernet
from sentinic.monitor.state import P_AT, P_END, P_PROTOCOL, UDP
from sentinic.monitor.words import be16, be32

NOTHING, VIOLATION = -1, -2

_IP_IN_IP, _IPV6, _GRE = 4, 41, 47
GRE_PORT = 4754
_TEREDO_PORT, _AYIYA_PORT, _GENEVE_PORT = 3544, 5072, 6081
_GTP_USER_PORT, _GTP_CONTROL_PORT = 2152, 2123
_BRIDGED = 0x6558  #: EtherType of Ethernet within Ethernet
_G_PDU = 255  #: GTP's message that carries a packet
_FORWARD = 1  #: AYIYA's operation that does
_TEREDO_PREFIX = 0x20010000
_NO_NEXT = 59


@jit
def inner_packet(data: U8, packet: I64, port: int, not_teredo: bool) -> int:
    """Where the IP packet inside the packet at hand begins; NOTHING, or VIOLATION: this is no Teredo after all.

    It ends where the packet at hand ends.  ``port``: the responder's, of UDP.
    """
    at, end = packet[P_AT], packet[P_END]
    protocol = packet[P_PROTOCOL]
    if protocol == UDP:
        if port == VXLAN_PORT:
            return ethernet(data, at + 8, end) if end - at > 8 and data[at] & 8 else NOTHING
        if port == GRE_PORT:
            return _gre(data, at, end)
        if port == _GENEVE_PORT:
            return _geneve(data, at, end)
        if port == _GTP_USER_PORT or port == _GTP_CONTROL_PORT:
            return _gtp(data, at, end)
        if port == _AYIYA_PORT or (port != _TEREDO_PORT and end - at >= 3 and be16(data, at + 1) == 0x5211):
            return _ayiya(data, at, end)
        if not not_teredo and (port == _TEREDO_PORT or _like_teredo(data, at, end)):
            return _teredo(data, at, end)
        return NOTHING
    if protocol == _IP_IN_IP:
        return at if _fills(data, at, end, 4) else NOTHING
    if protocol == _IPV6:
        return at if _fills(data, at, end, 6) else NOTHING
    if protocol == _GRE:
        return _gre(data, at, end)
    return NOTHING


@jit
def _fills(data: U8, at: int, end: int, version: int) -> bool:
    """An IP packet of this version from ``at`` to ``end``, not a byte shorter or longer."""
    if end - at < 20 or data[at] >> 4 != version:
        return False
    if version == 4:
        return be16(data, at + 2) == end - at
    return end - at >= 40 and be16(data, at + 4) + 40 == end - at


@jit
def _gre(data: U8, at: int, end: int) -> int:
    """RFC 2784, 2890; version 1 (PPTP): RFC 2637; ERSPAN types I to III."""
    if end - at < 4:
        return NOTHING
    flags, kind = be16(data, at), be16(data, at + 2)
    version = flags & 7
    if version > 1 or flags & 0x4078:
        return NOTHING
    past = at + 4
    for bit in (0x8000, 0x2000, 0x1000, 0x0080):
        if flags & bit:
            past += 4
    if version == 1:
        if kind != 0x880B or past + 4 > end:
            return NOTHING
        inner = be16(data, past + 2)
        if inner == 0x0021 and _fills(data, past + 4, end, 4):
            return past + 4
        return past + 4 if inner == 0x0057 and _fills(data, past + 4, end, 6) else NOTHING
    if kind == 0x88BE and flags & 0x1000:
        past += 8
    if kind == 0x22EB:
        if end - past <= 12 + 14:
            return NOTHING
        past += 20 if data[past + 11] & 1 else 12
    if kind == _BRIDGED or kind == 0x88BE or kind == 0x22EB:
        return ethernet(data, past, end) if past + 14 < end else NOTHING
    wireless = kind == 0x9000 or (kind & 0x8200 == 0x8200 and kind & 15 == 0)  # Aruba's, around 802.11
    return past if past < end and not wireless else NOTHING


@jit
def _geneve(data: U8, at: int, end: int) -> int:
    """RFC 8926."""
    if end - at < 8 or data[at] >> 6 != 0:
        return NOTHING
    past = at + 8 + (int64(data[at]) & 0x3F) * 4
    kind = be16(data, at + 2)
    if kind == _BRIDGED:
        return ethernet(data, past, end) if past + 14 < end else NOTHING
    return past if past < end and (kind == 0x0800 or kind == 0x86DD) else NOTHING


@jit
def _gtp(data: U8, at: int, end: int) -> int:
    """GTPv1 (3GPP TS 29.060), the message that carries a packet."""
    if end - at < 12 or data[at] & 0xF0 != 0x30 or data[at + 1] != _G_PDU:
        return NOTHING
    past = at + 8
    if data[at] & 7:
        past += 4
    more = data[at] & 4 != 0
    while more:
        if past >= end or data[past] == 0 or past + 4 * int64(data[past]) > end:
            return NOTHING
        past += 4 * int64(data[past])
        more = data[past - 1] != 0
    return past if _fills(data, past, end, 4) or _fills(data, past, end, 6) else NOTHING


@jit
def _ayiya(data: U8, at: int, end: int) -> int:
    """draft-massar-v6ops-ayiya-02."""
    if end - at < 8 or data[at + 2] & 15 != _FORWARD:
        return NOTHING
    past = at + 8 + (int64(1) << int64(data[at] >> 4)) + int64(data[at + 1] >> 4) * 4
    return past if past < end and (data[at + 3] == _IP_IN_IP or data[at + 3] == _IPV6) else NOTHING


@jit
def _like_teredo(data: U8, at: int, end: int) -> bool:
    if end - at < 40:
        return False
    if data[at] >> 4 == 6:
        if be32(data, at + 8) == _TEREDO_PREFIX or be32(data, at + 24) == _TEREDO_PREFIX:
            return True
    elif data[at] != 0 or data[at + 1] > 1:
        return False
    tag = int64(data[at + 1])
    if tag == 1:
        at += 13 + int64(data[at + 2]) + int64(data[at + 3])
        if end - at < 40:
            return False
        tag = be16(data, at)
    return tag == 0 and end - at >= 48 and data[at + 8] >> 4 == 6


@jit
def _teredo(data: U8, at: int, end: int) -> int:
    """RFC 4380: an authentication header, an origin indication, an IPv6 packet."""
    origin = authentication = False
    while end - at >= 2:
        tag = be16(data, at)
        if tag == 0 and not origin and end - at >= 8:
            origin = True
            at += 8
        elif tag == 1 and not origin and not authentication and end - at >= 4:
            size = 13 + int64(data[at + 2]) + int64(data[at + 3])
            if end - at < size:
                return VIOLATION
            authentication = True
            at += size
        elif tag >> 12 == 6 and end - at >= 40:
            total = be16(data, at + 4) + 40
            bubble = total == 40 and data[at + 6] == _NO_NEXT
            return at if end - at == total or (bubble and end - at > total) else VIOLATION
        else:
            break
    return VIOLATION
