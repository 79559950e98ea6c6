"""The first bytes of a few frames, read two words at a time from any word on."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from sentinic.abi.profiles import PARSE_WINDOW_BYTES, Profile

from ..meta import frame_beat
from .layout import WORD_BITS

ROW_BITS = WORD_BITS - 1


class Window(wiring.Component):
    """Realigns 8-byte beats so that headers begin at words, and stores them by frame.

    Even and odd words have a memory each, so any two neighbours can be read at once; one cycle from ``r_en`` to
    ``r_data``. The last two bytes of a frame are written a cycle after its last beat.

    Parameters
    ----------
    frames: frames held, a power of two

    Members
    -------
    i: beats; never refused
    complete: the beat at ``i`` fills the window or ends the frame
    index: which beat of the frame the next one is, saturated past the window, unless it is a first one
    r_frame, r_word: what to read, in frames counted from reset
    """

    def __init__(self, *, profile: Profile, frames: int):
        if profile.data_width != 64:
            raise ValueError(f"data_width must be 64, not {profile.data_width!r}")
        self._frames = exact_log2(frames)
        self.beats = PARSE_WINDOW_BYTES // profile.beat_bytes
        super().__init__(
            {
                "i": In(stream.Signature(frame_beat(profile), always_ready=True)),
                "here": Out(range(self.beats + 1)),
                "complete": Out(1),
                "r_en": In(1),
                "r_frame": In(self._frames),
                "r_word": In(WORD_BITS),
                "r_data": Out(64),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = self.i.payload
        frame, frame_here = Signal(self._frames, init=(1 << self._frames) - 1), Signal(self._frames)
        index = Signal(range(self.beats + 1))
        carried = Signal(16)
        rest, rest_row = Signal(), Signal(ROW_BITS)
        m.d.comb += [
            self.here.eq(Mux(beat.first, 0, index)),
            self.complete.eq(self.i.valid & ((self.here == self.beats - 1) | (beat.last & (self.here != self.beats)))),
            frame_here.eq(frame + beat.first),
        ]
        m.d.sync += rest.eq(self.i.valid & beat.last & (self.here < self.beats - 1))
        with m.If(self.i.valid):
            m.d.sync += [carried.eq(beat.data[48:]), frame.eq(frame_here), rest_row.eq(self.here - 1)]
            with m.If(self.here != self.beats):
                m.d.sync += index.eq(self.here + 1)

        depth = 1 << (self._frames + ROW_BITS)
        m.submodules.even = even = Memory(shape=32, depth=depth, init=[])
        m.submodules.odd = odd = Memory(shape=32, depth=depth, init=[])
        data = (Cat(carried, beat.data[:16]), beat.data[16:48])
        # Word 0 ends in the third beat, so the memories are free when the rest of the frame before is written.
        write = self.i.valid & (self.here >= 2) & (self.here != self.beats)
        address = Mux(rest, Cat(rest_row, frame), Cat((self.here - 2)[:ROW_BITS], frame))
        rows = (self.r_word + 1)[1:WORD_BITS], self.r_word[1:]
        swapped = Signal()
        outputs = []
        for memory, word, row in zip((even, odd), data, rows, strict=True):
            w_port, r_port = memory.write_port(), memory.read_port()
            m.d.comb += [
                w_port.en.eq(write | rest),
                w_port.addr.eq(address),
                w_port.data.eq(word),
                r_port.en.eq(self.r_en),
                r_port.addr.eq(Cat(row, self.r_frame)),
            ]
            outputs.append(r_port.data)
        with m.If(self.r_en):
            m.d.sync += swapped.eq(self.r_word[0])
        m.d.comb += self.r_data.eq(Mux(swapped, Cat(outputs[1], outputs[0]), Cat(outputs[0], outputs[1])))
        return m
