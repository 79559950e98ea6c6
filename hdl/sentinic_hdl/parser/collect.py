"""Puts the parts of a frame's result together as they become known."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from ..meta import FrameInfo, ParsedHeaders
from .layout import CheckResult, LinkFields, NetworkFields, Transport


class ParsedFrame(data.Struct):
    """What the parser hands on, one a frame."""

    info: FrameInfo
    headers: ParsedHeaders


#: The parts in the order of a frame's life; the last one completes it.
PARTS = {
    "info": FrameInfo,
    "link": LinkFields,
    "network": NetworkFields,
    "transport": Transport,
    "flow_hash": 32,
    "check": CheckResult,
}


class Collector(wiring.Component):
    """Holds each part under the frame's number until ``check`` comes, then offers the whole.

    Each layer writes what it knows as soon as it knows it, so no pipeline carries addresses along.  Latency 2 cycles
    from ``check`` to ``o``, one frame a cycle.  There is no flow control on the parts: no more than ``depth`` frames
    may be between ``info`` and ``o``.  ``check`` of a frame comes last, or in the same cycle as other parts.

    Parameters
    ----------
    depth: frames, a power of two
    quotes: there is the part ``quotes``, for ``quotes_tcp``

    Members
    -------
    info, link, network, transport, flow_hash, check, quotes: one a frame each, in the frames' order
    """

    def __init__(self, *, depth: int, quotes: bool = False):
        if depth < 2 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two from 2 on, not {depth!r}")
        self._depth = depth
        self._parts = {**PARTS, "quotes": 1} if quotes else PARTS
        super().__init__(
            {
                **{name: In(stream.Signature(shape, always_ready=True)) for name, shape in self._parts.items()},
                "o": Out(stream.Signature(ParsedFrame)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        complete = Signal(range(self._depth + 1))
        r_address = Signal(range(self._depth))
        r_en = Signal()
        parts = {}
        for name, shape in self._parts.items():
            part = getattr(self, name)
            m.submodules[name] = memory = Memory(shape=shape, depth=self._depth, init=[])
            w_port, r_port = memory.write_port(), memory.read_port()
            w_address = Signal(range(self._depth), name=f"w_{name}")
            m.d.comb += [
                w_port.en.eq(part.valid),
                w_port.addr.eq(w_address),
                w_port.data.eq(part.payload),
                r_port.en.eq(r_en),
                r_port.addr.eq(r_address),
            ]
            with m.If(part.valid):
                m.d.sync += w_address.eq(w_address + 1)
            parts[name] = r_port.data

        m.d.comb += r_en.eq(complete.any() & (~self.o.valid | self.o.ready))
        m.d.sync += complete.eq(complete + self.check.valid - r_en)
        with m.If(r_en):
            m.d.sync += [self.o.valid.eq(1), r_address.eq(r_address + 1)]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)

        headers = self.o.payload.headers
        m.d.comb += [
            self.o.payload.info.eq(parts["info"]),
            headers.flow_hash.eq(parts["flow_hash"]),
            headers.quotes_tcp.eq(parts.get("quotes", 0)),
        ]
        for name in ("link", "network", "transport", "check"):
            for field, _ in data.Layout.cast(PARTS[name]):
                m.d.comb += getattr(headers, field).eq(getattr(parts[name], field))
        return m
