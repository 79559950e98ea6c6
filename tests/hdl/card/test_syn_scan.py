"""SYN offload on the whole card: scans of consecutive ports or addresses fill the table evenly, whatever its secret."""

import struct

import numpy as np
import pytest
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from sentinic.abi.profiles import PROFILES
from sentinic.driver.device import Device
from sentinic.driver.frames import FrameBatch
from sentinic.driver.syn_offload import Mode, SynOffload, attempts_of

pytestmark = pytest.mark.slow
BUILDS = [name for name, profile in PROFILES.items() if profile.attempts]
#: Scans that meet the card one after another, each with a secret of its own.
TIMES = 3
LENGTH = 74  # of a SYN over IPv6
FIELDS = {  # of what is scanned: IP version, and where its lowest 16 bits are in the frame
    "source port": (4, 34),
    "destination port": (4, 36),
    "destination port, IPv6": (6, 56),
    "destination": (4, 32),
    "destination, IPv6": (6, 52),
}


def frame_of(field: str, value: int) -> bytes:
    """A SYN with ``value`` in ``field``, as scapy makes it."""
    version, place = FIELDS[field]
    network = IP(src="192.0.2.10", dst="198.51.0.0") if version == 4 else IPv6(src="2001:db8::1", dst="2001:db8:1::")
    frame = bytearray(
        bytes(
            Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / network / TCP(sport=40000, dport=443, seq=value)
        )
    )
    struct.pack_into("!H", frame, place, value)
    remade = Ether(bytes(frame))
    for layer in (IP, TCP):
        if layer in remade:
            del remade[layer].chksum
    return bytes(remade)


def scan(field: str, first: int, count: int) -> FrameBatch:
    """SYNs a microsecond apart."""
    length = LENGTH
    data = np.zeros((count, length), np.uint8)
    for row, value in enumerate(range(first, first + count)):
        frame = frame_of(field, value & 0xFFFF)
        data[row, : len(frame)] = np.frombuffer(frame, np.uint8)
    lengths = np.full(count, length, np.uint32)
    return FrameBatch(
        data=data.reshape(-1),
        offset=np.arange(count, dtype=np.int64) * length,
        length=lengths,
        wire_length=lengths,
        timestamp=10**15 + np.arange(count, dtype=np.uint64) * np.uint64(1000),
        port=np.zeros(count, np.uint8),
        error=np.zeros(count, np.uint8),
    )


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", BUILDS)
def test_a_scan_of_three_quarters_of_the_table_evicts_none(name: str, field: str) -> None:
    profile = PROFILES[name]
    # Not from a round number on, so that it begins one round more through all sets than it makes.
    count = min(profile.attempts * 3 // 4, 2000)
    batch = scan(field, 40_000, count)
    for _ in range(TIMES):
        with Device.open("native", name) as device:
            device.set_pause(True)
            device.enable()
            ring = device.open_ring(0, descriptors=64, data_bytes=1 << 17)
            offload = SynOffload(device)
            offload.to_ring(ring)
            offload.enable(mode=Mode.COMPACT)
            device.transport.send(batch)
            device.transport.step()
            while device.snapshot()["held"] > offload.holding:
                device.transport.step()
            told = attempts_of(device.snapshot(), profile)
            assert (offload.holding, told["attempts"], told["evicted"]) == (count, count, 0)
