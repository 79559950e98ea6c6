"""The register map: AXI4-Lite, 32-bit words, a window of 64 KiB."""

from sentinic.abi.layout import Access, Block, Field, Register
from sentinic.abi.statistics import FIELD_WORDS

#: "SNIC" in ASCII.
CARD_ID = 0x534E_4943
#: Major in the high half: another major is another ABI; a higher minor only adds.
ABI_VERSION = 0x0001_0000
ADDRESS_WIDTH = 16
HASH_KEY_WORDS = 11

RO, RW, W1, W1C = Access.RO, Access.RW, Access.W1, Access.W1C


def _word(
    name: str, offset: int, access: Access, doc: str, unit: str = "", reset: int = 0, width: int = 32
) -> Register:
    return Register(name, offset, (Field("value", 0, width, access, doc, unit, reset),), doc)


CARD = Block(
    "card",
    0x0000,
    (
        _word("id", 0x00, RO, "the card's id, 'SNIC'", reset=CARD_ID),
        _word("abi_version", 0x04, RO, "major in bits 31..16, minor in 15..0", reset=ABI_VERSION),
        _word("profile", 0x08, RO, "number of the profile"),
        Register(
            "capabilities",
            0x0C,
            (
                Field("beat_bytes", 0, 8, RO, "width of the data path", "bytes"),
                Field("ports", 8, 4, RO, "ingress ports"),
                Field("rings", 12, 4, RO, "receive rings"),
                Field("stages", 16, 8, RO, "stages in the chain"),
                Field("counters", 24, 8, RO, "counters in a snapshot"),
            ),
            "What this build holds.",
        ),
        Register(
            "store",
            0x10,
            (
                Field("cells", 0, 16, RO, "cells of the packet store"),
                Field("cell_bytes", 16, 16, RO, "size of a cell", "bytes"),
            ),
            "The packet store.",
        ),
        Register(
            "control",
            0x14,
            (
                Field("enable", 0, 1, RW, "take frames in; while 0 the ports are held", reset=0),
                Field("pause", 1, 1, RW, "hold the ports (802.3x), not drop, when the card or a ring is full", reset=0),
            ),
            "Taking frames in.",
        ),
        _word("scratch", 0x18, RW, "for the host's use"),
        _word("time_low", 0x1C, RO, "wire time, bits 31..0; reading it latches time_high", "ns"),
        _word("time_high", 0x20, RO, "wire time, bits 63..32, as latched", "ns"),
        _word(
            "cells_used",
            0x24,
            RO,
            "cells of the packet store in use, but for those of SYNs that SYN offload holds",
            "cells",
        ),
        *(
            _word(f"hash_key{n}", 0x40 + 4 * n, RW, f"Toeplitz key, bits {32 * n + 31}..{32 * n}")
            for n in range(HASH_KEY_WORDS)
        ),
    ),
    "Identity, capabilities and control.",
)

INTERRUPT = Block(
    "interrupt",
    0x0200,
    (
        _word("enable", 0x00, RW, "bit n: ring n may interrupt", width=16),
        _word("pending", 0x04, W1C, "bit n: ring n has new packets; write one to clear and re-arm", width=16),
        _word(
            "holdoff",
            0x08,
            RW,
            "wire time from a ring's first new packet to the interrupt at the latest",
            "ns",
            reset=50_000,
        ),
        _word(
            "frames",
            0x0C,
            RW,
            "packets that interrupt at once; 0 means only the holdoff counts",
            "packets",
            width=16,
            reset=32,
        ),
    ),
    "One interrupt line, moderated.",
)

SNAPSHOT = Block(
    "snapshot",
    0x0300,
    (
        _word("take", 0x00, W1, "write 1 to have all counters of one and the same cycle copied", width=1),
        _word("busy", 0x04, RO, "1 until that is done: two rounds of a cycle a counter, at most", width=1),
    ),
    "The counters are read as one atomic snapshot, from ``COUNTERS_BASE`` on, two words each, low word first.",
)
COUNTERS_BASE = 0x1000

PASSTHROUGH = Block(
    "passthrough",
    0x3000,
    (
        _word("packets", 0x00, RO, "packets that passed, modulo 2^32", "packets"),
        _word("mark", 0x04, RW, "for the host's use: shows that the stage's window is reached"),
    ),
    "The example stage: passes every packet on unchanged.",
)

#: Words of the secret that statistics' tables are hashed with.
STATISTICS_KEY_WORDS = 16
STATISTICS = Block(
    "statistics",
    0x5000,
    (
        Register(
            "shape",
            0x00,
            (
                Field("rules", 0, 8, RO, "rules that the card holds"),
                Field("groups_log2", 8, 8, RO, "groups that all tables hold together, as a power of two"),
                Field("rules_a_table", 16, 8, RO, "rules that share a table; a rule's groups are those of its table"),
            ),
            "What this build holds.",
        ),
        Register(
            "status",
            0x04,
            (
                Field("pending", 0, 1, RO, "a change asked for has not taken effect"),
                Field("sweeping", 1, 1, RO, "groups are being reported"),
            ),
            "State of the last change.",
        ),
        _word("rule", 0x08, RW, "the rule that ``apply`` acts on", width=8),
        Register(
            "apply",
            0x0C,
            (
                Field("set", 0, 1, W1, "let the rule be what the registers below say, from the next packet on"),
                Field("remove", 1, 1, W1, "switch the rule off"),
                Field("report", 2, 1, W1, "report the rule's groups now"),
            ),
            "Acting on a rule; only while ``pending`` is 0.  What was counted is reported first, marked final.",
        ),
        Register(
            "rule_flags",
            0x10,
            (
                Field("bidirectional", 0, 1, RW, "both directions of a connection make one group"),
                Field("cumulative", 1, 1, RW, "counts and thresholds go on past the end of an interval"),
            ),
            "Staged: how the rule counts.",
        ),
        _word("generation", 0x14, RW, "staged: a number for this version of the rule"),
        _word("interval_low", 0x18, RW, "staged: report interval, bits 31..0; 0 for none", "ns"),
        _word("interval_high", 0x1C, RW, "bits 63..32", "ns"),
        _word("threshold_packets_low", 0x20, RW, "staged: threshold, bits 31..0; 0 for none", "packets"),
        _word("threshold_packets_high", 0x24, RW, "bits 47..32", "packets", width=16),
        _word("threshold_bytes_low", 0x28, RW, "staged: threshold, bits 31..0; 0 for none", "bytes"),
        _word("threshold_bytes_high", 0x2C, RW, "bits 55..32", "bytes", width=24),
        *(
            _word(f"hash_key{n}", 0x40 + 4 * n, RW, f"secret of the tables' hash, bits {32 * n + 31}..{32 * n}")
            for n in range(STATISTICS_KEY_WORDS)
        ),
        *(
            _word(f"{name}{n}", base + 4 * n, RW, f"staged: {doc}, bits {32 * n + 31}..{32 * n}")
            for name, base, doc in (
                ("value", 0x80, "what the fields must be"),
                ("mask", 0xC0, "which of their bits must be so"),
                ("group", 0x100, "which of their bits make a group"),
            )
            for n in range(FIELD_WORDS)
        ),
    ),
    "Statistics rules.  The fields and their places: ``sentinic.abi.statistics``.",
)

#: Words of the secret that the table of attempts is hashed with.
SYN_OFFLOAD_KEY_WORDS = 10
SYN_OFFLOAD = Block(
    "syn_offload",
    0x6000,
    (
        Register(
            "shape",
            0x00,
            (
                Field("attempts_log2", 0, 8, RO, "attempts that the card holds, as a power of two"),
                Field("ways", 8, 8, RO, "attempts in a set"),
                Field("frame_bytes", 16, 16, RO, "longest SYN that is held, without FCS", "bytes"),
            ),
            "What this build holds.",
        ),
        Register(
            "control",
            0x04,
            (
                Field("enable", 0, 1, RW, "hold SYNs; while 0, those held still wait for their answer or their time"),
                Field("compact", 1, 1, RW, "attempts that nobody answered go to the host as records, not as SYNs"),
            ),
            "Switching it on.  Off, and with nothing held, packets pass the stage untouched.",
        ),
        Register(
            "action",
            0x08,
            (Field("flush", 0, 1, W1, "let every attempt be over now"),),
            "Ending attempts.",
        ),
        Register(
            "status",
            0x0C,
            (
                Field("clearing", 0, 1, RO, "the table is being cleared after reset; nothing is held meanwhile"),
                Field("flushing", 1, 1, RO, "a flush is under way"),
                Field("reporting", 2, 1, RO, "records wait for their report"),
            ),
            "State of the table.",
        ),
        _word("holding", 0x10, RO, "SYNs held now", "packets"),
        _word(
            "timeout_low",
            0x14,
            RW,
            "wire time from an attempt's first SYN until it is over, bits 31..0",
            "ns",
            reset=5_000_000_000 & 0xFFFF_FFFF,
        ),
        _word("timeout_high", 0x18, RW, "bits 63..32", "ns", reset=5_000_000_000 >> 32),
        *(
            _word(f"hash_key{n}", 0x40 + 4 * n, RW, f"secret of the table's hash, bits {32 * n + 31}..{32 * n}")
            for n in range(SYN_OFFLOAD_KEY_WORDS)
        ),
    ),
    "SYN offload: connection attempts that wait on the card for their answer.",
)

RING = Block(
    "ring",
    0x4000,
    (
        Register(
            "control",
            0x00,
            (Field("enable", 0, 1, RW, "deliver to this ring; a rising edge begins at slot 0 with phase 1"),),
            "Switching the ring on, which waits while status.busy.  Bases and sizes must stand before, and while busy.",
        ),
        Register(
            "status",
            0x04,
            (
                Field("fault", 0, 1, RO, "a descriptor write failed: the ring takes nothing until switched off and on"),
                Field("busy", 1, 1, RO, "packets are under way to the ring's memory, also after it was switched off"),
            ),
            "State of the ring.",
        ),
        _word(
            "descriptor_base_low",
            0x08,
            RW,
            "bus address of the descriptor ring, bits 31..0; a multiple of 4096",
            "bytes",
        ),
        _word("descriptor_base_high", 0x0C, RW, "bits 63..32", "bytes"),
        _word(
            "descriptor_mask", 0x10, RW, "descriptors in the ring, a power of two, less one", "descriptors", width=24
        ),
        _word("data_base_low", 0x14, RW, "bus address of the data ring, bits 31..0; a multiple of 4096", "bytes"),
        _word("data_base_high", 0x18, RW, "bits 63..32", "bytes"),
        _word(
            "data_mask",
            0x1C,
            RW,
            "slots of 64 bytes in the data ring, a power of two, less one",
            "slots of 64 bytes",
            width=26,
        ),
        _word("descriptor_tail", 0x20, RW, "descriptors that the host has done with, modulo 2^32", "descriptors"),
        _word("data_tail", 0x24, RW, "slots that the host has done with, modulo 2^26", "slots of 64 bytes", width=26),
        _word("descriptor_head", 0x28, RO, "descriptors written since switched on, modulo 2^32", "descriptors"),
        _word("filter_ports", 0x2C, RW, "bit n: take packets of port n", width=4, reset=0xF),
        _word("filter_protocols", 0x30, RW, "bit n: take packets of Protocol n", width=16, reset=0xFFFF),
        _word("filter_verdicts", 0x34, RW, "bit n: take packets of Verdict n", width=16, reset=0xFFFF),
        _word("sample", 0x38, RW, "take one packet in this many; 0 and 1 take all", "packets", width=16, reset=1),
        _word(
            "snap_length",
            0x3C,
            RW,
            "most bytes of a frame to deliver; below 64 counts as 64, but a ring switched on while it is 0 gets "
            "descriptors only: no bytes, no slot, no tag",
            "bytes",
            width=14,
            reset=9600,
        ),
        Register(
            "spread",
            0x40,
            (
                Field("count", 0, 7, RW, "parts to spread flows over; 0 and 1 take all"),
                Field("index", 8, 7, RW, "which part this ring takes: flow_hash[31:16] * count >> 16"),
            ),
            "Symmetric flow hash spreading.",
        ),
        Register(
            "extras",
            0x44,
            (
                Field("reports", 0, 1, RW, "deliver reports of statistics to this ring"),
                Field(
                    "crossings",
                    1,
                    1,
                    RW,
                    "deliver every packet that crosses a threshold, whatever the ring filters or samples",
                ),
                Field("attempts", 2, 1, RW, "deliver reports of attempts that nobody answered to this ring"),
                Field("bare_plain", 3, 1, RW, "deliver plain TCP segments as descriptors only (status.plain)"),
                Field(
                    "raw_syns",
                    4,
                    1,
                    RW,
                    "deliver SYNs that SYN offload holds or ends as they come, and none of them as regenerated",
                ),
            ),
            "What else this ring gets, and how.",
        ),
    ),
    "A receive ring.  ``address(name, n)`` gives the register of ring n.",
    count=15,
    stride=0x80,
)

#: Free descriptors, and slots, below which the card takes a ring for full (what is in flight needs no lock).
RING_MARGIN_DESCRIPTORS = 16
RING_MARGIN_SLOTS = 1024

#: What every build has.
BLOCKS: tuple[Block, ...] = (CARD, INTERRUPT, SNAPSHOT, PASSTHROUGH, RING, STATISTICS, SYN_OFFLOAD)
#: Windows of the stages, by the name in ``Profile.stages``.
STAGE_BLOCKS: dict[str, Block] = {
    "passthrough": PASSTHROUGH,
    "statistics": STATISTICS,
    "syn_offload": SYN_OFFLOAD,
}
