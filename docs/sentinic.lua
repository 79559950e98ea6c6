-- Wireshark dissector for the Sentinic tag. Generated from sentinic.abi by `make docs`; do not edit.
-- Use: wireshark -X lua_script:docs/sentinic.lua CAPTURE   (tshark takes the same option)

local tag = Proto("sentinic", "Sentinic tag")

local TAG_ETHERTYPE = 0x88b5
local TAG_VERSION = 1
local HEADER = 2 -- version and length; the EtherType belongs to the layer below
local NO_PACKET = 0
local FIRST_ETHERTYPE = 0x0600 -- anything below is an IEEE 802.3 length

local Content = { [0] = "GROUPS", [1] = "ATTEMPTS" }
local Kind = { [0] = "PACKET", [1] = "REPORT", [2] = "REGENERATED", [3] = "VOID" }
local ParseError = { [0] = "NONE", [1] = "LINK_TRUNCATED", [2] = "VLAN_DEPTH", [3] = "MPLS_DEPTH", [4] = "IP_VERSION", [5] = "IP_TRUNCATED", [6] = "IPV4_HEADER_LENGTH", [7] = "IPV4_TOTAL_LENGTH", [8] = "IP_BEYOND_FRAME", [9] = "EXTENSION_TRUNCATED", [10] = "EXTENSION_DEPTH", [11] = "WINDOW", [12] = "FRAGMENT_RANGE", [13] = "TRANSPORT_TRUNCATED", [14] = "TCP_DATA_OFFSET", [15] = "UDP_LENGTH", [16] = "ARP_TRUNCATED" }
local Protocol = { [0] = "OTHER", [1] = "ARP", [2] = "IP_OTHER", [3] = "TCP", [4] = "UDP", [5] = "SCTP", [6] = "ICMP", [7] = "ICMPV6" }
local Verdict = { [0] = "CLEAN", [1] = "FRAGMENT", [2] = "TRUNCATED", [3] = "BAD_NETWORK_CHECKSUM", [4] = "BAD_TRANSPORT_CHECKSUM", [5] = "MALFORMED" }
local Type = { [5] = "crossing", [6] = "attempt", [4] = "loss", [3] = "tcp", [2] = "headers", [1] = "packet", [17] = "report", [16] = "group", [18] = "unanswered" }

local version = ProtoField.uint8("sentinic.version", "Version")
local length = ProtoField.uint8("sentinic.length", "Length in 32-bit words")
local inner = ProtoField.uint16("sentinic.type", "Original EtherType", base.HEX)
local unknown = ProtoField.bytes("sentinic.unknown", "unknown")
tag.fields = { version, length, inner, unknown }

local function member(offset, size, field, time)
    tag.fields = { field }
    return { offset = offset, size = size, field = field, time = time }
end

local tlvs = {
    [0x05] = { name = "crossing", size = 16, doc = "Thresholds of statistics rules that the packet crosses.", members = {
        member(0, 1, ProtoField.uint8("sentinic.crossing.type", "Type", base.DEC, Type)),
        member(1, 1, ProtoField.uint8("sentinic.crossing.length", "Length (32-bit words)", base.DEC, nil)),
        member(2, 1, ProtoField.uint8("sentinic.crossing.flags", "Flags", base.DEC, nil)),
        member(3, 1, ProtoField.uint8("sentinic.crossing.reserved", "Reserved", base.DEC, nil)),
        member(4, 4, ProtoField.uint32("sentinic.crossing.rules", "Rules", base.DEC, nil)),
        member(8, 8, ProtoField.uint64("sentinic.crossing.value", "Value", base.DEC, nil)),
    } },
    [0x06] = { name = "attempt", size = 16, doc = "A SYN that the card has held (kind REGENERATED); the wire time of the tag is when it came.", members = {
        member(0, 1, ProtoField.uint8("sentinic.attempt.type", "Type", base.DEC, Type)),
        member(1, 1, ProtoField.uint8("sentinic.attempt.length", "Length (32-bit words)", base.DEC, nil)),
        member(2, 1, ProtoField.uint8("sentinic.attempt.reason", "Reason", base.DEC, nil)),
        member(3, 1, ProtoField.uint8("sentinic.attempt.reserved", "Reserved", base.DEC, nil)),
        member(4, 4, ProtoField.uint32("sentinic.attempt.retransmissions", "Retransmissions (packets)", base.DEC, nil)),
        member(8, 8, ProtoField.absolute_time("sentinic.attempt.last", "Last", base.UTC), true),
    } },
    [0x04] = { name = "loss", size = 8, doc = "Loss on this ring since the packet before.", members = {
        member(0, 1, ProtoField.uint8("sentinic.loss.type", "Type", base.DEC, Type)),
        member(1, 1, ProtoField.uint8("sentinic.loss.length", "Length (32-bit words)", base.DEC, nil)),
        member(2, 2, ProtoField.uint16("sentinic.loss.reserved", "Reserved", base.DEC, nil)),
        member(4, 4, ProtoField.uint32("sentinic.loss.lost", "Lost (packets)", base.DEC, nil)),
    } },
    [0x03] = { name = "tcp", size = 12, doc = "The TCP header's numbers (RFC 9293 3.1).", members = {
        member(0, 1, ProtoField.uint8("sentinic.tcp.type", "Type", base.DEC, Type)),
        member(1, 1, ProtoField.uint8("sentinic.tcp.length", "Length (32-bit words)", base.DEC, nil)),
        member(2, 2, ProtoField.uint16("sentinic.tcp.window", "Window", base.DEC, nil)),
        member(4, 4, ProtoField.uint32("sentinic.tcp.sequence", "Sequence", base.DEC, nil)),
        member(8, 4, ProtoField.uint32("sentinic.tcp.acknowledgment", "Acknowledgment", base.DEC, nil)),
    } },
    [0x02] = { name = "headers", size = 12, doc = "Where the headers lie, and what is wrong with them.", members = {
        member(0, 1, ProtoField.uint8("sentinic.headers.type", "Type", base.DEC, Type)),
        member(1, 1, ProtoField.uint8("sentinic.headers.length", "Length (32-bit words)", base.DEC, nil)),
        member(2, 1, ProtoField.uint8("sentinic.headers.parse_error", "Parse error", base.DEC, ParseError)),
        member(3, 1, ProtoField.uint8("sentinic.headers.protocol_class", "Protocol class", base.DEC, Protocol)),
        member(4, 1, ProtoField.uint8("sentinic.headers.network_offset", "Network offset (bytes)", base.DEC, nil)),
        member(5, 1, ProtoField.uint8("sentinic.headers.transport_offset", "Transport offset (bytes)", base.DEC, nil)),
        member(6, 1, ProtoField.uint8("sentinic.headers.payload_offset", "Payload offset (bytes)", base.DEC, nil)),
        member(7, 1, ProtoField.uint8("sentinic.headers.verdict", "Verdict", base.DEC, Verdict)),
        member(8, 2, ProtoField.uint16("sentinic.headers.payload_length", "Payload length (bytes)", base.DEC, nil)),
        member(10, 2, ProtoField.uint16("sentinic.headers.ip_id", "Ip id", base.DEC, nil)),
    } },
    [0x01] = { name = "packet", size = 20, doc = "The packet as a whole.", members = {
        member(0, 1, ProtoField.uint8("sentinic.packet.type", "Type", base.DEC, Type)),
        member(1, 1, ProtoField.uint8("sentinic.packet.length", "Length (32-bit words)", base.DEC, nil)),
        member(2, 1, ProtoField.uint8("sentinic.packet.port", "Port", base.DEC, nil)),
        member(3, 1, ProtoField.uint8("sentinic.packet.kind", "Kind", base.DEC, Kind)),
        member(4, 8, ProtoField.absolute_time("sentinic.packet.timestamp", "Wire time", base.UTC), true),
        member(12, 2, ProtoField.uint16("sentinic.packet.wire_length", "Wire length (bytes)", base.DEC, nil)),
        member(14, 2, ProtoField.uint16("sentinic.packet.captured_length", "Captured length (bytes)", base.DEC, nil)),
        member(16, 4, ProtoField.uint32("sentinic.packet.flow_hash", "Flow hash", base.HEX, nil)),
    } },
    [0x11] = { name = "report", size = 48, doc = "Head of a report: a frame with no packet.", members = {
        member(0, 1, ProtoField.uint8("sentinic.report.type", "Type", base.DEC, Type)),
        member(1, 1, ProtoField.uint8("sentinic.report.length", "Length (32-bit words)", base.DEC, nil)),
        member(2, 1, ProtoField.uint8("sentinic.report.items", "Items", base.DEC, nil)),
        member(3, 1, ProtoField.uint8("sentinic.report.content", "Content", base.DEC, Content)),
        member(4, 4, ProtoField.uint32("sentinic.report.sequence", "Sequence", base.DEC, nil)),
        member(8, 8, ProtoField.absolute_time("sentinic.report.timestamp", "Timestamp", base.UTC), true),
        member(16, 8, ProtoField.uint64("sentinic.report.reserved0", "Reserved0", base.DEC, nil)),
        member(24, 8, ProtoField.uint64("sentinic.report.reserved1", "Reserved1", base.DEC, nil)),
        member(32, 8, ProtoField.uint64("sentinic.report.reserved2", "Reserved2", base.DEC, nil)),
        member(40, 8, ProtoField.uint64("sentinic.report.reserved3", "Reserved3", base.DEC, nil)),
    } },
    [0x10] = { name = "group", size = 128, doc = "A group of a statistics rule: its fields (those it does not group by are 0) and what was counted.", members = {
        member(0, 1, ProtoField.uint8("sentinic.group.type", "Type", base.DEC, Type)),
        member(1, 1, ProtoField.uint8("sentinic.group.length", "Length (32-bit words)", base.DEC, nil)),
        member(2, 1, ProtoField.uint8("sentinic.group.rule", "Rule", base.DEC, nil)),
        member(3, 1, ProtoField.uint8("sentinic.group.flags", "Flags", base.DEC, nil)),
        member(4, 4, ProtoField.uint32("sentinic.group.generation", "Generation", base.DEC, nil)),
        member(8, 8, ProtoField.uint64("sentinic.group.packets", "Packets (packets)", base.DEC, nil)),
        member(16, 8, ProtoField.uint64("sentinic.group.bytes", "Bytes (bytes)", base.DEC, nil)),
        member(24, 8, ProtoField.absolute_time("sentinic.group.first", "First", base.UTC), true),
        member(32, 8, ProtoField.absolute_time("sentinic.group.last", "Last", base.UTC), true),
        member(40, 4, ProtoField.uint32("sentinic.group.history", "History", base.DEC, nil)),
        member(44, 2, ProtoField.uint16("sentinic.group.seen", "Seen", base.DEC, nil)),
        member(46, 1, ProtoField.uint8("sentinic.group.in_port", "In port", base.DEC, nil)),
        member(47, 1, ProtoField.uint8("sentinic.group.ip_version", "Ip version", base.DEC, nil)),
        member(48, 1, ProtoField.uint8("sentinic.group.is_fragment", "Is fragment", base.DEC, nil)),
        member(49, 1, ProtoField.uint8("sentinic.group.vlan_present", "Vlan present", base.DEC, nil)),
        member(50, 1, ProtoField.uint8("sentinic.group.verdict", "Verdict", base.DEC, Verdict)),
        member(51, 1, ProtoField.uint8("sentinic.group.protocol_class", "Protocol class", base.DEC, Protocol)),
        member(52, 1, ProtoField.uint8("sentinic.group.ip_dscp", "Ip dscp", base.DEC, nil)),
        member(53, 1, ProtoField.uint8("sentinic.group.ip_proto", "Ip proto", base.DEC, nil)),
        member(54, 1, ProtoField.uint8("sentinic.group.tcp_flags", "Tcp flags", base.DEC, nil)),
        member(55, 1, ProtoField.uint8("sentinic.group.reserved", "Reserved", base.DEC, nil)),
        member(56, 2, ProtoField.uint16("sentinic.group.vlan_vid", "Vlan vid", base.DEC, nil)),
        member(58, 2, ProtoField.uint16("sentinic.group.eth_type", "Eth type", base.DEC, nil)),
        member(60, 2, ProtoField.uint16("sentinic.group.source_port", "Source port", base.DEC, nil)),
        member(62, 2, ProtoField.uint16("sentinic.group.destination_port", "Destination port", base.DEC, nil)),
        member(64, 16, ProtoField.ipv6("sentinic.group.source", "Source")),
        member(80, 16, ProtoField.ipv6("sentinic.group.destination", "Destination")),
        member(96, 6, ProtoField.ether("sentinic.group.eth_src", "Eth src")),
        member(102, 6, ProtoField.ether("sentinic.group.eth_dst", "Eth dst")),
        member(108, 4, ProtoField.uint32("sentinic.group.reserved1", "Reserved1", base.DEC, nil)),
        member(112, 8, ProtoField.uint64("sentinic.group.reserved2", "Reserved2", base.DEC, nil)),
        member(120, 8, ProtoField.uint64("sentinic.group.reserved3", "Reserved3", base.DEC, nil)),
    } },
    [0x12] = { name = "unanswered", size = 64, doc = "An attempt that nobody answered, of which the card has kept the SYNs to itself.", members = {
        member(0, 1, ProtoField.uint8("sentinic.unanswered.type", "Type", base.DEC, Type)),
        member(1, 1, ProtoField.uint8("sentinic.unanswered.length", "Length (32-bit words)", base.DEC, nil)),
        member(2, 1, ProtoField.uint8("sentinic.unanswered.reason", "Reason", base.DEC, nil)),
        member(3, 1, ProtoField.uint8("sentinic.unanswered.origin", "Origin", base.DEC, nil)),
        member(4, 1, ProtoField.uint8("sentinic.unanswered.tcp_flags", "Tcp flags", base.DEC, nil)),
        member(5, 1, ProtoField.uint8("sentinic.unanswered.ip_length", "Ip length (bytes)", base.DEC, nil)),
        member(6, 2, ProtoField.uint16("sentinic.unanswered.retransmissions", "Retransmissions (packets)", base.DEC, nil)),
        member(8, 8, ProtoField.absolute_time("sentinic.unanswered.first", "First", base.UTC), true),
        member(16, 8, ProtoField.absolute_time("sentinic.unanswered.last", "Last", base.UTC), true),
        member(24, 4, ProtoField.uint32("sentinic.unanswered.sequence", "Sequence", base.DEC, nil)),
        member(28, 2, ProtoField.uint16("sentinic.unanswered.source_port", "Source port", base.DEC, nil)),
        member(30, 2, ProtoField.uint16("sentinic.unanswered.destination_port", "Destination port", base.DEC, nil)),
        member(32, 16, ProtoField.ipv6("sentinic.unanswered.source", "Source")),
        member(48, 16, ProtoField.ipv6("sentinic.unanswered.destination", "Destination")),
    } },
}

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
