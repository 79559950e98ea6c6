"""Reports: the bytes of a frame that holds groups and no packet, against bytes packed by hand."""

import random
import struct

import pytest
from amaranth.sim import Simulator

from sentinic.abi.profiles import BOARD, WIDE, Profile
from sentinic.abi.statistics import field
from sentinic_hdl.rings.reports import PATIENCE, Reports

FIELDS = {
    "in_port": 1, "ip_version": 2, "is_fragment": 1, "vlan_present": 1, "verdict": 5, "protocol_class": 3,
    "ip_dscp": 46, "vlan_vid": 0xABC, "ip_proto": 6, "tcp_flags": 0x12, "eth_type": 0x86DD, "source_port": 443,
    "destination_port": 51000, "eth_src": 0x020000000001, "eth_dst": 0x0200000000FE,
    "source": 0x20010DB8 << 96 | 1, "destination": 0xFE80 << 112 | 0x1234,
}  # fmt: skip
GROUPS = [
    {"rule": n, "flags": 3, "generation": 77 + n, "packets": 1 << 40 | n, "bytes": 1 << 50 | n,
     "first": 1_700_000_000_000_000_000 + n, "last": 1_700_000_000_000_000_999, "history": 0x6543_2DB1, "seen": 0x2C1E}
    for n in range(16)
]  # fmt: skip


def group_bytes(group: dict[str, int]) -> bytes:
    f = FIELDS
    head = struct.pack(
        ">BBBBIQQQQIH", 0x10, 32, group["rule"], group["flags"], group["generation"], group["packets"],
        group["bytes"], group["first"], group["last"], group["history"], group["seen"],
    )  # fmt: skip
    small = bytes(
        f[name] for name in (
            "in_port", "ip_version", "is_fragment", "vlan_present", "verdict", "protocol_class", "ip_dscp",
            "ip_proto", "tcp_flags",
        )
    )  # fmt: skip
    rest = struct.pack(">xHHHH", f["vlan_vid"], f["eth_type"], f["source_port"], f["destination_port"])
    addresses = f["source"].to_bytes(16, "big") + f["destination"].to_bytes(16, "big")
    links = f["eth_src"].to_bytes(6, "big") + f["eth_dst"].to_bytes(6, "big")
    return head + small + rest + addresses + links + bytes(20)


def frame_bytes(groups: list[dict[str, int]], sequence: int, timestamp: int) -> bytes:
    tag_words = 1 + 12 + 32 * len(groups)
    head = bytes(12) + struct.pack(">HBB", 0x88B5, 1, tag_words)
    report = struct.pack(">BBBxIQ", 0x11, 12, len(groups), sequence, timestamp) + bytes(32)
    return head + report + b"".join(map(group_bytes, groups)) + b"\x00\x00"


@pytest.mark.parametrize("profile", [WIDE, BOARD], ids=lambda profile: profile.name)
@pytest.mark.parametrize("busy", [0.0, 0.5])
def test_groups_come_in_frames_of_at_most_seven_as_they_are_defined(profile: Profile, busy: float) -> None:
    reports = Reports(profile=profile)
    r = random.Random(1)
    frames: list[bytes] = []

    async def groups(ctx):
        for group in GROUPS:
            for name, value in group.items():
                ctx.set(reports.i.p[name], value)
            ctx.set(reports.i.p.key, sum(value << field(name).lsb for name, value in FIELDS.items()))
            ctx.set(reports.i.valid, 1)
            await ctx.tick().until(reports.i.ready)
            ctx.set(reports.i.valid, 0)

    async def dispatch(ctx):
        ctx.set(reports.time, 123_456_789_000)
        for _ in range(3):
            while not ctx.get(reports.o.valid):
                await ctx.tick()
            length, cell = ctx.get(reports.o.p.info.length), ctx.get(reports.o.p.cell)
            ctx.set(reports.o.ready, 1)
            await ctx.tick()
            ctx.set(reports.o.ready, 0)
            beats = -(-length // profile.beat_bytes)
            for name, value in (("cell", cell), ("beats", beats), ("release", 1)):
                ctx.set(reports.read.p[name], value)
            ctx.set(reports.read.valid, 1)
            await ctx.tick().until(reports.read.ready)
            ctx.set(reports.read.valid, 0)
            data = b""
            while len(data) < beats * profile.beat_bytes:
                ctx.set(reports.beats.ready, r.random() >= busy)
                _, _, valid, ready, beat = await ctx.tick().sample(
                    reports.beats.valid, reports.beats.ready, reports.beats.payload
                )
                if valid and ready:
                    data += beat.to_bytes(profile.beat_bytes, "little")
            ctx.set(reports.beats.ready, 1)
            frames.append(data[:length])

    simulator = Simulator(reports)
    simulator.add_clock(1e-6)
    simulator.add_testbench(groups)
    simulator.add_testbench(dispatch)
    simulator.run_until(1e-6 * (5000 + 3 * PATIENCE))
    parts = [GROUPS[:7], GROUPS[7:14], GROUPS[14:]]
    assert frames == [frame_bytes(part, n, 123_456_789_000) for n, part in enumerate(parts)]
