"""tshark and the reference say the same of every frame of the corpus, but for the differences explained here."""

from collections import Counter

from sentinic.abi.verdicts import Checksum, Fragment, ParseError, Protocol

from .card import Frame
from .corpus import captures, frames_of, needs_corpus, write_pcap
from .parser import Headers, parse
from .tshark import Dissection, dissect, needs_tshark

NAMES = {
    Protocol.TCP: "tcp",
    Protocol.UDP: "udp",
    Protocol.SCTP: "sctp",
    Protocol.ICMP: "icmp",
    Protocol.ICMPV6: "icmpv6",
}
STATUS = {Checksum.UNCHECKED: "2", Checksum.GOOD: "1", Checksum.BAD: "0"}


def differences(frame: Frame, h: Headers, d: Dissection) -> list[str]:
    """What differs without an explanation; each exception below is one."""
    found: list[str] = []

    def same(what: str, ours: object, theirs: object) -> None:
        if ours != theirs:
            found.append(f"{what}: {ours} here, {theirs} at tshark")

    if any(name == "pwethcw" for name, _ in d.layers):
        # Ethernet within MPLS is not opened.
        same("pseudowire", (h.protocol_class, h.parse_error), (Protocol.OTHER, ParseError.NONE))
        return found
    same("network offset", h.network_offset, d.position("ip", "ipv6") or 0)
    if h.parse_error == ParseError.IPV4_HEADER_LENGTH:
        return found  # tshark stops before the addresses
    if h.ip_version == 1:
        same("source", h.source, 0xFFFF << 32 | d.values["ip.src"])
        same("destination", h.destination, 0xFFFF << 32 | d.values["ip.dst"])
        same("protocol", h.protocol, int(d.fields["ip.proto"]))
        same("id", h.ip_id, d.values["ip.id"])
        same("IP length", h.ip_length, int(d.fields["ip.len"]))
        same("IPv4 checksum", h.network_checksum_bad, int(d.fields["ip.checksum.status"] == "0"))
    elif h.ip_version == 2:
        same("source", h.source, d.values["ipv6.src"])
        same("destination", h.destination, d.values["ipv6.dst"])
        same("IP length", h.ip_length, 40 + int(d.fields["ipv6.plen"]))
    name = NAMES.get(Protocol(h.protocol_class), "")
    if h.fragment == Fragment.LATER:
        name = ""
    if not d.transport and h.parse_error == ParseError.TRANSPORT_TRUNCATED:
        return found
    same("transport", name, d.transport)
    if name and name == d.transport:
        _transport(frame, h, d, name, same)
    return found


def _transport(frame: Frame, h: Headers, d: Dissection, name: str, same: object) -> None:
    assert callable(same)
    f = d.fields
    same("transport offset", h.transport_offset, d.position(name))
    if h.parse_error == ParseError.TRANSPORT_TRUNCATED:
        return  # tshark shows what there is
    ports = ("type", "code") if name.startswith("icmp") else ("srcport", "dstport")
    same("source port", h.source_port, int(f[f"{name}.{ports[0]}"]))
    same("destination port", h.destination_port, int(f[f"{name}.{ports[1]}"]))
    if name == "tcp":
        same("sequence", h.tcp_sequence, int(f["tcp.seq_raw"]))
        same("acknowledgment", h.tcp_acknowledgment, int(f["tcp.ack_raw"]))
        same("window", h.tcp_window, int(f["tcp.window_size_value"]))
        same("flags", h.tcp_flags, int(f["tcp.flags"], 16) & 0xFF)
        same("TCP header", h.payload_offset - h.transport_offset, int(f["tcp.hdr_len"]))
        # tshark gives no length for a first fragment, and trims to the frame what IP says goes beyond it.
        if h.fragment == Fragment.WHOLE and h.parse_error != ParseError.IP_BEYOND_FRAME:
            same("payload", h.payload_length, int(f["tcp.len"]))
    elif name == "udp" and h.fragment == Fragment.WHOLE:  # in a first fragment it is the datagram's length
        same("payload", h.payload_length, int(f["udp.length"]) - 8)
    if name == "sctp":
        return
    if h.transport_checksum == Checksum.ABSENT:
        same("checksum field", 0, d.values["udp.checksum"])
    elif h.parse_error == ParseError.IP_BEYOND_FRAME or (frame.wire_length or 0) > len(frame.data):
        # tshark checks what it has if IP's length is wrong, or if only padding was cut.
        same("checksum", h.transport_checksum, Checksum.UNCHECKED)
    else:
        same("checksum", STATUS[Checksum(h.transport_checksum)], f[f"{name}.checksum.status"])


@needs_corpus
@needs_tshark
def test_every_frame_of_the_corpus_is_what_tshark_says(tmp_path):
    frames: list[Frame] = []
    origins: list[str] = []
    for capture in captures():
        # Longer frames never reach the parser: ingress drops them.
        here = [frame for frame in frames_of(capture) if len(frame.data) <= 9600]
        frames += here
        origins += [f"{capture.name} {number}" for number in range(1, len(here) + 1)]
    write_pcap(tmp_path / "all.pcap", frames)
    found: list[str] = []
    seen: Counter[int] = Counter()
    for frame, origin, dissection in zip(frames, origins, dissect(tmp_path / "all.pcap"), strict=True):
        headers = parse(frame.data, frame.wire_length)
        seen[headers.protocol_class] += 1
        found += [f"{origin}: {text}" for text in differences(frame, headers, dissection)]
    assert not found, "\n".join(found[:20])
    assert all(seen[kind] for kind in (Protocol.ARP, Protocol.TCP, Protocol.UDP, Protocol.ICMP, Protocol.ICMPV6))
