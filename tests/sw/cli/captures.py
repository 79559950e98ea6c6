"""Captures for the command line's tests, and what they read in its outputs."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import dpkt

from sentinic.cli import main

NOW = 1_700_000_000_000_000_000


def frames(count: int, seed: int = 1) -> list[bytes]:
    """Frames with and without VLAN tags, UDP and TCP over IPv4, and random bytes, made by dpkt."""
    source = random.Random(seed)
    made = []
    for number in range(count):
        payload = source.randbytes(source.randint(0, 1000))
        kind = number % 4
        if kind == 3:
            made.append(source.randbytes(12) + bytes([0x88, 0xB6]) + payload)
            continue
        upper = dpkt.tcp.TCP if kind == 1 else dpkt.udp.UDP
        transport = upper(sport=1024 + number % 50, dport=80, data=payload)
        if kind != 1:
            transport.ulen = len(transport)
        packet = dpkt.ip.IP(src=b"\x0a\0\0\x01", dst=b"\x0a\0\0\x02", p=6 if kind == 1 else 17, data=transport)
        packet.len = len(packet)
        ethernet = dpkt.ethernet.Ethernet(src=b"\2\0\0\0\0\1", dst=b"\2\0\0\0\0\2", data=packet)
        octets = bytes(ethernet)
        if kind == 2:
            octets = octets[:12] + b"\x88\xa8\0\5\x81\0\0\7" + octets[12:]
        made.append(octets)
    return made


def pcap(made: list[bytes], first: int = NOW, step: int = 1_000_000) -> bytes:
    out = bytearray(bytes.fromhex("4d3cb2a1020004000000000000000000ffff000001000000"))
    for number, frame in enumerate(made):
        seconds, rest = divmod(first + step * number, 1_000_000_000)
        for word in (seconds, rest, len(frame), len(frame)):
            out += word.to_bytes(4, "little")
        out += frame
    return bytes(out)


def run(*arguments: object, backend: str = "fake", write: str = "packets,jsonl,summary") -> int:
    return main(["run", *map(str, arguments), "--backend", backend, "--write", write, "-q"])


def written(path: Path) -> list[tuple[int, bytes]]:
    with path.open("rb") as file:
        return [(round(float(stamp) * 1e6), octets) for stamp, octets in dpkt.pcapng.Reader(file)]


def begun(process: "subprocess.Popen[str]", out: Path) -> None:
    """Wait until packets are on disk."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (out / "packets.pcapng").exists() and (out / "packets.pcapng").stat().st_size > 5000:
            break
        assert process.poll() is None
        time.sleep(0.01)


def interrupted(process: "subprocess.Popen[str]", out: Path, number: int = signal.SIGINT) -> tuple[int, str]:
    """Wait until packets are on disk, send a signal, and give exit code and standard error."""
    begun(process, out)
    os.kill(process.pid, number)
    _, error = process.communicate(timeout=60)
    return process.returncode, error
