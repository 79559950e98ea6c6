"""What scapy says of a frame, beside what the parser says."""

import ipaddress
import struct

from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP, in4_chksum
from scapy.layers.inet6 import IPv6, in6_chksum
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet
from scapy.utils import checksum

from sentinic.abi.verdicts import Checksum, Fragment, ParseError, Protocol

from .card import Frame
from .parser import Headers

TRANSPORTS: dict[int, type[Packet]] = {Protocol.TCP: TCP, Protocol.UDP: UDP, Protocol.SCTP: SCTP, Protocol.ICMP: ICMP}


def chain(packet: Packet) -> list[Packet]:
    layers = []
    layer: Packet = packet
    while layer:
        layers.append(layer)
        layer = layer.payload
    return layers


def address(text: str) -> int:
    number = int(ipaddress.ip_address(text))
    return number if ":" in text else 0xFFFF << 32 | number


def differences(frame: Frame, h: Headers) -> list[str]:
    """What differs without an explanation; each exception below is one."""
    found: list[str] = []

    def same(what: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            found.append(f"{what}: {ours} here, {theirs} at scapy")

    layers = chain(Ether(frame.data))
    tags = [layer for layer in layers[1:3] if isinstance(layer, Dot1Q | Dot1AD)]
    same("VLAN tags", h.vlan_count, len(tags))
    for tag, ours in zip(tags, (h.vlan0, h.vlan1), strict=False):
        same("VLAN id", ours & 0xFFF, tag.vlan)
    same("ARP", h.protocol_class == Protocol.ARP, any(isinstance(layer, ARP) for layer in layers))
    if h.mpls_count and h.protocol_class == Protocol.OTHER and not h.parse_error:
        return found  # a pseudowire: scapy opens the Ethernet in it
    same("labels", h.mpls_count, sum(isinstance(layer, MPLS) for layer in layers))
    ip = next((layer for layer in layers if isinstance(layer, IP | IPv6)), None)
    if ip is None or not h.ip_version:
        same("IP", h.ip_version, 0 if ip is None else ip.version)
        return found
    same("network offset", h.network_offset, len(frame.data) - len(ip.original))
    same("source", h.source, address(ip.src))
    same("destination", h.destination, address(ip.dst))
    if h.parse_error == ParseError.IPV4_HEADER_LENGTH:
        return found
    if h.ip_version == 1:
        same("IP length", h.ip_length, ip.len)
        same("IP id", h.ip_id, ip.id)
        same("DSCP", h.ip_dscp, ip.tos >> 2)
        same("protocol", h.protocol, ip.proto)
        same("IPv4 checksum", h.network_checksum_bad, int(checksum(ip.original[: 4 * ip.ihl]) != 0))
    else:
        same("DSCP", h.ip_dscp, ip.tc >> 2)
        same("IP length", h.ip_length, 40 + ip.plen)
    if h.fragment == Fragment.LATER or h.parse_error == ParseError.TRANSPORT_TRUNCATED:
        return found
    kind = TRANSPORTS.get(h.protocol_class)
    if kind is not None:
        layer = next(layer for layer in layers if isinstance(layer, kind))
        segment = layer.original
        end = min(h.network_offset + h.ip_length, len(frame.data))
        same("transport offset", h.transport_offset, end - len(segment))
        if kind is ICMP:
            same("type and code", (h.source_port, h.destination_port), (layer.type, layer.code))
        else:
            same("ports", (h.source_port, h.destination_port), (layer.sport, layer.dport))
        if kind is TCP:
            ours = (h.tcp_sequence, h.tcp_acknowledgment, h.tcp_window, h.tcp_flags)
            same("TCP numbers", ours, (layer.seq, layer.ack, layer.window, int(layer.flags) & 0xFF))
            same("TCP header", h.payload_offset - h.transport_offset, 4 * layer.dataofs)
        if kind is UDP and h.fragment == Fragment.WHOLE:
            same("payload", h.payload_length, layer.len - 8)
            segment = segment[: layer.len]
    elif h.protocol_class == Protocol.ICMPV6:
        segment = frame.data[h.transport_offset : h.network_offset + h.ip_length]
    if h.transport_checksum in (Checksum.GOOD, Checksum.BAD):
        if h.protocol_class == Protocol.ICMP:
            sum_ = checksum(segment)
        elif h.ip_version == 1:
            sum_ = in4_chksum(h.protocol, ip, segment)
        else:
            sum_ = in6_chksum(h.protocol, IPv6(src=ip.src, dst=ip.dst, nh=h.protocol), segment)
        same("checksum good", h.transport_checksum == Checksum.GOOD, sum_ == 0)
    elif h.transport_checksum == Checksum.ABSENT:
        same("checksum field", struct.unpack_from(">H", segment, 6)[0], 0)
    return found
