"""What statistics rules count, from the rules as people write them and the headers as the parser reads them.

Decisions beyond the design, which gateware, host and this model share
----------------------------------------------------------------------
- A rule counts packets that have every field it names, matched or grouped.  A packet has ``vlan_vid`` when it has a
  VLAN tag, ``ipv4_*`` and ``ipv6_*`` by its IP version, ports and ``tcp_flags`` by its protocol number alone, ICMP's
  type and code by protocol number and version.  All else every packet has; what it does not show reads 0.
- Bytes are those on the wire, as ingress takes them.
- An interval is one of the wire clock's, from time 0 on; a packet earlier than the one before counts in the interval
  that has begun.
- A bidirectional group is written with its lower end as source: address, then port, then Ethernet address, as grouped.
- A history notes of one packet first SYN or handshake, then FIN, RST, data, ACK; letters of packets against the
  direction of the group's first packet are small.
"""

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from .card import Frame, wire_length
from .parser import Headers, parse

Value = str | int | bool
ADDRESSES = {"eth_src": 48, "eth_dst": 48, "ipv4_src": 32, "ipv4_dst": 32, "ipv6_src": 128, "ipv6_dst": 128}
INTERNET = ("ipv4_src", "ipv4_dst", "ipv6_src", "ipv6_dst", "source", "destination")


@dataclass(frozen=True)
class RuleSpec:
    """As :class:`sentinic.driver.rules.Rule`."""

    match: Mapping[str, Value] = field(default_factory=dict)
    group: Sequence[str] = ()
    report_every: int = 0
    bidirectional: bool = False


@dataclass
class Tally:
    """What is kept of a group."""

    forward: bool
    first: int
    last: int = 0
    packets: int = 0
    bytes: int = 0
    events: list[str] = field(default_factory=list)

    @property
    def history(self) -> str:
        return "".join(self.events[:8])


#: (interval, values of the grouped fields in their order).
Key = tuple[int, tuple[int, ...]]


@dataclass(frozen=True)
class Shown:
    """A packet as rules see it."""

    headers: Headers
    port: int
    eth_src: int
    eth_dst: int

    def turned(self) -> "Shown":
        h = self.headers
        turned = replace(
            h,
            source=h.destination,
            destination=h.source,
            source_port=h.destination_port,
            destination_port=h.source_port,
        )
        return Shown(turned, self.port, self.eth_dst, self.eth_src)

    def fields(self) -> dict[str, int]:
        """Fields by OXM's names; those that it lacks are not there."""
        h = self.headers
        found = {
            "in_port": self.port,
            "eth_src": self.eth_src,
            "eth_dst": self.eth_dst,
            "eth_type": h.eth_type,
            "ip_proto": h.protocol,
            "ip_dscp": h.ip_dscp,
            "is_fragment": int(h.fragment != 0),
            "ip_version": (0, 4, 6)[h.ip_version],
            "source": h.source,
            "destination": h.destination,
            "source_port": h.source_port,
            "destination_port": h.destination_port,
        }
        if h.vlan_count:
            found["vlan_vid"] = h.vlan0 & 0xFFF
        if h.ip_version == 1:
            found |= {"ipv4_src": h.source & 0xFFFFFFFF, "ipv4_dst": h.destination & 0xFFFFFFFF}
        if h.ip_version == 2:
            found |= {"ipv6_src": h.source, "ipv6_dst": h.destination}
        transport = {6: "tcp", 17: "udp", 132: "sctp"}.get(h.protocol)
        if transport:
            found |= {f"{transport}_src": h.source_port, f"{transport}_dst": h.destination_port}
        if h.protocol == 6:
            found["tcp_flags"] = h.tcp_flags
        if (h.protocol, h.ip_version) == (1, 1):
            found |= {"icmpv4_type": h.source_port, "icmpv4_code": h.destination_port}
        if (h.protocol, h.ip_version) == (58, 2):
            found |= {"icmpv6_type": h.source_port, "icmpv6_code": h.destination_port}
        return found

    def events(self) -> str:
        """Letters, in the order in which they are noted."""
        h = self.headers
        flags = h.tcp_flags
        fin, syn, rst, ack = (bool(flags & bit) for bit in (1, 2, 4, 16))
        letters = ""
        if h.has_tcp and syn:
            letters += "H" if ack else "S"
        if h.has_tcp and fin:
            letters += "F"
        if h.has_tcp and rst:
            letters += "R"
        if h.payload_length:
            letters += "D"
        if h.has_tcp and ack and not (syn or fin or rst or h.payload_length):
            letters += "A"
        return letters


def shown(frame: Frame) -> Shown:
    source, destination = frame.data[6:12], frame.data[:6]
    return Shown(
        parse(frame.data, frame.wire_length),
        frame.port,
        int.from_bytes(source, "big"),
        int.from_bytes(destination, "big"),
    )


def number(name: str, text: Value) -> int:
    """A value, without its mask."""
    if isinstance(text, str) and name in ("eth_src", "eth_dst"):
        return int(text.replace(":", ""), 16)
    if isinstance(text, str) and name in INTERNET:
        return int(ipaddress.ip_address(text))
    return int(text, 0) if isinstance(text, str) else int(text)


def matches(spec: RuleSpec, fields: Mapping[str, int]) -> bool:
    """Whether all fields that the rule names are there, and as it wants them."""
    for name, value in spec.match.items():
        if name not in fields:
            return False
        text, slash, mask = value.partition("/") if isinstance(value, str) else (value, "", "")
        have, want, bits = fields[name], number(name, text), -1
        if name in ("source", "destination") and isinstance(text, str):
            version = ipaddress.ip_address(text).version
            if fields["ip_version"] != version:
                return False
            have &= (1 << (32 if version == 4 else 128)) - 1
        if mask.isdecimal() and name in INTERNET:
            width = ipaddress.ip_address(text).max_prefixlen
            bits = (1 << width) - (1 << width - int(mask))
        elif slash:
            bits = number(name, mask)
        if (have ^ want) & bits:
            return False
    return all(item.split("/")[0] in fields for item in spec.group)


def key_of(spec: RuleSpec, fields: Mapping[str, int]) -> tuple[int, ...]:
    values = []
    for item in spec.group:
        name, slash, length = item.partition("/")
        value = fields[name]
        if slash:
            below = ADDRESSES[name] - int(length)
            value = value >> below << below
        values.append(value)
    # Addresses of both versions are told apart.
    if {"source", "destination"} & set(spec.group):
        values.append(fields["ip_version"])
    return tuple(values)


def _end(spec: RuleSpec, key: tuple[int, ...], side: str) -> list[int]:
    """One end of a group, the address first, then port, then Ethernet address; 0 for what is not grouped."""
    names = [item.split("/")[0] for item in spec.group]
    kinds = (
        ("ipv4_{}", "ipv6_{}", "source" if side == "src" else "destination"),
        ("tcp_{}", "udp_{}", "sctp_{}", "source_port" if side == "src" else "destination_port"),
        ("eth_{}",),
    )
    found = []
    for kind in kinds:
        mine = [name.format(side) for name in kind]
        found.append(max((value for name, value in zip(names, key, strict=False) if name in mine), default=0))
    return found


def count(spec: RuleSpec, frames: Iterable[Frame]) -> dict[Key, Tally]:
    """What the rule's reports add up to, when the card takes every frame."""
    tallies: dict[Key, Tally] = {}
    interval = 0
    for frame in frames:
        packet = shown(frame)
        if spec.report_every:
            interval = max(interval, frame.timestamp // spec.report_every)
        ways = [packet, packet.turned()] if spec.bidirectional else [packet]
        # In a rule of both directions either may match; the group's fields are there whichever way it flows.
        if not any(matches(spec, way.fields()) for way in ways):
            continue
        key, forward = key_of(spec, packet.fields()), True
        if spec.bidirectional and _end(spec, key, "src") > _end(spec, key, "dst"):
            key, forward = key_of(spec, packet.turned().fields()), False
        tally = tallies.setdefault((interval, key), Tally(forward, frame.timestamp))
        tally.packets += 1
        tally.bytes += wire_length(frame)
        tally.last = frame.timestamp
        for letter in packet.events():
            event = letter if forward == tally.forward else letter.lower()
            if event not in tally.events:
                tally.events.append(event)
    return tallies
