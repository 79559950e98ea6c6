"""What travels between the parts of dispatch."""

from amaranth.lib import data, wiring
from amaranth.lib.wiring import Out
from amaranth.utils import exact_log2

from sentinic.abi.profiles import Profile
from sentinic_hdl.meta import LENGTH_BITS, FrameInfo, PacketMeta
from sentinic_hdl.store import read_shape

#: The data ring is counted in slots of 64 bytes.
SLOT_BITS = 26


class RingConfig(wiring.Signature):
    """The registers of one ring, each a signal of its own; see ``sentinic.abi.registers.RING``."""

    def __init__(self) -> None:
        super().__init__(
            {
                "enable": Out(1),
                "start": Out(1),  # for one cycle before ``enable`` rises: the ring begins anew
                "descriptor_base": Out(64),
                "descriptor_mask": Out(24),
                "data_base": Out(64),
                "data_mask": Out(SLOT_BITS),
                "descriptor_tail": Out(32),
                "data_tail": Out(SLOT_BITS),
                "filter_ports": Out(4),
                "filter_protocols": Out(16),
                "filter_verdicts": Out(16),
                "sample": Out(16),
                "snap_length": Out(LENGTH_BITS),
                "bare_plain": Out(1),  # plain segments come as descriptors only
                "spread_count": Out(7),
                "spread_index": Out(7),
                "reports": Out(1),  # reports of statistics are for this ring
                "attempts": Out(1),  # so are reports of attempts that nobody answered
                "raw_syns": Out(1),  # SYNs that wait or end in SYN offload are for it as they come, not afterwards
                "crossings": Out(1),  # so are packets that cross a threshold, whatever it filters or samples
            }
        )


def copy_shape(profile: Profile) -> data.StructLayout:
    """One packet for one ring, with its place in the data ring."""
    return data.StructLayout(
        {
            "meta": PacketMeta,
            "ring": range(profile.rings),
            "captured": LENGTH_BITS,  # bytes of the frame to deliver
            "bare": 1,  # none: the descriptor goes alone, without slot and tag
            "plain": 1,  # so it does, and tells all of a plain TCP segment instead of losses and the flow hash
            "slot": SLOT_BITS,  # where in the data ring
            "lost": 32,  # packets this ring lost since its last one
            "last": 1,  # no other ring takes this packet after this one
        }
    )


def report_frame(profile: Profile) -> data.StructLayout:
    """A report to be dispatched: its place, and what is known of it."""
    return data.StructLayout({"cell": report_cell(profile), "info": FrameInfo})


def report_cell(profile: Profile) -> int:
    """Bits of a report's place: among those of its content, and above that the content."""
    return exact_log2(profile.report_frames) + 1


def ask_shape(profile: Profile) -> data.StructLayout:
    """Bytes to read: of the packet store, or of the reports (``cell`` is the place)."""
    return data.StructLayout({"frame": read_shape(profile), "report": 1})


def ring_events(profile: Profile) -> data.StructLayout:
    """Packets passed over or lost, a bit a ring."""
    return data.StructLayout({"sampled_out": profile.rings, "lost": profile.rings})


class SelectFates(data.Struct):
    """A packet that goes to no ring, or has already been to some (``delivered``); at most one bit a cycle."""

    delivered: 1
    offloaded: 1
    filtered: 1
    sampled_out: 1
    ring_full: 1
    congested: 1
