"""The statistics stage between a source and a sink that stall at random, with its registers at hand."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from amaranth.sim import Simulator

from sentinic.abi.profiles import BOARD, Profile
from sentinic.abi.registers import STATISTICS
from sentinic.abi.statistics import FIELD_WORDS, field
from sentinic_hdl.stages.statistics import Statistics
from tests.hdl.simulation import deep_expressions, read_register, write_register

#: Two rules a table, one table; so small that groups leave all the time.  Both schedules do the same.
SMALL = replace(
    BOARD, statistics_rules=2, statistics_rules_a_table=2, statistics_groups=16, statistics_ways=2, name="small"
)
SCHEDULES = {"folded": SMALL, "pipelined": replace(SMALL, folded_statistics=False)}
LIMIT = 20_000


@dataclass(frozen=True)
class Packet:
    timestamp: int
    source: int
    destination: int
    source_port: int = 1000
    destination_port: int = 80
    length: int = 60
    protocol: int = 17


@dataclass(frozen=True)
class Rule:
    """``match`` and ``group`` by field name: value, or mask."""

    match: dict[str, int]
    group: dict[str, int]
    interval: int = 0
    generation: int = 1
    bidirectional: bool = False
    cumulative: bool = False
    threshold_packets: int = 0


def words(values: dict[str, int]) -> list[int]:
    total = sum(value << field(name).lsb for name, value in values.items())
    return [total >> 32 * n & 0xFFFF_FFFF for n in range(FIELD_WORDS)]


def ones(*names: str) -> dict[str, int]:
    return {name: (1 << field(name).width) - 1 for name in names}


class Bench:
    """The stage between a source and a sink that stall at random, with its registers at hand."""

    def __init__(
        self,
        profile: Profile,
        *,
        seed: int,
        idle: float = 0.0,
        busy: float = 0.0,
        lossless: bool = True,
        slow: float = 0.0,
    ):
        self.stage = Statistics(profile)
        self.random = random.Random(seed)
        self.idle, self.busy, self.slow, self.lossless = idle, busy, slow, lossless
        self.out: list[tuple[int, int, int]] = []
        self.reports: list[dict[str, int]] = []
        self.cycles = 0

    def run(self, drive: Callable) -> None:
        simulator = Simulator(self.stage)
        simulator.add_clock(1e-6)

        async def main(ctx):
            ctx.set(self.stage.lossless, self.lossless)
            ctx.set(self.stage.reports.ready, 1)
            await self.rest(ctx)  # until all memory is clear
            await drive(ctx)

        async def sink(ctx):
            ctx.set(self.stage.o.ready, 1)
            async for _, _, valid, ready, payload in ctx.tick().sample(
                self.stage.o.valid, self.stage.o.ready, self.stage.o.payload
            ):
                if valid and ready:
                    crossing = payload.crossing
                    self.out.append((int(payload.info.timestamp), int(crossing.rules), int(crossing.value)))
                self.cycles += 1
                ctx.set(self.stage.o.ready, self.random.random() >= self.busy)

        async def host(ctx):
            async for _, _, valid, ready, report in ctx.tick().sample(
                self.stage.reports.valid, self.stage.reports.ready, self.stage.reports.payload
            ):
                if valid and ready:
                    self.reports.append(
                        {name: int(report[name]) for name in ("rule", "flags", "generation", "packets", "bytes", "key")}
                        | {"first": int(report.first), "last": int(report.last)}
                    )
                ctx.set(self.stage.reports.ready, self.random.random() >= self.slow)

        simulator.add_testbench(main)
        simulator.add_process(sink)
        simulator.add_process(host)
        with deep_expressions():
            simulator.run()

    async def write(self, ctx, name: str, value: int) -> None:
        await write_register(ctx, self.stage.bus, STATISTICS.address(name), value)

    async def status(self, ctx) -> int:
        return await read_register(ctx, self.stage.bus, STATISTICS.address("status"))

    async def rest(self, ctx) -> None:
        for _ in range(LIMIT):
            if not await self.status(ctx):
                await ctx.tick().repeat(40)
                return
            await ctx.tick()
        raise AssertionError("the stage did not come to rest")

    async def taken(self, ctx) -> None:
        """Until what was asked for takes effect."""
        for _ in range(LIMIT):
            if not await self.status(ctx) & 1:
                return
            await ctx.tick()
        raise AssertionError("a change does not take effect")

    async def set_rule(self, ctx, number: int, rule: Rule) -> None:
        await self.taken(ctx)
        masks = {name: (1 << field(name).width) - 1 for name in rule.match}
        for kind, values in (("value", rule.match), ("mask", masks), ("group", rule.group)):
            for n, word in enumerate(words(values)):
                await self.write(ctx, f"{kind}{n}", word)
        await self.write(ctx, "rule", number)
        await self.write(ctx, "rule_flags", rule.bidirectional | rule.cumulative << 1)
        await self.write(ctx, "generation", rule.generation)
        await self.write(ctx, "interval_low", rule.interval)
        await self.write(ctx, "threshold_packets_low", rule.threshold_packets)
        await self.write(ctx, "apply", 1)

    async def switch_off(self, ctx, number: int) -> None:
        await self.ask(ctx, number, 2)

    async def report(self, ctx, number: int) -> None:
        await self.ask(ctx, number, 4)

    async def ask(self, ctx, number: int, what: int) -> None:
        await self.taken(ctx)
        await self.write(ctx, "rule", number)
        await self.write(ctx, "apply", what)
        await self.taken(ctx)

    async def remove(self, ctx, number: int) -> None:
        """The host must read meanwhile."""
        await self.switch_off(ctx, number)
        await self.rest(ctx)

    async def send(self, ctx, packets: list[Packet]) -> None:
        stage = self.stage
        for packet in packets:
            while self.random.random() < self.idle:
                await ctx.tick()
            meta = stage.i.p
            ctx.set(meta.info.timestamp, packet.timestamp)
            ctx.set(meta.info.wire_length, packet.length)
            ctx.set(meta.headers.source, packet.source)
            ctx.set(meta.headers.destination, packet.destination)
            ctx.set(meta.headers.source_port, packet.source_port)
            ctx.set(meta.headers.destination_port, packet.destination_port)
            ctx.set(meta.headers.protocol, packet.protocol)
            ctx.set(stage.i.valid, 1)
            for _ in range(LIMIT):
                _, _, ready = await ctx.tick().sample(stage.i.ready)
                if ready:
                    break
            else:
                raise AssertionError("the stage takes no packet")
            ctx.set(stage.i.valid, 0)
        await ctx.tick().repeat(30)


def key_of(names: dict[str, int]) -> int:
    return sum(value << field(name).lsb for name, value in names.items())


def random_packets(seed: int, count: int, hosts: int, *, step: int = 10) -> list[Packet]:
    r = random.Random(seed)
    return [
        Packet(
            1_000_000 + step * n, 1 + r.randrange(hosts), 100 + r.randrange(hosts), 1000 + r.randrange(3), 80,
            r.randrange(60, 1500),
        )
        for n in range(count)
    ]  # fmt: skip
