"""The words of a tag and of a descriptor, from a packet's meta; layouts come from the ABI."""

from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.utils import bits_for

from sentinic.abi import tag as abi_tag
from sentinic.abi.descriptor import DESCRIPTOR, HEADROOM, PLAIN_TAG_WORDS
from sentinic.abi.layout import ByteOrder, Record
from sentinic.abi.verdicts import Kind, Verdict

#: 32-bit words of a slot that the tag may touch: the headroom, two VLAN tags and the addresses.
TAGGED_WORDS = HEADROOM // 4 + 3 + 2
_HEADROOM_WORDS = HEADROOM // 4
_LINK_WORDS = 3
#: Of a number of words from a slot's start on, or backwards to there.
BACK_BITS = bits_for(2 * _HEADROOM_WORDS)


def swap_bytes(value: Value) -> Value:
    """Network order to memory order: the highest byte comes first in memory."""
    width = len(value)
    return Cat(value[n : n + 8] for n in range(width - 8, -1, -8))


def pack(record: Record, values: dict[str, Value]) -> Value:
    """The bytes of ``record`` with these members, in memory order; members not named are zero.

    Raises KeyError for a name that the record lacks, ValueError for a value wider than its member.
    """
    unknown = values.keys() - {member.name for member in record}
    if unknown:
        raise KeyError(f"record {record.name!r} has no member {sorted(unknown)[0]!r}")
    parts: list[Value] = []
    end = 0
    for member in sorted(record, key=lambda item: item.offset):
        assert member.offset == end, f"record {record.name!r} has a hole before {member.name!r}"
        width = 8 * member.size * member.count
        value = Value.cast(values.get(member.name, Const(0, width)))
        if len(value) > width:
            raise ValueError(f"{record.name}.{member.name} must fit {width} bits, not {len(value)}")
        value = Cat(value, Const(0, width - len(value)))
        network = record.order is ByteOrder.BIG or member.count > 1
        parts.append(swap_bytes(value) if network else value)
        end = member.offset + member.size * member.count
    return Cat(*parts, Const(0, 8 * (record.size - end)))


def pack_bits(member: str, values: dict[str, Value]) -> Value:
    """The descriptor member ``member`` put together from its bits."""
    word = Const(0, 32)
    for bits in DESCRIPTOR.bits[member]:
        if bits.name in values:
            word = word | (Value.cast(values[bits.name])[: bits.width] << bits.lsb)[:32]
    unknown = values.keys() - {bits.name for bits in DESCRIPTOR.bits[member]}
    if unknown:
        raise KeyError(f"descriptor member {member!r} has no bits {sorted(unknown)[0]!r}")
    return word[:32]


def _words(value: Value) -> list[Value]:
    return [value[n : n + 32] for n in range(0, len(value), 32)]


def _tlv(tlv: abi_tag.Tlv, values: dict[str, Value]) -> list[Value]:
    return _words(pack(tlv.record, {"type": Const(tlv.type, 8), "length": Const(tlv.words, 8), **values}))


def is_report(copy) -> Value:
    """A frame with no packet: it brings its own tag."""
    return copy.meta.kind == Kind.REPORT


def is_regenerated(meta) -> Value:
    """A SYN that was held; what would be its crossing tells of the attempt."""
    return meta.kind == Kind.REGENERATED


def is_extra(meta) -> Value:
    """A SYN that waits in SYN offload, on its way to rings that want raw SYNs: what becomes of it is told later."""
    return meta.raw & meta.shared


def crosses(meta) -> Value:
    return meta.crossing.rules.any() & ~is_regenerated(meta)


def tells_more(copy) -> Value:
    """This copy's tag has a crossing or an attempt."""
    return crosses(copy.meta) | is_regenerated(copy.meta)


def tells_loss(copy) -> Value:
    """This copy tells what its ring lost.  There is room for that or for other news, and the next copy then tells."""
    return ~is_report(copy) & ~copy.plain & (copy.bare | ~tells_more(copy))


#: Where the transport header of a plain segment begins.
_PLAIN_OFFSETS = (14 + 20, 14 + 40)


def is_plain(meta) -> Value:
    """A TCP segment of which a descriptor can tell all (``status.plain``), unless there are losses to tell.

    Where the transport begins says that there are no tags, labels, options or extension headers before it.
    """
    headers = meta.headers
    ipv4, ipv6 = _PLAIN_OFFSETS
    return (
        (meta.kind == Kind.PACKET)
        & headers.has_tcp
        & (headers.verdict == Verdict.CLEAN)
        & (headers.transport_offset == Mux(headers.ip_version[1], ipv6, ipv4))
        & ~headers.ip_length_is_rest
        & (meta.info.wire_length == meta.info.length)
        & ~meta.crossing.rules.any()
    )


def tag_words(copy):
    """Length of the tag of a copy, in 32-bit words: the signal, and the statements that drive it."""
    base = (abi_tag.TAG_HEADER_BYTES + abi_tag.HEADERS_FROM_END) // 4
    assert abi_tag.CROSSING.words == abi_tag.ATTEMPT.words
    news = Mux(tells_more(copy), abi_tag.CROSSING.words, Mux(copy.lost.any(), abi_tag.LOSS.words, 0))
    length = Signal(8, name="tag_length")
    whole = base + news + Mux(copy.meta.headers.has_tcp, abi_tag.TCP.words, 0)
    return length, [length.eq(Mux(is_report(copy), 0, whole))]


class _Parts(NamedTuple):
    """What a slot may begin with, in memory order; each a list of words."""

    link: list[Value]
    vlans: list[Value]
    header: list[Value]
    loss: list[Value]  # there when something was lost, and nothing else is to be told
    more: list[Value]  # there when there is a crossing or an attempt
    tcp: list[Value]  # there when the parser has its header
    fixed: list[Value]


def _parts(copy, length: Value) -> _Parts:
    meta, headers = copy.meta, copy.meta.headers
    packet = _tlv(
        abi_tag.PACKET,
        {
            "port": meta.info.port,
            "kind": meta.kind,
            "timestamp_high": meta.info.timestamp[32:],
            "timestamp_low": meta.info.timestamp[:32],
            "wire_length": meta.info.wire_length,
            "captured_length": copy.captured,
            "flow_hash": headers.flow_hash,
        },
    )
    located = _tlv(
        abi_tag.HEADERS,
        {
            name: headers[name]
            for name in (
                "parse_error",
                "protocol_class",
                "network_offset",
                "transport_offset",
                "payload_offset",
                "verdict",
                "payload_length",
                "ip_id",
            )
        },
    )
    tcp = _tlv(
        abi_tag.TCP,
        {
            "window": headers.tcp_window,
            "sequence": headers.tcp_sequence,
            "acknowledgment": headers.tcp_acknowledgment,
        },
    )
    crossing = _tlv(
        abi_tag.CROSSING,
        {"flags": meta.crossing.of_bytes, "rules": meta.crossing.rules, "value": meta.crossing.value},
    )
    attempt = _tlv(
        abi_tag.ATTEMPT,
        {"reason": meta.reason, "retransmissions": meta.crossing.rules, "last": meta.crossing.value},
    )
    return _Parts(
        link=_words(meta.link),
        vlans=[swap_bytes(headers.vlan0), swap_bytes(headers.vlan1)],
        header=[swap_bytes(Cat(length, Const(abi_tag.TAG_VERSION, 8), Const(abi_tag.TAG_ETHERTYPE, 16)))],
        loss=_tlv(abi_tag.LOSS, {"lost": copy.lost}),
        more=[Mux(is_regenerated(meta), one, other) for one, other in zip(attempt, crossing, strict=True)],
        tcp=tcp,
        fixed=[*located, *packet],
    )


def slot_words(copy, length: Value) -> list[Value]:
    """The first words of a slot, in memory order: addresses, VLAN tags and tag, ending before the original EtherType.

    Word ``w`` is meant only from ``16 - length`` on, and below ``19 + vlan_count``.
    """
    headers, parts = copy.meta.headers, _parts(copy, length)
    optional = {"nothing": [], "loss": parts.loss, "more": parts.more}

    # What stands before the fixed TLVs, for each combination of VLAN tags and optional TLVs.
    def prefix(vlan_count: int, news: str, with_tcp: bool) -> list[Value]:
        return [
            *parts.link,
            *parts.vlans[:vlan_count],
            *parts.header,
            *optional[news],
            *(parts.tcp if with_tcp else []),
        ]

    words: list[Value] = []
    for w in range(TAGGED_WORDS):
        by_vlan = []
        for vlan_count in range(3):
            cases: dict[str, Value] = {}
            for news in optional:
                by_tcp = []
                for with_tcp in (False, True):
                    sequence = prefix(vlan_count, news, with_tcp) + parts.fixed
                    position = w - (_HEADROOM_WORDS + _LINK_WORDS + vlan_count - len(sequence))
                    by_tcp.append(sequence[position] if 0 <= position < len(sequence) else Const(0, 32))
                cases[news] = Mux(headers.has_tcp, by_tcp[1], by_tcp[0])
            by_vlan.append(Mux(tells_more(copy), cases["more"], Mux(copy.lost.any(), cases["loss"], cases["nothing"])))
        words.append(Mux(headers.vlan_count[1], by_vlan[2], Mux(headers.vlan_count[0], by_vlan[1], by_vlan[0])))
    return words


def slot_choices(copy, length: Value) -> list[Value]:
    """All words that may be among ``slot_words``, the last one first: each of these is one of them, or 0."""
    parts = _parts(copy, length)
    loss = parts.loss + [Const(0, 32)] * (len(parts.more) - len(parts.loss))
    news = [Mux(tells_more(copy), one, other) for one, other in zip(parts.more, loss, strict=True)]
    return [*parts.link, *parts.vlans, *parts.header, *news, *parts.tcp, *parts.fixed][::-1]


def words_behind(copy, place: Value) -> Value:
    """How many words are behind the one at ``place``, of those that a slot begins with; modulo 2**BACK_BITS."""
    return (_HEADROOM_WORDS + _LINK_WORDS - 1 + copy.meta.headers.vlan_count - place)[:BACK_BITS]


def slot_choice(m: Module, copy, length: Value, behind: Value) -> Value:
    """Which of the ``slot_choices`` is the word that has ``behind`` words behind it, a bit for each.

    None is it before the addresses.  It is counted from the end, passing over what is not there.
    """
    headers, parts = copy.meta.headers, _parts(copy, length)
    fixed, tcp, more, vlans = len(parts.fixed), len(parts.tcp), len(parts.more), len(parts.vlans)
    told = Mux(tells_more(copy), more, Mux(copy.lost.any(), len(parts.loss), 0))
    count = sum(map(len, parts)) - len(parts.loss)  # a loss stands where more would
    assert _HEADROOM_WORDS + _LINK_WORDS + vlans + count < 2**BACK_BITS
    past_tcp, past_news, found = (Signal(BACK_BITS) for _ in range(3))
    m.d.comb += [
        past_tcp.eq(behind + Mux((behind >= fixed) & ~headers.has_tcp, tcp, 0)),
        past_news.eq(past_tcp + Mux(past_tcp >= fixed + tcp, more - told, 0)),
        found.eq(past_news + Mux(past_news >= fixed + tcp + more + len(parts.header), vlans - headers.vlan_count, 0)),
    ]
    return Cat(found == n for n in range(count))


def descriptor_bits(copy, length: Value) -> Value:
    """The 512 bits of a descriptor in memory order, with phase 0 and the kind as it stands."""
    meta, headers = copy.meta, copy.meta.headers
    data_offset = (headers.payload_offset - headers.transport_offset)[2:6]
    of_plain = {"data_offset": data_offset, "window_zero": headers.tcp_window == 0}
    plain_words = Cat(Value.cast(of_plain[bits.name])[: bits.width] for bits in PLAIN_TAG_WORDS)
    status = pack_bits(
        "status",
        {
            "port": meta.info.port,
            "ip_version": headers.ip_version,
            "fragment": headers.fragment,
            "network_checksum_bad": headers.network_checksum_bad,
            "transport_checksum": headers.transport_checksum,
            "parse_error": headers.parse_error,
            "vlan_count": headers.vlan_count,
            "mpls": headers.mpls_count.any(),
            "loss": copy.lost.any() & tells_loss(copy),
            "truncated": (meta.info.wire_length != copy.captured) & ~copy.plain,
            "kind": meta.kind,
            "tcp": headers.has_tcp & ~copy.bare,
            "plain": copy.plain,
            "tag_words": Mux(copy.plain, plain_words, Mux(copy.bare, 0, length)),
        },
    )
    return pack(
        DESCRIPTOR,
        {
            "timestamp": meta.info.timestamp,
            "source": headers.source,
            "destination": headers.destination,
            "source_port": headers.source_port,
            "destination_port": headers.destination_port,
            "offset": Mux(copy.plain, headers.tcp_sequence, Mux(copy.bare, copy.lost, Cat(Const(0, 6), copy.slot))),
            "flow_hash": Mux(copy.plain, headers.tcp_acknowledgment, headers.flow_hash),
            "wire_length": meta.info.wire_length,
            "captured_length": copy.captured,
            "ip_length": headers.ip_length,
            "protocol": headers.protocol,
            "tcp_flags": headers.tcp_flags,
            "status": status,
        },
    )
