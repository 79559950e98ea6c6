"""A unit sleeps while none of its rules is on, and between packets; asleep, it loses nothing."""

from dataclasses import replace

from amaranth.hdl import Module
from amaranth.sim import Simulator

from sentinic.abi.profiles import BOARD
from sentinic.abi.statistics import field
from sentinic_hdl.stages.statistics.unit import LATENCY, LINGER, Unit

SETS, WAYS = 4, 2


def unit() -> Unit:
    return Unit(profile=replace(BOARD, name="small"), rules=1, sets=SETS, ways=WAYS)


def simulate(device: Unit, drive) -> None:
    m = Module()
    m.submodules.device = device
    m.d.comb += device.wake.eq(device.valid | device.change | device.sweep)
    m.d.comb += device.awake.eq(device.wake | device.busy)
    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()


async def pulse(ctx, signal) -> None:
    ctx.set(signal, 1)
    await ctx.tick()
    ctx.set(signal, 0)


async def until_asleep(ctx, device: Unit, limit: int) -> int:
    for cycles in range(limit):
        if not ctx.get(device.awake):
            return cycles
        await ctx.tick()
    raise AssertionError(f"still awake after {limit} cycles")


def test_packets_far_apart_are_all_counted_and_it_sleeps_between_them() -> None:
    device = unit()
    told = []

    async def drive(ctx):
        port = field("destination_port")
        await until_asleep(ctx, device, SETS + 2 * LINGER)
        word, shift = divmod(port.lsb, 32)
        assert shift + port.width <= 32
        ctx.set(device.group[word], 0xFFFF << shift)
        await pulse(ctx, device.change)
        for number in range(6):
            ctx.set(device.i.fields.destination_port, number % 2)
            ctx.set(device.i.length, 100)
            await pulse(ctx, device.valid)
            asleep = await until_asleep(ctx, device, 3 * LINGER)
            assert asleep > LATENCY, "asleep with a packet inside"
            await ctx.tick().repeat(1 + 7 * number)
        ctx.set(device.final, 1)
        ctx.set(device.reports.ready, 1)
        await pulse(ctx, device.sweep)
        for _ in range(20 * SETS):
            if ctx.get(device.reports.valid):
                report = ctx.get(device.reports.payload)
                told.append((int(report.packets), int(report.bytes)))
            await ctx.tick()
        await until_asleep(ctx, device, 2 * LINGER)
        assert not ctx.get(device.sweeping)

    simulate(device, drive)
    assert sorted(told) == [(3, 300), (3, 300)]
