"""Reports: the bytes of a frame that holds items and no packet, against bytes packed by hand."""

import random
import struct
from itertools import pairwise
from typing import Any

import pytest
from amaranth.sim import Simulator

from sentinic.abi.profiles import BOARD, WIDE, Profile
from sentinic.abi.statistics import field
from sentinic.abi.verdicts import Content
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


#: An attempt of either IP version; IPv4 addresses as IPv4-mapped.
ENDS = [
    ((0x20010DB8 << 96 | 7, 51000), (0x20010DB8 << 96 | 9, 443), True),
    ((0xFFFF << 32 | 0xC6336402, 80), (0xFFFF << 32 | 0xC0000201, 49152), False),
]
ATTEMPTS = [
    {"source": ENDS[n % 2][0], "destination": ENDS[n % 2][1], "ipv6": ENDS[n % 2][2], "port": n % 3,
     "reason": 4 + n % 3, "congestion": n % 4, "window_zero": n % 5 == 0, "ip_length": 40 + n, "retransmissions": 7 * n,
     "first": 1_700_000_000_000_000_000 + n, "last": 1_700_000_000_000_000_999, "sequence": 0x89AB_CDE0 + n}
    for n in range(30)
]  # fmt: skip


def attempt_bytes(attempt: dict[str, Any]) -> bytes:
    a = attempt
    origin = a["port"] | (2 if a["ipv6"] else 1) << 2 | a["window_zero"] << 4
    head = struct.pack(
        ">BBBBBBHQQIHH", 0x12, 16, a["reason"], origin, 0x02 | a["congestion"] << 6, a["ip_length"],
        a["retransmissions"], a["first"], a["last"], a["sequence"], a["source"][1], a["destination"][1],
    )  # fmt: skip
    return head + a["source"][0].to_bytes(16, "big") + a["destination"][0].to_bytes(16, "big")


def set_attempt(ctx, payload, attempt: dict[str, Any]) -> None:
    record = payload.record
    for name in ("reason", "congestion", "window_zero"):
        ctx.set(payload[name], attempt[name])
    for name in ("port", "ip_length", "retransmissions", "first", "last", "sequence"):
        ctx.set(record[name], attempt[name])
    low, high = sorted((attempt["source"], attempt["destination"]))
    ctx.set(record.reversed, attempt["source"] != low)
    ctx.set(record.key.ipv6, attempt["ipv6"])
    for end, (address, port) in ((record.key.low, low), (record.key.high, high)):
        ctx.set(end.address, address)
        ctx.set(end.port, port)


def set_group(ctx, payload, group: dict[str, int]) -> None:
    for name, value in group.items():
        ctx.set(payload[name], value)
    ctx.set(payload.key, sum(value << field(name).lsb for name, value in FIELDS.items()))


def frame_bytes(content: Content, items: list[bytes], sequence: int, timestamp: int) -> bytes:
    body = b"".join(items)
    head = bytes(12) + struct.pack(">HBB", 0x88B5, 1, 1 + 12 + len(body) // 4)
    report = struct.pack(">BBBBIQ", 0x11, 12, len(items), content, sequence, timestamp) + bytes(32)
    return head + report + body + b"\x00\x00"


#: What goes in, how it is set, the bytes of each, and how many a frame takes.
KINDS = {
    Content.GROUPS: (GROUPS, set_group, [group_bytes(group) for group in GROUPS], 7),
    Content.ATTEMPTS: (ATTEMPTS, set_attempt, [attempt_bytes(attempt) for attempt in ATTEMPTS], 14),
}


@pytest.mark.parametrize("profile", [WIDE, BOARD], ids=lambda profile: profile.name)
@pytest.mark.parametrize("busy", [0.0, 0.5])
@pytest.mark.parametrize("content", list(Content), ids=lambda content: content.name.lower())
def test_items_come_in_frames_of_as_many_as_fit_as_they_are_defined(
    profile: Profile, busy: float, content: Content
) -> None:
    reports = Reports(profile=profile, content=content)
    items, set_item, encoded, most = KINDS[content]
    parts = [encoded[first : first + most] for first in range(0, len(encoded), most)]
    frames, places = run(reports, profile, [(set_item, item) for item in items], len(parts), busy)
    assert frames == [frame_bytes(content, part, n, 123_456_789_000) for n, part in enumerate(parts)]
    assert places == [n + content * profile.report_frames for n in range(len(parts))]


def test_a_frame_that_is_asked_for_goes_at_once_with_what_there_is() -> None:
    reports = Reports(profile=WIDE, content=Content.ATTEMPTS)
    seen: list[bool] = []

    async def drive(ctx):
        set_attempt(ctx, reports.i.p, ATTEMPTS[3])
        ctx.set(reports.i.valid, 1)
        await ctx.tick().until(reports.i.ready)
        ctx.set(reports.i.valid, 0)
        ctx.set(reports.close, 1)
        for _ in range(8):
            seen.append(bool(ctx.get(reports.busy)))
            await ctx.tick()
            if ctx.get(reports.o.valid):
                break
        assert ctx.get(reports.o.valid)
        assert ctx.get(reports.busy)
        assert ctx.get(reports.o.p.info.length) == 64 + 64 + 2
        ctx.set(reports.o.ready, 1)
        await ctx.tick()
        assert not ctx.get(reports.busy)
        assert not ctx.get(reports.o.valid)

    simulator = Simulator(reports)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert all(seen)


@pytest.mark.parametrize("profile", [WIDE, BOARD], ids=lambda profile: profile.name)
def test_items_are_packed_as_fast_as_the_bus_takes_the_frames(profile: Profile) -> None:
    """A frame in as many cycles as it has beats: fewer than the bus needs for it and its descriptor."""
    reports = Reports(profile=profile, content=Content.GROUPS)
    most = KINDS[Content.GROUPS][3]
    beats = -(-len(frame_bytes(Content.GROUPS, [bytes(128)] * most, 0, 0)) // profile.beat_bytes)
    taken: list[int] = []

    async def drive(ctx):
        set_group(ctx, reports.i.p, GROUPS[0])
        ctx.set(reports.i.valid, 1)
        ctx.set(reports.o.ready, 1)
        for cycle in range(profile.report_frames * beats):
            if ctx.get(reports.o.valid):
                taken.append(cycle)
            await ctx.tick()

    simulator = Simulator(reports)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert [later - one for one, later in pairwise(taken)] == [beats] * (profile.report_frames - 2)


def run(reports: Reports, profile: Profile, items: list, count: int, busy: float) -> tuple[list[bytes], list[int]]:
    """The frames that these items come in, as dispatch reads them, and their places."""
    r = random.Random(1)
    frames: list[bytes] = []
    places: list[int] = []

    async def source(ctx):
        for set_item, item in items:
            set_item(ctx, reports.i.p, item)
            ctx.set(reports.i.valid, 1)
            await ctx.tick().until(reports.i.ready)
            ctx.set(reports.i.valid, 0)

    async def dispatch(ctx):
        ctx.set(reports.time, 123_456_789_000)
        for _ in range(count):
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
            places.append(cell)

    simulator = Simulator(reports)
    simulator.add_clock(1e-6)
    simulator.add_testbench(source)
    simulator.add_testbench(dispatch)
    simulator.run_until(1e-6 * (6000 + 3 * PATIENCE))
    return frames, places
