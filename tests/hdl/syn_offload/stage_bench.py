"""The stage between a source and a sink that stall at random, with its registers at hand."""

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from amaranth.hdl import Const, ResetInserter, Signal
from amaranth.sim import Simulator

from sentinic.abi.profiles import BOARD, Profile
from sentinic.abi.registers import SYN_OFFLOAD
from sentinic.abi.syn_offload import Reason
from sentinic.abi.verdicts import Checksum, Kind, Protocol
from sentinic_hdl.meta import PacketMeta, Quote
from sentinic_hdl.stages.syn_offload import syn_offload
from sentinic_hdl.stages.syn_offload.types import Ended
from tests.hdl.parser.bench import fields
from tests.hdl.simulation import deep_expressions, read_register, write_register
from tests.hdl.syn_offload.model import Segment

#: So small that attempts drive each other out.
SMALL = replace(BOARD, name="small", syn_attempts=8, syn_ways=2, folded_syn_offload=False)
LIMIT = 20_000
TIMEOUT = 10_000
FIELDS = {name: (lsb, width) for name, lsb, width in fields(PacketMeta)}
QUOTE_FIELDS = {name: lsb for name, lsb, _ in fields(Quote)}
RECORD_FIELDS = {name: (lsb, width) for name, lsb, width in fields(Ended)}
#: The longest that records are on their way behind the stage, in cycles.
REPORTING = 12


@dataclass(frozen=True)
class Out:
    """A meta that came out, and when."""

    values: dict[str, int]
    cycle: int

    @property
    def name(self) -> int:
        return self.values["cell"]

    @property
    def kind(self) -> Kind:
        return Kind(self.values["kind"])

    @property
    def reason(self) -> Reason:
        return Reason(self.values["reason"])

    @property
    def again(self) -> bool:
        """A SYN that was held already; it ends here, or is for rings that want raw SYNs."""
        if self.values["raw"]:
            return not self.values["shared"]
        return self.kind is Kind.VOID and self.reason is Reason.NONE

    @property
    def extra(self) -> bool:
        """A SYN that is held, for rings that want raw SYNs."""
        return bool(self.values["raw"] and self.values["shared"])

    @property
    def told(self) -> tuple[Reason, int, int]:
        """Of a SYN that was held: why it goes on, how many more came, and when the last."""
        return self.reason, self.values["crossing.rules"], self.values["crossing.value"]


@dataclass(frozen=True)
class Told:
    """A record that came out, and when."""

    values: dict[str, int]
    cycle: int

    @property
    def ends(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """Address and port of the originator, and of the other."""
        low, high = (
            (self.values[f"record.key.{end}.address"], self.values[f"record.key.{end}.port"]) for end in ("low", "high")
        )
        return (high, low) if self.values["record.reversed"] else (low, high)

    @property
    def told(self) -> tuple[Reason, int, int]:
        """Why the attempt is over, how many more SYNs came, and when the last."""
        values = self.values
        return Reason(values["reason"]), values["record.retransmissions"], values["record.last"]


def mapped(address: int, *, ipv6: bool) -> int:
    return address if ipv6 else 0xFFFF_0000_0000 | address


def meta_of(segment: Segment, seed: int = 0) -> dict[str, int]:
    """A meta as the parser would make it, its cell being ``segment.name``; the rest of it at random."""
    if segment.quoted:
        return _error_of(segment)
    r = random.Random(segment.name * 1000 + seed)
    vlans = r.randrange(3)
    network = 14 + 4 * vlans
    header = 40 if segment.ipv6 else 20
    flags = (0x02 | r.randrange(4) << 6) if segment.syn else (0x14 if segment.reset else 0x10)
    values = {
        "cell": segment.name,
        "kind": Kind.PACKET,
        "link": r.getrandbits(96),
        "info.length": network + segment.ip_length,
        "info.wire_length": network + segment.ip_length,
        "info.timestamp": segment.now,
        "info.port": segment.port,
        "headers.eth_type": 0x86DD if segment.ipv6 else 0x0800,
        "headers.vlan_count": vlans,
        "headers.vlan0": r.getrandbits(32) if vlans else 0,
        "headers.vlan1": r.getrandbits(32) if vlans == 2 else 0,
        "headers.ip_version": 2 if segment.ipv6 else 1,
        "headers.source": mapped(segment.source, ipv6=segment.ipv6),
        "headers.destination": mapped(segment.destination, ipv6=segment.ipv6),
        "headers.protocol": 6,
        "headers.ip_length": segment.ip_length,
        "headers.ip_id": 0 if segment.ipv6 else r.getrandbits(16),
        "headers.ip_dscp": r.getrandbits(6),
        "headers.source_port": segment.source_port,
        "headers.destination_port": segment.destination_port,
        "headers.tcp_flags": flags,
        "headers.tcp_sequence": segment.sequence,
        "headers.tcp_acknowledgment": r.getrandbits(32),
        "headers.tcp_window": r.getrandbits(16),
        "headers.has_tcp": 1,
        "headers.network_offset": network,
        "headers.transport_offset": network + header,
        "headers.payload_offset": network + segment.ip_length,
        "headers.protocol_class": Protocol.TCP,
        "headers.transport_checksum": Checksum.GOOD,
        "headers.flow_hash": r.getrandbits(32),
    }
    return {name: int(values.get(name, 0)) for name in FIELDS}


def _error_of(segment: Segment) -> dict[str, int]:
    """The meta of an ICMP error of some router that quotes ``segment``."""
    r = random.Random(segment.name)
    header = 40 if segment.ipv6 else 20
    length = 14 + 2 * header + 16
    values = {
        "cell": segment.name,
        "info.length": length,
        "info.wire_length": length,
        "info.timestamp": segment.now,
        "info.port": segment.port,
        "headers.ip_length": length - 14,
        "headers.network_offset": 14,
        "headers.transport_offset": 14 + header,
        "headers.payload_offset": 14 + header + 8,
        "headers.ip_version": 2 if segment.ipv6 else 1,
        "headers.source": r.getrandbits(128),
        "headers.destination": mapped(segment.source, ipv6=segment.ipv6),
        "headers.source_port": 3,
        "headers.protocol_class": Protocol.ICMPV6 if segment.ipv6 else Protocol.ICMP,
        "headers.transport_checksum": Checksum.GOOD,
        "headers.quotes_tcp": 1,
    }
    return {name: int(values.get(name, 0)) for name in FIELDS}


def quote_of(segment: Segment) -> int:
    """What such an error quotes, as the parser says it."""
    values = {
        "source": mapped(segment.source, ipv6=segment.ipv6),
        "destination": mapped(segment.destination, ipv6=segment.ipv6),
        "source_port": segment.source_port,
        "destination_port": segment.destination_port,
        "sequence": segment.sequence,
    }
    return sum(values[name] << lsb for name, lsb in QUOTE_FIELDS.items())


def frame_of(values: dict[str, int], quote: int | None) -> bytes:
    """The frame of such a meta, as far as the stage may read it."""

    def header(version: int, source: int, destination: int) -> bytes:
        first, second = values["headers.ip_length"], values["headers.ip_id"]
        if version == 1:
            start = struct.pack(">BBHHHBBH", 0x45, values["headers.ip_dscp"] << 2, first, second, 0, 64, 6, 0)
            return start + struct.pack(">II", source & 0xFFFF_FFFF, destination & 0xFFFF_FFFF)
        start = struct.pack(">IHBB", 6 << 28 | values["headers.ip_dscp"] << 22, first - 40, 6, 64)
        return start + source.to_bytes(16, "big") + destination.to_bytes(16, "big")

    link = values["link"].to_bytes(12, "little")
    tags = b"".join(values[f"headers.vlan{n}"].to_bytes(4, "big") for n in range(values["headers.vlan_count"]))
    version, ends = values["headers.ip_version"], (values["headers.source"], values["headers.destination"])
    octets = link + tags + values["headers.eth_type"].to_bytes(2, "big") + header(version, *ends)
    if quote is not None:
        fields = Quote(Const(quote, Quote.as_shape().size))
        said = {name: (quote >> lsb) & ((1 << len(fields[name])) - 1) for name, lsb in QUOTE_FIELDS.items()}
        octets += bytes(8) + header(version, said["source"], said["destination"])
        return octets + struct.pack(">HHI", said["source_port"], said["destination_port"], said["sequence"])
    words = (values["headers.payload_offset"] - values["headers.transport_offset"]) // 4
    numbers = [values[f"headers.{name}"] for name in ("source_port", "destination_port", "tcp_sequence")]
    octets += struct.pack(">HHII", *numbers, values["headers.tcp_acknowledgment"])
    return octets + struct.pack(">BBH", words << 4 & 0xF0, values["headers.tcp_flags"], values["headers.tcp_window"])


class Bench:
    """Sends metas in, and collects what comes out in ``out``; ``sent`` has the cycles in which they were taken.

    ``quotes`` are those of the errors among them, in their order.
    """

    def __init__(
        self, *, seed: int = 1, idle: float = 0.0, busy: float = 0.0, profile: Profile = SMALL, timeout: int = TIMEOUT,
        wanted: bool = True, raw_wanted: bool = False, lossless: bool = True, busy_records: float | None = None,
        folded: bool = False, secret: int | None = None,
    ):  # fmt: skip
        self.stage = syn_offload(replace(profile, folded_syn_offload=folded))
        self.reset_now = Signal()
        self.folded = folded
        self.frames: dict[int, bytes] = {}
        self.random = random.Random(seed)
        self.secret = self.random.getrandbits(320) if secret is None else secret
        self.idle, self.busy, self.timeout = idle, busy, timeout
        self.out: list[Out] = []
        self.sent: dict[int, int] = {}
        self.events: list[dict[str, int]] = []
        self.records: list[Told] = []
        self.quotes: list[int] = []
        self.wanted = wanted
        self.raw_wanted = raw_wanted
        self.busy_records = busy if busy_records is None else busy_records
        self.lossless = lossless
        self.cycle = 0

    def run(self, drive: Callable) -> None:
        simulator = Simulator(ResetInserter(self.reset_now)(self.stage))
        simulator.add_clock(1e-6)
        stage = self.stage

        async def main(ctx):
            ctx.set(stage.lossless, self.lossless)
            ctx.set(stage.wanted, self.wanted)
            ctx.set(stage.raw_wanted, self.raw_wanted)
            await self.set_up(ctx)
            await drive(ctx)

        async def sink(ctx):
            ctx.set(stage.o.ready, 1)
            offered = None
            async for _, _, valid, ready, payload in ctx.tick().sample(stage.o.valid, stage.o.ready, stage.o.payload):
                self.cycle += 1
                assert valid or offered is None, "what was offered is withdrawn"
                if valid:
                    number = payload.as_bits()
                    assert offered in (None, number), "what was offered has changed"
                    offered = None if ready else number
                    if ready:
                        values = {name: number >> lsb & ((1 << width) - 1) for name, (lsb, width) in FIELDS.items()}
                        self.out.append(Out(values, self.cycle))
                ctx.set(stage.o.ready, self.random.random() >= self.busy)

        async def quotes(ctx):
            """Offers what errors quote, some cycles late as it may be."""
            idle = random.Random(self.random.random())
            while self.quotes:
                while idle.random() < self.idle:
                    await ctx.tick()
                ctx.set(stage.quotes.payload.as_value(), self.quotes.pop(0))
                ctx.set(stage.quotes.valid, 1)
                await ctx.tick().until(stage.quotes.ready)
                ctx.set(stage.quotes.valid, 0)

        async def store(ctx):
            """Gives the beats of what has come, in their time, and nonsense behind its end."""
            late = random.Random(self.random.random())
            beats: list[bytes] = []
            ctx.set(stage.peek.ready, 1)
            async for _, _, asked, frame, offered, ready in ctx.tick().sample(
                stage.peek.valid & stage.peek.ready, stage.peek.payload, stage.peeked.valid, stage.peeked.ready
            ):
                if asked:
                    assert not frame.release
                    octets = self.frames[frame.cell]
                    beats = [octets[8 * n : 8 * n + 8] for n in range(frame.beats)]
                if offered and ready:
                    beats.pop(0)
                if ready or not offered:
                    ctx.set(stage.peeked.valid, bool(beats) and late.random() >= self.busy)
                    if beats:
                        octets = beats[0] + late.randbytes(8 - len(beats[0]))
                        ctx.set(stage.peeked.payload, int.from_bytes(octets, "little"))
                ctx.set(stage.peek.ready, not beats)

        async def reports(ctx):
            """Takes records, and has them on their way for a while."""
            left = 0
            ctx.set(stage.records.ready, 1)
            async for _, _, valid, ready, payload in ctx.tick().sample(
                stage.records.valid, stage.records.ready, stage.records.payload
            ):
                if valid and ready:
                    number = payload.as_bits()
                    values = {name: number >> lsb & ((1 << width) - 1) for name, (lsb, width) in RECORD_FIELDS.items()}
                    self.records.append(Told(values, self.cycle))
                    left = self.random.randrange(1, REPORTING)
                left = max(left - 1, 0)
                ctx.set(stage.reporting, left != 0)
                ctx.set(stage.records.ready, self.random.random() >= self.busy_records)

        async def watch(ctx):
            async for _, _, events in ctx.tick().sample(stage.attempts):
                if events.as_bits():
                    names = (
                        "hold", "absorb", "uncopied", "port", "reason", "given_port", "recorded", "unreported",
                        "ended_port",
                    )  # fmt: skip
                    self.events.append({name: int(events[name]) for name in names})

        simulator.add_testbench(main)
        simulator.add_process(sink)
        simulator.add_process(store if self.folded else quotes)
        simulator.add_process(reports)
        simulator.add_process(watch)
        with deep_expressions():
            simulator.run()

    async def set_up(self, ctx) -> None:
        """Wait until the table is cleared, and write the registers that a driver writes."""
        while await self.read(ctx, "status"):
            pass
        for n in range(10):
            await self.write(ctx, f"hash_key{n}", self.secret >> 32 * n & 0xFFFF_FFFF)
        await self.write(ctx, "timeout_low", self.timeout)
        await self.write(ctx, "timeout_high", 0)

    async def reset(self, ctx) -> None:
        """Every register as at the start; what memories hold stays."""
        ctx.set(self.reset_now, 1)
        await ctx.tick()
        ctx.set(self.reset_now, 0)
        await self.set_up(ctx)

    async def write(self, ctx, name: str, value: int) -> None:
        await write_register(ctx, self.stage.bus, SYN_OFFLOAD.address(name), value)

    async def read(self, ctx, name: str) -> int:
        return await read_register(ctx, self.stage.bus, SYN_OFFLOAD.address(name))

    async def flush(self, ctx, control: int = 0) -> None:
        """Switch it off and let all attempts be over."""
        await self.write(ctx, "control", control)
        await self.write(ctx, "action", 1)
        for _ in range(LIMIT):
            if not await self.read(ctx, "status") & 2:
                break
        else:
            raise AssertionError("the flush has no end")
        await self.wait(ctx, 1000 if max(self.busy, self.busy_records) else 60)
        assert await self.read(ctx, "holding") == 0
        assert await self.read(ctx, "status") == 0

    async def wait(self, ctx, cycles: int) -> None:
        for _ in range(cycles):
            await ctx.tick()

    async def send(self, ctx, metas: Sequence[dict[str, int]]) -> None:
        stage = self.stage
        for values in metas:
            quote = self.quotes.pop(0) if self.folded and values["headers.quotes_tcp"] else None
            self.frames[values["cell"]] = frame_of(values, quote)
            while self.random.random() < self.idle:
                await ctx.tick()
            number = sum(values[name] << lsb for name, (lsb, _) in FIELDS.items())
            ctx.set(stage.i.p.as_value(), number)
            ctx.set(stage.i.valid, 1)
            for _ in range(LIMIT):
                _, _, ready = await ctx.tick().sample(stage.i.ready)
                if ready:
                    break
            else:
                raise AssertionError("the stage takes no packet")
            self.sent[values["cell"]] = self.cycle
            ctx.set(stage.i.valid, 0)


def delivered(out: Sequence[Out]) -> list[Out]:
    """All but the ends of SYNs that came again, and what is for rings that want raw SYNs alone."""
    return [item for item in out if item.kind is not Kind.VOID and not item.values["raw"]]


def unmarked(out: Out) -> dict[str, int]:
    """The meta as it came in, as far as it says."""
    values = out.values | {"raw": 0, "shared": 0}
    if out.kind is Kind.PACKET:
        return values
    return values | {"kind": Kind.PACKET, "reason": 0, "crossing.rules": 0, "crossing.value": 0}
