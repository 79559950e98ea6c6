"""The card's behaviour, one claim a test; run by ``test_card.py`` inside the simulator."""

import random

import cocotb
from cocotb.triggers import ClockCycles
from cocotbext.axi import AxiStreamFrame

from sentinic.abi import registers as abi
from sentinic.driver.rules import Rule, encode
from tests.hdl.card.bench import DATA_AT, RING_BYTES, CardBench, check_conservation
from tests.hdl.card.frames import mixed
from tests.hdl.card.test_syn_flood import tcp_frames
from tests.reference.card import Frame, Ring, frames_of_batch

LIMIT = {"timeout_time": 4, "timeout_unit": "ms"}
RESETS = 8


def compare(counters, model) -> None:
    different = {
        name: (counters[name], value)
        for name, value in model.counters.items()
        if counters[name] != value and not name.endswith("received_bytes")
    }
    assert not different, f"counter: (card, model): {different}"
    check_conservation(counters)


@cocotb.test(**LIMIT)
async def it_tells_what_it_is(dut):
    bench = CardBench(dut)
    await bench.reset()
    assert await bench.read(abi.CARD, "id") == abi.CARD_ID
    assert await bench.read(abi.CARD, "abi_version") == abi.ABI_VERSION
    assert await bench.read(abi.CARD, "profile") == bench.profile.number
    capabilities = await bench.read(abi.CARD, "capabilities")
    assert capabilities & 0xFF == bench.profile.data_width // 8
    assert capabilities >> 12 & 0xF == bench.profile.rings


@cocotb.test(**LIMIT)
async def an_address_without_a_register_is_answered_with_an_error(dut):
    bench = CardBench(dut)
    await bench.reset()
    answer = await bench.csr.read(0xFFF0, 4)
    assert answer.resp == 3  # DECERR
    assert (await bench.csr.write(0xFFF0, b"\0\0\0\0")).resp == 3
    assert (await bench.csr.write(abi.CARD.address("scratch"), b"\1")).resp == 2  # SLVERR: part of a word
    assert await bench.read(abi.CARD, "scratch") == 0


@cocotb.test(**LIMIT)
@cocotb.parametrize(idle=[False, True], backpressure=[False, True])
async def every_frame_arrives_as_the_model_says(dut, idle, backpressure):
    bench = CardBench(dut)
    await bench.reset()
    bench.pause_randomly(1, idle=idle, backpressure=backpressure)
    model = await bench.start([Ring()])
    frames = mixed(seed=2, count=120)
    model.run(frames)
    await bench.send(frames)
    counters = await bench.settle()
    bench.check_ring(0, model.rings[0])
    compare(counters, model)


@cocotb.test(**LIMIT)
async def each_ring_gets_what_its_filter_wants(dut):
    bench = CardBench(dut)
    await bench.reset()
    model = await bench.start(
        [
            Ring(filter_ports=0b10, snap_length=96),
            Ring(filter_protocols=0b1000, sample=3),
            Ring(filter_verdicts=0b100001, snap_length=0),
            Ring(spread_count=3, spread_index=1, snap_length=1, bare_plain=True),
        ]
    )
    frames = mixed(seed=3, count=150)
    model.run(frames)
    await bench.send(frames)
    counters = await bench.settle()
    for n, ring in enumerate(model.rings):
        assert ring.records, f"ring {n} would not be tested"
        bench.check_ring(n, ring)
    compare(counters, model)


@cocotb.test(**LIMIT)
@cocotb.parametrize(idle=[False, True], backpressure=[False, True])
async def a_ring_of_descriptors_only_gets_no_bytes_and_the_others_theirs(dut, idle, backpressure):
    bench = CardBench(dut)
    await bench.reset()
    bench.pause_randomly(20, idle=idle, backpressure=backpressure)
    model = await bench.start(
        [Ring(snap_length=0, sample=2), Ring(snap_length=0), Ring(filter_ports=2), Ring(sample=3)]
    )
    frames = mixed(seed=9, count=120)
    model.run(frames)
    await bench.send(frames)
    counters = await bench.settle()
    for n, ring in enumerate(model.rings):
        assert ring.records, f"ring {n} would not be tested"
        bench.check_ring(n, ring)
        begin = n * RING_BYTES + DATA_AT
        assert any(bench.memory.bytes[begin : begin + 4096]) == (n > 1)
    compare(counters, model)
    assert await bench.read(abi.CARD, "cells_used") == 0


@cocotb.test(**LIMIT)
async def bad_frames_are_dropped_by_reason(dut):
    bench = CardBench(dut)
    await bench.reset()
    model = await bench.start([Ring()])
    good = bytes(range(60))
    frames = [
        Frame(b"x" * 13),
        Frame(good),
        Frame(b"x" * 9601, port=1),
        Frame(b"x" * 12_000),
        Frame(b"x" * 9600),
        Frame(good, error=True),
        Frame(b"x", port=1),
        Frame(good, port=1, wire_length=1500),
    ]
    model.run(frames)
    await bench.send(frames)
    counters = await bench.settle()
    bench.check_ring(0, model.rings[0])
    compare(counters, model)
    assert (counters["dropped_runt"], counters["dropped_oversize"], counters["dropped_error"]) == (2, 2, 1)


@cocotb.test(**LIMIT)
async def a_failing_memory_costs_only_the_packets_it_fails(dut):
    bench = CardBench(dut)
    await bench.reset()
    model = await bench.start([Ring()])
    frames = [frame._replace(data=frame.data[:1000].ljust(60, b"\0")) for frame in mixed(seed=5, count=60)]
    bench.memory.broken = range(DATA_AT + 4096, DATA_AT + 8192)
    model.run(frames)
    await bench.send(frames)
    counters = await bench.settle()
    check_conservation(counters)
    rows = bench.descriptors(0)
    void = [k for k, row in enumerate(rows) if int.from_bytes(row[60:], "little") >> 20 & 3 == 3]
    assert 0 < len(void) < len(frames)
    assert counters["dropped_dma_error"] == counters["ring0.errors"] == len(void)
    assert counters["delivered"] == len(frames) - len(void)
    for k, row in enumerate(rows):
        if k not in void:
            assert row == model.rings[0].records[k]


@cocotb.test(**LIMIT)
async def a_descriptor_that_cannot_be_written_faults_its_ring_alone(dut):
    bench = CardBench(dut)
    await bench.reset()
    model = await bench.start([Ring(), Ring()])
    frames = mixed(seed=6, count=40)
    bench.memory.broken = range(64 * 5, 64 * 6)
    model.run(frames)
    await bench.send(frames)
    counters = await bench.settle()
    check_conservation(counters)
    assert await bench.read(abi.RING, "status", 0) == 1
    assert await bench.read(abi.RING, "status", 1) == 0
    bench.check_ring(1, model.rings[1])
    assert counters["delivered"] == 40
    assert counters["ring0.lost"] > 0
    # Off and on again, the ring is as new.
    bench.memory.broken = range(0)
    bench.memory.bytes[:RING_BYTES] = bytes(RING_BYTES)
    await bench.write(abi.RING, "control", 0, 0)
    await bench.write(abi.RING, "control", 1, 0)
    assert await bench.read(abi.RING, "status", 0) == 0
    await bench.send(frames[:5])
    await bench.settle()
    assert len(bench.descriptors(0)) == 5


@cocotb.test(**LIMIT)
async def a_ring_that_nobody_reads_loses_only_its_own_packets(dut):
    bench = CardBench(dut)
    await bench.reset()
    model = await bench.start([Ring(), Ring()], pause=False)
    await bench.write(abi.RING, "descriptor_mask", 31, 0)
    frames = mixed(seed=7, count=80)
    model.run(frames)
    for at in range(0, len(frames), 8):  # so few at once that the bus keeps up
        await bench.send(frames[at : at + 8])
        counters = await bench.settle()
    check_conservation(counters)
    bench.check_ring(1, model.rings[1])
    taken = counters["ring0.delivered"]
    assert 32 - abi.RING_MARGIN_DESCRIPTORS <= taken < 32
    assert counters["ring0.lost"] == 80 - taken
    assert counters["delivered"] == 80


@cocotb.test(**LIMIT)
async def a_reset_in_the_middle_of_traffic_leaves_a_card_as_new(dut):
    bench = CardBench(dut)
    await bench.reset()
    await bench.start([Ring()])
    frames = mixed(seed=8, count=60)
    for frame in frames:
        await bench.macs[frame.port].send(AxiStreamFrame(tdata=frame.data, tuser=frame.timestamp << 17))
    await ClockCycles(dut.clk, 150)
    for mac in bench.macs:
        mac.clear()
    await bench.reset()
    bench.memory.bytes[:] = bytes(len(bench.memory.bytes))
    assert (await bench.counters())["received"] == 0
    model = await bench.start([Ring()])
    model.run(frames[:20])
    await bench.send(frames[:20])
    counters = await bench.settle()
    bench.check_ring(0, model.rings[0])
    compare(counters, model)


async def put_stages_to_work(bench: CardBench, *, compact: bool) -> None:
    """A rule that every packet hits, a group each, in intervals of 100 ns; SYN offload; their reports to ring 0."""
    rule = encode(Rule("every", {}, ["source", "source_port"], report_every=100, threshold_packets=2))
    for kind in ("value", "mask", "group"):
        for number, word in enumerate(rule.words(kind)):
            await bench.write(abi.STATISTICS, f"{kind}{number}", word)
    await bench.write(abi.STATISTICS, "generation", 1)
    await bench.write(abi.STATISTICS, "interval_low", rule.rule.report_every)
    await bench.write(abi.STATISTICS, "threshold_packets_low", rule.rule.threshold_packets)
    await bench.write(abi.STATISTICS, "rule", 0)
    await bench.write(abi.STATISTICS, "apply", 1)
    await bench.write(abi.SYN_OFFLOAD, "timeout_high", 0)
    await bench.write(abi.SYN_OFFLOAD, "timeout_low", 50)
    await bench.write(abi.SYN_OFFLOAD, "control", 1 | compact << 1)
    await bench.write(abi.RING, "extras", 7)


@cocotb.test(timeout_time=20, timeout_unit="ms")
async def a_reset_at_any_moment_leaves_a_card_as_new_with_all_stages_at_work(dut):
    rng = random.Random(13)
    bench = CardBench(dut)
    await bench.reset()
    bench.pause_randomly(14, idle=False, backpressure=True)
    worked = set()
    for moment in range(RESETS):
        await bench.start([Ring(), Ring(snap_length=64)], pause=bool(moment % 2))
        await put_stages_to_work(bench, compact=moment >= RESETS // 2)
        # Until its table is cleared SYN offload holds nothing: once with, once without that.
        while moment % 4 < 2 and await bench.read(abi.SYN_OFFLOAD, "status") & 1:
            await ClockCycles(dut.clk, 500)
        # Ring 0 is full after 64 descriptors, and nobody reads.
        await bench.write(abi.RING, "control", 0)
        await bench.write(abi.RING, "descriptor_mask", 63)
        await bench.write(abi.RING, "control", 1)
        frames = [frame._replace(timestamp=10 * n) for n, frame in enumerate(mixed(seed=moment, count=100))]
        attempts = frames_of_batch(tcp_frames(100 * moment, 100, 8, begin=5, step=10, port=1))
        for frame in (*frames, *attempts):
            await bench.macs[frame.port].send(AxiStreamFrame(tdata=frame.data, tuser=frame.timestamp << 17))
        await ClockCycles(dut.clk, rng.randrange(100, 3000) * 512 // bench.profile.data_width)
        before = await bench.counters()
        check_conservation(before)
        worked |= {name for name, value in before.items() if value}
        for mac in bench.macs:
            mac.clear()
        await bench.reset()
        bench.memory.bytes[:] = bytes(len(bench.memory.bytes))
        assert not any(value for name, value in (await bench.counters()).items() if name != "cycles")
        assert await bench.read(abi.SYN_OFFLOAD, "holding") == 0
        assert not await bench.read(abi.STATISTICS, "status") & 1  # no change is pending
        model = await bench.start([Ring()])
        model.run(frames[:10])
        await bench.send(frames[:10])
        counters = await bench.settle()
        bench.check_ring(0, model.rings[0])
        compare(counters, model)
        await bench.reset()
        bench.memory.bytes[:] = bytes(len(bench.memory.bytes))
    stages = {"reports", "port1.attempts", "port1.attempts_expired"}
    missing = {"held", "ring0.delivered", "ring0.lost", "ring1.delivered", *stages} - worked
    assert not missing


@cocotb.test(**LIMIT)
async def without_pause_a_stalled_bus_costs_counted_packets_and_never_the_wire(dut):
    bench = CardBench(dut)
    await bench.reset()
    await bench.start([Ring()], pause=False)
    bench.dma.w_channel.set_pause_generator(iter([True] * 6000 + [False] * 1_000_000))
    frames = [Frame(bytes([n]) * 60, timestamp=n) for n in range(200)]
    for n in range(2):
        await bench.send([frame._replace(port=n) for frame in frames], in_order=False)
    counters = await bench.settle()
    check_conservation(counters)
    assert counters["received"] == 400
    assert counters["dropped_congested"] > 0
    assert counters["stage_packets"] == 400, "the stages see every frame"
    assert counters["delivered"] == 400 - counters["dropped_congested"]


@cocotb.test(**LIMIT)
async def a_port_waits_its_turn_by_wire_time(dut):
    bench = CardBench(dut)
    await bench.reset()
    model = await bench.start([Ring()])
    bench.dma.w_channel.set_pause_generator(iter([True] * 2000 + [False] * 1_000_000))
    frames = [Frame(bytes([n]) * 1000, timestamp=1000 + n, port=int(n % 3 == 0)) for n in range(12)]
    model.run(frames)
    await bench.send(frames, in_order=False)
    counters = await bench.settle()
    compare(counters, model)
    stamps = [int.from_bytes(row[:8], "little") for row in bench.descriptors(0)]
    assert sorted(stamps) == [frame.timestamp for frame in frames]
    by_port = [[row for row in bench.descriptors(0) if row[60] >> 1 & 3 == port] for port in (0, 1)]
    for port, rows in enumerate(by_port):
        expected = [frame.timestamp for frame in frames if frame.port == port]
        assert [int.from_bytes(row[:8], "little") for row in rows] == expected


@cocotb.test(**LIMIT)
async def the_interrupt_comes_once_a_burst_and_after_the_holdoff(dut):
    bench = CardBench(dut)
    await bench.reset()
    await bench.start([Ring()])
    await bench.write(abi.INTERRUPT, "enable", 1)
    await bench.write(abi.INTERRUPT, "frames", 10)
    await bench.write(abi.INTERRUPT, "holdoff", 1000)
    frames = [Frame(bytes(60), timestamp=n) for n in range(9)]
    await bench.send(frames)
    await bench.settle()
    assert dut.irq.value == 0
    await bench.send(frames[:1])
    await bench.settle()
    await ClockCycles(dut.clk, 20)
    assert dut.irq.value == 1
    await bench.write(abi.INTERRUPT, "pending", 1)
    await ClockCycles(dut.clk, 4)
    assert dut.irq.value == 0
    await bench.send(frames[:1])
    await bench.settle()
    await ClockCycles(dut.clk, 20)
    assert dut.irq.value == 0
    dut.time.value = 100_000
    await ClockCycles(dut.clk, 8)
    assert dut.irq.value == 1
    assert (await bench.counters())["interrupts"] == 2
