"""Drives a ``Parser`` with beats, and compares what comes out with the reference."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from amaranth.lib import data
from amaranth.sim import Simulator

from sentinic.abi.profiles import Profile
from sentinic_hdl.meta import Quote, frame_beat
from sentinic_hdl.parser import ParsedFrame, Parser
from tests.hdl.parser.frames import Stimulus
from tests.reference.parser import flow_hash, parse
from tests.reference.quote import Quote as Quoted

KEY = random.Random("flow hash").getrandbits(352)


def fields(shape: object, offset: int = 0, prefix: str = "") -> Iterator[tuple[str, int, int]]:
    """Name, lowest bit and width of each field of ``shape``, fields of fields by their path."""
    for name, part in data.Layout.cast(shape):
        if isinstance(part.shape, data.Layout) or (
            isinstance(part.shape, type) and issubclass(part.shape, data.Struct)
        ):
            yield from fields(part.shape, offset + part.offset, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", offset + part.offset, part.width


RESULT_FIELDS = tuple(fields(ParsedFrame))
QUOTE_FIELDS = tuple(fields(Quote))


def beats_of(profile: Profile, frame: Stimulus, r: random.Random) -> list[int]:
    """The frame's beats as numbers; what lies past its end is random."""
    at = {name: offset for name, offset, _ in fields(frame_beat(profile))}
    size = profile.beat_bytes
    count = -(-len(frame.data) // size)
    padded = frame.data + r.randbytes(count * size - len(frame.data))
    info = (
        len(frame.data) << at["info.length"]
        | frame.wire_length << at["info.wire_length"]
        | frame.timestamp << at["info.timestamp"]
        | frame.port << at["info.port"]
    )
    return [
        int.from_bytes(padded[size * n : size * (n + 1)], "little") << at["data"]
        | (n == 0) << at["first"]
        | (n == count - 1) << at["last"]
        | info
        for n in range(count)
    ]


def decoded(value: int) -> dict[str, int]:
    return {name: value >> offset & ((1 << width) - 1) for name, offset, width in RESULT_FIELDS}


def expected(frame: Stimulus, key: int = KEY) -> dict[str, int]:
    headers = parse(frame.data, frame.wire_length)
    result = {f"headers.{name}": int(getattr(headers, name)) for name in headers.__dataclass_fields__}
    result["headers.flow_hash"] = flow_hash(headers, key)
    result["info.length"] = len(frame.data)
    result["info.wire_length"] = frame.wire_length
    result["info.timestamp"] = frame.timestamp
    result["info.port"] = frame.port
    return result


def differences(frames: Sequence[Stimulus], values: Sequence[int], key: int = KEY) -> list[str]:
    """One line for each frame whose record is wrong: the fields as they are and as they should be.

    Whether it quotes a packet is for :func:`quotes_of`.
    """
    lines = []
    for number, (frame, value) in enumerate(zip(frames, values, strict=True)):
        got, want = decoded(value), expected(frame, key)
        got.pop("headers.quotes_tcp")
        assert got.keys() == want.keys()
        wrong = {name: (hex(got[name]), hex(want[name])) for name in want if got[name] != want[name]}
        if wrong:
            lines.append(f"frame {number}, {len(frame.data)} bytes, {frame.data[:200].hex()}: {wrong}")
    return lines


def quotes_of(values: Sequence[int], quotes: Sequence[int]) -> list[Quoted | None]:
    """What each record's frame quotes, ``quotes`` being those that came, in their order."""
    left = iter(quotes)
    found = [next(left) if decoded(value)["headers.quotes_tcp"] else None for value in values]
    assert next(left, None) is None, "there is a quote of no record"
    return [quote if quote is None else _quote(quote) for quote in found]


def _quote(value: int) -> Quoted:
    return Quoted(**{name: value >> offset & ((1 << width) - 1) for name, offset, width in QUOTE_FIELDS})


@dataclass
class Run:
    """What a simulation saw; times in cycles."""

    values: list[int] = field(default_factory=list)
    quotes: list[int] = field(default_factory=list)
    began: list[int] = field(default_factory=list)  # first beats taken
    ended: list[int] = field(default_factory=list)  # last beats taken
    came: list[int] = field(default_factory=list)
    refused: int = 0  # cycles in which a beat was offered and not taken, from the first one taken on


def simulate(
    profile: Profile,
    frames: Sequence[Stimulus],
    *,
    idle: float = 0,
    busy: float = 0,
    seed: int = 1,
    keys: Mapping[int, int] = MappingProxyType({}),
    hold: int = 0,
    hold_quotes: int = 0,
    limit: int = 100_000,
) -> Run:
    """Run the frames through a parser in Amaranth's simulator.

    ``idle`` and ``busy`` are the probabilities of a pause before a beat and of not taking a record; ``hold`` keeps all
    records waiting for so many cycles, ``hold_quotes`` all quotes; ``keys`` has the hash keys that come into force when
    a frame is first offered.  Ends when every frame has come out; raises ``TimeoutError`` at ``limit`` cycles.
    """
    dut = Parser(profile)
    r = random.Random(seed)
    beats = [(beat, n) for n, frame in enumerate(frames) for beat in beats_of(profile, frame, r)]
    run = Run()
    now = 0

    async def feed(ctx) -> None:  # type: ignore[no-untyped-def]
        ctx.set(dut.hash_key, KEY)
        last = -1
        for beat, n in beats:
            while r.random() < idle:
                ctx.set(dut.i.valid, 0)
                await ctx.tick()
            if n in keys:
                ctx.set(dut.hash_key, keys[n])
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.payload.as_value(), beat)
            while True:
                _, _, ready = await ctx.tick().sample(dut.i.ready)
                if ready:
                    break
                run.refused += bool(run.began)
            if n != last:
                run.began.append(now)
                run.ended.append(now)
                last = n
            run.ended[n] = now
        ctx.set(dut.i.valid, 0)

    async def take(ctx) -> None:  # type: ignore[no-untyped-def]
        nonlocal now
        while len(run.values) < len(frames):
            ready = now >= hold and r.random() >= busy
            ctx.set(dut.o.ready, ready)
            _, _, valid, value = await ctx.tick().sample(dut.o.valid, dut.o.payload.as_value())
            if valid and ready:
                run.values.append(value)
                run.came.append(now)
            now += 1
            if now > limit:
                raise TimeoutError(f"{len(run.values)} of {len(frames)} records after {limit} cycles")
        for _ in range(40):  # the sink stays empty
            ctx.set(dut.o.ready, 1)
            assert not ctx.get(dut.o.valid)
            await ctx.tick()

    async def take_quotes(ctx) -> None:  # type: ignore[no-untyped-def]
        for _ in range(hold_quotes):
            await ctx.tick()
        ready = True
        ctx.set(dut.quotes.ready, ready)
        async for _, _, valid, value in ctx.tick().sample(dut.quotes.valid, dut.quotes.payload.as_value()):
            if valid and ready:
                run.quotes.append(value)
            ready = q.random() >= busy
            ctx.set(dut.quotes.ready, ready)

    q = random.Random(seed)
    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_process(take_quotes)
    simulator.add_testbench(take)
    simulator.add_testbench(feed)
    simulator.run()
    return run
