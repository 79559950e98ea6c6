"""What travels inside SYN offload, and how a held SYN's meta is kept in two parts and put together again."""

from amaranth.hdl import Cat, Const, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for, exact_log2

from sentinic.abi.profiles import Profile
from sentinic.abi.syn_offload import MAX_RETRANSMISSIONS
from sentinic.abi.verdicts import Checksum, Fragment, Kind, ParseError, Protocol, Verdict
from sentinic_hdl.meta import LENGTH_BITS, PacketMeta, cell_shape
from sentinic_hdl.stages.base import StageSignature

IPV4_ETHERTYPE, IPV6_ETHERTYPE, TCP_PROTOCOL = 0x0800, 0x86DD, 6
ETHERNET_BYTES, VLAN_BYTES = 14, 4
#: Registers of secret that the driver sets.
SECRET_WORDS = 10
COUNT_BITS = bits_for(MAX_RETRANSMISSIONS)
#: IP lengths of SYNs that can be held.
IP_LENGTH_BITS = 8


class End(data.Struct):
    """One end of a connection; as a number, ends are in the order of their addresses."""

    port: 16
    address: 128


class Key(data.Struct):
    """The 5-tuple, the same from both ends."""

    low: End
    high: End
    ipv6: 1


KEY_BITS = Key.as_shape().size


def secret_bits(sets: int) -> int:
    """Bits of secret that the hash of a table of so many sets wants."""
    return KEY_BITS + exact_log2(sets)


class Record(data.Struct):
    """An attempt: what decides its fate, and what is told of it.

    While it is ``holding``, its SYN waits in the packet store; afterwards packets of the 5-tuple pass, SYNs too, until
    the attempt's time is over.
    """

    valid: 1
    holding: 1
    reversed: 1  # the originator is the higher end
    port: 2
    key: Key
    first: 64  # wire time of the SYN, ns
    last: 64  # of the last time it was sent
    retransmissions: COUNT_BITS
    sequence: 32
    ip_length: IP_LENGTH_BITS


class Ended(data.Struct):
    """An attempt that nobody answered, on its way to the host as a record."""

    record: Record
    reason: 3
    congestion: 2  # ECE and CWR of the SYN
    window_zero: 1


class AttemptEvents(data.Struct):
    """What became of packets in this cycle, for the counters."""

    hold: 1  # a SYN of ``port`` is held
    absorb: 1  # a SYN of ``port`` was held already, and ends here
    uncopied: 1  # the SYN that is held was not for rings that want raw SYNs: there was no time
    port: 2
    reason: 3  # a held SYN of ``given_port`` goes on
    given_port: 2
    recorded: 1  # a SYN of ``ended_port`` that was held ends, and is told of in a record
    unreported: 1  # one ends, and is not told of
    ended_port: 2


class Op(data.Struct):
    """What to do with the table: look a packet up, or look after a set (``sweep``)."""

    sweep: 1
    index: 16  # of the set to look after
    flush: 1  # every attempt in it has expired
    source: End
    destination: End
    ipv6: 1
    syn: 1  # it may be held
    quoted: 1  # an ICMP error quotes it, whose packet this is
    reset: 1
    now: 64
    sequence: 32
    ip_length: IP_LENGTH_BITS
    port: 2


class OpSignature(wiring.Signature):
    """An :class:`Op` on its way, each field a signal of its own: nothing is put together that nobody loads."""

    def __init__(self):
        super().__init__({name: Out(field.shape) for name, field in Op.as_shape()})

    def load(self, op: data.View, port) -> list:
        """Statements that make ``op`` what ``port`` says."""
        return [op[name].eq(getattr(port, name)) for name in self.members]


def stage_members(profile: Profile) -> dict[str, wiring.Member]:
    """The stage's members in either schedule.  Raises ValueError for a profile without room for a set."""
    if profile.syn_attempts < profile.syn_ways:
        raise ValueError(f"syn_attempts must be at least syn_ways {profile.syn_ways}, not {profile.syn_attempts}")
    return {
        **StageSignature().members,
        "time": In(64),
        "lossless": In(1),
        "records": Out(stream.Signature(Ended)),
        "wanted": In(1),
        "raw_wanted": In(1),
        "behind": In(1),
        "reporting": In(1),
        "hurry": Out(1),
        "holding": Out(range(profile.syn_attempts + 1)),
        "attempts": Out(AttemptEvents),
    }


def outcome_shape(slots: int) -> data.StructLayout:
    """What came of an ``Op``.

    ``give``: the SYN of ``record`` goes on, for ``reason``.  ``hold``: the packet itself is held, in ``slot``, in which
    the given one was.  ``absorb``: it is the same SYN once more, and ends here.
    """
    return data.StructLayout(
        {
            "valid": 1,
            "sweep": 1,
            "give": 1,
            "hold": 1,
            "absorb": 1,
            "reason": 3,
            "slot": range(slots),
            "record": Record,
        }
    )


def held_shape(profile: Profile) -> data.StructLayout:
    """What is kept of a held SYN's meta besides its :class:`Record`."""
    return data.StructLayout(
        {
            "cell": cell_shape(profile),
            "length": exact_log2(profile.cell_bytes),  # less one
            "link": 96,
            "vlan_count": 2,
            "vlan0": 32,
            "vlan1": 32,
            "ip_id": 16,
            "ip_dscp": 6,
            "congestion": 2,  # ECE and CWR
            "acknowledgment": 32,
            "window": 16,
            "transport_offset": 8,
            "payload_offset": 8,
            "flow_hash": 32,
            "shared": 1,
        }
    )


def is_tcp(meta: PacketMeta) -> Value:
    """The packet can belong to an attempt: its ports are known, if the packet has them."""
    return (meta.headers.protocol_class == Protocol.TCP) & (meta.headers.fragment != Fragment.LATER)


def is_holdable(profile: Profile, meta: PacketMeta) -> Value:
    """A SYN that is nothing but a SYN, and of which record and :func:`held_shape` say everything.

    Anything else passes: a SYN with other flags (ECE and CWR aside), with payload, that crosses a threshold, behind
    MPLS labels or SNAP, of which something is wrong or missing, as the length in its IP header, or longer than a
    cell of the store.
    """
    headers, info = meta.headers, meta.info
    return Cat(
        meta.kind == Kind.PACKET,
        headers.has_tcp,
        headers.tcp_flags[:6] == 0b000010,
        headers.protocol_class == Protocol.TCP,
        headers.protocol == TCP_PROTOCOL,
        headers.payload_length == 0,
        headers.verdict == Verdict.CLEAN,
        headers.parse_error == ParseError.NONE,
        headers.fragment == Fragment.WHOLE,
        ~headers.network_checksum_bad,
        headers.transport_checksum == Checksum.GOOD,
        headers.mpls_count == 0,
        headers.eth_type == Mux(headers.ip_version == 2, IPV6_ETHERTYPE, IPV4_ETHERTYPE),
        headers.ip_version.any() & ~headers.ip_version.all(),
        headers.network_offset == ETHERNET_BYTES + VLAN_BYTES * headers.vlan_count,
        ~headers.ip_length[IP_LENGTH_BITS:].any(),
        ~headers.ip_length_is_rest,
        info.length == info.wire_length,
        info.length.any() & (info.length <= profile.cell_bytes),
        ~meta.crossing.as_value().any(),
        meta.reason == 0,
        ~meta.raw & ~meta.shared,
    ).all()


def is_error(meta: PacketMeta) -> Value:
    """An ICMP error that quotes a TCP packet, and is what was sent: as far as it can be told, the sums are right."""
    headers = meta.headers
    return headers.quotes_tcp & ((headers.verdict == Verdict.CLEAN) | (headers.verdict == Verdict.TRUNCATED))


def op_of(profile: Profile, meta: PacketMeta, quote: data.View, op, *, enabled: Value) -> list:
    """Statements that fill ``op``, an :class:`Op` or a port of one, from a packet's meta, or from what it quotes.

    ``enabled``: SYNs may be held.
    """
    headers, quotes = meta.headers, meta.headers.quotes_tcp
    return [
        op.source.port.eq(Mux(quotes, quote.source_port, headers.source_port)),
        op.source.address.eq(Mux(quotes, quote.source, headers.source)),
        op.destination.port.eq(Mux(quotes, quote.destination_port, headers.destination_port)),
        op.destination.address.eq(Mux(quotes, quote.destination, headers.destination)),
        op.ipv6.eq(headers.ip_version == 2),
        op.quoted.eq(quotes),
        op.syn.eq(enabled & is_holdable(profile, meta)),
        op.reset.eq(headers.tcp_flags[2]),
        op.now.eq(meta.info.timestamp),
        op.sequence.eq(Mux(quotes, quote.sequence, headers.tcp_sequence)),
        op.ip_length.eq(headers.ip_length),
        op.port.eq(meta.info.port),
    ]


def is_reversed(op: data.View) -> Value:
    """The packet goes from the higher end to the lower one."""
    return op.source.as_value() > op.destination.as_value()


def key_of(op: data.View, is_reversed: Value) -> Value:
    """The :class:`Key` of the packet's 5-tuple."""
    source, destination = op.source.as_value(), op.destination.as_value()
    return Cat(Mux(is_reversed, Cat(destination, source), Cat(source, destination)), op.ipv6)


def ended_of(record: data.View, held: data.View, reason: Value, ended: data.View) -> list:
    """Statements that fill ``ended`` from what is kept of an attempt, and why it is over."""
    return [
        ended.record.eq(record),
        ended.reason.eq(reason),
        ended.congestion.eq(held.congestion),
        ended.window_zero.eq(~held.window.any()),
    ]


def enter(op: data.View, key: Value, is_reversed: Value, record: data.View) -> list:
    """Statements that make ``record`` the attempt that the SYN of ``op`` begins."""
    return [
        record.valid.eq(1),
        record.holding.eq(1),
        record.reversed.eq(is_reversed),
        record.port.eq(op.port),
        record.key.eq(key),
        record.first.eq(op.now),
        record.last.eq(op.now),
        record.retransmissions.eq(0),
        record.sequence.eq(op.sequence),
        record.ip_length.eq(op.ip_length),
    ]


def held_of(meta: PacketMeta, held: data.View, *, shared: Value) -> list:
    """Statements that fill ``held`` from the meta of a SYN that is held."""
    headers = meta.headers
    return [
        held.shared.eq(shared),
        held.cell.eq(meta.cell),
        held.length.eq(meta.info.length - 1),
        held.link.eq(meta.link),
        held.congestion.eq(headers.tcp_flags[6:]),
        held.acknowledgment.eq(headers.tcp_acknowledgment),
        held.window.eq(headers.tcp_window),
        *(
            held[name].eq(headers[name])
            for name in (
                "vlan_count", "vlan0", "vlan1", "ip_id", "ip_dscp", "transport_offset", "payload_offset", "flow_hash",
            )
        ),
    ]  # fmt: skip


def ends_of(record: data.View) -> tuple[data.View, data.View]:
    """The originator's end of an attempt, and the other."""
    low, high = record.key.low.as_value(), record.key.high.as_value()
    source, destination = Mux(record.reversed, high, low), Mux(record.reversed, low, high)
    return data.View(End, source), data.View(End, destination)


def syn_flags(congestion: Value) -> Value:
    """The TCP flags of a SYN that was held."""
    return Cat(Const(0b000010, 6), congestion)


def restored(record: data.View, held: data.View, reason: Value, meta: PacketMeta) -> list:
    """Statements that make ``meta``, which is 0, that of the held SYN again, with what came of it."""
    headers = meta.headers
    source, destination = ends_of(record)
    length = Signal(LENGTH_BITS, name="restored_length")
    return [
        length.eq(held.length + 1),
        meta.cell.eq(held.cell),
        meta.kind.eq(Kind.REGENERATED),
        meta.link.eq(held.link),
        meta.info.length.eq(length),
        meta.info.wire_length.eq(length),
        meta.info.timestamp.eq(record.first),
        meta.info.port.eq(record.port),
        headers.eth_type.eq(Mux(record.key.ipv6, IPV6_ETHERTYPE, IPV4_ETHERTYPE)),
        headers.ip_version.eq(Mux(record.key.ipv6, 2, 1)),
        headers.source.eq(source.address),
        headers.destination.eq(destination.address),
        headers.source_port.eq(source.port),
        headers.destination_port.eq(destination.port),
        headers.protocol.eq(TCP_PROTOCOL),
        headers.ip_length.eq(record.ip_length),
        headers.tcp_flags.eq(syn_flags(held.congestion)),
        headers.tcp_sequence.eq(record.sequence),
        headers.tcp_acknowledgment.eq(held.acknowledgment),
        headers.tcp_window.eq(held.window),
        headers.has_tcp.eq(1),
        headers.network_offset.eq(ETHERNET_BYTES + VLAN_BYTES * held.vlan_count),
        headers.protocol_class.eq(Protocol.TCP),
        headers.transport_checksum.eq(Checksum.GOOD),
        *(
            headers[name].eq(held[name])
            for name in (
                "vlan_count", "vlan0", "vlan1", "ip_id", "ip_dscp", "transport_offset", "payload_offset", "flow_hash",
            )
        ),
        meta.reason.eq(reason),
        meta.shared.eq(held.shared),
        meta.crossing.rules.eq(record.retransmissions),
        meta.crossing.value.eq(record.last),
    ]  # fmt: skip
