"""A component under proof, with what is assumed of its neighbours and claimed of itself."""

from types import SimpleNamespace

from amaranth.asserts import AnySeq
from amaranth.back import rtlil
from amaranth.hdl import (
    Assert,
    Assume,
    Cat,
    ClockDomain,
    Const,
    Cover,
    Fragment,
    MemoryInstance,
    Module,
    Mux,
    Shape,
    Signal,
    Value,
)
from amaranth.lib import wiring
from amaranth.lib.stream import Signature

from sentinic.abi.profiles import Profile
from tests.hdl.formal.rules import FrameRules, QueueRules, StreamRules

TOP = "proof"


class Bench:
    """Parts under proof, free inputs, and ghost state around them.

    There is no reset but the one at the start.  ``m`` is the module around the parts.
    """

    def __init__(self):
        self.m = Module()
        self._clock = ClockDomain("sync", reset_less=True)
        self.m.domains.sync = self._clock
        self._parts: dict[str, Fragment] = {}
        self._invariants: list = []
        self.covers = 0

    def add(self, name: str, part, *, free: bool = False):
        """Put a component into the bench; ``free``: all its inputs may be anything, each cycle.  Returns it."""
        # Elaborated here and now, so that inner() and word() can look into it.
        self._parts[name] = Fragment.get(part, None)
        setattr(self.m.submodules, name, self._parts[name])
        if free:
            for _, member, port in part.signature.flatten(part):
                if member.flow is wiring.In and not isinstance(port, Const):
                    self.drive(port)
        return part

    def drive(self, *signals) -> None:
        """Let the solver choose, in each cycle, what ``signals`` are."""
        for signal in signals:
            value = Value.cast(signal)
            self.m.d.comb += value.eq(AnySeq(len(value)))

    def inner(self, path: str) -> Signal:
        """A signal inside a part, by the names that lead to it: ``"dut.free.fifo.level"``.

        Raises NameError when there is none of this name, or more than one.
        """
        *parents, name = path.split(".")
        fragment = self._fragment(parents)
        signals = {
            id(signal): signal
            for statements in fragment.statements.values()
            for statement in statements
            for signal in (*statement._lhs_signals(), *statement._rhs_signals())
            if signal.name == name
        }
        if len(signals) != 1:
            raise NameError(f"{path!r} must name one signal, not {len(signals)}")
        return next(iter(signals.values()))

    def in_state(self, path: str, state: str) -> Value:
        """Whether the FSM at ``path`` (its own name is last, ``fsm`` by default) is in ``state``."""
        *parents, name = path.split(".")
        fsm = self._fragment(parents).generated[name]
        return fsm._data["signal"] == fsm.encoding[state]

    def word(self, path: str, address) -> Signal:
        """What the memory at ``path`` holds at ``address``, in this cycle."""
        fragment = self._fragment(path.split("."))
        while not isinstance(fragment, MemoryInstance):  # lib.memory.Memory is a shell around it
            ((fragment, _, _),) = fragment.subfragments
        found = Signal(Shape.cast(fragment._data.shape), name="word")
        at = Signal(range(fragment._data.depth), name="word_address")
        fragment.read_port(domain="comb", addr=at, data=found, en=Const(1), transparent_for=())
        self.m.d.comb += at.eq(address)
        return found

    def _fragment(self, path: list[str]) -> Fragment:
        fragment = self._parts[path[0]]
        for name in path[1:]:
            fragment = fragment.find_subfragment(name)
        return fragment

    def queue(self, path: str, *, depth: int) -> list[tuple[Signal, Signal]]:
        """The items that the ``SyncFIFOBuffered`` at ``path`` holds, in order, as pairs of "there is one" and the item.

        Its pointers are right by an invariant; ``test_fifo.py`` proves the rest of it.
        """
        names = ("produce", "consume", "inner_level", "r_rdy", "r_data")
        produce, consume, level, valid, first = (self.inner(f"{path}.{name}") for name in names)
        places = depth - 1
        end = consume + level
        self.invariant((produce < places) & (consume < places) & (level <= places))
        self.invariant(produce == Mux(end >= places, end - places, end))
        self.invariant((level <= 1) | valid)
        items = [(valid, first)]
        for n in range(places):
            at = consume + n
            items.append((n < level, self.word(f"{path}.storage", Mux(at >= places, at - places, at))))
        return items

    def assume(self, condition, *, because: str) -> None:
        """What the neighbours see to; ``because`` names the one that does."""
        assert because
        self.m.d.comb += Assume(_truth(condition), src_loc_at=1)

    def check(self, condition) -> None:
        """What must hold in every cycle."""
        self.m.d.comb += Assert(_truth(condition), src_loc_at=1)

    def invariant(self, condition) -> None:
        """What induction has to know of the states that can be reached; it is proved with the rest."""
        self._invariants.append(Assert(_truth(condition), src_loc_at=1))

    def cover(self, condition) -> None:
        """What must be possible."""
        self.covers += 1
        self.m.d.comb += Cover(_truth(condition), src_loc_at=1)

    def rules(self, stream) -> StreamRules:
        """Watch ``stream``; what is returned tells in ``kept`` whether the rules hold, to assume or to check."""
        return self._watch(StreamRules(stream.signature), stream)

    def channel(self, valid, ready, payload: list) -> StreamRules:
        """As :meth:`rules`, for signals that are no stream: an AXI channel."""
        signals = Cat(payload)
        channel = SimpleNamespace(valid=valid, ready=ready, payload=signals)
        return self._watch(StreamRules(Signature(len(signals))), channel)

    def frames(self, profile: Profile, stream) -> FrameRules:
        """Watch a stream of frames; what is returned tells in ``kept`` whether their rules hold."""
        return self._watch(FrameRules(profile), stream)

    def in_order(self, i, o, *, most: int) -> QueueRules:
        """Watch two streams; ``kept`` of what is returned: all that goes in at ``i`` comes out at ``o``, in order.

        At most ``most`` items are between the two.
        """
        watch = QueueRules(i.signature.members["payload"].shape, most=most)
        self.m.submodules += watch
        self._connect(watch, i, "i_")
        self._connect(watch, o, "o_")
        self.drive(watch.follow)
        return watch

    def _watch(self, watch, stream):
        self.m.submodules += watch
        self._connect(watch, stream, "")
        return watch

    def _connect(self, watch, stream, prefix: str) -> None:
        for name in ("valid", "ready", "payload"):
            self.m.d.comb += getattr(watch, prefix + name).eq(getattr(stream, name))

    def past(self, value, *, init=0) -> Signal:
        """``value`` one cycle ago, ``init`` at the start."""
        before = Signal(Value.cast(value).shape(), init=init, name="past")
        self.m.d.sync += before.eq(value)
        return before

    def rtlil(self, *, invariants: bool) -> str:
        for invariant in self._invariants:
            if invariants:
                self.m.d.comb += invariant
            else:
                invariant._MustUse__used = True
        # Source lines stay in, to say which property failed.
        return rtlil.convert(self.m, name=TOP, ports=[self._clock.clk], emit_src=True)


def _truth(condition) -> Value:
    """``condition``, which must be one bit: ``~`` of more would be true of almost anything."""
    value = Value.cast(condition)
    if len(value) != 1:
        raise ValueError(f"a condition must be one bit wide, not {len(value)}")
    return value
