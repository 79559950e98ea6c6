"""What the folded schedule reads in the packet store: what errors quote, and the headers of SYNs that were held."""

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address, IPv6Address

import pytest
from amaranth.hdl import Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop
from scapy.layers.l2 import Dot1AD, Dot1Q
from scapy.packet import Packet

from sentinic.abi.profiles import BOARD
from sentinic.abi.verdicts import Verdict
from sentinic_hdl.meta import PacketMeta
from sentinic_hdl.stages.syn_offload.folded.reader import HeaderReader, Headers, Job
from sentinic_hdl.stages.syn_offload.folded.types import enter, kept_shape, may_quote, quote_job, read_back, syn_job
from sentinic_hdl.stages.syn_offload.types import Record, held_shape, restored
from tests.hdl.parser.bench import fields
from tests.hdl.parser.errors import ETHER, LINKS, cases
from tests.hdl.parser.frames import random_frame
from tests.hdl.simulation import deep_expressions
from tests.reference.parser import parse
from tests.reference.quote import Quote, quoted

FIELDS = {name: lsb for name, lsb, _ in fields(PacketMeta)}


class Dut(wiring.Component):
    """The reader, with its jobs of a packet's meta, and that meta as it is restored."""

    def __init__(self):
        super().__init__(
            {
                "meta": In(PacketMeta),
                "quote": In(1),
                "start": In(1),
                "asks": Out(1),
                "back": Out(PacketMeta),
            }
        )
        self.reader = HeaderReader(profile=BOARD)

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = self.reader
        job, kept = Signal(Job), Signal(kept_shape(BOARD))
        record, held = Signal(Record), Signal(held_shape(BOARD))
        asks = quote_job(m, self.meta, job)
        m.d.comb += [
            self.asks.eq(may_quote(self.meta) & asks),
            *enter(self.meta, Const(0, 1), Const(0, 1), kept),
            reader.start.eq(self.start),
        ]
        with m.If(self.quote):
            m.d.comb += reader.job.eq(job)
        with m.Else():
            m.d.comb += syn_job(kept, reader.job)
        m.d.comb += read_back(kept, reader.headers, record, held)
        m.d.comb += restored(record, held, Const(0, 3), self.back)
        return m


@dataclass(frozen=True)
class Frame:
    data: bytes
    wire_length: int


def meta_of(frame: Frame) -> int:
    """The meta as the reference parser makes it."""
    headers = parse(frame.data, frame.wire_length)
    values = {f"headers.{name}": value for name, value in asdict(headers).items()}
    values |= {
        "info.length": len(frame.data),
        "info.wire_length": frame.wire_length,
        "link": int.from_bytes(frame.data[:12], "little"),
        "cell": 5,
    }
    return sum(int(value) << FIELDS[name] for name, value in values.items() if name in FIELDS)


def run(frames: Sequence[Frame], *, quote: bool, busy: float = 0.0) -> list[tuple[bool, Headers, int]]:
    """For each frame: whether it is asked and found, what was read, and the meta restored of it."""
    dut = Dut()
    r = random.Random(7)
    found: list[tuple[bool, Headers, int]] = []

    async def drive(ctx):
        reader = dut.reader
        ctx.set(dut.quote, quote)
        for frame in frames:
            ctx.set(dut.meta.as_value(), meta_of(frame))
            await ctx.tick().repeat(3)
            asks = ctx.get(dut.asks) or not quote
            if asks:
                ctx.set(dut.start, 1)
                await ctx.tick()
                ctx.set(dut.start, 0)
                await serve(ctx, reader, frame.data)
            headers = Headers.as_shape().const(None) if not asks else ctx.get(reader.headers)
            found.append((asks and (not quote or bool(ctx.get(reader.found))), headers, ctx.get(dut.back.as_value())))

    async def serve(ctx, reader, data: bytes) -> None:
        ctx.set(reader.read.ready, 1)
        while not ctx.get(reader.read.valid):
            await ctx.tick()
        assert ctx.get(reader.read.p.cell) == 5
        count = ctx.get(reader.read.p.beats)
        await ctx.tick()
        ctx.set(reader.read.ready, 0)
        for n in range(count):
            while r.random() < busy:
                ctx.set(reader.beats.payload, r.getrandbits(64))
                await ctx.tick()
            beat = data[8 * n : 8 * n + 8]
            ctx.set(reader.beats.payload, int.from_bytes(beat + r.randbytes(8 - len(beat)), "little"))
            ctx.set(reader.beats.valid, 1)
            while not ctx.get(reader.beats.ready):
                await ctx.tick()
            await ctx.tick()
            ctx.set(reader.beats.valid, 0)
        ctx.set(reader.beats.payload, r.getrandbits(64))
        for _ in range(10):
            if not ctx.get(reader.busy):
                return
            await ctx.tick()
        raise AssertionError("the reader has no end")

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    with deep_expressions():
        simulator.run()
    return found


def quote_in(headers: Headers) -> Quote:
    source, destination = headers.source, headers.destination
    return Quote(source.address, destination.address, source.port, destination.port, headers.sequence)


def wanted(frame: Frame) -> Quote | None:
    sums_right = parse(frame.data, frame.wire_length).verdict in (Verdict.CLEAN, Verdict.TRUNCATED)
    return quoted(frame.data, frame.wire_length) if sums_right else None


def check_quotes(frames: Sequence[Frame], busy: float) -> int:
    found = [quote_in(headers) if there else None for there, headers, _ in run(frames, quote=True, busy=busy)]
    assert found == [wanted(frame) for frame in frames]
    return len(found) - found.count(None)


@pytest.mark.parametrize("busy", [0.0, 0.6])
def test_what_errors_of_scapys_making_quote_is_read(busy: float) -> None:
    made = [bytes(link / case.error).ljust(60, b"\0") for link in LINKS.values() for case in cases().values()]
    assert check_quotes([Frame(data, len(data)) for data in made], busy) == len(LINKS) * sum(
        case.is_read for case in cases().values()
    )


@pytest.mark.parametrize("busy", [0.0, 0.5])
def test_what_random_errors_quote_is_read_as_the_reference_reads_it(busy: float) -> None:
    r = random.Random(int(10 * busy))
    frames: list[Frame] = []
    while len(frames) < 300:
        random_one = random_frame(r, largest=100)
        frame = Frame(random_one.data, random_one.wire_length)
        if quoted(frame.data, frame.wire_length) or len(frames) % 3 == 0:
            frames.append(frame)
    assert check_quotes(frames, busy) > 50


def syn(r: random.Random) -> Packet:
    """A SYN with whatever may stand before it and in it, in no more than a cell."""
    link = ETHER.copy()
    for _ in range(r.randrange(3)):
        link /= r.choice((Dot1Q, Dot1AD))(vlan=r.randrange(4096), prio=r.randrange(8))
    options = [("MSS", r.randrange(65536)), ("SAckOK", b""), ("Timestamp", (r.getrandbits(32), 0)), ("WScale", 7)]
    segment = TCP(
        sport=r.randrange(65536), dport=r.randrange(65536), seq=r.getrandbits(32), ack=r.getrandbits(32),
        flags=r.choice(("S", "SEC", "SE", "SC")), window=r.randrange(65536), options=r.sample(options, r.randrange(5)),
    )  # fmt: skip
    if r.random() < 0.5:
        addresses = {name: str(IPv4Address(r.getrandbits(32))) for name in ("src", "dst")}
        options = b"\x01" * 4 * r.choice((0, 0, 1, 2, 3, 5))
        return link / IP(**addresses, tos=r.randrange(256), id=r.randrange(65536), options=options) / segment
    addresses = {name: str(IPv6Address(r.getrandbits(128))) for name in ("src", "dst")}
    packet = link / IPv6(**addresses, tc=r.randrange(256), fl=r.getrandbits(20))
    if r.random() < 0.4:
        packet /= r.choice((IPv6ExtHdrHopByHop, IPv6ExtHdrDestOpt))()
    return packet / segment


@pytest.mark.parametrize("busy", [0.0, 0.5])
def test_the_meta_of_a_syn_is_read_back(busy: float) -> None:
    r = random.Random(int(10 * busy))
    frames = []
    while len(frames) < 150:
        data = bytes(syn(r))
        if len(data) <= BOARD.cell_bytes:
            data = data.ljust(r.choice((0, 60, 64, 100)), b"\0")
            frames.append(Frame(data, len(data)))
    for frame, (_, _, back) in zip(frames, run(frames, quote=False, busy=busy), strict=True):
        came = meta_of(frame)
        for name, lsb, width in fields(PacketMeta):
            if name.split(".")[0] in ("headers", "link", "info", "cell"):
                found, expected = (value >> lsb & ((1 << width) - 1) for value in (back, came))
                assert found == expected, f"{name} of {frame.data.hex()}"
