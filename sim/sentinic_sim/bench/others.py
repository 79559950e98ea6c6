"""What others make of the same frames: cocotbext-axi as the simulation's surroundings, flow meters as the monitor."""

import importlib.metadata
import importlib.util
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from sentinic.capture import CaptureWriter
from sentinic.driver.device import Device
from sentinic.errors import SentinicError
from sentinic_sim.bench.card import send
from sentinic_sim.bench.table import Table
from sentinic_sim.bench.traffic import minimum_frames

FLOWS = 1000


def cocotb_figures(table: Table, profile: str, frames: int) -> None:
    """The same frames, all delivered, under cocotb with cocotbext-axi and under the native harness."""
    batch = minimum_frames(frames, FLOWS)
    try:
        with Device.open("cocotb", profile) as device:
            device.open_ring(0).enable()
            device.set_pause(True)  # all of them, whatever the bus is behind
            device.enable()
            started = time.perf_counter()
            device.transport.send(batch)
            device.transport.step()
            while (counters := device.snapshot())["held"]:
                device.transport.step()
            slow = frames / (time.perf_counter() - started)
            assert counters["delivered"] == frames, counters
    except SentinicError as error:
        table.note(f"{profile}: simulated under cocotb", str(error).splitlines()[0])
        return
    many = minimum_frames(100_000, FLOWS)
    fast = 0.0
    for _ in range(3):
        with Device.open("native", profile) as device:
            _, seconds, _, _ = send(device, many, deliver=True)
            fast = max(fast, len(many) / seconds)
    table.add(
        f"{profile}: simulated under cocotb, cocotbext-axi", slow, "frames/s", f"{frames:,} frames, all delivered"
    )
    table.add(
        f"{profile}: simulated natively, of that",
        fast / slow,
        "times",
        f"{fast:,.0f} frames/s on {len(many):,} of the same frames, best of 3",
        want="200",
    )


def meter_figures(table: Table, frames: int) -> None:
    """Other flow meters on a capture of the bench's frames, of a thousand flows and of a million."""
    for flows in (FLOWS, 1_000_000):
        with tempfile.TemporaryDirectory() as folder:
            capture = Path(folder) / "minimum.pcapng"
            with CaptureWriter(capture) as writer:
                writer.write_batch(minimum_frames(frames, flows))
            _softflowd(table, capture, frames, flows, folder)
            _nfstream(table, capture, frames, flows)
            _dpkt(table, capture, frames, flows)


def _softflowd(table: Table, capture: Path, frames: int, flows: int, folder: str) -> None:
    program = shutil.which("softflowd") or shutil.which("softflowd", path="/usr/sbin")
    if program is None:
        table.note("softflowd", "not installed (Debian: softflowd)")
        return
    # Left to itself, it keeps 8,192 flows and forgets others.
    command = [program, "-r", str(capture), "-d", "-c", "none", "-p", f"{folder}/pid", "-m", str(2 * flows)]
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=300)
    table.add(
        f"softflowd: capture to flow records, {flows:,} flows",
        frames / (time.perf_counter() - started),
        "packets/s",
        f"{frames:,} 64-byte frames, start to end",
    )


def _nfstream(table: Table, capture: Path, frames: int, flows: int) -> None:
    if importlib.util.find_spec("nfstream") is None:
        table.note("nfstream", "not installed (PyPI: nfstream)")
        return
    from nfstream import NFStreamer

    started = time.perf_counter()
    records = list(NFStreamer(source=str(capture), n_dissections=0, accounting_mode=0))
    seconds = time.perf_counter() - started
    assert sum(record.bidirectional_packets for record in records) == frames
    version = importlib.metadata.version("nfstream")
    table.add(
        f"nfstream {version}: capture to flow records, {flows:,} flows",
        frames / seconds,
        "packets/s",
        f"{frames:,} 64-byte frames, no dissection",
    )


def _dpkt(table: Table, capture: Path, frames: int, flows: int) -> None:
    if importlib.util.find_spec("dpkt") is None:
        table.note("dpkt", "not installed (PyPI: dpkt)")
        return
    import dpkt

    seen_flows: dict[tuple[bytes, bytes, int, int], list[float]] = {}
    started = time.perf_counter()
    with capture.open("rb") as file:
        for seen, frame in dpkt.pcapng.Reader(file):
            packet = dpkt.ethernet.Ethernet(frame).data
            segment = packet.data
            flow = seen_flows.setdefault((packet.src, packet.dst, segment.sport, segment.dport), [0, 0, seen, seen])
            flow[0] += 1
            flow[1] += len(frame)
            flow[3] = seen
    seconds = time.perf_counter() - started
    assert sum(flow[0] for flow in seen_flows.values()) == frames
    table.add(
        f"dpkt {importlib.metadata.version('dpkt')}: capture to flow records, {flows:,} flows",
        frames / seconds,
        "packets/s",
        f"{frames:,} 64-byte frames, a dictionary in Python",
    )
