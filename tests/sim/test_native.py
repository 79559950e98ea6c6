"""The native harness, against the stub card: it sees what is sent, and memory holds what it writes."""

import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from sentinic.driver.frames import FrameBatch
from sentinic.driver.memory import SHARED_FOLDER, DmaRegion
from sentinic.driver.transport import Transport
from sentinic.errors import TransportError
from sentinic_sim.build import build_model
from sentinic_sim.native import LatencyProbe, MemoryOptions, NativeTransport

from .conftest import STUB, OpenStub, StubBench

HOSTILE = MemoryOptions(latency=37, outstanding=2, aw_stall=0.4, w_stall=0.6, rx_idle=0.3, seed=7)


def frames_of(count: int, seed: int = 1) -> list[bytes]:
    random = np.random.default_rng(seed)
    return [random.bytes(int(length)) for length in random.integers(1, 200, count)]


def batch_of(frames: list[bytes], seed: int = 2) -> FrameBatch:
    random = np.random.default_rng(seed)
    count = len(frames)
    return FrameBatch.from_frames(
        frames,
        timestamp=(np.cumsum(random.integers(0, 1000, count)) + (1 << 62)).astype(np.uint64),
        wire_length=[
            len(frame) + int(more) for frame, more in zip(frames, random.integers(0, 2000, count), strict=True)
        ],
        port=random.integers(0, 2, count).astype(np.uint8),
        error=random.integers(0, 2, count).astype(np.uint8),
    )


def padded(frame: bytes, beat: int) -> bytes:
    return frame + bytes(-len(frame) % beat)


def descriptors_of(bench: StubBench, count: int) -> list[tuple[int, int, int, int, int]]:
    """(frame number, wire length, bytes in the last beat, port, time stamp) as the stub wrote them."""
    raw = bench.descriptors.array.tobytes()
    found = []
    for n in range(count):
        words = raw[64 * n : 64 * n + 64]
        assert words[:56] == words[:8] * 7
        found.append(
            (
                int.from_bytes(words[56:60], "little"),
                int.from_bytes(words[60:62], "little"),
                words[62],
                words[63],
                int.from_bytes(words[:8], "little"),
            )
        )
    return found


def test_it_is_a_transport(open_stub: OpenStub) -> None:
    assert isinstance(open_stub().transport, Transport)


@pytest.mark.parametrize("memory", [MemoryOptions(), HOSTILE], ids=["calm", "hostile"])
def test_bytes_lengths_ports_and_times_arrive_in_order(open_stub: OpenStub, memory: MemoryOptions) -> None:
    bench = open_stub(memory=memory)
    frames = frames_of(100)
    batch = batch_of(frames)
    bench.enable()
    bench.transport.send(batch[:40])
    bench.transport.send(batch[40:])
    bench.transport.step()
    assert bench.transport.stop_reason == "idle"
    expected = b"".join(padded(frame, bench.beat) for frame in frames)
    assert bench.data.array[: len(expected)].tobytes() == expected
    assert descriptors_of(bench, 100) == [
        (
            n + 1,
            int(batch.wire_length[n]),
            (len(frames[n]) - 1) % bench.beat + 1,
            int(batch.port[n]),
            int(batch.timestamp[n]),
        )
        for n in range(100)
    ]
    assert bench.transport.read(0x20) == batch.error.sum(), "an error is flagged on the last beat only"
    stats = bench.transport.stats()
    assert (stats.frames, stats.pending, stats.violations, stats.responses_error) == (100, 0, 0, 0)
    assert stats.rx_beats == len(expected) // bench.beat
    assert stats.w_bytes == len(expected) + 64 * 100


def test_a_seed_gives_the_same_run_again(open_stub: OpenStub) -> None:
    cycles = []
    for _ in range(2):
        bench = open_stub(memory=HOSTILE)
        bench.enable()
        bench.transport.send(batch_of(frames_of(30)))
        cycles.append(bench.transport.step())
    assert cycles[0] == cycles[1]


def test_frames_follow_one_another_without_an_idle_cycle(open_stub: OpenStub) -> None:
    bench = open_stub(idle_cycles=50)
    bench.enable(sink=True)
    batch = batch_of(frames_of(300))
    bench.transport.send(batch)
    bench.transport.step()
    # The stub's count goes on after the last beat: for the idle cycles, and the first of the read itself.
    assert bench.transport.read(0x34) == 50 + 1
    assert bench.transport.read(0x1C) == 300


def test_parallel_ports_run_at_full_speed_at_once(open_stub: OpenStub) -> None:
    frames = [bytes(64)] * 1000
    ports = np.arange(1000, dtype=np.uint8) % 2
    cycles = []
    for parallel in (False, True):
        bench = open_stub(parallel=parallel, idle_cycles=64)
        bench.enable(sink=True)
        bench.transport.send(FrameBatch.from_frames(frames, port=ports))
        cycles.append(bench.transport.step() - 64)
        assert bench.transport.read(0x1C) == 1000
    beats = 1000 * 64 // bench.beat
    assert beats <= cycles[0] <= beats + 4
    assert beats // 2 <= cycles[1] <= beats // 2 + 4


def test_wire_time_is_the_latest_time_stamp_and_never_runs_backwards(open_stub: OpenStub) -> None:
    bench = open_stub()
    bench.enable()
    transport = bench.transport
    transport.send(FrameBatch.from_frames([b"a", b"b"], timestamp=[5 << 32, 3]))
    transport.step()
    assert (transport.now(), transport.read(0x24), transport.read(0x28)) == (5 << 32, 0, 5)
    transport.advance_time(7 << 32 | 1)
    transport.advance_time(6)
    assert (transport.now(), transport.read(0x24), transport.read(0x28)) == (7 << 32 | 1, 1, 7)


def test_a_write_outside_of_every_region_is_answered_decerr(open_stub: OpenStub) -> None:
    bench = open_stub()
    transport = bench.transport
    transport.release(bench.data)
    bench.enable()
    transport.send(FrameBatch.from_frames([b"abc"] * 5))
    transport.step()
    stats = transport.stats()
    assert (stats.decode_errors, stats.responses_error, transport.read(0x2C)) == (5, 5, 5)


def test_every_nth_burst_and_a_range_are_answered_slverr_and_not_written(open_stub: OpenStub) -> None:
    bench = open_stub()
    transport = bench.transport
    begin = bench.data.bus_address + 2 * bench.beat
    transport.configure(MemoryOptions(error_begin=begin, error_end=begin + bench.beat))
    bench.enable()
    transport.send(FrameBatch.from_frames([b"\xff"] * 4))
    transport.step()
    assert bench.data.array[: 4 * bench.beat : bench.beat].tolist() == [255, 255, 0, 255]
    assert transport.stats().responses_error == transport.read(0x2C) == 1
    bursts = transport.stats().bursts
    transport.configure(MemoryOptions(error_every=3))
    transport.send(FrameBatch.from_frames([b"\xff"] * 9))
    transport.step()
    assert transport.stats().responses_error == 1 + transport.stats().bursts // 3 - bursts // 3


def test_the_probe_tells_cycles_of_frames_and_descriptors(open_stub: OpenStub) -> None:
    bench = open_stub()
    probe = LatencyProbe(8)
    bench.transport.attach_probe(probe)
    bench.enable()
    bench.transport.send(FrameBatch.from_frames([bytes(100)] * 10))
    bench.transport.step()
    assert len(probe.frame_cycles) == len(probe.descriptor_cycles) == 8, "no more than its capacity"
    assert probe.struct.frame_count == probe.struct.descriptor_count == 10
    assert (np.diff(probe.frame_cycles.astype(np.int64)) > 0).all()
    assert (probe.descriptor_cycles > probe.frame_cycles).all()


def test_a_region_s_limit_ends_the_step_before_anything_is_written_over(open_stub: OpenStub) -> None:
    bench = open_stub(alloc={"limit": 1000})
    bench.enable()
    bench.transport.send(FrameBatch.from_frames([bytes(64)] * 100))
    steps = 0
    while bench.transport.pending:
        before = bench.transport.stats().w_bytes
        bench.transport.step()
        steps += 1
        assert bench.transport.stats().w_bytes - before <= 2 * 1000 + 128
    assert steps == 6400 // 1000 + 1


def test_a_card_that_takes_nothing_ends_the_step_and_frames_wait(open_stub: OpenStub) -> None:
    bench = open_stub()
    bench.transport.send(FrameBatch.from_frames([b"abc"] * 3))
    bench.transport.step()
    assert (bench.transport.stop_reason, bench.transport.pending) == ("stuck", 3)
    bench.enable()
    bench.transport.step()
    assert (bench.transport.stop_reason, bench.transport.pending) == ("idle", 0)


def test_max_cycles_bounds_a_step(open_stub: OpenStub) -> None:
    bench = open_stub()
    bench.enable()
    bench.transport.send(FrameBatch.from_frames([bytes(1000)] * 10))
    assert bench.transport.step(100) == 100
    assert bench.transport.stop_reason == "cycles"


def test_waiting_ends_with_the_interrupt_or_the_time(open_stub: OpenStub) -> None:
    transport = open_stub().transport
    assert not transport.wait(2e-6)
    assert 1999 <= transport.now() <= 2020, "wire time passes meanwhile"
    transport.write(0x30, 1)
    assert transport.wait(1.0)
    assert transport.stats().interrupts == 1


def test_a_register_that_is_not_there_is_an_error_with_its_address(open_stub: OpenStub) -> None:
    with pytest.raises(TransportError, match="read of register 0xfff0 was answered DECERR"):
        open_stub().transport.read(0xFFF0)


def test_reset_forgets_frames_and_registers(open_stub: OpenStub) -> None:
    bench = open_stub()
    bench.enable()
    bench.transport.send(FrameBatch.from_frames([bytes(500)] * 10))
    bench.transport.step(20)
    bench.transport.reset()
    assert (bench.transport.pending, bench.transport.read(4)) == (0, 0)
    bench.enable()
    bench.transport.send(FrameBatch.from_frames([b"abc"]))
    bench.transport.step()
    assert bench.transport.read(0x1C) == 1


def test_arrays_may_be_changed_after_send(open_stub: OpenStub) -> None:
    bench = open_stub()
    bench.enable()
    data = np.full(300, 7, np.uint8)
    batch = FrameBatch.from_frames([b""] * 1)
    batch = FrameBatch(
        data,
        np.array([100], np.int64),
        np.array([64], np.uint32),
        np.array([64], np.uint32),
        batch.timestamp,
        batch.port,
        batch.error,
    )
    bench.transport.send(batch)
    data[:] = 0
    batch.offset[0] = 0
    bench.transport.step()
    assert (bench.data.array[:64] == 7).all()


def test_frames_of_no_bytes_are_left_out_and_counted(open_stub: OpenStub) -> None:
    bench = open_stub(parallel=True)
    bench.enable()
    bench.transport.send(FrameBatch.from_frames([b"", b"a", b"", b"b", b""], port=np.array([0, 1, 1, 0, 1], np.uint8)))
    bench.transport.step()
    stats = bench.transport.stats()
    assert (stats.frames, stats.frames_empty, stats.pending) == (2, 3, 0)


def test_what_cannot_be_sent_is_refused(open_stub: OpenStub) -> None:
    transport = open_stub().transport
    with pytest.raises(ValueError, match="port must be below 2, not 2"):
        transport.send(FrameBatch.from_frames([b"a"], port=2))
    good = FrameBatch.from_frames([b"abc"])
    with pytest.raises(ValueError, match="frame 0 must lie within the buffer"):
        transport.send(
            FrameBatch(good.data, good.offset + 1, good.length, good.wire_length, good.timestamp, good.port, good.error)
        )


def test_another_process_reads_what_the_card_wrote(open_stub: OpenStub) -> None:
    bench = open_stub()
    bench.enable()
    bench.transport.send(FrameBatch.from_frames([b"seen from afar"]))
    bench.transport.step()
    code = textwrap.dedent("""
        import sys
        from sentinic.driver.memory import DmaRegion
        print(DmaRegion.attach(sys.argv[1]).array[:14].tobytes())
    """)
    result = subprocess.run([sys.executable, "-c", code, bench.data.name], capture_output=True, text=True, check=True)
    assert result.stdout == "b'seen from afar'\n"


def test_closing_removes_the_regions_and_ends_the_transport(open_stub: OpenStub) -> None:
    bench = open_stub()
    names = [bench.data.name, bench.descriptors.name]
    bench.transport.close()
    bench.transport.close()
    assert not [name for name in names if (SHARED_FOLDER / name).exists()]
    with pytest.raises(TransportError, match="closed"):
        bench.transport.step()
    with pytest.raises(FileNotFoundError):
        DmaRegion.attach(names[0])


def test_a_process_that_forgets_to_close_leaves_nothing_behind() -> None:
    library = build_model("wide", design=STUB).folder
    code = textwrap.dedent("""
        import sys
        from pathlib import Path
        from sentinic.abi.profiles import WIDE
        from sentinic_sim.build import Model
        from sentinic_sim.native import NativeTransport
        print(NativeTransport(Model(Path(sys.argv[1]), WIDE, False, True, 0.0)).alloc("x", 1).name)
    """)
    result = subprocess.run([sys.executable, "-c", code, str(library)], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("sentinic-")
    assert not (SHARED_FOLDER / result.stdout.strip()).exists()


def test_waves_need_a_model_with_trace(open_stub: OpenStub, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="wave must be None"):
        open_stub(wave=tmp_path / "x.fst")


@pytest.mark.slow
def test_waves_are_written(tmp_path: Path) -> None:
    with NativeTransport(build_model("board", design=STUB, trace=True), wave=tmp_path / "x.fst") as transport:
        transport.write(4, 3)
        transport.send(FrameBatch.from_frames([bytes(range(200))] * 5))
        transport.step()
        assert transport.read(0x1C) == 5
    assert (tmp_path / "x.fst").read_bytes()[:1] == b"\0", "an FST header block"
    assert (tmp_path / "x.fst").stat().st_size > 1000
