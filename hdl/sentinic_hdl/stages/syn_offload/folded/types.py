"""What the folded schedule keeps of an attempt, and how that and the SYN's bytes are its meta again."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.utils import exact_log2

from sentinic.abi.profiles import Profile
from sentinic.abi.verdicts import Fragment, ParseError, Protocol, Verdict
from sentinic_hdl.meta import PacketMeta, cell_shape
from sentinic_hdl.parser.layout import ETHERNET_BYTES, WINDOW_WORDS
from sentinic_hdl.parser.quote import ICMP_ERRORS, ICMPV6_ERRORS, QUOTE_BYTES, QUOTE_HEADER_WORDS
from sentinic_hdl.stages.syn_offload.folded.reader import TCP_BYTES
from sentinic_hdl.stages.syn_offload.types import COUNT_BITS, KEY_BITS, SECRET_WORDS, VLAN_BYTES, End
from sentinic_hdl.stages.syn_offload.types import is_holdable as is_nothing_but_a_syn

#: Bits of hash that so much secret is enough for: a set's number, and the fingerprint.
HASH_BITS = 32 * SECRET_WORDS - KEY_BITS


class Op(data.Struct):
    """What is to be done, as of :class:`sentinic_hdl.stages.syn_offload.types.Op`."""

    sweep: 1
    flush: 1
    syn: 1
    quoted: 1
    reset: 1
    source: End
    destination: End
    ipv6: 1
    sequence: 32
    ip_length: 16
    now: 64
    horizon: 65  # what began then is over now, ns; negative when nothing can be


def kept_shape(profile: Profile) -> data.StructLayout:
    """What is kept of an attempt besides its place: what its SYN's bytes do not say."""
    return data.StructLayout(
        {
            "fingerprint": HASH_BITS - exact_log2(profile.syn_attempts // profile.syn_ways),
            "ipv6": 1,
            "port": 2,
            "first": 64,  # wire time of the SYN, ns
            "last": 64,  # of the last time it was sent
            "retransmissions": COUNT_BITS,
            "cell": cell_shape(profile),
            "length": exact_log2(profile.cell_bytes),  # less one
            "vlan_count": 2,
            "transport_offset": 8,
            "flow_hash": 32,
            "shared": 1,
        }
    )


def is_holdable(profile: Profile, meta: PacketMeta) -> Value:
    """As elsewhere, but for an IPv6 fragment header with a number, which would have to be looked for among others."""
    headers = meta.headers
    return is_nothing_but_a_syn(profile, meta) & ~((headers.ip_version == 2) & headers.ip_id.any())


def may_quote(meta: PacketMeta) -> Value:
    """It is an ICMP error, whole up to the quote, and what was sent: as far as it can be told, the sums are right."""
    headers = meta.headers
    types = {Protocol.ICMP: ICMP_ERRORS, Protocol.ICMPV6: ICMPV6_ERRORS}
    is_error = Cat(
        (headers.protocol_class == protocol) & Cat(headers.source_port == each for each in errors).any()
        for protocol, errors in types.items()
    ).any()
    return Cat(
        is_error,
        headers.payload_offset.any(),
        headers.fragment == Fragment.WHOLE,
        (headers.parse_error == ParseError.NONE) | (headers.parse_error == ParseError.IP_BEYOND_FRAME),
        (headers.verdict == Verdict.CLEAN) | (headers.verdict == Verdict.TRUNCATED),
    ).all()


def quote_job(m: Module, meta: PacketMeta, job: data.View) -> Value:
    """Fills ``job`` for what an error quotes, two cycles after ``meta`` is there; whether it quotes anything."""
    headers = meta.headers
    start, packet_end, end, left = Signal(9), Signal(17), Signal(17), Signal(9)
    last = ETHERNET_BYTES + 4 * WINDOW_WORDS
    m.d.sync += [
        start.eq(headers.transport_offset + 4 * QUOTE_HEADER_WORDS),
        packet_end.eq(headers.network_offset + headers.ip_length),
        end.eq(Mux(packet_end < meta.info.length, packet_end, meta.info.length)),
    ]
    m.d.comb += left.eq(Mux(end < last, end, last) - start)
    wanted = Mux(left < QUOTE_BYTES, left, QUOTE_BYTES)
    m.d.comb += [
        job.cell.eq(meta.cell),
        job.start.eq(start),
        job.end.eq(start + wanted),
        job.ipv6.eq(headers.ip_version == 2),
        job.quote.eq(1),
        job.left.eq(wanted),
    ]
    return (start < end) & (start < last)


def syn_job(kept: data.View, job: data.View) -> list:
    """Statements that fill ``job`` for the SYN of an attempt."""
    start = ETHERNET_BYTES + VLAN_BYTES * kept.vlan_count
    return [
        job.cell.eq(kept.cell),
        job.start.eq(start),
        job.end.eq(kept.transport_offset + TCP_BYTES),
        job.ipv6.eq(kept.ipv6),
        job.transport.eq((kept.transport_offset - start)[2:]),
    ]


def enter(meta: PacketMeta, fingerprint: Value, shared: Value, kept: data.View) -> list:
    """Statements that make ``kept`` the attempt that a SYN begins."""
    return [
        kept.fingerprint.eq(fingerprint),
        kept.ipv6.eq(meta.headers.ip_version == 2),
        kept.port.eq(meta.info.port),
        kept.first.eq(meta.info.timestamp),
        kept.last.eq(meta.info.timestamp),
        kept.retransmissions.eq(0),
        kept.cell.eq(meta.cell),
        kept.length.eq(meta.info.length - 1),
        kept.vlan_count.eq(meta.headers.vlan_count),
        kept.transport_offset.eq(meta.headers.transport_offset),
        kept.flow_hash.eq(meta.headers.flow_hash),
        kept.shared.eq(shared),
    ]


def read_back(kept: data.View, headers: data.View, record: data.View, held: data.View) -> list:
    """Statements that make ``record`` and ``held`` what the other schedule keeps, of what is kept here and was read."""
    return [
        record.port.eq(kept.port),
        # The originator is the lower end, whichever it was: nobody compares keys any more.
        record.key.low.eq(headers.source),
        record.key.high.eq(headers.destination),
        record.key.ipv6.eq(kept.ipv6),
        *(record[name].eq(kept[name]) for name in ("first", "last", "retransmissions")),
        record.sequence.eq(headers.sequence),
        record.ip_length.eq(headers.ip_length),
        *(held[name].eq(kept[name]) for name in ("cell", "length", "vlan_count", "transport_offset", "flow_hash")),
        held.shared.eq(kept.shared),
        held.vlan0.eq(Mux(kept.vlan_count == 0, 0, headers.vlan0)),
        held.vlan1.eq(Mux(kept.vlan_count == 2, headers.vlan1, 0)),
        *(
            held[name].eq(headers[name])
            for name in ("link", "ip_id", "ip_dscp", "congestion", "acknowledgment", "window")
        ),
        held.payload_offset.eq(kept.transport_offset + Cat(Const(0, 2), headers.tcp_words)),
    ]
