"""Hosts in network namespaces, joined by a trunk that is carried, tagged, mirrored and made lossy by one thread.

Neither netem nor the kernel's own VLAN devices are needed: each host has a TAP device, and `Trunk` is the two switches
between them. A TAP offers no checksum or segmentation offload unless asked to, so every frame carries the checksums and
the size that a wire would have carried.
"""

import collections
import dataclasses
import fcntl
import os
import random
import select
import struct
import subprocess
import threading
import time

__all__ = ["Host", "Wire", "Trunk", "add_tap", "run"]

TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
MINIMUM_FRAME_BYTES = 60  # IEEE 802.3 minimum without the FCS; a TAP does not pad, an Ethernet does
MAXIMUM_READ_BYTES = 2048


def run(*words: str) -> None:
    """Run one configuration command; raises CalledProcessError when it fails."""
    subprocess.run(words, check=True)


def add_tap(name: str) -> int:
    """Make TAP device `name` in the caller's network namespace; returns its non-blocking file descriptor."""
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


@dataclasses.dataclass(frozen=True, kw_only=True)
class Host:
    """One namespace with one Ethernet device `eth0`.

    Parameters: `name` of the namespace; `mac`; `ipv4` and `ipv6` with their prefix lengths.
    """

    name: str
    mac: str
    ipv4: str
    ipv6: str

    def create(self) -> int:
        """Make the namespace and its device, still down; returns the TAP's file descriptor."""
        run("ip", "netns", "add", self.name)
        tap = add_tap(self.name)
        run("ip", "link", "set", self.name, "netns", self.name, "name", "eth0", "address", self.mac)
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        return tap

    def start(self) -> None:
        """Give the device its addresses and raise it, which sets off IPv6's duplicate address detection."""
        run("ip", "-n", self.name, "address", "add", self.ipv4, "dev", "eth0")
        run("ip", "-n", self.name, "address", "add", self.ipv6, "dev", "eth0")
        run("ip", "-n", self.name, "link", "set", "eth0", "up")

    def popen(self, *words: str, **options: object) -> "subprocess.Popen[bytes]":
        """Start a command inside the namespace."""
        return subprocess.Popen(("ip", "netns", "exec", self.name, *words), **options)  # type: ignore[call-overload,no-any-return]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wire:
    """Two hosts joined across the trunk.

    Parameters: `near` and `far` hosts; `tags`, outermost first, as (TPID, VLAN id) that the trunk's frames carry and
    the hosts never see; `loss`, the share of frames that near's access link loses, each way; `delay_s` each way, in
    seconds, the same for all wires of a trunk.
    """

    near: Host
    far: Host
    tags: tuple[tuple[int, int], ...] = ()
    loss: float = 0.0
    delay_s: float = 0.002

    def on_trunk(self, frame: bytes) -> bytes:
        """The frame as the trunk carries it: tagged, and padded to Ethernet's least size."""
        tags = b"".join(struct.pack(">HH", *tag) for tag in self.tags)
        return (frame[:12] + tags + frame[12:]).ljust(MINIMUM_FRAME_BYTES, b"\0")


class Trunk(threading.Thread):
    """Carries frames between the TAPs of all wires and copies each to the mirror as it passes the trunk.

    The loss stands between the near host and the trunk. A frame lost on its way to `near` is therefore in the capture
    and so is its retransmission; a frame lost on its way from `near` is a gap in the capture.

    Parameters: `wires` as (wire, near's descriptor, far's descriptor); `mirror` descriptor of the capturing TAP; `seed`
    of the choice of lost frames.
    """

    def __init__(self, *, wires: list[tuple[Wire, int, int]], mirror: int, seed: int) -> None:
        super().__init__(daemon=True)
        self._routes = {near: (wire, far, True) for wire, near, far in wires}
        self._routes |= {far: (wire, near, False) for wire, near, far in wires}
        self._mirror = mirror
        self._random = random.Random(seed)
        self._stopping = threading.Event()
        self.lost_before_capture = 0
        self.lost_after_capture = 0

    def stop(self) -> None:
        """End the thread; raises RuntimeError when an error had ended it before."""
        if not self.is_alive():
            raise RuntimeError("the trunk ended before the traffic did")
        self._stopping.set()
        self.join()

    def run(self) -> None:
        pending: collections.deque[tuple[float, int, bytes]] = collections.deque()
        while not self._stopping.is_set():
            timeout = max(0.0, pending[0][0] - time.monotonic()) if pending else 0.05
            for tap in select.select(list(self._routes), [], [], timeout)[0]:
                self._take(tap, pending)
            # Kept in order of arrival: all wires are equally long, so the oldest frame is always due first.
            while pending and pending[0][0] <= time.monotonic():
                _, tap, frame = pending.popleft()
                os.write(tap, frame)

    def _take(self, tap: int, pending: "collections.deque[tuple[float, int, bytes]]") -> None:
        wire, other, from_near = self._routes[tap]
        frame = os.read(tap, MAXIMUM_READ_BYTES)
        lost = wire.loss > 0 and self._random.random() < wire.loss
        if lost and from_near:
            self.lost_before_capture += 1
            return
        os.write(self._mirror, wire.on_trunk(frame))
        if lost:
            self.lost_after_capture += 1
            return
        pending.append((time.monotonic() + wire.delay_s, other, frame))
