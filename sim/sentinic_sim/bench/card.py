"""What the card does in a cycle, and how fast it is simulated."""

import time
from statistics import median
from typing import Any

from sentinic.abi.profiles import Profile
from sentinic.driver.device import Device
from sentinic_sim.bench.table import Table, best
from sentinic_sim.bench.traffic import WIRE_BITS, minimum_frames
from sentinic_sim.native import NativeTransport

#: Cycles that the model is clocked for, to see what it costs by itself.
ALONE_CYCLES = 200_000
#: How often each speed is measured, in turns with the others.
ROUNDS = 6


def native(device: Device) -> NativeTransport:
    transport = device.transport
    assert isinstance(transport, NativeTransport)
    return transport


def send(
    device: Device, batch: Any, *, deliver: bool, snap_length: int | None = None
) -> tuple[dict[str, int], float, Any, Any]:
    """Send ``batch`` whole, with one ring large enough or none; counters, seconds, harness figures before and after."""
    transport = native(device)
    if deliver:
        slots = 2 * len(batch)
        ring = device.open_ring(0, descriptors=_power(len(batch) + 64), data_bytes=_power(64 * slots + (1 << 18)))
        if snap_length is not None:
            ring.registers.write("snap_length", snap_length)
        ring.enable()
    device.set_pause(True)
    device.enable()
    before = transport.stats()
    started = time.perf_counter()
    transport.send(batch)
    transport.step()
    seconds = time.perf_counter() - started
    after = transport.stats()
    while (counters := device.snapshot())["held"]:
        transport.clock(1000)
    return counters, seconds, before, after


def _power(value: int) -> int:
    return 1 << (value - 1).bit_length()


def card_figures(table: Table, profile: Profile, frames: int) -> None:
    """Line rate, bus, and the simulation's speed."""
    name = profile.name
    gigabit = "below 42 (1 Gbit/s)"
    for flows in (1, frames):
        with Device.open("native", name) as device:
            counters, *_ = send(device, minimum_frames(frames, flows), deliver=False)
            assert counters["filtered"] == frames, counters
            cycles = counters["ingress.busy_cycles"] + counters["ingress.stall_cycles"]
            table.add(
                f"{name}: 64-byte frames filtered, {'one flow' if flows == 1 else 'all flows different'}",
                cycles / frames,
                "cycles/frame",
                f"{frames:,} frames back to back",
                want="1" if name == "wide" else gigabit,
            )
    with Device.open("native", name) as device:
        counters, _, before, after = send(device, minimum_frames(frames, 1000), deliver=True)
        assert counters["delivered"] == frames, counters
    span = after.w_last - after.w_first + 1
    table.add(
        f"{name}: DMA bus busy, all delivered",
        100 * (after.w_beats - before.w_beats) / span,
        "%",
        f"{frames:,} frames",
        want="95" if name == "wide" else "",
    )
    table.add(
        f"{name}: 64-byte frames delivered",
        span / frames,
        "cycles/frame",
        f"{frames:,} frames back to back",
        want="" if name == "wide" else gigabit,
    )
    table.add(
        f"{name}: at its clock, 64-byte frames delivered",
        profile.clock_hz * frames / span * WIRE_BITS / 1e9,
        "Gbit/s of wire",
        f"{profile.clock_hz / 1e6:g} MHz",
        want="" if name == "wide" else "1",
    )
    descriptors_only(table, profile, frames)
    simulation(table, profile, frames)


def descriptors_only(table: Table, profile: Profile, frames: int) -> None:
    """A ring with snap length 0: a descriptor a frame, and no bytes."""
    with Device.open("native", profile.name) as device:
        counters, _, before, after = send(device, minimum_frames(frames, 1000), deliver=True, snap_length=0)
    assert counters["delivered"] == frames, counters
    assert counters["dma_data_beats"] == 0, counters
    span, beats = after.w_last - after.w_first + 1, after.w_beats - before.w_beats
    wide = profile.name == "wide"
    table.add(
        f"{profile.name}: 64-byte frames, descriptors only, all delivered",
        span / frames,
        "cycles/frame",
        f"{frames:,} frames back to back",
        want="1" if wide else "",
    )
    table.add(
        f"{profile.name}: DMA bus busy, descriptors only",
        100 * beats / span,
        "%",
        f"{frames:,} frames, {beats:,} beats",
        want="95" if wide else "",
    )


def simulation(table: Table, profile: Profile, frames: int) -> None:
    """The harness against the same model with constant inputs: with nothing to do, and with a beat in every cycle.

    The machine changes its speed from second to second, so one is measured right after the other, and compared with it.
    """
    name = profile.name
    batch = minimum_frames(frames, 1000)
    one = batch.data[: min(int(batch.length[0]), profile.beat_bytes)].tobytes()
    speeds: dict[str, list[float]] = {"idle": [], "offered": [], "filtering": [], "delivering": []}
    for _ in range(ROUNDS):
        with Device.open("native", name) as device:
            _, seconds, before, after = send(device, batch, deliver=False)
            speeds["filtering"].append((after.cycles - before.cycles) / seconds)
            transport = native(device)
            for kind, frame in (("idle", b""), ("offered", one)):
                speeds[kind].append(ALONE_CYCLES / best(lambda f=frame, t=transport: t.clock(ALONE_CYCLES, f), 1))
        with Device.open("native", name) as device:
            _, seconds, before, after = send(device, batch, deliver=True)
            speeds["delivering"].append((after.cycles - before.cycles) / seconds)
    fastest = {kind: max(values) for kind, values in speeds.items()}
    alone = f"{ALONE_CYCLES:,} cycles, best of {ROUNDS}"
    table.add(f"{name}: model alone, nothing to do", fastest["idle"], "cycles/s", alone)
    table.add(f"{name}: model alone, a first beat offered in every cycle", fastest["offered"], "cycles/s", alone)
    for kind in ("filtering", "delivering"):
        table.add(f"{name}: simulated, {kind}", fastest[kind], "cycles/s", f"{frames:,} frames, best of {ROUNDS}")
    table.add(
        f"{name}: simulated, filtering, of the model alone and as busy",
        100 * median(one / other for one, other in zip(speeds["filtering"], speeds["offered"], strict=True)),
        "%",
        f"cycles/s against constant inputs that offer a beat in every cycle, median of {ROUNDS} pairs",
        want="80",
    )
    table.add(
        f"{name}: simulated, delivering, of the model alone and idle",
        100 * fastest["delivering"] / fastest["idle"],
        "%",
        "cycles/s against constant inputs and nothing to do",
    )
