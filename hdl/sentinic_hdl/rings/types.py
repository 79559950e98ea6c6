"""What travels between the parts of dispatch."""

from amaranth.lib import data

from sentinic.abi.profiles import Profile
from sentinic_hdl.meta import LENGTH_BITS, PacketMeta
from sentinic_hdl.store import read_shape

#: The data ring is counted in slots of 64 bytes.
SLOT_BITS = 26


class RingConfig(data.Struct):
    """The registers of one ring; see ``sentinic.abi.registers.RING``."""

    enable: 1
    start: 1  # for one cycle before ``enable`` rises: the ring begins anew
    descriptor_base: 64
    descriptor_mask: 24
    data_base: 64
    data_mask: SLOT_BITS
    descriptor_tail: 32
    data_tail: SLOT_BITS
    filter_ports: 4
    filter_protocols: 16
    filter_verdicts: 16
    sample: 16
    snap_length: LENGTH_BITS
    spread_count: 7
    spread_index: 7
    reports: 1  # reports of statistics are for this ring
    crossings: 1  # so are packets that cross a threshold, whatever it filters or samples


def copy_shape(profile: Profile) -> data.StructLayout:
    """One packet for one ring, with its place in the data ring."""
    return data.StructLayout(
        {
            "meta": PacketMeta,
            "ring": range(profile.rings),
            "captured": LENGTH_BITS,  # bytes of the frame to deliver
            "bare": 1,  # none: the descriptor goes alone, without slot and tag
            "slot": SLOT_BITS,  # where in the data ring
            "lost": 32,  # packets this ring lost since its last one
            "last": 1,  # no other ring takes this packet after this one
        }
    )


def ask_shape(profile: Profile) -> data.StructLayout:
    """Bytes to read: of the packet store, or of the reports (``cell`` is the place)."""
    return data.StructLayout({"frame": read_shape(profile), "report": 1})


def ring_events(profile: Profile) -> data.StructLayout:
    """Packets passed over or lost, a bit a ring."""
    return data.StructLayout({"sampled_out": profile.rings, "lost": profile.rings})
