"""What tshark says of the groups of a capture's frames, and the rules that group them so."""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sentinic.abi.verdicts import ParseError

from .card import Frame, wire_length
from .corpus import captures, frames_of, write_pcap
from .parser import Headers, parse
from .tshark import Dissection, dissect

__all__ = ["RULES", "Groups", "Tuple", "dissected", "grouped", "taken"]

NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
#: What tshark stops at, or reads on behind, as tests/reference/test_against_tshark.py explains frame by frame.
EXPLAINED = {
    ParseError.IPV4_HEADER_LENGTH, ParseError.IPV4_TOTAL_LENGTH, ParseError.IP_TRUNCATED,
    ParseError.TRANSPORT_TRUNCATED, ParseError.WINDOW, ParseError.EXTENSION_DEPTH, ParseError.EXTENSION_TRUNCATED,
}  # fmt: skip
#: IP version, source, destination, protocol, ports.
Tuple = tuple[int, int, int, int, int, int]
#: Packets and bytes of each group.
Groups = dict[tuple[int, ...], list[int]]
#: Each rule: its group, and which of the tuple it tells apart.
RULES: dict[str, tuple[list[str], Callable[[Tuple], tuple[int, ...]]]] = {
    "5-tuple": (
        ["source", "destination", "ip_proto", "source_port", "destination_port"],
        lambda item: (*item[1:6], item[0]),
    ),
    "source": (["source"], lambda item: (item[1], item[0])),
    "port": (["ip_proto", "destination_port"], lambda item: (item[3], item[5])),
}


def by_tshark(h: Headers, d: Dissection) -> Tuple:
    """Version, addresses, protocol and ports, as tshark sees them."""
    plain = (({0: 0, 1: 4, 2: 6})[h.ip_version], h.source, h.destination, h.protocol, h.source_port, h.destination_port)
    if h.parse_error in EXPLAINED or any(name == "pwethcw" for name, _ in d.layers):
        return plain
    kind = next((name for name, _ in d.layers if name in ("ip", "ipv6")), "")
    if not kind:
        return (0, 0, 0, 0, 0, 0)
    mapped = 0xFFFF << 32 if kind == "ip" else 0
    source, destination = (mapped | d.values[f"{kind}.{side}"] for side in ("src", "dst"))
    # The first field of that name is of the fixed header: extension headers hide the protocol.
    protocol = int(d.fields["ip.proto"]) if kind == "ip" else NUMBERS.get(d.transport, h.protocol)
    if kind == "ip" and d.position("ah") is not None:
        protocol = NUMBERS.get(d.transport, h.protocol)
    ports = (0, 0)
    if d.transport:
        names = ("type", "code") if d.transport.startswith("icmp") else ("srcport", "dstport")
        ports = (int(d.fields[f"{d.transport}.{names[0]}"]), int(d.fields[f"{d.transport}.{names[1]}"]))
    return (4 if kind == "ip" else 6, source, destination, protocol, *ports)


def taken(path: Path) -> list[Frame]:
    """The frames that the card takes."""
    return [frame for frame in frames_of(path) if len(frame.data) <= 9600]


def grouped(packets: Iterable[tuple[Tuple, int]]) -> dict[str, Groups]:
    """What each rule counts of packets, of each its tuple and its bytes on the wire."""
    found: dict[str, Groups] = {name: {} for name in RULES}
    for item, octets in packets:
        for name, (_, key_of) in RULES.items():
            counts = found[name].setdefault(key_of(item), [0, 0])
            counts[0] += 1
            counts[1] += octets
    return found


def dissected(path: Path) -> list[tuple[Tuple, int]]:
    """Tuple, and bytes on the wire, of each frame that the card takes of a capture of the corpus."""
    return _all_dissected()[path]


@cache
def _all_dissected() -> dict[Path, list[tuple[Tuple, int]]]:
    """One run of tshark for all, as its start takes longer than most captures."""
    frames = {path: taken(path) for path in captures()}
    with TemporaryDirectory() as folder:
        every = Path(folder) / "all.pcap"
        write_pcap(every, [frame for of_one in frames.values() for frame in of_one])
        dissections = iter(list(dissect(every)))
    found = {
        path: [(by_tshark(parse(f.data, f.wire_length), next(dissections)), wire_length(f)) for f in of_one]
        for path, of_one in frames.items()
    }
    assert next(dissections, None) is None
    return found
