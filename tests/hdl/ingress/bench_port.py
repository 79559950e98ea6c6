"""An ingress port behind cocotbext-axi's MAC; run by ``test_ingress.py`` inside the simulator."""

import logging
import random
from typing import NamedTuple

import cocotb
from cocotbext.axi import AxiStreamBus, AxiStreamFrame, AxiStreamSource

from sentinic_hdl.ingress.port import PortEvents
from tests.hdl.block_bench import LIMIT, Bench, FrameCollector, coin
from tests.hdl.blocks import PORT
from tests.hdl.parser.frames import Stimulus

LONGEST, SHORTEST = 9600, 14
EDGES = (1, 2, 13, 14, 15, 59, 60, 63, 64, 65, 127, 128, 129, 255, 256, 257)


class Sent(NamedTuple):
    data: bytes
    wire_length: int
    timestamp: int
    error: bool

    @property
    def reason(self) -> str:
        """Why the port must drop it, if there is room; empty if it must not."""
        size = len(self.data)
        return "error" if self.error else "oversize" if size > LONGEST else "runt" if size < SHORTEST else ""

    @property
    def expected(self) -> Stimulus:
        return Stimulus(self.data, max(self.wire_length, len(self.data)), self.timestamp, PORT)


def sent(r: random.Random, length: int, *, errors: float = 0.15) -> Sent:
    wire_length = r.choice((0, 0, length, length + r.randrange(1, 5000), r.randrange(length + 1)))
    return Sent(r.randbytes(length), wire_length, r.getrandbits(64), r.random() < errors)


class PortBench(Bench):
    def __init__(self, dut, *, pause: bool, **options):
        super().__init__(dut, **options)
        logging.getLogger(f"cocotb.{dut._name}.port__mac_").setLevel(logging.ERROR)
        self.mac = AxiStreamSource(AxiStreamBus.from_prefix(dut, "port__mac_"), dut.clk, dut.rst)
        if self.idle:
            self.mac.set_pause_generator(coin(7, self.idle))
        self.frames = FrameCollector(self.profile)
        self.out = self.sink("port__o", self.frames)
        self.events = self.watch("port__events", PortEvents)
        dut.port__enable.value = 1
        dut.port__pause.value = int(pause)

    async def reset(self) -> None:
        self.mac.clear()
        self.frames.clear()
        await super().reset()

    def send(self, frames: list[Sent]) -> None:
        """``tuser``: what counts on the first beat is noise on all others, and what counts on the last as well."""
        width = self.profile.beat_bytes
        for frame in frames:
            users = []
            for at in range(len(frame.data)):
                first, last = at < width, at >= (len(frame.data) - 1) // width * width
                error = frame.error if last else self.random.random() < 0.5
                start = frame.wire_length | frame.timestamp << 16 if first else self.random.getrandbits(80)
                users.append(error | start << 1)
            self.mac.send_nowait(AxiStreamFrame(tdata=frame.data, tuser=users))

    async def settle(self, count: int) -> None:
        await self.until(lambda: len(self.events.seen) >= count, "the port has seen every frame")
        good = sum(not self.dropped(event) for event in self.events.seen)
        await self.until(lambda: len(self.frames.done) >= good, "every good frame came out")
        await self.cycles(20)

    @staticmethod
    def dropped(event: dict[str, int]) -> str:
        """The one reason that the event gives; empty if the frame is kept."""
        reasons = [name for name in ("runt", "oversize", "error", "overflow") if event[name]]
        assert event["received"], event
        assert len(reasons) <= 1, event
        return reasons[0] if reasons else ""

    def check(self, frames: list[Sent], *, lost: frozenset[int] = frozenset()) -> None:
        """All frames have come to what they must; those with numbers in ``lost`` did not fit."""
        assert len(self.events.seen) == len(frames)
        for n, (frame, event) in enumerate(zip(frames, self.events.seen, strict=True)):
            expected = frame.reason or ("overflow" if n in lost else "")
            assert self.dropped(event) == expected, f"frame {n}, {len(frame.data)} bytes: {event}, not {expected}"
            if frame.reason == "oversize":
                assert LONGEST < event["length"] <= LONGEST + 1 + self.profile.beat_bytes
            else:
                assert event["length"] == len(frame.data)
        kept = [frame.expected for n, frame in enumerate(frames) if not frame.reason and n not in lost]
        assert self.frames.done == kept


@cocotb.test(**LIMIT)
@cocotb.parametrize(idle=[0, 0.4], busy=[0, 0.5])
async def every_good_frame_comes_out_whole_and_every_other_is_counted_by_its_reason(dut, idle, busy):
    bench = PortBench(dut, pause=True, idle=idle, busy=busy)
    await bench.reset()
    r = bench.random
    lengths = [*EDGES, *(r.randrange(SHORTEST, 300) for _ in range(20))]
    r.shuffle(lengths)
    frames = [sent(r, length) for length in lengths]
    bench.send(frames)
    await bench.settle(len(frames))
    bench.check(frames)
    assert {frame.reason for frame in frames} == {"", "runt", "error"}


@cocotb.test(**LIMIT)
async def the_longest_frame_comes_out_and_a_longer_one_does_not(dut):
    bench = PortBench(dut, pause=False)
    await bench.reset()
    r = bench.random
    frames = [sent(r, length, errors=0) for length in (60, LONGEST, LONGEST + 1, 60, LONGEST + 70, 61)]
    bench.send(frames)
    await bench.settle(len(frames))
    bench.check(frames)


@cocotb.test(**LIMIT)
async def a_port_that_may_pause_stops_the_mac_when_it_is_full_and_loses_nothing(dut):
    bench = PortBench(dut, pause=True)
    await bench.reset()
    bench.out.hold = True
    frames = [sent(bench.random, 1600, errors=0) for _ in range(14)]
    bench.send(frames)
    await bench.until(lambda: bench.events.seen, "the port takes frames")
    await bench.until(lambda: not dut.port__mac__tready.value, "the port stops the MAC")
    await bench.cycles(200)
    seen = len(bench.events.seen)
    assert not dut.port__mac__tready.value
    assert 8 <= seen < 12, "about 16 KiB fit"
    bench.out.hold = False
    await bench.settle(len(frames))
    bench.check(frames)


@cocotb.test(**LIMIT)
@cocotb.parametrize(lengths=[(900, 2500), (14, 64)])
async def a_port_that_may_not_pause_drops_the_frames_that_do_not_fit_and_no_other(dut, lengths):
    bench = PortBench(dut, pause=False)
    await bench.reset()
    r = bench.random
    width, size = bench.profile.beat_bytes, bench.profile.port_fifo_bytes
    beats = size // width
    first = sent(r, 40, errors=0)
    bench.out.hold = True
    bench.send([first])
    await bench.cycles(20)  # now its first beat waits at the output, and takes no room
    # The buffer is full by beats, or by frames.
    frames, lost, used, held = [first], set(), -(-len(first.data) // width) - 1, 0
    while len(lost) < 3:
        frame = sent(r, r.choice((lengths[0], r.randrange(*lengths))), errors=0.05)
        need = -(-len(frame.data) // width)
        frames.append(frame)
        fits = used + need <= beats and held < bench.profile.port_frames
        if not fits and not frame.reason:
            lost.add(len(frames) - 1)
        elif not frame.reason:
            used, held = used + need, held + 1
    bench.send(frames[1:])
    await bench.until(lambda: len(bench.events.seen) == len(frames), "all frames were looked at")
    assert not bench.frames.done
    bench.out.hold = False
    await bench.settle(len(frames))
    bench.check(frames, lost=frozenset(lost))
    more = [sent(r, 100) for _ in range(5)]
    bench.send(more)
    await bench.settle(len(frames) + 5)
    bench.check(frames + more, lost=frozenset(lost))


@cocotb.test(**LIMIT)
async def a_frame_of_which_a_beat_did_not_fit_is_dropped_whole_though_its_end_would_fit(dut):
    bench = PortBench(dut, pause=False, busy=0.5)
    await bench.reset()
    r = bench.random
    bench.out.hold = True
    frames = [sent(r, r.choice((64, r.randrange(700, 2000))), errors=0) for _ in range(36)]
    bench.send(frames)
    await bench.until(lambda: any(event["overflow"] for event in bench.events.seen), "the buffer is full")
    bench.out.hold = False
    await bench.settle(len(frames))
    lost = frozenset(n for n, event in enumerate(bench.events.seen) if event["overflow"])
    bench.check(frames, lost=lost)
    assert min(lost) < max(n for n in range(len(frames)) if n not in lost), "some frame fitted again"


@cocotb.test(**LIMIT)
async def a_port_that_is_off_takes_nothing(dut):
    bench = PortBench(dut, pause=False)
    await bench.reset()
    dut.port__enable.value = 0
    await bench.cycles(3)
    frames = [sent(bench.random, length, errors=0) for length in (700, 64)]
    bench.send(frames)
    await bench.cycles(100)
    assert not bench.events.seen
    assert not dut.port__mac__tready.value
    dut.port__enable.value = 1
    await bench.cycles(5)
    dut.port__enable.value = 0  # within a frame, which goes on later
    await bench.cycles(50)
    dut.port__enable.value = 1
    await bench.settle(2)
    bench.check(frames)


@cocotb.test(**LIMIT)
@cocotb.parametrize(after=[9, 40, 111, 160])
async def nothing_of_the_time_before_a_reset_comes_out_after_it(dut, after):
    bench = PortBench(dut, pause=True, idle=0.2, busy=0.5)
    await bench.reset()
    bench.send([sent(bench.random, length) for length in (200, 900, 30, 64, 500, 900, 300)])
    await bench.cycles(after)
    await bench.reset()
    frames = [sent(bench.random, length) for length in (64, 5, 700, 14, 129)]
    bench.send(frames)
    await bench.settle(len(frames))
    bench.check(frames)
