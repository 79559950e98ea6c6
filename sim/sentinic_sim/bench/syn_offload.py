"""What SYN offload does in a cycle, when every attempt makes room for another."""

import numpy as np

from sentinic.abi.profiles import Profile
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.driver.syn_offload import Mode, SynOffload, attempts_of
from sentinic_sim.bench.table import Table
from sentinic_sim.bench.traffic import minimum_frames

#: A ring for all of them.
_DESCRIPTORS, _DATA_BYTES = 1 << 18, 1 << 28


def syn_offload_figures(table: Table, profile: Profile, frames: int) -> None:
    """Cycles a SYN, with the hash as it is and with one that tells nothing; and a packet of a flow."""
    if not profile.attempts:
        return
    for what, flows, secret in (
        ("SYNs of as many attempts", frames, None),
        ("SYNs of as many attempts, all in one set", frames, 0),
        ("packets of one flow", 1, None),
    ):
        with Device.open("native", profile.name) as device:
            ring = device.open_ring(0, descriptors=_DESCRIPTORS, data_bytes=_DATA_BYTES)
            ring.registers.write("filter_ports", 0)
            ring.enable()
            offload = SynOffload(device, secret=secret)
            offload.to_ring(ring)
            offload.enable(mode=Mode.COMPACT)
            # What is not for this rate must wait; what is loses what the bus cannot carry, and counts it.
            device.set_pause(profile.folded_syn_offload)
            device.enable()
            before = device.snapshot()
            batch = minimum_frames(frames, flows)
            device.transport.send(as_syns(batch) if flows > 1 else batch)
            device.transport.step()
            while (counters := device.snapshot())["held"] > offload.holding:
                device.transport.step()
            check_conservation(counters)
            told = attempts_of(counters, profile)
            cycles = sum(
                counters[f"ingress.{kind}_cycles"] - before[f"ingress.{kind}_cycles"] for kind in ("busy", "stall")
            )
        assert counters["received"] == frames
        assert told["attempts"] == (frames if flows > 1 else 0)
        table.add(
            f"{profile.name}: SYN offload, 64-byte frames, {what}",
            cycles / frames,
            "cycles/frame",
            f"{frames:,} frames back to back, as records; {told['evicted']:,} made room, "
            f"{told['unreported']:,} of them found none in reports",
        )


def as_syns(batch: FrameBatch) -> FrameBatch:
    """The same segments as SYNs without payload: the IP packet ends before it, and both checksums follow."""
    rows = batch.data.reshape(len(batch.offset), -1).copy()
    length_less, flags_more = 6, 0x02 - 0x10
    rows[:, 17] -= length_less
    rows[:, 47] = 0x02
    _add(rows, 24, length_less)
    # The pseudo header has the length, too.
    _add(rows, 50, length_less - flags_more)
    return FrameBatch(
        data=rows.reshape(-1),
        offset=batch.offset,
        length=batch.length,
        wire_length=batch.wire_length,
        timestamp=batch.timestamp,
        port=batch.port,
        error=batch.error,
    )


def _add(rows: np.ndarray, at: int, value: int) -> None:
    """Add to a checksum what its words have lost (RFC 1624)."""
    total = (rows[:, at].astype(np.uint32) << 8 | rows[:, at + 1]) + value
    total = (total & 0xFFFF) + (total >> 16)
    rows[:, at], rows[:, at + 1] = total >> 8, total & 0xFF
