"""Reports: frames with a tag and no packet, which hold items of one kind, many to a frame."""

from sentinic.abi import statistics, syn_offload
from sentinic.abi.layout import ByteOrder, Member, Record
from sentinic.abi.tag import TAG_HEADER_BYTES, Tlv
from sentinic.abi.verdicts import Content

REPORT = Tlv(
    0x11,
    Record(
        "report",
        48,
        ByteOrder.BIG,
        (
            Member("type", 0, 1, "TLV type"),
            Member("length", 1, 1, "length of the TLV", "32-bit words"),
            Member("items", 2, 1, "TLVs that follow"),
            Member("content", 3, 1, "Content"),
            Member("sequence", 4, 4, "number of the report among those of its content, modulo 2^32"),
            Member("timestamp", 8, 8, "wire time on the card when the report was closed", "ns"),
            *(Member(f"reserved{n}", 16 + 8 * n, 8, "zero") for n in range(4)),
        ),
    ),
    False,
    "Head of a report: a frame with no packet.",
)
#: What follows the head of a report, by its content.
ITEMS: dict[Content, Tlv] = {Content.GROUPS: statistics.GROUP, Content.ATTEMPTS: syn_offload.RECORD}
#: TLVs that come in reports only: the head once, then items.
REPORT_TLVS = (REPORT, *ITEMS.values())
#: Ethernet addresses and the tag's head come before the first TLV.
REPORT_HEAD_BYTES = 12 + TAG_HEADER_BYTES + REPORT.record.size
assert REPORT_HEAD_BYTES == 64
#: A report is at most so long; its tag's length is given in 255 words.
REPORT_MAX_BYTES = 1024


def most_items(content: Content) -> int:
    """Items that a report holds at most."""
    return (REPORT_MAX_BYTES - REPORT_HEAD_BYTES - 2) // ITEMS[content].record.size


def report_bytes(content: Content, items: int) -> int:
    """Length of a report frame with so many items; the last two bytes are the inner EtherType."""
    return REPORT_HEAD_BYTES + items * ITEMS[content].record.size + 2
