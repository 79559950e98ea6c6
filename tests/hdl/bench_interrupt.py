"""The interrupt and its moderation, cycle by cycle against its rules; run by ``test_blocks.py``."""

import cocotb
from cocotb.triggers import ReadWrite, RisingEdge

from tests.hdl.block_bench import LIMIT, Bench

#: Cycles that the line may take to follow.
LATE = 3


class InterruptBench(Bench):
    """Sets the block's inputs for a cycle and looks at what it says in the next; ``time`` rises by 4 a cycle."""

    def __init__(self, dut, *, enable: int = 0, frames: int = 0, holdoff: int = 0, **options):
        super().__init__(dut, **options)
        self.enable = enable
        self.time = 1000
        self.pending = self.irq = self.raised = self.rises = 0
        dut.interrupt__enable.value = enable
        dut.interrupt__frames.value = frames
        dut.interrupt__holdoff.value = holdoff
        dut.interrupt__time.value = self.time
        self._edge = RisingEdge(dut.clk)

    async def cycle(self, *, new: int = 0, clear: int = 0) -> None:
        """One cycle with these inputs; then the outputs are those that it led to."""
        dut = self.dut
        dut.interrupt__new.value = new
        dut.interrupt__clear.value = clear
        await self._edge
        self.time += 4
        dut.interrupt__time.value = self.time
        dut.interrupt__new.value = dut.interrupt__clear.value = 0
        await ReadWrite()
        pending, irq, raised = (int(getattr(dut, f"interrupt__{name}").value) for name in ("pending", "irq", "raised"))
        assert pending == (self.pending & ~clear) | new, "pending"
        assert raised == (irq and not self.irq), "raised is high when the line rises, for one cycle"
        self.rises += raised
        self.pending, self.irq, self.raised = pending, irq, raised

    async def rest(self, count: int, **inputs: int) -> None:
        for _ in range(count):
            await self.cycle(**inputs)

    async def start(self) -> None:
        await self.reset()
        await self.cycle()

    async def rising(self, limit: int) -> int:
        """Cycles until the line is up."""
        for count in range(limit + 1):
            if self.irq:
                return count
            await self.cycle()
        raise AssertionError(f"no interrupt within {limit} cycles")


@cocotb.test(**LIMIT)
@cocotb.parametrize(frames=[1, 2, 7], idle=[0, 5])
async def so_many_packets_interrupt_at_once_and_fewer_do_not(dut, frames, idle):
    bench = InterruptBench(dut, enable=0b1111, frames=frames, holdoff=100_000)
    await bench.start()
    for n in range(frames - 1):
        await bench.cycle(new=1 << n % 4)
        await bench.rest(idle)
    await bench.rest(20)
    assert not bench.irq
    await bench.cycle(new=0b0100)
    assert await bench.rising(LATE) > 0
    await bench.rest(50)
    assert (bench.irq, bench.rises) == (1, 1)


@cocotb.test(**LIMIT)
@cocotb.parametrize(holdoff=[0, 40, 1000])
async def the_first_packet_waits_for_the_holdoff_and_no_longer(dut, holdoff):
    bench = InterruptBench(dut, enable=0b0010, frames=0, holdoff=holdoff)
    await bench.start()
    await bench.cycle(new=0b0010)
    began = bench.time
    await bench.rest(1)
    for _ in range(holdoff // 8):  # those behind it change nothing
        await bench.cycle(new=0b0010)
    await bench.rising(holdoff // 4 + 10)
    assert holdoff <= bench.time - began <= holdoff + 4 * LATE


@cocotb.test(**LIMIT)
async def the_line_stays_up_until_every_enabled_ring_is_cleared_and_then_counts_anew(dut):
    bench = InterruptBench(dut, enable=0b0111, frames=3, holdoff=100_000)
    await bench.start()
    for n in (0, 1, 3):
        await bench.cycle(new=1 << n)
    await bench.rest(10)
    assert not bench.irq, "ring 3 may not interrupt, nor does it count"
    await bench.cycle(new=0b0001)
    await bench.rising(LATE)
    await bench.cycle(clear=0b0001)
    await bench.rest(30)
    assert bench.irq, "ring 1 is pending"
    await bench.cycle(clear=0b0010)
    await bench.rest(LATE)
    assert (bench.irq, bench.pending) == (0, 0b1000)
    for _ in range(2):
        await bench.cycle(new=0b0100)
        await bench.rest(20)
        assert not bench.irq
    await bench.cycle(new=0b0100)
    await bench.rising(LATE)
    assert bench.rises == 2


@cocotb.test(**LIMIT)
async def a_packet_that_comes_as_its_ring_is_cleared_is_not_forgotten(dut):
    bench = InterruptBench(dut, enable=1, frames=1, holdoff=400)
    await bench.start()
    await bench.cycle(new=1)
    await bench.rising(LATE)
    await bench.cycle(new=1, clear=1)
    assert bench.pending == 1
    await bench.rest(200)
    assert bench.irq, "the line never falls with a packet pending"
    await bench.cycle(clear=1)
    await bench.rest(LATE)
    assert not bench.irq


@cocotb.test(**LIMIT)
async def a_ring_that_may_not_interrupt_is_pending_all_the_same(dut):
    bench = InterruptBench(dut, enable=0, frames=1, holdoff=0)
    await bench.start()
    await bench.rest(40, new=0b1010)
    assert (bench.irq, bench.pending) == (0, 0b1010)
    dut.interrupt__enable.value = 0b1000
    await bench.rising(2 * LATE)


@cocotb.test(**LIMIT)
@cocotb.parametrize(seed=range(4))
async def under_random_traffic_every_packet_interrupts_in_time_and_none_without_cause(dut, seed):
    holdoff, frames = (60, 400, 0, 800)[seed], (0, 5, 12, 30)[seed]
    bench = InterruptBench(dut, seed=seed, enable=0b1011, frames=frames, holdoff=holdoff)
    await bench.start()
    r = bench.random
    first, count, down = None, 0, 0  # time of the first packet since the line was last at rest, and how many came
    for _ in range(3000):
        new = sum((r.random() < 0.02) << n for n in range(4))
        clear = r.getrandbits(4) if r.random() < (0.1 if bench.irq else 0.002) else 0
        was_up = bench.irq
        active = bench.pending & bench.enable or new & bench.enable
        await bench.cycle(new=new, clear=clear)
        if not active:
            first, count = None, 0
        else:
            first = bench.time if first is None else first
            count += bool(new & bench.enable)
        if bench.raised:
            assert first is not None
            waited = bench.time - first
            assert waited >= holdoff or (frames and count >= frames), "the line rose without cause"
        if bench.irq != was_up and was_up:
            assert not active, "the line fell while an enabled ring was pending"
        due = first is not None and (bench.time - first >= holdoff or (frames and count >= frames))
        down = down + 1 if due and not bench.irq else 0
        assert down <= LATE, "the line is late"
    assert bench.rises > 5


@cocotb.test(**LIMIT)
async def a_packet_right_after_the_last_was_cleared_waits_for_its_own_holdoff(dut):
    bench = InterruptBench(dut, enable=1, frames=0, holdoff=400)
    await bench.start()
    for pause in range(4):
        await bench.cycle(new=1)
        await bench.rising(400 // 4 + 10)
        await bench.cycle(clear=1)
        await bench.rest(pause)
        await bench.cycle(new=1)
        await bench.rest(20)
        assert not bench.irq or pause == 0, f"{pause + 1} cycles after the clear"
        await bench.cycle(clear=1)
        await bench.rest(200)


@cocotb.test(**LIMIT)
async def a_reset_clears_what_is_pending_and_lowers_the_line(dut):
    bench = InterruptBench(dut, enable=0b1111, frames=2, holdoff=100_000)
    await bench.start()
    for _ in range(2):
        await bench.cycle(new=0b1111)
    await bench.rising(LATE)
    bench.pending = bench.irq = 0
    await bench.start()
    assert (bench.irq, bench.pending) == (0, 0)
    await bench.cycle(new=0b0001)  # the one before the reset does not count
    await bench.rest(30)
    assert not bench.irq
    await bench.cycle(new=0b0001)
    await bench.rising(LATE)
