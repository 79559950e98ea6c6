"""``make bench``: how fast the card is, in cycles, and how fast it is simulated, in seconds.

Cycles come from the card's own counters and the harness's probe, and do not depend on the machine.  Seconds do: they
are the best of a few runs.  Each figure says what it was measured on.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sentinic.abi.profiles import PROFILES, Profile
from sentinic.abi.registers import RING
from sentinic.capture import CaptureWriter
from sentinic.driver.device import Device
from sentinic.driver.frames import FrameBatch
from sentinic_sim.native import LatencyProbe, NativeTransport

#: 64 bytes on the wire are 60 without the frame check sequence, and 20 of preamble and gap follow.
FRAME_BYTES = 60
WIRE_BITS = 8 * 84
#: Ethernet, IPv4 and TCP, checksums to be put in, and six bytes of payload.
_TCP_FRAME = bytes.fromhex(
    """
    020000000001 020000000002 0800
    4500002e 00004000 40060000 0a000001 c0000201
    1f900050 00000001 00000000 50100200 00000000
    000000000000
    """
)


def minimum_frames(count: int, flows: int, *, ports: int = 1) -> FrameBatch:
    """``count`` TCP frames of 64 bytes in ``flows`` flows, checksums right, back to back at 100 Gbit/s."""
    rows = np.tile(np.frombuffer(_TCP_FRAME, np.uint8), (count, 1))
    flow = np.arange(count) % flows
    rows[:, 27] = flow >> 16 & 0xFF
    rows[:, 28] = flow >> 8 & 0xFF
    rows[:, 29] = flow & 0xFF
    rows[:, 24:26] = _checksum(rows[:, 14:34])
    segment = np.zeros((count, 12 + 26), np.uint8)
    segment[:, 0:8] = rows[:, 26:34]
    segment[:, 9], segment[:, 11] = 6, 26
    segment[:, 12:] = rows[:, 34:60]
    rows[:, 50:52] = _checksum(segment)
    return FrameBatch(
        data=rows.reshape(-1),
        offset=np.arange(count, dtype=np.int64) * FRAME_BYTES,
        length=np.full(count, FRAME_BYTES, np.uint32),
        wire_length=np.full(count, FRAME_BYTES, np.uint32),
        timestamp=1_700_000_000_000_000_000 + np.arange(count, dtype=np.uint64) * 7,
        port=(np.arange(count) % ports).astype(np.uint8),
        error=np.zeros(count, np.uint8),
    )


def _checksum(rows: np.ndarray) -> np.ndarray:
    """The Internet checksum (RFC 1071) of each row, as two bytes."""
    words = rows.reshape(len(rows), -1, 2).astype(np.uint32)
    total = (words[:, :, 0] << 8 | words[:, :, 1]).sum(axis=1)
    for _ in range(2):
        total = (total & 0xFFFF) + (total >> 16)
    inverse = ~total & 0xFFFF
    return np.stack([inverse >> 8, inverse & 0xFF], axis=1).astype(np.uint8)


class Bench:
    """The figures so far; each is printed when it is there."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, value: float, unit: str, how: str, *, want: str = "") -> None:
        self.rows.append({"name": name, "value": round(value, 4), "unit": unit, "goal": want, "measured": how})
        shown = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
        print(f"{name:58} {shown:>12} {unit:14} {want:>22}   {how}", flush=True)


def traffic(device: Device, batch: FrameBatch, *, deliver: bool) -> tuple[dict[str, int], float, Any, Any]:
    """Send ``batch`` whole, with one ring large enough or none; counters, seconds, harness figures before and after."""
    transport = device.transport
    assert isinstance(transport, NativeTransport)
    if deliver:
        slots = 2 * len(batch)
        device.open_ring(0, descriptors=_power(len(batch) + 64), data_bytes=_power(64 * slots + (1 << 18))).enable()
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


def card_figures(bench: Bench, profile: Profile, frames: int) -> None:
    """Line rate, bus and latency of one profile."""
    name = profile.name
    for flows in (1, frames):
        with Device.open("native", name) as device:
            counters, seconds, before, after = traffic(device, minimum_frames(frames, flows), deliver=False)
            assert counters["filtered"] == frames, counters
            cycles = counters["ingress.busy_cycles"] + counters["ingress.stall_cycles"]
            what = "one flow" if flows == 1 else "all flows different"
            goal = "1" if name == "wide" else "below 42 (1 Gbit/s)"
            bench.add(
                f"{name}: 64-byte frames filtered, {what}",
                cycles / frames,
                "cycles/frame",
                f"{frames:,} frames",
                want=goal,
            )
            simulated = (after.cycles - before.cycles) / seconds
            if flows != 1:
                bench.add(f"{name}: simulated, filtering", simulated, "cycles/s", f"{frames:,} frames")
                transport = device.transport
                assert isinstance(transport, NativeTransport)
                started = time.perf_counter()
                transport.clock(200_000)
                idle = 200_000 / (time.perf_counter() - started)
                bench.add(
                    f"{name}: the model clocked with constant inputs", idle, "cycles/s", "200,000 cycles, nothing to do"
                )
    with Device.open("native", name) as device:
        counters, seconds, before, after = traffic(device, minimum_frames(frames, 1000), deliver=True)
        assert counters["delivered"] == frames, counters
        span = after.w_last - after.w_first + 1
        bench.add(
            f"{name}: DMA bus busy, all delivered",
            100 * (after.w_beats - before.w_beats) / span,
            "%",
            f"{frames:,} frames",
            want="95" if name == "wide" else "",
        )
        per_frame = span / frames
        bench.add(
            f"{name}: 64-byte frames delivered",
            per_frame,
            "cycles/frame",
            f"{frames:,} frames",
            want="" if name == "wide" else "below 42 (1 Gbit/s)",
        )
        bench.add(
            f"{name}: at its clock, 64-byte frames delivered",
            profile.clock_hz / per_frame * WIRE_BITS / 1e9,
            "Gbit/s of wire",
            f"{profile.clock_hz / 1e6:g} MHz",
            want="" if name == "wide" else "1",
        )
        bench.add(f"{name}: simulated, delivering", frames / seconds, "frames/s", f"{frames:,} frames")
    latency(bench, profile)


def latency(bench: Bench, profile: Profile) -> None:
    """From a frame's last beat to its descriptor in memory: alone in the card, and under load."""
    frames = 1000
    probe = LatencyProbe(frames + 8)
    with Device.open("native", profile.name) as device:
        transport = device.transport
        assert isinstance(transport, NativeTransport)
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
        bench.add(
            f"{profile.name}: latency, empty card, 64-byte frame",
            max(alone),
            "cycles",
            "50 frames, each alone; the longest",
            want="below 64" if profile.name == "wide" else "",
        )
        probe.clear()
        transport.send(batch)
        transport.step()
        spent = probe.descriptor_cycles[:frames] - probe.frame_cycles[:frames]
        for share in (50, 99, 100):
            bench.add(
                f"{profile.name}: latency under load, {share} %",
                float(np.percentile(spent, share)),
                "cycles",
                f"{frames:,} frames back to back, all delivered",
            )


def _watched_ring(transport: NativeTransport) -> None:
    """Ring 0, opened by hand so that the probe sees its descriptors being written."""
    descriptors = transport.alloc("watched", 64 * 4096, watch=True, limit=0)
    data = transport.alloc("watched-data", 1 << 20, limit=0)
    values = {
        "descriptor_base_low": descriptors.bus_address & 0xFFFFFFFF,
        "descriptor_base_high": descriptors.bus_address >> 32,
        "descriptor_mask": 4095,
        "data_base_low": data.bus_address & 0xFFFFFFFF,
        "data_base_high": data.bus_address >> 32,
        "data_mask": (1 << 20) // 64 - 1,
        "control": 1,
    }
    for name, value in values.items():
        transport.write(RING.address(name, 0), value)


def host_figures(bench: Bench, frames: int) -> None:
    """The whole command on a capture, as a user starts it."""
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "minimum.pcapng"
        with CaptureWriter(capture) as writer:
            writer.write_batch(minimum_frames(frames, 1000))
        one = Path(folder) / "one.pcapng"
        with CaptureWriter(one) as writer:
            writer.write_batch(minimum_frames(1, 1))

        def command(path: Path, outputs: str) -> Callable[[], None]:
            line = [
                sys.executable,
                "-m",
                "sentinic",
                "run",
                str(path),
                "--out",
                str(Path(folder) / "out"),
                "--write",
                outputs,
                "-q",
            ]
            return lambda: (
                subprocess.run(line, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) and None
            )

        best(command(one, "conn"), 1)
        bench.add("sentinic run, cached, one frame", best(command(one, "conn"), 3), "s", "start to end", want="below 2")
        seconds = best(command(capture, "conn"), 2)
        bench.add(
            "sentinic run --write conn",
            frames / seconds,
            "frames/s",
            f"{frames:,} 64-byte frames, 1,000 flows, start to end",
            want="300,000",
        )


def flow_figures(bench: Bench, descriptors: int) -> None:
    """Ring to exact flow records on one core."""
    from sentinic.driver.records import DESCRIPTOR_DTYPE
    from sentinic.monitor.flows import FlowMeter

    for flows in (1000, 1_000_000):
        rows = np.zeros(descriptors, DESCRIPTOR_DTYPE)
        flow = np.random.default_rng(1).permutation(descriptors) % flows
        rows["source"][:, 12:] = flow.astype(">u4").view(np.uint8).reshape(-1, 4)
        rows["destination"][:, 15] = 7
        rows["protocol"], rows["ip_length"], rows["wire_length"] = 6, 46, 60
        rows["timestamp"] = np.arange(descriptors)
        FlowMeter().update(rows[:16])

        def work(rows: Any = rows) -> None:
            FlowMeter().update(rows)

        seconds = best(work, 3)
        bench.add(
            f"ring to flow records, {flows:,} flows",
            descriptors / seconds,
            "descriptors/s",
            f"{descriptors:,} descriptors, one core",
            want="10,000,000",
        )


def best(work: Callable[[], None], times: int) -> float:
    """The shortest of several runs, in seconds."""
    spent = []
    for _ in range(times):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return min(spent)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sentinic_sim.bench", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    parser.add_argument(
        "--frames", type=int, default=200_000, help="frames for the card's figures (default: %(default)s)"
    )
    parser.add_argument("--only", choices=["card", "host", "flows"], action="append")
    options = parser.parse_args(arguments)
    only = options.only or ["card", "host", "flows"]
    bench = Bench()
    if "card" in only:
        for profile in PROFILES.values():
            card_figures(bench, profile, options.frames if profile.name == "wide" else options.frames // 10)
    if "flows" in only:
        flow_figures(bench, 2_000_000)
    if "host" in only:
        host_figures(bench, 1_000_000)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps({"machine": platform.processor() or platform.machine(), "figures": bench.rows}, indent=2) + "\n"
    )
    print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
