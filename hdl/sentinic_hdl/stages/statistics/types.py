"""What travels inside the statistics stage."""

from amaranth.hdl import Cat, Const, Signal
from amaranth.lib import data
from amaranth.utils import bits_for

from sentinic.abi.profiles import Profile
from sentinic.abi.statistics import FIELD_BITS, FIELD_WORDS, FIELDS, PAIRS
from sentinic.abi.statistics import field as abi_field
from sentinic.abi.verdicts import Fragment
from sentinic_hdl.meta import PacketMeta
from sentinic_hdl.rings.compose import swap_bytes

#: Bits of the counts: thirteen days at 250 million packets a second, and frames of 256 bytes in all of them.
PACKETS_BITS, BYTES_BITS = 48, 56
#: Records of two intervals are in a table at most, so two bits tell them apart and leave room to see a fault.
EPOCH_BITS = 2
#: All fields at their places, in whole words.
Fields = data.StructLayout(
    {
        **{item.name: item.width for item in FIELDS},
        **({"padding": 32 * FIELD_WORDS - FIELD_BITS} if FIELD_BITS % 32 else {}),
    }
)
assert all(Fields[item.name].offset == item.lsb for item in FIELDS)


class Events(data.Struct):
    """What a packet adds to a history, a bit an ``sentinic.abi.statistics.Event``, in the order they are noted."""

    syn: 1
    handshake: 1
    fin: 1
    rst: 1
    data: 1
    ack: 1


class RuleConfig(data.Struct):
    """A rule, as the card works with it."""

    bidirectional: 1
    cumulative: 1  # counts, and thresholds with them, go on past the end of an interval
    value: 32 * FIELD_WORDS
    mask: 32 * FIELD_WORDS  # bits of ``value`` that must match
    group: 32 * FIELD_WORDS  # bits that make the group's key
    threshold_packets: PACKETS_BITS  # 0 for none
    threshold_bytes: BYTES_BITS


class Sample(data.Struct):
    """What a packet is to the rules."""

    fields: Fields
    timestamp: 64
    length: 16
    events: Events


def record_shape(rules: int) -> data.StructLayout:
    """A group in the table of a unit with so many rules."""
    return data.StructLayout(
        {
            "valid": 1,
            "fresh": 1,  # counted since its last report
            "reversed": 1,  # its first packet came from the other end
            "epoch": EPOCH_BITS,
            "rule": max(1, bits_for(rules - 1)),
            "key": 32 * FIELD_WORDS,
            "packets": PACKETS_BITS,
            "bytes": BYTES_BITS,
            "first": 64,
            "last": 64,
            "seen": 16,
            "history": 32,
            "events": 4,  # in ``history``
        }
    )


def report_shape(profile: Profile) -> data.StructLayout:
    """A group on its way to the host."""
    return data.StructLayout(
        {
            "rule": 8,
            "flags": 8,
            "generation": 32,
            "key": 32 * FIELD_WORDS,
            "packets": PACKETS_BITS,
            "bytes": BYTES_BITS,
            "first": 64,
            "last": 64,
            "seen": 16,
            "history": 32,
        }
    )


def sample_of(meta: PacketMeta, sample: Sample) -> list:
    """Statements that fill ``sample`` from a packet's meta."""
    headers, flags = meta.headers, meta.headers.tcp_flags
    source = {
        "in_port": meta.info.port,
        "ip_version": headers.ip_version,
        "is_fragment": headers.fragment != Fragment.WHOLE,
        "vlan_present": headers.vlan_count != 0,
        "verdict": headers.verdict,
        "protocol_class": headers.protocol_class,
        "reserved": Const(0, 1),
        "ip_dscp": headers.ip_dscp,
        "vlan_vid": headers.vlan0[:12],
        "ip_proto": headers.protocol,
        "tcp_flags": flags,
        "eth_type": headers.eth_type,
        "source_port": headers.source_port,
        "destination_port": headers.destination_port,
        "eth_dst": swap_bytes(meta.link[:48]),
        "eth_src": swap_bytes(meta.link[48:]),
        "source": headers.source,
        "destination": headers.destination,
    }
    fin, syn, rst, ack = flags[0], flags[1], flags[2], flags[4]
    tcp = headers.has_tcp
    payload = headers.payload_length.any()
    events = sample.events
    return [
        *(sample.fields[name].eq(value) for name, value in source.items()),
        sample.timestamp.eq(meta.info.timestamp),
        sample.length.eq(meta.info.wire_length),
        events.syn.eq(tcp & syn & ~ack),
        events.handshake.eq(tcp & syn & ack),
        events.fin.eq(tcp & fin),
        events.rst.eq(tcp & rst),
        events.data.eq(payload),
        events.ack.eq(tcp & ack & ~syn & ~fin & ~rst & ~payload),
    ]


def turned_round(fields: data.View) -> data.View:
    """The fields as the packet's other end would show them."""
    other = {a: b for pair in PAIRS for a, b in (pair, pair[::-1])}
    parts = [fields[other.get(item.name, item.name)] for item in FIELDS]
    return data.View(Fields, Cat(*parts, Const(0, 32 * FIELD_WORDS - FIELD_BITS)))


def ends(key: data.View) -> tuple[Signal, Signal]:
    """The two ends of a key, to be compared."""
    first, second = zip(*((abi_field(a).name, abi_field(b).name) for a, b in PAIRS), strict=True)
    return Cat(key[name] for name in reversed(first)), Cat(key[name] for name in reversed(second))
