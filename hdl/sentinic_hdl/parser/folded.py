"""The parser's narrow schedule: one set of header steps, used by one frame after the other."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from sentinic.abi.profiles import MAX_EXTENSION_HEADERS, Profile

from ..meta import frame_beat
from .flow_hash import KEY_BITS
from .layout import (
    BODY_BITS,
    ETHERNET_BYTES,
    LINK_WORDS,
    NETWORK_BYTES,
    TRANSPORT_BYTES,
    WORD_BITS,
    CheckJob,
    Cursor,
    Frame,
    Labels,
    Link,
    LinkFields,
    Network,
    NetworkFields,
    NetworkKind,
    Reach,
    Transport,
)
from .link import LabelStep, LinkStep
from .network import BoundsStep, ExtensionStep, NetworkStep
from .serial_hash import SerialHash
from .transport import ReachStep, TransportStep, pseudo_rest
from .window import Window


class Folded(wiring.Component):
    """Decodes the headers of one frame at a time, 8 bytes a cycle.

    The link layer is picked from the beats as they pass.  When a frame or its first 192 bytes are in the window, the
    header walk takes 5 cycles for IPv4 (7 for IPv6), 3 for each extension header and 5 for the transport, while the
    frame before is hashed in 13 cycles and the next one comes in.

    Parameters
    ----------
    frames: frames whose window is held, a power of two

    Members
    -------
    i: beats of 8 bytes; waits for a free window between frames
    open: another frame may be begun in the coming cycle, if none is in this one
    key: of the flow hash
    """

    def __init__(self, *, profile: Profile, frames: int = 4):
        if profile.data_width != 64:
            raise ValueError(f"data_width must be 64, not {profile.data_width!r}")
        if frames < 2 or frames & (frames - 1):
            raise ValueError(f"frames must be a power of two from 2 on, not {frames!r}")
        self._profile = profile
        self._frames = frames
        super().__init__(
            {
                "i": In(stream.Signature(frame_beat(profile))),
                "open": In(1),
                "key": In(KEY_BITS),
                "link": Out(stream.Signature(LinkFields, always_ready=True)),
                "network": Out(stream.Signature(NetworkFields, always_ready=True)),
                "transport": Out(stream.Signature(Transport, always_ready=True)),
                "flow_hash": Out(stream.Signature(32, always_ready=True)),
                "job": Out(stream.Signature(CheckJob, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.window = window = Window(profile=self._profile, frames=self._frames)
        frame, link, labels = Signal(Frame), Signal(Link), Signal(Labels)
        known, release, finished = Signal(), Signal(), Signal()
        self._link_layer(m, window, frame, link, labels, known, release, finished)

        # What the window is read for: ``pair`` counts the pairs of words asked for, ``came`` the ones that arrived.
        word, r_frame = Signal(WORD_BITS), Signal(exact_log2(self._frames))
        pair, came, coming = Signal(4), Signal(4), Signal()
        fetch = Signal()
        m.d.comb += [window.r_en.eq(fetch), window.r_word.eq(word), window.r_frame.eq(r_frame)]
        m.d.sync += coming.eq(fetch)
        with m.If(fetch):
            m.d.sync += [word.eq(word + 2), pair.eq(pair + 1)]
        with m.If(coming):
            m.d.sync += came.eq(came + 1)

        m.submodules.network_step = network_step = NetworkStep()
        m.submodules.bounds_step = bounds_step = BoundsStep()
        m.submodules.extension_step = extension_step = ExtensionStep()
        m.submodules.reach_step = reach_step = ReachStep()
        m.submodules.transport_step = transport_step = TransportStep()
        m.submodules.hash = hash = SerialHash()

        header = Signal(8 * NETWORK_BYTES, reset_less=True)
        follower = Signal(8 * (TRANSPORT_BYTES + 4), reset_less=True)
        network, at, is_arp = Signal(Network), Signal(4), Signal()
        body, left, cut = Signal(BODY_BITS), Signal(BODY_BITS), Signal()
        cursor, reach = Signal(Cursor), Signal(Reach)
        passed = Signal(range(MAX_EXTENSION_HEADERS + 1))
        network_held, transport_held = Signal(), Signal()
        ip_length = Signal(16)
        transport, job, covered, add_pseudo = Signal(Transport), Signal(CheckJob), Signal(16), Signal()
        header_sum, summing = Signal(36), Signal()
        first_word, second_word = Signal(32), Signal(32)
        once = Signal(18)
        beat_bytes = self._profile.beat_bytes

        m.d.comb += [
            network_step.labels.eq(labels),
            network_step.body.eq(frame.body),
            network_step.octets.eq(header),
            bounds_step.network.eq(network),
            bounds_step.at.eq(at),
            bounds_step.is_arp.eq(is_arp),
            bounds_step.body.eq(body),
            bounds_step.body_left.eq(left),
            once.eq(header_sum[:16] + header_sum[16:32] + header_sum[32:]),
            # The only sums of a right header that is not all zero: FFFF and what folds to it.
            bounds_step.network_checksum_bad.eq((once != 0xFFFF) & (once != 0x1FFFE)),
            extension_step.i.eq(cursor),
            extension_step.octets.eq(follower[:64]),
            extension_step.deepest.eq(passed == MAX_EXTENSION_HEADERS),
            reach_step.i.eq(cursor),
            transport_step.i.eq(cursor),
            transport_step.octets.eq(follower[: 8 * TRANSPORT_BYTES]),
            transport_step.reach.eq(reach),
            transport_step.cut.eq(cut),
        ]

        ipv4_words = Mux(header[4:8] == 4, header[:4], 0)
        pairs = Signal(4)
        with m.If(ipv4_words > 10):
            m.d.comb += pairs.eq((ipv4_words + 1)[1:])
        with m.Else():
            m.d.comb += pairs.eq(Mux((labels.kind == NetworkKind.IPV4) & (ipv4_words <= 6), 3, 5))
        # One cycle behind the words, and so settled when the lengths are.
        m.d.sync += summing.eq(coming)
        with m.If(summing):
            m.d.sync += header_sum.eq(header_sum + first_word + second_word)
        with m.FSM():
            with m.State("BEGIN"):
                m.d.sync += [pair.eq(0), came.eq(0), word.eq(labels.words), header_sum.eq(0), passed.eq(0)]
                with m.If(known):
                    m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += fetch.eq(pair != pairs)
                with m.If(coming):
                    for n in range(NETWORK_BYTES // 8):
                        with m.If(came == n):
                            m.d.sync += header[64 * n : 64 * n + 64].eq(window.r_data)
                    # The first pair tells how many words there are; a header has at least that one.
                    first = Mux((came == 0) | (ipv4_words > Cat(Const(0, 1), came)), window.r_data[:32], 0)
                    second = Mux((came == 0) | (ipv4_words > Cat(Const(1, 1), came)), window.r_data[32:], 0)
                    m.d.sync += [first_word.eq(first), second_word.eq(second)]
                with m.If((came == pairs) & ~network_held):
                    m.d.sync += [
                        network.eq(network_step.o),
                        at.eq(labels.words),
                        is_arp.eq(labels.is_arp),
                        body.eq(frame.body),
                        cut.eq(frame.cut),
                        left.eq(frame.body - Cat(Const(0, 2), labels.words)),
                    ]
                    m.d.comb += release.eq(1)
                    m.next = "BOUNDS"
            with m.State("BOUNDS"):
                m.d.sync += [
                    cursor.eq(bounds_step.o),
                    ip_length.eq(Mux(network.ip_version != 0, bounds_step.ip_length, 0)),
                    network_held.eq(1),
                    pair.eq(0),
                    came.eq(0),
                    word.eq(bounds_step.o.words),
                ]
                m.next = "FOLLOW"
            with m.State("FOLLOW"):
                wanted = Mux(extension_step.active, 1, 3)
                m.d.comb += fetch.eq(pair != wanted)
                m.d.sync += reach.eq(reach_step.o)
                with m.If(coming):
                    for n in range(3):
                        with m.If(came == n):
                            m.d.sync += follower[64 * n : 64 * n + 64].eq(window.r_data)
                with m.If(came == wanted):
                    with m.If(extension_step.active):
                        m.d.sync += [
                            cursor.eq(extension_step.o),
                            word.eq(extension_step.o.words),
                            pair.eq(0),
                            came.eq(0),
                            passed.eq(passed + 1),
                        ]
                    with m.Elif(~transport_held):
                        m.d.sync += [
                            transport.eq(transport_step.o),
                            job.eq(transport_step.check),
                            job.beats.eq((body + ETHERNET_BYTES - 1 + beat_bytes) >> exact_log2(beat_bytes)),
                            covered.eq(transport_step.covered),
                            add_pseudo.eq(transport_step.add_pseudo),
                            transport_held.eq(1),
                            r_frame.eq(r_frame + 1),
                        ]
                        m.d.comb += finished.eq(1)
                        m.next = "BEGIN"

        m.d.comb += [
            hash.key.eq(self.key),
            hash.network.valid.eq(network_held),
            hash.network.payload.ip_version.eq(network.ip_version),
            hash.network.payload.source.eq(network.source),
            hash.network.payload.destination.eq(network.destination),
            hash.network.payload.ip_length.eq(ip_length),
            hash.network.payload.ip_length_is_rest.eq(network.length_is_rest),
            hash.network.payload.network_offset.eq(Mux(network.has_offset, Cat(Const(0, 2), at) + ETHERNET_BYTES, 0)),
            hash.transport.valid.eq(transport_held),
            hash.transport.payload.eq(transport),
            self.network.payload.eq(hash.network.payload),
            self.network.valid.eq(network_held & hash.network.ready),
            self.transport.payload.eq(transport),
            self.transport.valid.eq(transport_held & hash.transport.ready),
            self.flow_hash.payload.eq(hash.hash),
            self.flow_hash.valid.eq(self.transport.valid),
            self.job.payload.eq(job),
            self.job.payload.seed.eq(Mux(add_pseudo, hash.address_sum + pseudo_rest(covered, transport.protocol), 0)),
            self.job.valid.eq(self.transport.valid),
        ]
        with m.If(self.network.valid):
            m.d.sync += network_held.eq(0)
        with m.If(self.transport.valid):
            m.d.sync += transport_held.eq(0)
        return m

    def _link_layer(
        self,
        m: Module,
        window: Window,
        frame: data.View,
        link: data.View,
        labels: data.View,
        known: Signal,
        release: Signal,
        finished: Signal,
    ) -> None:
        """Fills the window, and from the beats that pass, ``link``, then ``labels``; both stay until
        ``release``; ``finished`` frees a window."""
        beat = self.i.payload
        head, bottoms = Signal(8 * 18, reset_less=True), Signal(LINK_WORDS, reset_less=True)
        frame_head, frame_link = Signal(Frame), Signal(Frame)
        bottoms_link = Signal.like(bottoms)
        gathered, linked = Signal(), Signal()
        held = Signal(range(self._frames + 1))
        taken, to_link, to_labels = Signal(), Signal(), Signal()
        may_begin, left_head = Signal(), Signal()
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready),
            window.i.valid.eq(taken),
            window.i.payload.eq(beat),
            # Settled a cycle before: on it hangs all that takes a beat, here and in the store.
            self.i.ready.eq(Mux(beat.first, may_begin, (window.here > 1) | left_head)),
            to_labels.eq(linked & (~known | release)),
            to_link.eq(gathered & (~linked | to_labels)),
        ]
        m.d.sync += [
            held.eq(held + (taken & beat.first) - finished),
            # A frame waits for a window, and its second beat until the frame before has left ``head``.
            may_begin.eq(self.open & (held != self._frames) & ~(taken & beat.first)),
            left_head.eq(~gathered | to_link),
        ]
        with m.If(taken):
            with m.Switch(window.here):
                with m.Case(1):
                    m.d.sync += [
                        head[:32].eq(beat.data[32:]),
                        frame_head.body.eq(beat.info.length - ETHERNET_BYTES),
                        frame_head.cut.eq(beat.info.wire_length > beat.info.length),
                    ]
                with m.Case(2):
                    m.d.sync += head[32:96].eq(beat.data)
                with m.Case(3):
                    m.d.sync += head[96:].eq(beat.data[:48])
            for n in range(2, 6):
                with m.If(window.here == n):
                    m.d.sync += bottoms[2 * n - 4 : 2 * n - 2].eq(Cat(beat.data[0], beat.data[32]))

        m.submodules.link_step = link_step = LinkStep()
        m.submodules.label_step = label_step = LabelStep()
        m.d.comb += [
            link_step.octets.eq(head),
            link_step.body.eq(frame_head.body),
            label_step.link.eq(link),
            label_step.bottoms.eq(bottoms_link),
            label_step.body.eq(frame_link.body),
            self.link.valid.eq(to_labels),
            self.link.payload.mpls_count.eq(label_step.o.mpls_count),
        ]
        for field in ("eth_type", "vlan_count", "vlan0", "vlan1"):
            m.d.comb += getattr(self.link.payload, field).eq(getattr(link, field))
        with m.If(window.complete):
            m.d.sync += gathered.eq(1)
        with m.Elif(to_link):
            m.d.sync += gathered.eq(0)
        with m.If(to_link):
            m.d.sync += [linked.eq(1), link.eq(link_step.o), frame_link.eq(frame_head), bottoms_link.eq(bottoms)]
        with m.Elif(to_labels):
            m.d.sync += linked.eq(0)
        with m.If(to_labels):
            m.d.sync += [known.eq(1), labels.eq(label_step.o), frame.eq(frame_link)]
        with m.Elif(release):
            m.d.sync += known.eq(0)
