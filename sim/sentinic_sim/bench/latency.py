"""How long frames take through the card: from a frame's last beat to its descriptor in memory."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from sentinic.abi.profiles import Profile
from sentinic.abi.registers import RING
from sentinic.driver.device import Device
from sentinic.driver.frames import FrameBatch
from sentinic.driver.syn_offload import Mode, SynOffload
from sentinic_sim.bench.card import native
from sentinic_sim.bench.syn_offload import as_syns
from sentinic_sim.bench.table import Table
from sentinic_sim.bench.traffic import minimum_frames, padded
from sentinic_sim.native import LatencyProbe, MemoryOptions, NativeTransport

#: Shares of cycles in which a port offers no beat.
IDLE_SHARES = (0.9, 0.75, 0.5)
#: One frame in so many is of the flow whose delay is of interest; the others may be SYNs.
FLOW_SHARE = 8


@dataclass(frozen=True)
class Syns:
    """What comes in beside a flow.

    Parameters
    ----------
    syns: SYNs, each another attempt; else segments
    mode: what SYN offload does, if it is on
    full: it has no room for more attempts, so each SYN makes another leave
    delivered: to a ring of their own; else that ring gets reports only
    """

    syns: bool = True
    mode: Mode | None = None
    full: bool = False
    delivered: bool = False


BESIDE = {
    "segments, filtered": Syns(syns=False),
    "SYNs, held": Syns(mode=Mode.COMPACT),
    "SYNs, each makes another leave as a record": Syns(mode=Mode.COMPACT, full=True),
    "SYNs, each makes another leave as it came": Syns(mode=Mode.SYN, full=True, delivered=True),
    "SYNs, without SYN offload": Syns(delivered=True),
}


def latency(table: Table, profile: Profile) -> None:
    """From a frame's last beat to its descriptor in memory: alone in the card, and under load."""
    frames = 1000
    probe = LatencyProbe(frames + 8)
    with Device.open("native", profile.name) as device:
        transport = native(device)
        _watched_ring(transport)
        device.set_pause(True)
        device.enable()
        transport.attach_probe(probe)
        batch = minimum_frames(frames, frames)
        # The first frame waits for the tables of the hash.
        transport.send(batch[:1])
        transport.step()
        alone = []
        for index in range(50):
            probe.clear()
            transport.send(batch[index : index + 1])
            transport.step()
            assert len(probe.descriptor_cycles) == 1, "every frame is delivered"
            alone.append(int(probe.descriptor_cycles[0] - probe.frame_cycles[0]))
        table.add(
            f"{profile.name}: latency, empty card, 64-byte frame",
            max(alone),
            "cycles",
            "50 frames, each alone; the longest",
            want="below 64" if profile.name == "wide" else "",
        )
        for idle in (*IDLE_SHARES, 0.0):
            transport.configure(MemoryOptions(rx_idle=idle))
            probe.clear()
            transport.send(batch)
            transport.step()
            spent = probe.descriptor_cycles[:frames] - probe.frame_cycles[:frames]
            half, most, all_ = np.percentile(spent.astype(np.int64), (50, 99, 100))
            table.add(
                f"{profile.name}: latency at {100 * (1 - idle):.0f} % of the port's beats, half of the frames",
                float(half),
                "cycles",
                f"{frames:,} 64-byte frames, all delivered; 99 %: {most:.0f}, the longest: {all_:.0f}",
            )


def _watched_ring(transport: NativeTransport) -> None:
    """Ring 0, opened by hand so that the probe sees its descriptors being written."""
    descriptors = transport.alloc("watched", 64 * 8192, watch=True, limit=0)
    data = transport.alloc("watched-data", 1 << 21, limit=0)
    values = {
        "descriptor_base_low": descriptors.bus_address & 0xFFFFFFFF,
        "descriptor_base_high": descriptors.bus_address >> 32,
        "descriptor_mask": 8191,
        "data_base_low": data.bus_address & 0xFFFFFFFF,
        "data_base_high": data.bus_address >> 32,
        "data_mask": (1 << 21) // 64 - 1,
        "control": 1,
    }
    for name, value in values.items():
        transport.write(RING.address(name, 0), value)


def delays_beside_syns(table: Table, profile: Profile, frames: int = 16_384) -> None:
    """How long a flow's packets take while SYNs come in between, beside the same frames that no ring wants.

    A card that takes no frame a cycle has none of this: back to back its ports lose frames, of any kind.
    """
    if not profile.attempts or profile.folded_syn_offload:
        return
    for what, syns in BESIDE.items():
        for beats in (1, 2, 4):
            spent, lost = flow_delays(profile, frames, beats * profile.beat_bytes, syns)
            sent = f"{frames:,} frames back to back, one in {FLOW_SHARE} of the flow"
            if lost:
                value, unit, note = 100 * lost / (frames // FLOW_SHARE), "% lost", sent
            else:
                half, most, all_ = np.percentile(spent, (50, 99, 100))
                value, unit = float(half), "cycles"
                note = f"{sent}; half of these; 99 %: {most:.0f}, the longest: {all_:.0f}"
            table.add(f"{profile.name}: latency of a flow among frames of {beats} beats: {what}", value, unit, note)


def flow_delays(profile: Profile, frames: int, length: int, syns: Syns) -> tuple[npt.NDArray[np.int64], int]:
    """Cycles that each packet of a flow at port 0 takes to ring 0 while other frames, ``length`` bytes each, come in at
    port 1; and how many of the flow's are lost, which leaves nobody knowing how long the others took.
    """
    probe = LatencyProbe(2 * frames)
    with Device.open("native", profile.name) as device:
        transport = native(device)
        _watched_ring(transport)
        transport.write(RING.address("filter_ports", 0), 1)
        others = device.open_ring(1, descriptors=1 << 18, data_bytes=1 << 28)
        others.registers.write("filter_ports", 2 * syns.delivered)
        others.enable()
        device.set_pause(False)
        device.enable()
        # The first frame waits for the tables of the hash.
        warm = profile.attempts if syns.full else 1
        batch = _beside_a_flow(minimum_frames(warm + frames, warm + frames), warm, length, syns=syns.syns)
        if syns.mode:
            offload = SynOffload(device)
            offload.to_ring(others)
            offload.enable(mode=syns.mode)
        transport.send(batch[:warm])
        transport.step()
        device.forward()
        transport.attach_probe(probe)
        transport.send(batch[warm:])
        transport.step()
        of_flow = np.flatnonzero(batch.port[warm:] == 0)
        came = probe.descriptor_cycles.astype(np.int64)
        if len(came) < len(of_flow):
            return came[:0], len(of_flow) - len(came)
        return came - probe.frame_cycles[of_flow].astype(np.int64), 0


def _beside_a_flow(batch: FrameBatch, warm: int, length: int, *, syns: bool) -> FrameBatch:
    """``batch`` with port 1 for all but some of those behind the first ``warm``, which are of one flow.

    The others are ``length`` bytes long, and, where ``syns`` says so, SYNs.
    """
    others = padded(as_syns(batch) if syns else batch, length)
    place = np.arange(len(batch.offset))
    flow = (place >= warm) & (place % FLOW_SHARE == 0)
    data = others.data.reshape(len(place), -1)
    own = int(batch.length[0])
    first = batch.data.reshape(len(place), own)[0]
    data[flow, :own], data[flow, own:] = first, 0
    lengths = np.where(flow, own, others.length).astype(np.uint32)
    port = np.where(flow, 0, 1).astype(np.uint8)
    return replace(others, length=lengths, wire_length=lengths, port=port)
