"""The host's side: whole commands, flow records, building the model."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sentinic.abi.profiles import PROFILES
from sentinic.capture import CaptureWriter
from sentinic.driver.device import Device
from sentinic.driver.ring import MIN_DATA_BYTES
from sentinic_sim.bench.card import native
from sentinic_sim.bench.table import Table, best
from sentinic_sim.bench.traffic import minimum_frames
from sentinic_sim.build import build_model

#: Frames captured on a Pentium 4 by PF_RING in its authors' paper, a second.
PF_RING_2004 = 550_789


def host_figures(table: Table, frames: int) -> None:
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
        table.add("sentinic run, cached, one frame", best(command(one, "conn"), 3), "s", "start to end", want="below 2")
        seconds = best(command(capture, "conn"), 2)
        table.add(
            "sentinic run --write conn",
            frames / seconds,
            "frames/s",
            f"{frames:,} 64-byte frames, 1,000 flows, start to end",
            want="300,000",
        )


def flow_figures(table: Table, descriptors: int) -> None:
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
        table.add(
            f"ring to flow records, {flows:,} flows",
            descriptors / seconds,
            "descriptors/s",
            f"{descriptors:,} descriptors, one core",
            want="10,000,000",
        )


def captured_flows(table: Table, frames: int) -> None:
    """Frames through the simulated card and out of a ring of descriptors only into flow records, all in one thread."""
    from sentinic.monitor.flows import FlowMeter

    batch = minimum_frames(frames, 1000)
    fastest = 0.0
    for _ in range(3):
        with Device.open("native", "wide") as device:
            ring = device.open_ring(0, descriptors=1 << 18, data_bytes=MIN_DATA_BYTES)
            ring.registers.write("snap_length", 0)
            ring.enable()
            device.set_pause(True)
            device.enable()
            transport, meter = native(device), FlowMeter()
            started, seen = time.perf_counter(), 0
            for first in range(0, frames, 1 << 16):
                transport.send(batch[first : first + (1 << 16)])
                transport.step()
                while len(rows := ring.poll(1 << 16)[0]):
                    meter.update(rows)
                    seen += len(rows)
                    ring.release(len(rows))
                ring.forward()
            fastest = max(fastest, frames / (time.perf_counter() - started))
            assert seen == frames == int(meter.records()["packets"].sum()), (seen, frames)
    table.add(
        "wide, simulated: frames to flow records",
        fastest,
        "frames/s",
        f"{frames:,} 64-byte frames, 1,000 flows, all delivered as descriptors only, best of 3",
        want=f"{PF_RING_2004:,}",
    )


def build_figures(table: Table) -> None:
    """The model of each profile, from clean."""
    for profile in PROFILES:
        started = time.perf_counter()
        build_model(profile, rebuild=True)
        table.add(f"{profile}: building the model from clean", time.perf_counter() - started, "s", "", want="below 60")
