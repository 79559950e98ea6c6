"""The parser: frames in, one record of everything their headers say out."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from sentinic.abi.profiles import Profile

from ..meta import Quote, frame_beat
from .checksum import ChecksumUnit
from .collect import Collector, ParsedFrame
from .flow_hash import KEY_BITS, FlowHash
from .folded import Folded
from .unrolled import Unrolled

#: Frames between ``i`` and ``o``: the latency in frames of one beat, and room for a slow reader.
FRAMES, FOLDED_FRAMES = 64, 8


class Parser(wiring.Component):
    """Decodes headers, verifies checksums over the whole frame, gives the verdict and the flow hash.

    Each frame taken at ``i`` gives one record at ``o``, in order.  Frames must have at least 14 bytes and as many
    beats as ``info.length`` says.

    Unrolled schedule (``wide``): a frame a cycle for ever, whatever the headers; 24 cycles from a frame's last beat
    to ``o``. Where ``o`` waits, up to 64 frames are held, then ``i`` waits between frames.  After reset and after a
    change of ``hash_key`` ``i`` waits about 300 cycles.

    Folded schedule (``board``): a frame every 13 cycles, longer ones as fast as they come, 3 cycles more for each
    extension header; 8 frames are held.  What ICMP errors quote is not read.

    In a build with SYN offload the unrolled schedule reads what ICMP errors quote, at the same pace.  Where ``quotes``
    waits, as many are held as frames, and as many more in frames on their way; then ``i`` waits.

    Parameters
    ----------
    profile: ``folded_parser`` chooses the schedule

    Members
    -------
    i: frames; ``info`` counts on the first beat
    o: one record a frame
    quotes: one for each record with ``quotes_tcp``, in their order; it may come later than the record
    hash_key: of the flow hash, ``hash_key0`` in bits 31..0
    """

    def __init__(self, profile: Profile):
        self._profile = profile
        #: Frames that it holds at most.
        self.depth = FOLDED_FRAMES if profile.folded_parser else FRAMES
        super().__init__(
            {
                "i": In(stream.Signature(frame_beat(profile))),
                "o": Out(stream.Signature(ParsedFrame)),
                "quotes": Out(stream.Signature(Quote)),
                "hash_key": In(KEY_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        folded = self._profile.folded_parser
        depth = self.depth
        reads_quotes = bool(self._profile.attempts) and not folded
        m.submodules.collect = collect = Collector(depth=depth, quotes=reads_quotes)
        beat = self.i.payload
        in_flight = Signal(range(depth + 1))
        in_frame, open_, room = Signal(), Signal(), Signal(init=1)
        taken, begun = Signal(), Signal()
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            begun.eq(taken & beat.first),
            collect.info.valid.eq(begun),
            collect.info.payload.eq(beat.info),
        ]
        m.d.sync += in_flight.eq(in_flight + begun - (self.o.valid & self.o.ready))
        with m.If(taken):
            m.d.sync += in_frame.eq(~beat.last)

        if folded:
            # One block RAM is that deep; a frame needs only 24 beats of it to get its job.
            m.submodules.checksum = checksum = ChecksumUnit(profile=self._profile, depth=512, jobs=depth)
            m.submodules.decode = decode = Folded(profile=self._profile)
            m.d.comb += [
                decode.open.eq(in_flight != depth),
                decode.key.eq(self.hash_key),
                decode.i.valid.eq(self.i.valid & ~checksum.full),
                self.i.ready.eq(decode.i.ready & ~checksum.full),
            ]
            connect(m, decode.flow_hash, collect.flow_hash)
        else:
            m.submodules.checksum = checksum = ChecksumUnit(profile=self._profile, depth=32)
            m.submodules.decode = decode = Unrolled(profile=self._profile, quotes=reads_quotes)
            assert FlowHash.ADDRESS_LATENCY <= Unrolled.NETWORK_TO_TRANSPORT < 16
            m.submodules.flow_hash = flow_hash = FlowHash(depth=16)
            m.d.comb += [
                open_.eq((in_flight != depth) & ~flow_hash.stale & room),
                decode.i.valid.eq(taken),
                self.i.ready.eq(~checksum.full & (in_frame | open_)),
                flow_hash.key.eq(self.hash_key),
                flow_hash.idle.eq(in_flight == 0),
                flow_hash.network.valid.eq(decode.network.valid),
                flow_hash.network.payload.eq(decode.network.payload),
                flow_hash.transport.valid.eq(decode.transport.valid),
                flow_hash.transport.payload.eq(decode.transport.payload),
            ]
            connect(m, flow_hash.o, collect.flow_hash)
        if reads_quotes:
            # Each of the frames that are in flight when there is no more room may bring one.
            m.submodules.quotes = quotes = SyncFIFOBuffered(width=Quote.as_shape().size, depth=2 * depth)
            connect(m, decode.quoting, collect.quotes)
            m.d.comb += [
                room.eq(quotes.level < depth),
                quotes.w_data.eq(decode.quote.payload),
                quotes.w_en.eq(decode.quote.valid),
                self.quotes.valid.eq(quotes.r_rdy),
                self.quotes.payload.eq(quotes.r_data),
                quotes.r_en.eq(self.quotes.ready),
            ]

        m.d.comb += [
            decode.i.payload.eq(beat),
            checksum.i.valid.eq(taken),
            checksum.i.payload.eq(beat),
        ]
        connect(m, decode.job, checksum.job)
        for name in ("link", "network", "transport"):
            connect(m, getattr(decode, name), getattr(collect, name))
        connect(m, checksum.o, collect.check)
        connect(m, collect.o, flipped(self.o))
        return m
