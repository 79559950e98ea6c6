"""A scapy layer for the tag, derived from the ABI; needs scapy (extra ``dev``), which ``import sentinic`` does not.

::

    from sentinic.scapy_layer import SentinicTag, TLV_LAYERS, untag

    packet = Ether(frame)                      # binds to the EtherType by itself, also behind VLAN tags
    packet[SentinicTag].tlvs[-1].timestamp_low
    untag(packet)                              # the original frame as a packet
    Ether() / SentinicTag(tlvs=[TLV_LAYERS["packet"](port=1)]) / IP()

Lengths, and the inner EtherType, are filled in when a tag is built, as scapy does.
"""

import struct
from typing import Any

from scapy.fields import (
    ByteEnumField,
    ByteField,
    FieldLenField,
    IntField,
    LongField,
    MACField,
    PacketListField,
    ShortField,
    StrLenField,
    XShortEnumField,
)
from scapy.layers.inet6 import IP6Field
from scapy.layers.l2 import ETHER_TYPES, LLC, Dot1AD, Dot1Q, Ether
from scapy.packet import NoPayload, Packet, Raw, bind_bottom_up, bind_layers

from sentinic.abi.codec import enumeration_of, strip_tag
from sentinic.abi.layout import Member
from sentinic.abi.reports import REPORT_TLVS
from sentinic.abi.tag import NO_PACKET_ETHERTYPE, TAG_ETHERTYPE, TAG_HEADER_BYTES, TAG_VERSION, TLVS, Tlv

_FIELDS: dict[int, Any] = {1: ByteField, 2: ShortField, 4: IntField, 8: LongField}
#: Byte strings, by their size in bytes.
_ADDRESSES: dict[int, tuple[Any, str]] = {6: (MACField, "00:00:00:00:00:00"), 16: (IP6Field, "::")}
_ALL = (*TLVS, *REPORT_TLVS)
_TLV_NAMES = {tlv.type: tlv.name for tlv in _ALL}
#: Below this, the two bytes after the addresses are a length (IEEE 802.3 3.2.6).
_FIRST_ETHERTYPE = 0x0600


def _nothing_follows(self: Packet, data: bytes) -> tuple[bytes, bytes]:
    """What comes after a TLV is the tag's, not its payload."""
    return b"", data


def _field(tlv: Tlv, member: Member) -> Any:
    if member.name == "type":
        return ByteEnumField("type", tlv.type, _TLV_NAMES)
    if member.name == "length":
        return ByteField("length", tlv.words)
    enumeration = enumeration_of(member)
    if enumeration is not None and member.size == 1:
        return ByteEnumField(member.name, 0, {item.value: item.name for item in enumeration})
    if member.count > 1:
        field, nothing = _ADDRESSES[member.count]
        return field(member.name, nothing)
    return _FIELDS[member.size](member.name, 0)


def _tlv_layer(tlv: Tlv) -> Any:
    return type(
        f"Sentinic{tlv.name.title()}",
        (Packet,),
        {
            "__doc__": tlv.doc,
            "__module__": __name__,
            "name": f"Sentinic {tlv.name}",
            "fields_desc": [_field(tlv, member) for member in tlv.record],
            "extract_padding": _nothing_follows,
        },
    )


#: The TLVs' layers by name, those of reports too.
TLV_LAYERS: dict[str, Any] = {tlv.name: _tlv_layer(tlv) for tlv in _ALL}

#: A TLV of a type, or of a length, that this ABI does not know.
SentinicUnknown: Any = type(
    "SentinicUnknown",
    (Packet,),
    {
        "__module__": __name__,
        "name": "Sentinic unknown TLV",
        "fields_desc": [
            ByteField("type", 0),
            FieldLenField("length", None, length_of="data", fmt="B", adjust=lambda _, length: (length + 2) // 4),
            StrLenField("data", b"\0\0", length_from=lambda tlv: max(0, 4 * tlv.length - 2)),
        ],
        "extract_padding": _nothing_follows,
    },
)


def _next_tlv(_tag: Packet, _before: list[Packet], _last: Packet | None, rest: bytes) -> Any:
    for tlv in _ALL:
        if len(rest) >= 2 and (rest[0], rest[1]) == (tlv.type, tlv.words):
            return TLV_LAYERS[tlv.name]
    return SentinicUnknown if rest else None


def _post_build(self: Any, header: bytes, payload: bytes) -> bytes:
    """Fill in the tag's length and the inner EtherType where they were left open."""
    if self.length is None:
        # Two bytes of the tag are the EtherType in front, two bytes of this layer the one behind.
        words, rest = divmod(len(header), 4)
        if rest:
            raise ValueError(f"the tag's TLVs must be whole 32-bit words, not {len(header) - TAG_HEADER_BYTES} bytes")
        header = header[:1] + struct.pack("B", words) + header[2:]
    if self.type is None:
        header = header[:-2] + struct.pack(">H", _inner_type(self.payload, len(payload)))
    return header + payload


def _inner_type(payload: Any, length: int) -> int:
    if isinstance(payload, NoPayload):
        return NO_PACKET_ETHERTYPE
    if isinstance(payload, LLC):
        return length
    return int(payload.overload_fields.get(Ether, {}).get("type", NO_PACKET_ETHERTYPE))


def _guess_payload_class(self: Any, payload: bytes) -> Any:
    """As Ether would, had there been no tag."""
    if self.type == NO_PACKET_ETHERTYPE:
        return Raw
    if self.type < _FIRST_ETHERTYPE:
        return LLC
    for fields, layer in Ether.payload_guess:
        if fields == {"type": self.type}:
            return layer
    return self.default_payload_class(payload)


def _extract_padding(self: Any, data: bytes) -> tuple[bytes, bytes | None]:
    """A length in place of an EtherType says where padding begins."""
    if NO_PACKET_ETHERTYPE < self.type < _FIRST_ETHERTYPE:
        return data[: self.type], data[self.type :]
    return data, None


#: The tag, from its version to the original EtherType (the tag's own EtherType is the field of the layer below).
SentinicTag: Any = type(
    "SentinicTag",
    (Packet,),
    {
        "__module__": __name__,
        "name": "Sentinic tag",
        "fields_desc": [
            ByteField("version", TAG_VERSION),
            ByteField("length", None),
            PacketListField(
                "tlvs", [], next_cls_cb=_next_tlv, length_from=lambda tag: max(0, 4 * tag.length - TAG_HEADER_BYTES)
            ),
            XShortEnumField("type", None, ETHER_TYPES),
        ],
        "post_build": _post_build,
        "guess_payload_class": _guess_payload_class,
        "extract_padding": _extract_padding,
    },
)

for _layer in (Ether, Dot1Q, Dot1AD):
    bind_layers(_layer, SentinicTag, type=TAG_ETHERTYPE)
    # Stacked tags from before 802.1ad, which scapy does not know; dissecting only, so that building is as ever.
    bind_bottom_up(_layer, Dot1Q, type=0x9100)


def untag(packet: Any) -> Any:
    """The original frame of a tagged one, as a packet; time and wire length are kept."""
    original = Ether(strip_tag(bytes(packet)))
    original.time = packet.time
    original.wirelen = packet.wirelen
    return original
