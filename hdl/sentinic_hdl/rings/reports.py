"""Reports: what stages hand out beside packets, packed into frames that hold no packet, many items to a frame."""

from collections.abc import Callable

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from sentinic.abi import reports as abi
from sentinic.abi import statistics
from sentinic.abi.profiles import Profile
from sentinic.abi.tag import TAG_ETHERTYPE, TAG_VERSION
from sentinic.abi.verdicts import Content
from sentinic_hdl.rings.compose import pack, swap_bytes
from sentinic_hdl.rings.types import report_frame
from sentinic_hdl.stages.statistics.types import Fields, report_shape
from sentinic_hdl.stages.syn_offload.types import Ended, ends_of, syn_flags
from sentinic_hdl.store import read_shape

#: Bytes kept for a report.
SLOT_BYTES = abi.REPORT_MAX_BYTES
#: Cycles that an unfinished report waits for another item.
PATIENCE = 255


def group_bytes(group) -> Value:
    """The TLV of a group, in memory order."""
    key = data.View(Fields, group.key)
    values = {name: key[name] for name in (item.name for item in statistics.FIELDS) if name != "reserved"}
    for name in ("source", "destination", "eth_src", "eth_dst"):
        values[name] = key[name]
    for name in ("rule", "flags", "generation", "packets", "bytes", "first", "last", "history", "seen"):
        values[name] = group[name]
    return _tlv_bytes(Content.GROUPS, values)


def attempt_bytes(ended) -> Value:
    """The TLV of an attempt that nobody answered, in memory order."""
    record = ended.record
    source, destination = ends_of(record)
    origin = Cat(record.port, Mux(record.key.ipv6, Const(2, 2), Const(1, 2)), ended.window_zero)
    values = {
        "reason": ended.reason,
        "origin": origin,
        "tcp_flags": syn_flags(ended.congestion),
        "source_port": source.port,
        "destination_port": destination.port,
        "source": source.address,
        "destination": destination.address,
        **{name: record[name] for name in ("ip_length", "retransmissions", "first", "last", "sequence")},
    }
    return _tlv_bytes(Content.ATTEMPTS, values)


def _tlv_bytes(content: Content, values: dict[str, Value]) -> Value:
    tlv = abi.ITEMS[content]
    return pack(tlv.record, {"type": Const(tlv.type, 8), "length": Const(tlv.words, 8), **values})


def item_shape(profile: Profile, content: Content):
    """What a stage hands out that makes reports of ``content``."""
    return report_shape(profile) if content is Content.GROUPS else Ended


_BYTES: dict[Content, Callable[[Value], Value]] = {
    Content.GROUPS: group_bytes,
    Content.ATTEMPTS: attempt_bytes,
}


class Reports(wiring.Component):
    """Packs items into frames, keeps those until dispatch has read them, and offers them to it.

    A frame is closed when it is full, when no item has come for ``PATIENCE`` cycles, or none is there and it is asked
    for.  Takes an item in as many cycles as it has beats, and is done with a frame of groups in as many as that has:
    the bus, which has a descriptor to write as well, is no faster.

    Parameters
    ----------
    content: what the items are

    Members
    -------
    i: items
    close: let what there is go
    time: wire time, ns
    o: closed frames: ``cell`` is the place
    busy: items that were taken have not been taken of ``o``
    read: a frame to read, as of the packet store; ``release`` gives its place back
    beats: what was read, the first beat two cycles after the command
    release: give the frame at place ``cell`` back unread
    """

    def __init__(self, *, profile: Profile, content: Content):
        self._profile, self._content = profile, content
        super().__init__(
            {
                "i": In(stream.Signature(item_shape(profile, content))),
                "close": In(1),
                "time": In(64),
                "o": Out(stream.Signature(report_frame(profile))),
                "busy": Out(1),
                "read": In(stream.Signature(read_shape(profile))),
                "beats": Out(stream.Signature(profile.data_width)),
                "release": In(stream.Signature(exact_log2(profile.report_frames), always_ready=True)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        profile = self._profile
        width, beat_bytes = profile.data_width, profile.beat_bytes
        frames, slot_beats = profile.report_frames, SLOT_BYTES // beat_bytes
        frame_bits = exact_log2(frames)
        m.submodules.memory = memory = Memory(shape=width, depth=frames * slot_beats, init=[])
        write, read = memory.write_port(), memory.read_port()

        # --- Writing ---
        head_beats = abi.REPORT_HEAD_BYTES // beat_bytes
        tlv, most = abi.ITEMS[self._content], abi.most_items(self._content)
        item_beats = tlv.record.size // beat_bytes
        slot, used = Signal(frame_bits), Signal(frames)
        items, beat = Signal(range(most + 1)), Signal(range(max(2, item_beats, head_beats)))
        sequence, patience = Signal(32), Signal(range(PATIENCE + 1))
        closed = Signal()
        place = Signal(exact_log2(slot_beats))
        body = _BYTES[self._content](self.i.p)
        tag_words = Signal(8)
        m.d.comb += tag_words.eq(1 + abi.REPORT.words + items * tlv.words)
        head = Cat(
            Const(0, 96),
            swap_bytes(Cat(tag_words, Const(TAG_VERSION, 8), Const(TAG_ETHERTYPE, 16))),
            pack(
                abi.REPORT.record,
                {
                    "type": Const(abi.REPORT.type, 8),
                    "length": Const(abi.REPORT.words, 8),
                    "items": items,
                    "content": Const(self._content, 8),
                    "sequence": sequence,
                    "timestamp": self.time,
                },
            ),
        )
        m.d.comb += [write.addr.eq(Cat(place, slot)), self.busy.eq(items.any() | closed)]

        def pieces(value, count):
            return Array(value[n * width : (n + 1) * width] for n in range(count))[beat]

        # The next one of groups is begun while this one waits to be taken.  Attempts come fastest when dispatch has raw
        # SYNs to place as well, and packets would wait for what these reports take of it.
        overlaps = self._content is Content.GROUPS
        with m.If(self.o.ready):
            m.d.sync += closed.eq(0)
        with m.FSM():
            with m.State("COLLECT"):
                with m.If(~used.bit_select(slot, 1) & self.i.valid):
                    m.d.comb += [
                        place.eq(head_beats + items * item_beats + beat),
                        write.data.eq(pieces(body, item_beats)),
                        write.en.eq(1),
                    ]
                    m.d.sync += [beat.eq(beat + 1), patience.eq(0)]
                    with m.If(beat == item_beats - 1):
                        m.d.comb += self.i.ready.eq(1)
                        m.d.sync += [beat.eq(0), items.eq(items + 1)]
                        with m.If(items == most - 1):
                            m.next = "TAIL"
                with m.Elif(items.any() & (self.close | (patience == PATIENCE))):
                    m.next = "TAIL"
                with m.Else():
                    m.d.sync += patience.eq(patience + 1)
            with m.State("TAIL"):
                # The inner EtherType of a frame with no packet is 0.
                m.d.comb += [place.eq(head_beats + items * item_beats), write.en.eq(1)]
                m.next = "HEAD"
            with m.State("HEAD"):
                m.d.comb += [place.eq(beat), write.data.eq(pieces(head, head_beats)), write.en.eq(1)]
                with m.If(beat != head_beats - 1):
                    m.d.sync += beat.eq(beat + 1)
                with m.Elif(~closed | self.o.ready):
                    m.d.sync += [
                        beat.eq(0),
                        closed.eq(1),
                        self.o.p.cell.eq(Cat(slot, Const(self._content == Content.ATTEMPTS, 1))),
                        self.o.p.info.timestamp.eq(self.time),
                        self.o.p.info.length.eq(abi.REPORT_HEAD_BYTES + items * tlv.record.size + 2),
                        self.o.p.info.wire_length.eq(abi.REPORT_HEAD_BYTES + items * tlv.record.size + 2),
                        used.bit_select(slot, 1).eq(1),
                        items.eq(0),
                        patience.eq(0),
                        slot.eq(slot + 1),
                        sequence.eq(sequence + 1),
                    ]
                    m.next = "COLLECT" if overlaps else "OFFER"
            if not overlaps:
                with m.State("OFFER"):
                    with m.If(self.o.ready):
                        m.next = "COLLECT"
        m.d.comb += self.o.valid.eq(closed)

        # --- Reading ---
        left, at, now = Signal(read_shape(profile)["beats"].shape), Signal(exact_log2(slot_beats)), Signal(frame_bits)
        step, releasing, last = Signal(), Signal(), Signal()
        m.d.comb += [
            step.eq(~self.beats.valid | self.beats.ready),
            self.read.ready.eq(step & (left == 0)),
            read.en.eq(step),
            read.addr.eq(Mux(left == 0, Cat(Const(0, len(at)), self.read.p.cell[:frame_bits]), Cat(at, now))),
            self.beats.payload.eq(read.data),
        ]
        with m.If(step):
            m.d.sync += self.beats.valid.eq((left != 0) | self.read.valid)
            m.d.sync += last.eq(0)
            with m.If(left != 0):
                m.d.sync += [left.eq(left - 1), at.eq(at + 1), last.eq((left == 1) & releasing)]
            with m.Elif(self.read.valid):
                m.d.sync += [
                    left.eq(self.read.p.beats - 1),
                    at.eq(1),
                    now.eq(self.read.p.cell),
                    releasing.eq(self.read.p.release),
                    last.eq((self.read.p.beats == 1) & self.read.p.release),
                ]
            with m.If(last):
                m.d.sync += used.bit_select(now, 1).eq(0)
        with m.If(self.release.valid):
            m.d.sync += used.bit_select(self.release.payload, 1).eq(0)
        return m


__all__ = ["Reports", "attempt_bytes", "group_bytes", "item_shape"]
