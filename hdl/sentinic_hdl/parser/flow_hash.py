"""The symmetric Toeplitz hash of a flow, one a cycle."""

from functools import reduce
from operator import xor

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sentinic.abi.verdicts import Fragment, Protocol

from .layout import NetworkFields, Transport

KEY_BITS = 352
ADDRESS_BYTES = 32
INPUT_BYTES = ADDRESS_BYTES + 5


class Endpoints(data.Struct):
    """What the addresses leave for the moment when the ports are known."""

    partial: 32
    is_ip: 1
    swapped: 1  # the source's address is the higher one
    equal: 1


def hashed_ports(transport: data.View, equal: Value, swapped: Value) -> tuple[Value, Value]:
    """The lower and the higher endpoint's port, 0 where fragments or protocols without ports must agree."""
    has_ports = (transport.fragment == Fragment.WHOLE) & Cat(
        transport.protocol_class == each for each in (Protocol.TCP, Protocol.UDP, Protocol.SCTP)
    ).any()
    source = Mux(has_ports, transport.source_port, 0)
    destination = Mux(has_ports, transport.destination_port, 0)
    swap = Mux(equal, transport.source_port > transport.destination_port, swapped)
    return Mux(swap, destination, source), Mux(swap, source, destination)


class FlowHash(wiring.Component):
    """Hash by table: 256 words for each byte of the input, filled from the key.

    Toeplitz is linear, so the addresses' part is looked up while extension headers are still being passed, and the
    table of
    a byte is made by doubling: entry ``2**b + j`` is entry ``j`` xor the key's 32 bits at that bit.

    A frame's ``transport`` may come :data:`ADDRESS_LATENCY` cycles after its ``network`` or later.  Latency 4 cycles
    from ``transport`` to ``o``.  After reset or a change of ``key`` the tables are made anew in 272 cycles: ``stale``
    asks for no more frames, ``idle`` says that none is on its way.

    Parameters
    ----------
    depth: frames between ``network`` and ``transport``, a power of two

    Members
    -------
    key: bit 351 meets the first bit of the input
    """

    ADDRESS_LATENCY = 6

    network: In(stream.Signature(NetworkFields, always_ready=True))
    transport: In(stream.Signature(Transport, always_ready=True))
    key: In(KEY_BITS)
    stale: Out(1, init=1)
    idle: In(1)
    o: Out(stream.Signature(32, always_ready=True))

    def __init__(self, *, depth: int):
        if depth < 8 or depth & (depth - 1):
            raise ValueError(f"depth must be a power of two from 8 on, not {depth!r}")
        self._depth = depth
        super().__init__()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        reads = [Signal(8, name=f"byte{n}") for n in range(INPUT_BYTES)]
        address_en, port_en = Signal(), Signal()
        tables = self._tables(m, reads, address_en, port_en)

        # Addresses, cycle 1: order.
        network = self.network.payload
        valid1, swapped, equal, is_ip = Signal(), Signal(), Signal(), Signal()
        source, destination = Signal(128), Signal(128)
        m.d.sync += valid1.eq(self.network.valid)
        with m.If(self.network.valid):
            m.d.sync += [
                source.eq(network.source),
                destination.eq(network.destination),
                swapped.eq(network.source > network.destination),
                equal.eq(network.source == network.destination),
                is_ip.eq(network.ip_version != 0),
            ]
        # Cycle 2: tables.
        ordered = Signal(8 * ADDRESS_BYTES)
        m.d.comb += ordered.eq(Mux(swapped, Cat(source, destination), Cat(destination, source)))
        valid2, valid3, valid4 = Signal(), Signal(), Signal()
        flags2, flags3, flags4 = Signal(3), Signal(3), Signal(3)
        m.d.comb += address_en.eq(valid1)
        m.d.sync += [valid2.eq(valid1), valid3.eq(valid2), valid4.eq(valid3)]
        with m.If(valid1):
            m.d.sync += flags2.eq(Cat(is_ip, swapped, equal))
        # Cycles 3 and 4: xor.
        groups = [Signal(32, name=f"group{n}") for n in range(ADDRESS_BYTES // 4)]
        with m.If(valid2):
            m.d.sync += [each.eq(reduce(xor, tables[4 * n : 4 * n + 4])) for n, each in enumerate(groups)]
            m.d.sync += flags3.eq(flags2)
        partial = Signal(32)
        with m.If(valid3):
            m.d.sync += [partial.eq(reduce(xor, groups)), flags4.eq(flags3)]
        m.submodules.endpoints = endpoints = Memory(shape=Endpoints, depth=self._depth, init=[])
        w_port, r_port = endpoints.write_port(), endpoints.read_port()
        m.d.comb += [w_port.en.eq(valid4), w_port.data.eq(Cat(partial, flags4))]
        with m.If(valid4):
            m.d.sync += w_port.addr.eq(w_port.addr + 1)

        # Ports, cycle 1: the addresses' order.
        transport = Signal(Transport)
        known1, known2 = Signal(), Signal()
        m.d.comb += r_port.en.eq(self.transport.valid)
        m.d.sync += [known1.eq(self.transport.valid), known2.eq(known1)]
        with m.If(self.transport.valid):
            taken = self.transport.payload
            m.d.sync += [
                r_port.addr.eq(r_port.addr + 1),
                transport.fragment.eq(taken.fragment),
                transport.protocol.eq(taken.protocol),
                transport.protocol_class.eq(taken.protocol_class),
                transport.source_port.eq(taken.source_port),
                transport.destination_port.eq(taken.destination_port),
            ]
        # Cycle 2: tables.
        low, high = hashed_ports(transport, r_port.data.equal, r_port.data.swapped)
        tail = Signal(40)
        m.d.comb += [tail.eq(Cat(transport.protocol, high, low)), port_en.eq(known1)]
        begun, is_flow = Signal(32), Signal()
        with m.If(known1):
            m.d.sync += [begun.eq(r_port.data.partial), is_flow.eq(r_port.data.is_ip)]
        # Cycle 3: xor.
        m.d.sync += self.o.valid.eq(known2)
        with m.If(known2):
            m.d.sync += self.o.payload.eq(Mux(is_flow, begun ^ reduce(xor, tables[ADDRESS_BYTES:]), 0))

        whole = Cat(tail, ordered)
        for n, each in enumerate(reads):
            at = 8 * (INPUT_BYTES - 1 - n)
            m.d.comb += each.eq(whole[at : at + 8])
        return m

    def _tables(self, m: Module, reads: list[Signal], address_en: Signal, port_en: Signal) -> list[Value]:
        """One table for each byte, and what fills them."""
        key, shifted = Signal(KEY_BITS), Signal(KEY_BITS)
        filling, read1, write = Signal(), Signal(), Signal()
        bit, step = Signal(range(8)), Signal(range(128 + 2))
        span = Signal(8)
        r_entry, w_entry1, w_entry2 = Signal(8), Signal(8), Signal(8)
        m.d.comb += [span.eq(1 << bit), r_entry.eq(step)]
        m.d.sync += [read1.eq(filling & (step < span)), write.eq(read1)]
        with m.If(filling):
            m.d.sync += [w_entry1.eq(r_entry | span), w_entry2.eq(w_entry1), step.eq(step + 1)]
            # Two cycles more than entries, so that what a bit has made is written when the next bit reads.
            with m.If(step == span + 1):
                m.d.sync += [step.eq(0), bit.eq(bit + 1), shifted.eq(shifted[1:])]
                with m.If(bit == 7):
                    # A key that changed meanwhile is filled in before the next frame, not after.
                    m.d.sync += [filling.eq(0), self.stale.eq(self.key != key)]
        with m.Else():
            with m.If(self.key != key):
                m.d.sync += self.stale.eq(1)
            with m.If(self.stale & self.idle):
                # Entry 0 is 0 in every table for ever, from the initial contents on.
                m.d.sync += [filling.eq(1), key.eq(self.key), shifted.eq(self.key)]

        outputs: list[Value] = []
        for n, read in enumerate(reads):
            m.submodules[f"table{n}"] = table = Memory(shape=32, depth=256, init=[])
            w_port, r_port = table.write_port(), table.read_port()
            lowest = KEY_BITS - 32 - 8 * n - 7
            m.d.comb += [
                r_port.en.eq(filling | (address_en if n < ADDRESS_BYTES else port_en)),
                r_port.addr.eq(Mux(filling, r_entry, read)),
                w_port.en.eq(write),
                w_port.addr.eq(w_entry2),
            ]
            with m.If(read1):
                m.d.sync += w_port.data.eq(r_port.data ^ shifted[lowest : lowest + 32])
            outputs.append(r_port.data)
        return outputs
