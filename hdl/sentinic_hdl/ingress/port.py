"""One ingress port: takes frames from a MAC, keeps the whole good ones, drops and counts the others."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sentinic.abi.profiles import MAX_FRAME_BYTES, MIN_FRAME_BYTES, Profile
from sentinic_hdl.axi import AxiStream, MacUser
from sentinic_hdl.meta import LENGTH_BITS, FrameInfo, frame_beat

#: Beats that may still come in after ``tready`` fell, and a little room besides.
_SKID_BEATS = 4


class PortEvents(data.Struct):
    """What became of a frame; at most one of the ``dropped`` bits, one cycle after its last beat was taken."""

    received: 1
    length: 16  # bytes of the received frame, saturating
    runt: 1
    oversize: 1
    error: 1
    overflow: 1


class IngressPort(wiring.Component):
    """A frame buffer with commit and rollback behind one MAC port.

    Throughput is one beat a cycle in and out, whatever the frame sizes.  A frame of one beat leaves four cycles after
    it came in.  When the buffer is full, a port that may pause lowers ``tready``; one that may not drops the frame that
    does not fit, whole.  While ``enable`` is low, ``tready`` is low.

    Parameters
    ----------
    profile: sizes the data path and the buffer
    port: the number that frames of this port carry

    Members
    -------
    mac: the MAC; ``tready`` is a register
    o: whole frames, in order
    """

    def __init__(self, *, profile: Profile, port: int):
        depth = profile.port_fifo_bytes // profile.beat_bytes
        if depth & (depth - 1):
            raise ValueError(f"port_fifo_bytes must hold a power of two of beats, not {depth}")
        if profile.port_fifo_bytes < MAX_FRAME_BYTES + _SKID_BEATS * profile.beat_bytes:
            raise ValueError(
                f"port_fifo_bytes must hold a frame of {MAX_FRAME_BYTES} bytes, not {profile.port_fifo_bytes}"
            )
        self._profile = profile
        self._port = port
        self._depth = depth
        self._frames = profile.port_frames
        super().__init__(
            {
                "mac": In(AxiStream(profile.data_width)),
                "o": Out(stream.Signature(frame_beat(profile))),
                "enable": In(1),
                "pause": In(1),
                "events": Out(PortEvents),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beat_bytes = self._profile.beat_bytes
        address_bits = ceil_log2(self._depth)

        m.submodules.memory = memory = Memory(shape=self._profile.data_width, depth=self._depth, init=[])
        w_port = memory.write_port()
        r_port = memory.read_port()
        m.submodules.infos = infos = SyncFIFOBuffered(width=FrameInfo.as_shape().size, depth=self._frames)

        # Pointers carry one bit more than the address, so that full and empty differ.
        written = Signal(address_bits + 1)
        committed = Signal(address_bits + 1)
        read = Signal(address_bits + 1)

        # First stage: the beat as it came, with its byte count.
        beat = Signal(self._profile.data_width)
        beat_valid = Signal()
        beat_last = Signal()
        beat_count = Signal(range(beat_bytes + 1))
        beat_user = Signal(MacUser)
        m.d.sync += beat_valid.eq(self.mac.tvalid & self.mac.tready)
        # ``tkeep`` is contiguous from byte 0: the byte count is the position of the first zero.
        count = Signal.like(beat_count)
        with m.If(self.mac.tvalid):
            m.d.comb += count.eq(_leading_ones(self.mac.tkeep, beat_bytes))
            m.d.sync += [
                beat.eq(self.mac.tdata),
                beat_last.eq(self.mac.tlast),
                beat_user.eq(self.mac.tuser),
                beat_count.eq(count),
            ]

        used = Signal(address_bits + 1)
        m.d.comb += used.eq(written - read)
        m.d.sync += self.mac.tready.eq(
            self.enable
            & (~self.pause | ((used < self._depth - _SKID_BEATS) & (infos.w_level < self._frames - _SKID_BEATS)))
        )

        # Second stage: store, then commit or roll back.
        length = Signal(LENGTH_BITS)  # of the beats before this one; stays above the limit once there
        spoilt = Signal()  # a beat did not fit
        first = Signal(init=1)
        first_user = Signal(MacUser)
        total = Signal(LENGTH_BITS + 1)
        full = Signal()
        oversize = Signal()
        user = Signal(MacUser)
        m.d.comb += [
            total.eq(length + beat_count),
            full.eq(used == self._depth),
            oversize.eq(total > MAX_FRAME_BYTES),
            user.eq(Mux(first, beat_user, first_user)),
            w_port.addr.eq(written[:address_bits]),
            w_port.data.eq(beat),
            w_port.en.eq(beat_valid & ~full & ~oversize),
        ]
        info = Signal(FrameInfo)
        m.d.comb += [
            info.length.eq(total),
            info.wire_length.eq(Mux(user.wire_length > total, user.wire_length, total)),
            info.timestamp.eq(user.timestamp),
            info.port.eq(self._port),
            infos.w_data.eq(info),
        ]
        runt = total < MIN_FRAME_BYTES
        overflow = spoilt | full | ~infos.w_rdy
        m.d.sync += self.events.eq(0)
        with m.If(beat_valid):
            m.d.sync += [first.eq(beat_last), first_user.eq(user)]
            with m.If(beat_last):
                bad = beat_user.error | oversize | runt
                m.d.sync += [
                    self.events.received.eq(1),
                    self.events.length.eq(total),
                    self.events.error.eq(beat_user.error),
                    self.events.oversize.eq(~beat_user.error & oversize),
                    self.events.runt.eq(~beat_user.error & runt),
                    self.events.overflow.eq(~bad & overflow),
                    length.eq(0),
                    spoilt.eq(0),
                ]
                with m.If(bad | overflow):
                    m.d.sync += written.eq(committed)
                with m.Else():
                    m.d.comb += infos.w_en.eq(1)
                    m.d.sync += [written.eq(written + 1), committed.eq(written + 1)]
            with m.Else():
                m.d.sync += length.eq(Mux(oversize, MAX_FRAME_BYTES + 1, total))
                with m.If(~oversize):
                    with m.If(full):
                        m.d.sync += spoilt.eq(1)
                    with m.Else():
                        m.d.sync += written.eq(written + 1)

        # Read side: the memory's output register is the stream's payload.
        remaining = Signal(range(MAX_FRAME_BYTES // beat_bytes + 1))
        head = Signal(FrameInfo)
        m.d.comb += head.eq(infos.r_data)
        step = Signal()
        begin = Signal()
        held_info = Signal(FrameInfo)
        m.d.comb += [
            step.eq(~self.o.valid | self.o.ready),
            begin.eq(step & (remaining == 0) & infos.r_rdy),
            infos.r_en.eq(begin),
            r_port.addr.eq(read[:address_bits]),
            r_port.en.eq(step),
            self.o.p.data.eq(r_port.data),
            self.o.p.info.eq(held_info),
        ]
        with m.If(step):
            m.d.sync += self.o.valid.eq(begin | (remaining != 0))
            with m.If(begin):
                beats_left = (head.length - 1) >> ceil_log2(beat_bytes)
                m.d.sync += [
                    held_info.eq(head),
                    self.o.p.first.eq(1),
                    self.o.p.last.eq(beats_left == 0),
                    remaining.eq(beats_left),
                    read.eq(read + 1),
                ]
            with m.Elif(remaining != 0):
                m.d.sync += [
                    self.o.p.first.eq(0),
                    self.o.p.last.eq(remaining == 1),
                    remaining.eq(remaining - 1),
                    read.eq(read + 1),
                ]
        return m


def _leading_ones(keep, width: int):
    """How many of the low bits of ``keep`` are set before the first clear one, for a contiguous ``keep``."""
    if width == 1:
        return keep[0]
    half = width // 2
    upper = _leading_ones(keep[half:], half)
    lower = _leading_ones(keep[:half], half)
    # ``keep[half]`` tells whether the lower half is full and the upper one begun.
    return Mux(keep[half], half + upper, lower) if width > 2 else keep[0] + (keep[1] & keep[0])
