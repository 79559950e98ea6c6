"""The parser's wide schedule: a pipeline stage for each header, a frame in each stage."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped
from amaranth.utils import exact_log2

from sentinic.abi.profiles import MAX_EXTENSION_HEADERS, PARSE_WINDOW_BYTES, Profile

from ..meta import Quote, frame_beat
from .layout import (
    BODY_BITS,
    ETHERNET_BYTES,
    LINK_WORDS,
    NETWORK_BYTES,
    TRANSPORT_BYTES,
    WINDOW_WORDS,
    CheckJob,
    Cursor,
    Frame,
    Labels,
    Link,
    LinkFields,
    Network,
    NetworkFields,
    Reach,
    Transport,
    pick,
)
from .link import LabelStep, LinkStep
from .network import BoundsStep, ExtensionStep, NetworkStep, is_extension
from .quote import QUOTE_BYTES, QUOTE_HEADER_WORDS, SHORTEST_QUOTE_WORDS, QuoteReader
from .transport import ReachStep, TransportStep, is_icmp, pseudo_rest

IPV4_BYTES = 60
WINDOW_BITS = 8 * (PARSE_WINDOW_BYTES - ETHERNET_BYTES)
#: Where the transport or the first extension header may begin: behind the shortest and the longest IP header.
NEAREST, FARTHEST = 5, LINK_WORDS + 15


class Unrolled(wiring.Component):
    """Decodes the headers of a frame a cycle, up to 192 bytes deep.

    Frames flow freely: a result comes a fixed number of cycles after the beat that fills the window or ends the frame:
    ``link`` 3, ``network`` 5, ``transport`` and ``job`` 14 cycles; with ``quotes``, ``quoting`` and ``quote`` 20.

    The window is never shifted.  Each stage picks what it needs, and only packets with extension headers, and ICMP
    with ``quotes``, take the window along past the IP header: the transport's 20 bytes are picked early for the others.

    Parameters
    ----------
    quotes: what ICMP errors quote is wanted

    Members
    -------
    i: beats of at least 64 bytes; never refused
    quoting, quote: with ``quotes``, see :class:`QuoteReader`
    """

    #: Cycles between a frame's ``network`` and its ``transport``.
    NETWORK_TO_TRANSPORT = 9

    def __init__(self, *, profile: Profile, quotes: bool = False):
        if profile.beat_bytes < 64 or PARSE_WINDOW_BYTES % profile.beat_bytes:
            raise ValueError(f"data_width must be at least 512 and divide the window, not {profile.data_width!r}")
        self._profile, self._quotes = profile, quotes
        wanted = {"quoting": 1, "quote": Quote} if quotes else {}
        super().__init__(
            {
                "i": In(stream.Signature(frame_beat(profile), always_ready=True)),
                "link": Out(stream.Signature(LinkFields, always_ready=True)),
                "network": Out(stream.Signature(NetworkFields, always_ready=True)),
                "transport": Out(stream.Signature(Transport, always_ready=True)),
                "job": Out(stream.Signature(CheckJob, always_ready=True)),
                **{name: Out(stream.Signature(shape, always_ready=True)) for name, shape in wanted.items()},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        valid, frame, window, head = self._capture(m)

        # Cycle 2: VLAN tags and SNAP.
        m.submodules.link_step = link_step = LinkStep()
        m.d.comb += [link_step.octets.eq(head), link_step.body.eq(frame.body)]
        link2 = Signal(Link)
        valid2, frame2, window2 = self._forward(m, valid, frame, window)
        with m.If(valid):
            m.d.sync += link2.eq(link_step.o)

        # Cycle 3: MPLS labels.
        m.submodules.label_step = label_step = LabelStep()
        m.d.comb += [
            label_step.link.eq(link2),
            label_step.body.eq(frame2.body),
            label_step.bottoms.eq(Cat(window2[32 * n + 16] for n in range(LINK_WORDS))),
        ]
        labels3 = Signal(Labels)
        valid3, frame3, window3 = self._forward(m, valid2, frame2, window2)
        m.d.comb += self.link.valid.eq(valid3)
        with m.If(valid2):
            m.d.sync += labels3.eq(label_step.o)
            m.d.sync += self.link.payload.mpls_count.eq(label_step.o.mpls_count)
            for field in ("eth_type", "vlan_count", "vlan0", "vlan1"):
                m.d.sync += getattr(self.link.payload, field).eq(getattr(link2, field))

        # Cycle 4: the IP header comes to its place.
        header4 = Signal(8 * IPV4_BYTES, reset_less=True)
        labels4 = Signal(Labels)
        left4 = Signal(BODY_BITS)
        valid4, frame4, window4 = self._forward(m, valid3, frame3, window3)
        with m.If(valid3):
            m.d.sync += [labels4.eq(labels3), left4.eq(frame3.body - Cat(Const(0, 2), labels3.words))]
            pick(m, "sync", header4, window3, labels3.words, range(LINK_WORDS + 1))

        # Cycle 5: its fields, and sums for the checksums.
        m.submodules.network_step = network_step = NetworkStep()
        m.d.comb += [
            network_step.labels.eq(labels4),
            network_step.body.eq(frame4.body),
            network_step.octets.eq(header4[: 8 * NETWORK_BYTES]),
        ]
        network5 = Signal(Network)
        at5, is_arp5, left5 = Signal(4), Signal(), Signal(BODY_BITS)
        fixed5, addresses5, options5 = Signal(34), Signal(36), Signal(36)
        valid5, frame5, window5 = self._forward(m, valid4, frame4, window4)
        with m.If(valid4):
            words = [header4[32 * n : 32 * n + 32] for n in range(15)]
            m.d.sync += [
                network5.eq(network_step.o),
                at5.eq(labels4.words),
                is_arp5.eq(labels4.is_arp),
                left5.eq(left4),
                fixed5.eq(words[0] + words[1] + words[2]),
                options5.eq(sum(Mux(header4[:4] > n, words[n], 0) for n in range(5, 15))),
            ]
            with m.If(header4[4:8] == 4):
                m.d.sync += addresses5.eq(words[3] + words[4])
            with m.Else():
                m.d.sync += addresses5.eq(sum(words[2:10]))

        # Cycle 6: lengths; the cursor is behind the IP header.
        m.submodules.bounds_step = bounds_step = BoundsStep()
        m.d.comb += [
            bounds_step.network.eq(network5),
            bounds_step.at.eq(at5),
            bounds_step.is_arp.eq(is_arp5),
            bounds_step.body.eq(frame5.body),
            bounds_step.body_left.eq(left5),
            # Whether a checksum is there at all; what it says is known a cycle later.
            bounds_step.network_checksum_bad.eq(1),
            self.network.valid.eq(valid5),
            self.network.payload.ip_version.eq(network5.ip_version),
            self.network.payload.source.eq(network5.source),
            self.network.payload.destination.eq(network5.destination),
            self.network.payload.ip_length.eq(Mux(network5.ip_version != 0, bounds_step.ip_length, 0)),
            self.network.payload.ip_length_is_rest.eq(network5.length_is_rest),
            self.network.payload.network_offset.eq(Mux(network5.has_offset, Cat(Const(0, 2), at5) + ETHERNET_BYTES, 0)),
        ]
        cursor = Signal(Cursor)
        near = Signal(8 * TRANSPORT_BYTES, reset_less=True)
        header_sum, seed = Signal(21), Signal(20)
        extended = is_extension(network5.protocol, network5.ip_version)
        valid6, frame6, window6 = self._forward(m, valid5, frame5, window5, needed=extended | self._may_quote(network5))
        with m.If(valid5):
            header = Signal(37)
            m.d.comb += header.eq(fixed5 + addresses5 + options5)
            m.d.sync += [
                cursor.eq(bounds_step.o),
                header_sum.eq(header[:16] + header[16:32] + header[32:]),
                seed.eq(addresses5[:16] + addresses5[16:32] + addresses5[32:]),
            ]
            pick(m, "sync", near, window5, bounds_step.o.words, range(NEAREST, FARTHEST + 1))

        # Cycles 7 to 12: extension headers.  The first one lies where the transport would.
        once = Signal(17)
        m.d.comb += once.eq(header_sum[:16] + header_sum[16:])
        valid, frame, window, moved = valid6, frame6, window6, Const(0)
        for n in range(MAX_EXTENSION_HEADERS):
            step = ExtensionStep()
            m.submodules[f"extension_step{n}"] = step
            m.d.comb += step.i.eq(cursor)
            if n == 0:
                m.d.comb += step.i.network_checksum_bad.eq(cursor.network_checksum_bad & (once != 0xFFFF))
                m.d.comb += step.octets.eq(near)
            else:
                with m.If(step.active):
                    pick(m, "comb", step.octets, window, cursor.words, range(NEAREST + 2, WINDOW_WORDS - 1))
            passed = Signal(Cursor, name=f"cursor{n}")
            passed_near = Signal.like(near, name=f"near{n}")
            passed_seed = Signal.like(seed, name=f"seed{n}")
            passed_moved = Signal(name=f"moved{n}")
            with m.If(valid):
                m.d.sync += [
                    passed.eq(step.o),
                    passed_near.eq(near),
                    passed_seed.eq(seed),
                    passed_moved.eq(moved | step.active),
                ]
            needed = moved | step.active | self._may_quote(cursor)
            valid, frame, window = self._forward(m, valid, frame, window, needed=needed)
            cursor, near, seed, moved = passed, passed_near, passed_seed, passed_moved

        # Cycle 13: the transport header comes to its place.
        m.submodules.depth_step = depth_step = ExtensionStep()
        m.submodules.reach_step = reach_step = ReachStep()
        m.d.comb += [depth_step.i.eq(cursor), depth_step.deepest.eq(1), reach_step.i.eq(depth_step.o)]
        cursor13 = Signal(Cursor)
        header13 = Signal(8 * TRANSPORT_BYTES, reset_less=True)
        reach13, seed13, frame13 = Signal(Reach), Signal(20), Signal(Frame)
        valid13 = Signal()
        m.d.sync += valid13.eq(valid)
        with m.If(valid):
            m.d.sync += [
                cursor13.eq(depth_step.o),
                reach13.eq(reach_step.o),
                seed13.eq(seed),
                frame13.eq(frame),
                header13.eq(near),
            ]
            with m.If(moved):
                pick(m, "sync", header13, window, cursor.words, range(NEAREST + 2, WINDOW_WORDS))
        if self._quotes:
            m.submodules.quotes = reader = QuoteReader()
            quote13 = Signal(8 * QUOTE_BYTES, reset_less=True)
            with m.If(valid & self._may_quote(cursor)):
                positions = range(NEAREST + QUOTE_HEADER_WORDS, WINDOW_WORDS - SHORTEST_QUOTE_WORDS + 1)
                pick(m, "sync", quote13, window, cursor.words + QUOTE_HEADER_WORDS, positions)
            m.d.comb += [
                reader.valid.eq(valid13),
                reader.cursor.eq(cursor13),
                reader.reach.eq(reach13),
                reader.type.eq(header13[:8]),
                reader.octets.eq(quote13),
            ]
            connect(m, reader.quoting, flipped(self.quoting))
            connect(m, reader.quote, flipped(self.quote))

        # Cycle 14: its fields.
        m.submodules.transport_step = transport_step = TransportStep()
        check = transport_step.check
        beat_bytes = self._profile.beat_bytes
        m.d.comb += [
            transport_step.i.eq(cursor13),
            transport_step.octets.eq(header13),
            transport_step.reach.eq(reach13),
            transport_step.cut.eq(frame13.cut),
            self.job.valid.eq(self.transport.valid),
        ]
        m.d.sync += self.transport.valid.eq(valid13)
        with m.If(valid13):
            m.d.sync += [
                self.transport.payload.eq(transport_step.o),
                self.job.payload.eq(check),
                self.job.payload.beats.eq((frame13.body + ETHERNET_BYTES - 1 + beat_bytes) >> exact_log2(beat_bytes)),
                self.job.payload.seed.eq(
                    Mux(transport_step.add_pseudo, seed13 + pseudo_rest(transport_step.covered, cursor13.protocol), 0)
                ),
            ]
        return m

    def _may_quote(self, header: data.View) -> Value:
        """What follows ``header``, a :class:`Network` or :class:`Cursor`, may be an error whose quote matters."""
        return is_icmp(header.protocol, header.ip_version) if self._quotes else Const(0)

    def _capture(self, m: Module) -> tuple[Signal, data.View, Signal, Value]:
        """Collects the beats of the window.  Returns valid, frame, window and bytes 12 to 29."""
        beat = self.i.payload
        width, beats = self._profile.data_width, 8 * PARSE_WINDOW_BYTES // self._profile.data_width
        index = Signal(range(beats + 1))
        here = Signal(range(beats + 1))
        valid, frame = Signal(), Signal(Frame)
        window, eth_type = Signal(WINDOW_BITS, reset_less=True), Signal(16, reset_less=True)
        m.d.comb += here.eq(Mux(beat.first, 0, index))
        m.d.sync += valid.eq(self.i.valid & ((here == beats - 1) | (beat.last & (here != beats))))
        with m.If(self.i.valid):
            with m.If(here != beats):
                m.d.sync += index.eq(here + 1)
            with m.If(beat.first):
                m.d.sync += [
                    eth_type.eq(beat.data[8 * (ETHERNET_BYTES - 2) : 8 * ETHERNET_BYTES]),
                    window[: width - 8 * ETHERNET_BYTES].eq(beat.data[8 * ETHERNET_BYTES :]),
                    frame.body.eq(beat.info.length - ETHERNET_BYTES),
                    frame.cut.eq(beat.info.wire_length > beat.info.length),
                ]
            for n in range(1, beats):
                with m.If(here == n):
                    at = n * width - 8 * ETHERNET_BYTES
                    m.d.sync += window[at : at + width].eq(beat.data)
        return valid, frame, window, Cat(eth_type, window[: 8 * 16])

    def _forward(
        self, m: Module, valid: Signal, frame: data.View, window: Signal, *, needed: Value | None = None
    ) -> tuple[Signal, data.View, Signal]:
        """One stage on.  Only the words that the frame fills are copied, and none if no later header wants them."""
        o_valid, o_frame = Signal.like(valid), Signal(Frame)
        o_window = Signal(WINDOW_BITS, reset_less=True)
        m.d.sync += o_valid.eq(valid)
        with m.If(valid):
            m.d.sync += o_frame.eq(frame)
        with m.If(valid if needed is None else valid & needed):
            beat_bytes = self._profile.beat_bytes
            for start in range(0, PARSE_WINDOW_BYTES, beat_bytes):
                # Cut at whole words, the first of which may begin in the beat before.
                low, high = (max(0, 32 * -(-(at - ETHERNET_BYTES) // 4)) for at in (start, start + beat_bytes))
                with m.If(frame.body > start - ETHERNET_BYTES if start else Const(1)):
                    m.d.sync += o_window[low:high].eq(window[low:high])
        return o_valid, o_frame, o_window
