"""By how much each of the card's counters grows in a cycle."""

from amaranth.hdl import Const, Signal

from sentinic.abi.syn_offload import Reason
from sentinic.abi.verdicts import Checksum, ParseError, Verdict
from sentinic_hdl.meta import LENGTH_BITS


def increments(m, profile, ports, parser, select, writer, interrupt, steps, stage_moved):
    """By how much each counter grows in this cycle; packets are counted once they are surely past a point."""
    headers = parser.o.p.headers
    # When the stages take a packet is known late: what it is, is counted a cycle later.
    parsed = {
        "malformed": headers.verdict == Verdict.MALFORMED,
        "extension_depth": headers.parse_error == ParseError.EXTENSION_DEPTH,
        "network_checksum_bad": headers.network_checksum_bad,
        "transport_checksum_bad": headers.transport_checksum == Checksum.BAD,
    }
    for name, found in parsed.items():
        parsed[name] = Signal(name=f"parsed_{name}")
        m.d.sync += parsed[name].eq(parser.o.valid & parser.o.ready & found)
    good = [
        p.events.received & ~(p.events.runt | p.events.oversize | p.events.error | p.events.overflow) for p in ports
    ]

    def at_ports(name):
        return sum((port.events[name] for port in ports[1:]), ports[0].events[name])

    table = {
        "cycles": Const(1, 1),
        "received": at_ports("received"),
        "held": good[0] + good[1],
        "delivered": (writer.events.delivered & ~writer.events.of_report) + select.fates.delivered,
        "offloaded": select.fates.offloaded,
        "filtered": select.fates.filtered,
        "sampled_out": select.fates.sampled_out,
        "dropped_runt": at_ports("runt"),
        "dropped_oversize": at_ports("oversize"),
        "dropped_error": at_ports("error"),
        "dropped_overflow": at_ports("overflow"),
        "dropped_ring_full": select.fates.ring_full,
        "dropped_congested": select.fates.congested,
        "dropped_dma_error": writer.events.failed & ~writer.events.of_report,
        **parsed,
        "stage_packets": stage_moved,
        "dma_data_beats": writer.events.data_beat,
        "dma_descriptor_beats": writer.events.descriptor_beat,
        "dma_errors": writer.events.response_error,
        "interrupts": interrupt.raised,
    }
    for n, port in enumerate(ports):
        table[f"port{n}.received"] = port.events.received
        table[f"port{n}.received_bytes"] = port.events.length
        table[f"port{n}.dropped"] = port.events.received & ~good[n]
    for name, (valid, ready) in steps.items():
        table[f"{name}.busy_cycles"] = valid & ready
        table[f"{name}.stall_cycles"] = valid & ~ready
    for n in range(profile.rings):
        mine = (writer.events.ring == n) & ~writer.events.of_report
        table[f"ring{n}.delivered"] = writer.events.copy_written & mine
        table[f"ring{n}.delivered_bytes"] = writer.events.captured & (writer.events.copy_written & mine).replicate(
            LENGTH_BITS
        )
        table[f"ring{n}.sampled_out"] = select.ring_events.sampled_out[n]
        table[f"ring{n}.lost"] = select.ring_events.lost[n]
        table[f"ring{n}.errors"] = writer.events.copy_failed & mine
    return table


def attempts(profile, events, select):
    """What became of attempts, for the counters of each port."""
    table = {}
    for n in range(profile.ports):
        came, given = events.port == n, events.given_port == n
        table[f"port{n}.attempts"] = events.hold & came
        table[f"port{n}.attempts_again"] = events.absorb & came
        table[f"port{n}.attempts_uncopied"] = events.uncopied & came
        for reason in Reason:
            if reason is not Reason.NONE:
                table[f"port{n}.attempts_{reason.name.lower()}"] = (events.reason == reason) & given
        ended = events.ended_port == n
        table[f"port{n}.attempts_recorded"] = events.recorded & ended
        table[f"port{n}.attempts_unreported"] = select.unreported[n] + (events.unreported & ended)
    return table
