"""What the writer tells of a packet's fate, when a report goes between two of its copies and writes fail."""

import pytest
from amaranth.sim import Simulator

from sentinic.abi.profiles import BOARD, WIDE, Profile
from sentinic.abi.verdicts import Kind
from sentinic_hdl.rings.types import copy_shape
from sentinic_hdl.rings.writer import Writer

OKAY, SLVERR = 0, 2
#: Rings that the packet is for, and the one of the report that comes between.
FIRST, SECOND, REPORTS = 0, 1, 2


def fates(profile: Profile, failing: set[int]) -> list[tuple[str, bool]]:
    """Fates told, and whether each is of a report; every copy is a descriptor alone, each ring at an address."""
    dut = Writer(profile=profile)
    told: list[tuple[str, bool]] = []
    copies = [(FIRST, Kind.PACKET, 0), (REPORTS, Kind.REPORT, 1), (SECOND, Kind.PACKET, 1)]

    async def host(ctx) -> None:
        for n, ring in enumerate(dut.rings):
            ctx.set(ring.enable, 1)
            ctx.set(ring.descriptor_base, n << 12)
            ctx.set(ring.descriptor_mask, 15)
        ctx.set(dut.read.ready, 1)
        await ctx.tick()
        for ring, kind, last in copies:
            ctx.set(
                dut.i.payload,
                copy_shape(profile).const({"meta": {"kind": kind}, "ring": ring, "bare": 1, "last": last}),
            )
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)
        await ctx.tick().repeat(60)

    async def memory(ctx) -> None:
        ctx.set(dut.dma.awready, 1)
        ctx.set(dut.dma.wready, 1)
        bursts: list[int] = []
        async for _, reset, asked, address, beat, last, answered in ctx.tick().sample(
            dut.dma.awvalid, dut.dma.awaddr, dut.dma.wvalid, dut.dma.wlast, dut.dma.bready & dut.dma.bvalid
        ):
            assert not reset
            if asked:
                bursts.append(address >> 12)
            if answered:
                ctx.set(dut.dma.bvalid, 0)
            if beat and last:
                ctx.set(dut.dma.bvalid, 1)
                ctx.set(dut.dma.bresp, SLVERR if bursts.pop(0) in failing else OKAY)

    async def events(ctx) -> None:
        e = dut.events
        async for _, _, delivered, failed, of_report in ctx.tick().sample(e.delivered, e.failed, e.of_report):
            if delivered or failed:
                told.append(("delivered" if delivered else "failed", bool(of_report)))

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_testbench(host)
    simulator.add_testbench(memory, background=True)
    simulator.add_testbench(events, background=True)
    simulator.run()
    return told


@pytest.mark.parametrize("profile", [WIDE, BOARD], ids=lambda profile: profile.name)
@pytest.mark.parametrize(
    ("failing", "packet", "report"),
    [
        (set(), "delivered", "delivered"),
        ({SECOND}, "delivered", "delivered"),
        ({SECOND, REPORTS}, "delivered", "failed"),
        ({FIRST, SECOND}, "failed", "delivered"),
        ({FIRST, REPORTS}, "delivered", "failed"),
        ({FIRST, SECOND, REPORTS}, "failed", "failed"),
    ],
)
def test_a_report_between_two_copies_of_a_packet_leaves_its_fate(
    profile: Profile, failing: set[int], packet: str, report: str
) -> None:
    assert fates(profile, failing) == [(report, True), (packet, False)]
