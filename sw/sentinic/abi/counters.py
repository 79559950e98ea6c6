"""Every counter of the card, in the order of the snapshot.

At any snapshot::

    received = delivered + held + offloaded + filtered + sampled_out + sum of dropped_*
"""

from dataclasses import dataclass

from sentinic.abi.profiles import Profile


@dataclass(frozen=True)
class Counter:
    name: str
    unit: str
    doc: str


CARD: tuple[Counter, ...] = (
    Counter("cycles", "cycles", "clock cycles since reset"),
    Counter("received", "packets", "frames whose last byte came in, whatever became of them"),
    Counter("held", "packets", "frames inside the card now"),
    Counter("delivered", "packets", "frames written to at least one ring"),
    Counter("offloaded", "packets", "frames that a stage took over"),
    Counter("filtered", "packets", "frames that no ring's filter wanted"),
    Counter("sampled_out", "packets", "frames wanted by some ring, passed over by sampling in each"),
    Counter("dropped_runt", "packets", "dropped: shorter than an Ethernet header"),
    Counter("dropped_oversize", "packets", "dropped: longer than the longest frame"),
    Counter("dropped_error", "packets", "dropped: marked bad by the MAC (FCS, alignment)"),
    Counter("dropped_overflow", "packets", "dropped: the port's frame buffer was full"),
    Counter("dropped_ring_full", "packets", "dropped: every ring that wanted it was full or faulted"),
    Counter("dropped_congested", "packets", "dropped: the DMA bus could not carry it"),
    Counter("dropped_dma_error", "packets", "dropped: every write of it was answered with an error"),
    Counter("malformed", "packets", "frames delivered on with a parse error"),
    Counter("extension_depth", "packets", "frames with more extension headers than the parser follows"),
    Counter("network_checksum_bad", "packets", "frames with a wrong IPv4 header checksum"),
    Counter("transport_checksum_bad", "packets", "frames with a wrong transport checksum"),
    Counter("stage_packets", "packets", "packets that left the last stage"),
    Counter("dma_data_beats", "beats", "beats of packet bytes on the DMA bus"),
    Counter("dma_descriptor_beats", "beats", "beats of descriptors on the DMA bus"),
    Counter("dma_errors", "responses", "write responses other than OKAY"),
    Counter("interrupts", "interrupts", "times the interrupt line rose"),
    Counter("reports", "reports", "reports written to at least one ring; they are no packets"),
    Counter("reports_lost", "reports", "reports that no ring was there for, or that no ring got"),
)
#: Card counters that are drops: the reasons of C3.
DROP_REASONS: tuple[str, ...] = tuple(c.name for c in CARD if c.name.startswith("dropped_"))
#: Card counters that say where a received frame is or went.
FATES: tuple[str, ...] = ("delivered", "held", "offloaded", "filtered", "sampled_out", *DROP_REASONS)

PORT: tuple[Counter, ...] = (
    Counter("received", "packets", "frames whose last byte came in at this port"),
    Counter(
        "received_bytes",
        "bytes",
        "bytes of those frames, without FCS; an oversize frame counts as at most the longest one and a beat",
    ),
    Counter("dropped", "packets", "frames dropped at this port"),
)
#: Of each port, in a build with SYN offload.
ATTEMPTS: tuple[Counter, ...] = (
    Counter("attempts", "packets", "SYNs held"),
    Counter("attempts_again", "packets", "SYNs that were held already; offloaded, if no ring wants them raw"),
    Counter("attempts_uncopied", "packets", "SYNs held that came too fast for the rings that want raw SYNs"),
    Counter("attempts_answered", "packets", "held SYNs given back: the responder sent something"),
    Counter("attempts_refused", "packets", "held SYNs given back: the responder sent a RST"),
    Counter("attempts_unreachable", "packets", "held SYNs given back: an ICMP or ICMPv6 error quoted them"),
    Counter("attempts_interrupted", "packets", "held SYNs given back: the originator sent something else"),
    Counter("attempts_superseded", "packets", "held SYNs given back, or ended: the originator began anew"),
    Counter("attempts_expired", "packets", "held SYNs given back, or ended: nobody answered in time"),
    Counter("attempts_evicted", "packets", "held SYNs given back, or ended: the table was full"),
    Counter("attempts_recorded", "packets", "of the last three, those that went into a report"),
    Counter(
        "attempts_unreported",
        "packets",
        "of the last three, those that no ring got though one wanted them, and those that found no room in a report",
    ),
)
WATCH: tuple[Counter, ...] = (
    Counter("busy_cycles", "cycles", "cycles in which the block's input moved"),
    Counter("stall_cycles", "cycles", "cycles in which the block's input waited for it"),
)
RING: tuple[Counter, ...] = (
    Counter("delivered", "packets", "packets written to this ring"),
    Counter("delivered_bytes", "bytes", "captured bytes of those packets"),
    Counter("sampled_out", "packets", "packets passed over by this ring's sampling"),
    Counter("lost", "packets", "packets this ring wanted and could not take"),
    Counter("errors", "packets", "packets whose write was answered with an error"),
)


def watched(profile: Profile) -> tuple[str, ...]:
    """Blocks of a build whose streams are watched, in the order that packets meet them; among them its stages."""
    return ("ingress", "parser", *profile.stages, "dispatch", "dma")


def counter_names(profile: Profile) -> list[str]:
    """Names of the counters of a build, in snapshot order: ``received``, ``port0.received``, ``ring3.lost``."""
    return [name for name, _ in counter_table(profile)]


def counter_table(profile: Profile) -> list[tuple[str, Counter]]:
    """Name and definition of each counter of a build, in snapshot order."""
    table = [(c.name, c) for c in CARD]
    table += [(f"port{n}.{c.name}", c) for n in range(profile.ports) for c in PORT]
    if profile.attempts:
        table += [(f"port{n}.{c.name}", c) for n in range(profile.ports) for c in ATTEMPTS]
    table += [(f"{block}.{c.name}", c) for block in watched(profile) for c in WATCH]
    table += [(f"ring{n}.{c.name}", c) for n in range(profile.rings) for c in RING]
    return table
