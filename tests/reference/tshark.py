"""What tshark says of frames: of each the layers down to the first transport, with their positions and fields."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

needs_tshark = pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")

TRANSPORTS = ("tcp", "udp", "sctp", "icmp", "icmpv6")
LAYERS = ("eth", "vlan", "ieee8021ad", "llc", "mpls", "arp", "ip", "ah", "ipv6", *TRANSPORTS)
OPTIONS = {
    "ip.check_checksum": "TRUE",
    "tcp.check_checksum": "TRUE",
    "udp.check_checksum": "TRUE",
    "ip.defragment": "FALSE",
    "ipv6.defragment": "FALSE",
    "tcp.desegment_tcp_streams": "FALSE",
    "tcp.analyze_sequence_numbers": "FALSE",
}
_PROTO = re.compile(r'<proto name="([^"]*)".* pos="(\d+)"')
_FIELD = re.compile(r'<field name="([^"]+)".* show="([^"]*)"(?: value="([0-9a-f]*)")?')


@dataclass
class Dissection:
    """Outermost layers; ``fields`` has the first occurrence of each field, ``values`` its bytes as a number."""

    layers: list[tuple[str, int]] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)

    def position(self, *names: str) -> int | None:
        return next((at for name, at in self.layers if name in names), None)

    @property
    def transport(self) -> str:
        return next((name for name, _ in self.layers if name in TRANSPORTS), "")


def dissect(capture: Path) -> Iterator[Dissection]:
    """One dissection a frame of ``capture``."""
    command = ["tshark", "-r", str(capture), "-n", "-T", "pdml", "-j", " ".join(LAYERS)]
    for name, value in OPTIONS.items():
        command += ["-o", f"{name}:{value}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        current = Dissection()
        collecting = True
        for line in process.stdout:
            text = line.lstrip()
            if text.startswith("<packet>"):
                current, collecting = Dissection(), True
            elif text.startswith("</packet>"):
                yield current
            elif not collecting:
                continue
            elif match := _PROTO.match(text):
                name, at = match.groups()
                if current.transport or (name in ("ip", "ipv6") and current.position("ip", "ipv6") is not None):
                    collecting = False
                else:
                    current.layers.append((name, int(at)))
            elif match := _FIELD.match(text):
                name, show, value = match.groups()
                if name not in current.fields:
                    current.fields[name] = show
                    current.values[name] = int(value, 16) if value else 0
    if process.returncode:
        raise RuntimeError(f"tshark ended with status {process.returncode}")
