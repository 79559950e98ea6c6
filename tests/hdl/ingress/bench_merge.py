"""Two ports merged into one stream, with the register slice behind; run by ``test_ingress.py`` inside the simulator."""

import itertools
import random

import cocotb

from sentinic_hdl.ingress.merge import patience_of
from tests.hdl.block_bench import LIMIT, Bench, FrameCollector
from tests.hdl.parser.bench import beats_of
from tests.hdl.parser.frames import Stimulus


def frames_of(r: random.Random, port: int, times: list[int]) -> list[Stimulus]:
    """A frame for each wire time, of one beat to some."""
    lengths = (14, 60, 64, 65, 128, 200, r.randrange(14, 400))
    return [Stimulus(r.randbytes(length), length, time, port) for time in times for length in [r.choice(lengths)]]


def merged(ports: list[list[Stimulus]], patience: int = 1000) -> list[Stimulus]:
    """The order in which both ports' frames must come, if none of the two ever has to be waited for."""
    queues = [list(frames) for frames in ports]
    order: list[Stimulus] = []
    served, waited = 0, 0  # the port served last, and how often the other was passed over since it was
    while all(queues):
        times = [queue[0].timestamp for queue in queues]
        port = 1 - served if times[0] == times[1] or waited == patience else int(times[1] < times[0])
        waited = waited + 1 if port == served and order else 1
        served = port
        order.append(queues[port].pop(0))
    return order + queues[0] + queues[1]


class MergeBench(Bench):
    def __init__(self, dut, **options):
        super().__init__(dut, **options)
        self.ports = [self.source("merged__i0"), self.source("merged__i1")]
        self.frames = FrameCollector(self.profile)
        self.out = self.sink("merged__o", self.frames)

    async def reset(self) -> None:
        self.frames.clear()
        await super().reset()

    def send(self, ports: list[list[Stimulus]]) -> None:
        for source, frames in zip(self.ports, ports, strict=True):
            source.items.extend(beat for frame in frames for beat in beats_of(self.profile, frame, self.random))

    async def settle(self, ports: list[list[Stimulus]]) -> None:
        count = sum(map(len, ports))
        await self.until(lambda: len(self.frames.done) >= count, "all frames came out")
        await self.cycles(20)
        assert len(self.frames.done) == count


def times(r: random.Random, count: int) -> list[int]:
    """Rising, some equal to others' so that the turn decides."""
    return list(itertools.accumulate((r.choice((0, 0, 1, 1, 2)) for _ in range(count - 1)), initial=5))


@cocotb.test(**LIMIT)
@cocotb.parametrize(busy=[0, 0.5])
async def frames_that_wait_at_both_ports_come_by_wire_time_and_in_turn_when_it_is_equal(dut, busy):
    bench = MergeBench(dut, busy=busy)
    await bench.reset()
    r = bench.random
    ports = [frames_of(r, port, times(r, 60)) for port in (0, 1)]
    bench.send(ports)
    await bench.settle(ports)
    assert bench.frames.done == merged(ports)
    assert any(a.port == b.port for a, b in itertools.pairwise(bench.frames.done))
    assert any(a.timestamp == b.timestamp and a.port != b.port for a, b in itertools.pairwise(bench.frames.done))


@cocotb.test(**LIMIT)
@cocotb.parametrize(late=[0, 1])
async def a_port_whose_clock_runs_ahead_waits_for_so_many_frames_and_no_more(dut, late):
    bench = MergeBench(dut)
    patience = patience_of(bench.profile)
    await bench.reset()
    r = bench.random
    base = (1 << 63, 1 << 20)
    ports = [frames_of(r, port, [base[port != late] + n for n in range(2 * patience)]) for port in (0, 1)]
    bench.send(ports)
    await bench.settle(ports)
    assert bench.frames.done == merged(ports, patience)
    turns = [n for n, frame in enumerate(bench.frames.done) if frame.port == late]
    assert turns[1] - turns[0] == patience + 1


@cocotb.test(**LIMIT)
@cocotb.parametrize(idle=[0.3, 0.9], busy=[0, 0.5])
async def no_frame_is_lost_torn_or_overtaken_by_one_of_its_port(dut, idle, busy):
    bench = MergeBench(dut, idle=idle, busy=busy)
    await bench.reset()
    r = bench.random
    ports = [frames_of(r, port, [r.getrandbits(64) for _ in range(40)]) for port in (0, 1)]
    bench.send(ports)
    await bench.settle(ports)
    for port in (0, 1):
        assert [frame for frame in bench.frames.done if frame.port == port] == ports[port]


@cocotb.test(**LIMIT)
@cocotb.parametrize(after=[12, 37, 80])
async def after_a_reset_within_a_frame_the_next_one_begins_at_its_first_beat(dut, after):
    bench = MergeBench(dut, idle=0.2, busy=0.5)
    await bench.reset()
    r = bench.random
    bench.send([frames_of(r, port, times(r, 40)) for port in (0, 1)])
    await bench.cycles(after)
    await bench.reset()
    # Not until then can both ports be waited for.
    bench.idle = 0
    ports = [frames_of(r, port, times(r, 12)) for port in (0, 1)]
    bench.send(ports)
    await bench.settle(ports)
    assert bench.frames.done == merged(ports)
