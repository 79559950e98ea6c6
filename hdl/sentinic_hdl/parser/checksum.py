"""Sums a frame's transport bytes once the headers say where they are, and settles the verdict."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sentinic.abi.profiles import MAX_FRAME_BYTES, Profile
from sentinic.abi.verdicts import Checksum, Verdict

from ..meta import frame_beat
from .layout import ETHERNET_BYTES, CheckJob, CheckResult


class ChecksumUnit(wiring.Component):
    """Keeps beats until their frame's job comes, then takes one beat a cycle.

    The one's complement sum does not depend on byte order but for a swap (RFC 1071, 2 B), so lanes are added as they
    lie in the beat, and 32 bits at a time: 2**16 and 2**32 are both 1 modulo 65535.

    Latency 6 cycles from the job or the frame's last beat, whichever is later, to ``o``.  ``i`` is never refused; the
    caller stops at ``full``, which leaves room for 2 more beats.  Up to ``jobs`` jobs wait.

    Parameters
    ----------
    depth: beats, a power of two
    jobs: jobs that may wait for beats
    """

    def __init__(self, *, profile: Profile, depth: int, jobs: int = 4):
        if depth < 4 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two from 4 on, not {depth!r}")
        self._width = profile.data_width
        self._depth = depth
        self._jobs = jobs
        super().__init__(
            {
                "i": In(stream.Signature(frame_beat(profile), always_ready=True)),
                "full": Out(1),
                "job": In(stream.Signature(CheckJob, always_ready=True)),
                "o": Out(stream.Signature(CheckResult, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width, depth = self._width, self._depth
        beat_bytes = width // 8
        offset_bits = ceil_log2(beat_bytes)

        m.submodules.beats = beats = Memory(shape=width, depth=depth, init=[])
        w_port, r_port = beats.write_port(), beats.read_port()
        level = Signal(range(depth + 1))
        take = Signal()
        m.d.comb += [w_port.data.eq(self.i.payload.data), w_port.en.eq(self.i.valid)]
        with m.If(self.i.valid):
            m.d.sync += w_port.addr.eq(w_port.addr + 1)
        m.d.sync += [level.eq(level + self.i.valid - take), self.full.eq(level > depth - 4)]

        # Asynchronous read: a handful of jobs, and their fields steer the very next cycle.
        m.submodules.jobs = jobs = SyncFIFO(width=data.Layout.cast(CheckJob).size, depth=self._jobs)
        m.d.comb += [jobs.w_data.eq(self.job.payload), jobs.w_en.eq(self.job.valid)]
        head = Signal(CheckJob)
        index = Signal(range(MAX_FRAME_BYTES // beat_bytes + 1))
        last = Signal()
        m.d.comb += [
            head.eq(jobs.r_data),
            take.eq(jobs.r_rdy & level.any()),
            last.eq(index + 1 == head.beats),
            jobs.r_en.eq(take & last),
        ]

        # Cycle 1: the beat leaves the memory while the mask of its 16-bit lanes is made.
        lanes = width // 16
        valid2, last2, first2 = Signal(), Signal(), Signal()
        mask = Signal(lanes)
        odd = Signal()
        odd_byte = Signal(offset_bits)
        job2 = Signal(CheckJob)
        start = Cat(Const(0, 2), head.words) + ETHERNET_BYTES
        end = head.end
        m.d.comb += r_port.en.eq(take)
        m.d.sync += valid2.eq(take)
        with m.If(take):
            above, below = Signal(lanes), Signal(lanes)
            start_lane, end_lane = start[1:offset_bits], Signal(offset_bits)
            full = Const((1 << lanes) - 1, lanes)
            m.d.comb += end_lane.eq(end[:offset_bits][1:] + end[0])
            # Right shifts, as left ones would be as wide as their result could be.
            with m.If(start[offset_bits:] == index):
                m.d.comb += above.eq(~(full >> (lanes - start_lane)[:offset_bits]))
            with m.Elif(start[offset_bits:] < index):
                m.d.comb += above.eq(full)
            with m.If(end[offset_bits:] == index):
                m.d.comb += below.eq(full >> (lanes - end_lane)[:offset_bits])
            with m.Elif(end[offset_bits:] > index):
                m.d.comb += below.eq(full)
            m.d.sync += [
                index.eq(Mux(last, 0, index + 1)),
                r_port.addr.eq(r_port.addr + 1),
                mask.eq(Mux(head.active, above & below, 0)),
                # The lane of an odd end holds a byte too much; it is taken off again.
                odd.eq(head.active & end[0] & (end[offset_bits:] == index)),
                odd_byte.eq(end[:offset_bits]),
                first2.eq(index == 0),
                last2.eq(last),
                job2.eq(head),
            ]

        # Cycle 2: partial sums, each of at most 128 bits.
        valid3, last3, first3 = Signal(), Signal(), Signal()
        words = width // 32
        group = min(words, 4)
        partial = [Signal(32 + ceil_log2(group), name=f"partial{n}") for n in range(words // group)]
        surplus = Signal(32)
        job3 = Signal(CheckJob)
        m.d.sync += valid3.eq(valid2)
        with m.If(valid2):
            masked = [
                Cat(
                    Mux(mask[2 * n], r_port.data[32 * n : 32 * n + 16], 0),
                    Mux(mask[2 * n + 1], r_port.data[32 * n + 16 : 32 * n + 32], 0),
                )
                for n in range(words)
            ]
            garbage = r_port.data.word_select(odd_byte, 8)
            for n, each in enumerate(partial):
                m.d.sync += each.eq(sum(masked[group * n : group * (n + 1)]))
            m.d.sync += [
                # Where it was added: a sum over nothing but zeros must stay 0.
                surplus.eq(Mux(odd, Mux(odd_byte[1], Cat(Const(0, 24), garbage), Cat(Const(0, 8), garbage)), 0)),
                first3.eq(first2),
                last3.eq(last2),
                job3.eq(job2),
            ]

        # Cycle 3: the beat's sum.
        valid4, last4, first4 = Signal(), Signal(), Signal()
        beat_sum = Signal(32 + ceil_log2(words))
        job4 = Signal(CheckJob)
        m.d.sync += valid4.eq(valid3)
        with m.If(valid3):
            m.d.sync += [
                beat_sum.eq(sum(partial) - surplus),
                first4.eq(first3),
                last4.eq(last3),
                job4.eq(job3),
            ]

        # Cycle 4: the frame's sum, which cannot overflow.
        done = Signal()
        total = Signal((MAX_FRAME_BYTES // 4 * 0xFFFFFFFF).bit_length())
        job5 = Signal(CheckJob)
        m.d.sync += done.eq(valid4 & last4)
        with m.If(valid4):
            m.d.sync += [total.eq(Mux(first4, 0, total) + beat_sum), job5.eq(job4)]

        # Cycle 5: folded to little more than 16 bits.
        settled = Signal()
        folded = Signal(21)
        job6 = Signal(CheckJob)
        m.d.sync += settled.eq(done)
        with m.If(done):
            chunks = [total[at : at + 16] for at in range(0, len(total), 16)]
            m.d.sync += [folded.eq(sum(chunks) + job5.seed), job6.eq(job5)]

        # Cycle 6: the verdict.
        once = Signal(17)
        state = Signal(2)
        m.d.comb += [
            once.eq(folded[:16] + folded[16:]),
            # 10000 and above fold to 0001 and above, which is FFFF only for 1FFFE and more: out of reach here.
            state.eq(Mux(job6.active, Mux(once == 0xFFFF, Checksum.GOOD, Checksum.BAD), job6.state)),
        ]
        m.d.comb += [self.o.valid.eq(settled), self.o.payload.transport_checksum.eq(state)]
        with m.If(job6.malformed):
            m.d.comb += self.o.payload.verdict.eq(Verdict.MALFORMED)
        with m.Elif(state == Checksum.BAD):
            m.d.comb += self.o.payload.verdict.eq(Verdict.BAD_TRANSPORT_CHECKSUM)
        with m.Elif(job6.network_checksum_bad):
            m.d.comb += self.o.payload.verdict.eq(Verdict.BAD_NETWORK_CHECKSUM)
        with m.Elif(job6.truncated):
            m.d.comb += self.o.payload.verdict.eq(Verdict.TRUNCATED)
        with m.Else():
            m.d.comb += self.o.payload.verdict.eq(Mux(job6.fragment, Verdict.FRAGMENT, Verdict.CLEAN))
        return m
