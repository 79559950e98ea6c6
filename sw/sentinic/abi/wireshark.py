"""A Wireshark dissector for the tag, in Lua, made from the ABI."""

from sentinic.abi.codec import enumeration_of
from sentinic.abi.layout import Member
from sentinic.abi.reports import REPORT_TLVS
from sentinic.abi.tag import NO_PACKET_ETHERTYPE, TAG_ETHERTYPE, TAG_HEADER_BYTES, TAG_VERSION, TLVS, Tlv

_ALL = (*TLVS, *REPORT_TLVS)
#: Fields of byte strings, by their size in bytes.
_ADDRESSES = {6: "ether", 16: "ipv6"}

_HEAD = f"""\
-- Wireshark dissector for the Sentinic tag. Generated from sentinic.abi by `make docs`; do not edit.
-- Use: wireshark -X lua_script:docs/sentinic.lua CAPTURE   (tshark takes the same option)

local tag = Proto("sentinic", "Sentinic tag")

local TAG_ETHERTYPE = {TAG_ETHERTYPE:#06x}
local TAG_VERSION = {TAG_VERSION}
local HEADER = {TAG_HEADER_BYTES - 2} -- version and length; the EtherType belongs to the layer below
local NO_PACKET = {NO_PACKET_ETHERTYPE}
local FIRST_ETHERTYPE = 0x0600 -- anything below is an IEEE 802.3 length
"""

_TAIL = """\
local malformed = ProtoExpert.new("sentinic.malformed", "Sentinic tag malformed",
    expert.group.MALFORMED, expert.severity.ERROR)
tag.experts = { malformed }

local function add(tree, member, data)
    local range = data(member.offset, member.size)
    if member.time then
        local value = range:uint64()
        local billion = UInt64(1000000000)
        tree:add(member.field, range, NSTime.new((value / billion):tonumber(), (value % billion):tonumber()))
    else
        tree:add(member.field, range)
    end
end

local function dissect_tlv(tree, data)
    local type = data(0, 1):uint()
    local tlv = tlvs[type]
    if tlv and tlv.size == data:len() then
        local branch = tree:add(tag, data, "TLV " .. tlv.name .. ": " .. tlv.doc)
        for _, member in ipairs(tlv.members) do
            add(branch, member, data)
        end
    else
        tree:add(unknown, data):prepend_text(string.format("TLV 0x%02x, ", type))
    end
end

-- What the frame would have been without the tag.
local function dissect_original(data, type, pinfo, tree)
    if type == NO_PACKET then
        Dissector.get("data"):call(data, pinfo, tree)
    elseif type < FIRST_ETHERTYPE then
        local length = math.min(type, data:len())
        Dissector.get("llc"):call(data(0, length):tvb(), pinfo, tree)
    else
        DissectorTable.get("ethertype"):try(type, data, pinfo, tree)
    end
end

function tag.dissector(buffer, pinfo, tree)
    if buffer:len() < HEADER or buffer(0, 1):uint() ~= TAG_VERSION then
        return 0
    end
    pinfo.cols.protocol = "SENTINIC"
    -- The length counts the EtherType in front; the original EtherType behind takes as many bytes.
    local size = buffer(1, 1):uint() * 4
    if size < HEADER + 2 or size > buffer:len() then
        tree:add(tag, buffer()):add_proto_expert_info(malformed, "the tag's length does not fit the frame")
        return buffer:len()
    end
    local branch = tree:add(tag, buffer(0, size))
    branch:add(version, buffer(0, 1))
    branch:add(length, buffer(1, 1))
    local at = HEADER
    while at < size - 2 do
        local words = buffer(at + 1, 1):uint()
        if words == 0 or at + words * 4 > size - 2 then
            branch:add_proto_expert_info(malformed, "a TLV's length does not fit the tag")
            break
        end
        dissect_tlv(branch, buffer(at, words * 4))
        at = at + words * 4
    end
    local type = buffer(size - 2, 2):uint()
    branch:add(inner, buffer(size - 2, 2))
    if buffer:len() > size then
        dissect_original(buffer(size):tvb(), type, pinfo, tree)
    end
    return buffer:len()
end

DissectorTable.get("ethertype"):add(TAG_ETHERTYPE, tag)
"""


def dissector() -> str:
    """docs/sentinic.lua"""
    lines = [_HEAD]
    used = {enumeration_of(member) for tlv in _ALL for member in tlv.record} - {None}
    for enumeration in sorted((item for item in used if item is not None), key=lambda item: item.__name__):
        values = ", ".join(f'[{item.value}] = "{item.name}"' for item in enumeration)
        lines.append(f"local {enumeration.__name__} = {{ {values} }}")
    names = ", ".join(f'[{tlv.type}] = "{tlv.name}"' for tlv in _ALL)
    lines += [
        f"local Type = {{ {names} }}",
        "",
        'local version = ProtoField.uint8("sentinic.version", "Version")',
        'local length = ProtoField.uint8("sentinic.length", "Length in 32-bit words")',
        'local inner = ProtoField.uint16("sentinic.type", "Original EtherType", base.HEX)',
        'local unknown = ProtoField.bytes("sentinic.unknown", "unknown")',
        "tag.fields = { version, length, inner, unknown }",
        "",
        "local function member(offset, size, field, time)",
        "    tag.fields = { field }",
        "    return { offset = offset, size = size, field = field, time = time }",
        "end",
        "",
        "local tlvs = {",
        *(line for tlv in _ALL for line in _tlv(tlv)),
        "}",
        "",
        _TAIL,
    ]
    return "\n".join(lines)


def _tlv(tlv: Tlv) -> list[str]:
    lines = [
        f'    [{tlv.type:#04x}] = {{ name = "{tlv.name}", size = {tlv.record.size}, doc = "{tlv.doc}", members = {{'
    ]
    members = list(tlv.record)
    while members:
        member = members.pop(0)
        if member.name.endswith("_high") and member.unit == "ns":
            # Two words of one time, high first: shown as the time.
            low = members.pop(0)
            stem = member.name.removesuffix("_high")
            assert low.name == f"{stem}_low"
            field = f'ProtoField.absolute_time("sentinic.{tlv.name}.{stem}", "Wire time", base.UTC)'
            lines.append(f"        member({member.offset}, 8, {field}, true),")
        else:
            time = ", true" if _is_time(member) else ""
            lines.append(f"        member({member.offset}, {member.size * member.count}, {_field(tlv, member)}{time}),")
    return [*lines, "    } },"]


def _is_time(member: Member) -> bool:
    return (member.size, member.unit) == (8, "ns")


def _field(tlv: Tlv, member: Member) -> str:
    if _is_time(member):
        label = member.name.capitalize()
        return f'ProtoField.absolute_time("sentinic.{tlv.name}.{member.name}", "{label}", base.UTC)'
    if member.count > 1:
        label = member.name.replace("_", " ").capitalize()
        return f'ProtoField.{_ADDRESSES[member.count]}("sentinic.{tlv.name}.{member.name}", "{label}")'
    enumeration = enumeration_of(member)
    values = "Type" if member.name == "type" else (enumeration.__name__ if enumeration else "nil")
    base = "base.HEX" if "hash" in member.name else "base.DEC"
    unit = f" ({member.unit})" if member.unit else ""
    label = member.name.replace("_", " ").capitalize() + unit
    return f'ProtoField.uint{8 * member.size}("sentinic.{tlv.name}.{member.name}", "{label}", {base}, {values})'
