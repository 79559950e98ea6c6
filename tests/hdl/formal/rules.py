"""The rules of streams and frames as gateware: they hold or not, cycle by cycle."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sentinic.abi.profiles import MAX_FRAME_BYTES, Profile
from sentinic_hdl.meta import FrameInfo, frame_beat


class StreamRules(wiring.Component):
    """Watches a stream: once ``valid`` is up it stays, and the payload with it, until ``ready``.

    Members
    -------
    valid, ready, payload: the stream
    waiting, offered: a payload was offered in the cycle before and not taken, and which
    kept: the rules hold in this cycle
    """

    def __init__(self, signature: stream.Signature):
        payload = signature.members["payload"].shape
        super().__init__(
            {
                "valid": In(1),
                "ready": In(1),
                "payload": In(payload),
                "waiting": Out(1),
                "offered": Out(payload),
                "kept": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [self.waiting.eq(self.valid & ~self.ready), self.offered.eq(self.payload)]
        m.d.comb += self.kept.eq(~self.waiting | (self.valid & (_bits(self.payload) == _bits(self.offered))))
        return m


class FrameRules(wiring.Component):
    """Watches a stream of frames: ``first`` is on the first beat and on no other, ``last`` on the beat that the length
    asks for, and ``info`` is the same on all beats of a frame.

    Members
    -------
    valid, ready, payload: the stream
    inside: the first beat of a frame is past, the last is not
    index, info: beats of this frame that are past, and what its first one said of it
    first_kept, kept: the rule of ``first`` holds in this cycle; all of them do
    """

    def __init__(self, profile: Profile):
        self._profile = profile
        super().__init__(
            {
                "valid": In(1),
                "ready": In(1),
                "payload": In(frame_beat(profile)),
                "inside": Out(1),
                "index": Out(range(MAX_FRAME_BYTES // profile.beat_bytes + 2)),
                "info": Out(FrameInfo),
                "first_kept": Out(1),
                "kept": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beat = self.payload
        end = (beat.info.length - 1)[: len(beat.info.length)] >> ceil_log2(self._profile.beat_bytes)
        m.d.comb += [
            self.first_kept.eq(~self.valid | (beat.first == ~self.inside)),
            self.kept.eq(
                self.first_kept
                & (
                    ~self.valid
                    | ((beat.last == (self.index == end)) & (~self.inside | (_bits(beat.info) == _bits(self.info))))
                )
            ),
        ]
        with m.If(self.valid & self.ready):
            m.d.sync += [self.inside.eq(~beat.last), self.info.eq(beat.info)]
            # A longer frame than there may be does not start over.
            with m.If(beat.last):
                m.d.sync += self.index.eq(0)
            with m.Elif(~self.index.all()):
                m.d.sync += self.index.eq(self.index + 1)
        return m


class QueueRules(wiring.Component):
    """Watches what goes into a part and what comes out: the same, all of it, once, in order.

    It follows one item through: whichever the solver chooses by ``follow``, then any later one, and so on.

    Members
    -------
    i_valid, i_ready, i_payload, o_valid, o_ready, o_payload: the two ends
    follow: free
    inside: items in the part
    following, item, ahead: the item that is followed, and how many leave before it
    kept: nothing comes out that is not inside, nor anything else than what is followed when its turn is
    """

    def __init__(self, shape, *, most: int):
        super().__init__(
            {
                **{f"{end}_{name}": In(1) for end in "io" for name in ("valid", "ready")},
                "i_payload": In(shape),
                "o_payload": In(shape),
                "follow": In(1),
                "inside": Out(range(most + 2)),
                "following": Out(1),
                "item": Out(shape),
                "ahead": Out(range(most + 1)),
                "kept": Out(1),
            }
        )
        self._most = most

    def elaborate(self, platform):
        m = Module()
        comes, goes = self.i_valid & self.i_ready, self.o_valid & self.o_ready
        m.d.sync += self.inside.eq(self.inside + comes - goes)
        with m.If(~self.following):
            with m.If(comes & self.follow):
                m.d.sync += [self.following.eq(1), self.item.eq(self.i_payload), self.ahead.eq(self.inside - goes)]
        with m.Elif(goes):
            m.d.sync += [self.ahead.eq(self.ahead - 1), self.following.eq(self.ahead != 0)]
        is_next = self.following & (self.ahead == 0)
        m.d.comb += self.kept.eq(
            (self.inside <= self._most)
            & (~self.o_valid | (self.inside != 0))
            & (~(self.o_valid & is_next) | (_bits(self.o_payload) == _bits(self.item)))
        )
        return m


def _bits(value):
    """A payload as a number, be it a struct or not."""
    return value.as_value() if hasattr(value, "as_value") else value
