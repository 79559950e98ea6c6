"""Rules set and finished beside traffic that goes on, rings that nobody reads, and rings that only answers read."""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.driver.ring import MIN_DATA_BYTES
from sentinic.driver.rules import Rule
from sentinic.driver.statistics import Statistics, are_reports, read_reports
from sentinic.monitor.statistics.answers import Answers
from sentinic.monitor.statistics.counting import ReportCollector
from sentinic.monitor.statistics.tasks import Task, make_plan
from sentinic_sim.bench.traffic import minimum_frames

BUILDS = [name for name, profile in PROFILES.items() if "statistics" in profile.stages]
BY_SOURCE = Rule("by source", {}, ["ipv4_src"])


@pytest.fixture(params=BUILDS)
def device(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as found:
        yield found


def frames(count: int, hosts: int, *, apart: int = 100) -> FrameBatch:
    batch = minimum_frames(count, hosts)
    return replace(batch, timestamp=batch.timestamp[0] + np.arange(count, dtype=np.uint64) * apart)


def test_answers_come_while_traffic_goes_on(device: Device) -> None:
    ring = device.open_ring(0)
    ring.enable()
    stage = Statistics(device)
    device.set_pause(True)
    device.enable()
    answers = Answers(make_plan([Task("t", {}, ["ipv4_src"])], stage.shape), stage, ring)
    ended, steps = False, device.transport.step

    def endless(cycles: int | None = None) -> int:
        if device.transport.pending < 2000 and not ended:
            device.transport.send(frames(3000, 100))
        return steps(cycles)

    device.transport.step = endless  # type: ignore[method-assign]
    for _ in range(5):
        device.transport.step(1000)
        answers.poll()
    (answer,) = answers.close()
    ended = True
    assert answer.exact
    assert len(answer.groups) == 100
    assert 0 < sum(answer.values) < device.snapshot()["received"]


def test_a_full_ring_that_gets_no_reports_holds_up_no_answers(device: Device) -> None:
    ring = device.open_ring(0)
    ring.registers.write("filter_ports", 0)
    ring.enable()
    other = device.open_ring(1, descriptors=64, data_bytes=MIN_DATA_BYTES)
    other.enable()
    stage = Statistics(device)
    device.set_pause(False)
    device.enable()
    answers = Answers(make_plan([Task("t", {}, ["ipv4_src"])], stage.shape), stage, ring)
    device.transport.send(frames(3000, 500))
    while device.transport.pending or device.snapshot()["held"]:
        device.transport.step(10_000)
        answers.poll()
    assert 0 in other.room()
    begin = time.monotonic()
    (answer,) = answers.close()
    assert time.monotonic() - begin < 60
    assert answer.exact
    counters = device.snapshot()
    check_conservation(counters)
    assert sum(answer.values) == counters["stage_packets"] > 1000


@pytest.mark.parametrize("every", [0, 20_000])
def test_answers_are_begun_beside_traffic_on_a_ring_that_only_they_read(device: Device, every: int) -> None:
    ring = device.open_ring(0, descriptors=64, data_bytes=MIN_DATA_BYTES)
    ring.enable()
    stage = Statistics(device)
    device.set_pause(True)
    device.enable()
    device.transport.send(frames(20_000, 4000))
    tasks = [Task(f"t{n}", {}, ["ipv4_src"], every=every) for n in range(stage.shape.rules)]
    answers = Answers(make_plan(tasks, stage.shape), stage, ring)
    while device.transport.pending:
        device.transport.step(5000)
        answers.poll()
    found = answers.close()
    assert all(answer.exact for answer in found)
    sums = [sum(sum(answer.values) for answer in found if answer.task == task.name) for task in tasks]
    # One after the other began to count.
    assert sums == sorted(sums, reverse=True)
    assert 0 < sums[0] <= 20_000
    check_conservation(device.snapshot())


def test_of_rules_that_are_replaced_in_mid_traffic_one_that_stays_counts_each_packet_once(device: Device) -> None:
    ring = device.open_ring(0)
    ring.registers.write("filter_ports", 0)
    ring.registers.write("extras", 1, "reports")
    ring.enable()
    stage = Statistics(device)
    device.set_pause(True)
    device.enable()
    collector = ReportCollector(lambda encoded, rows: None)

    def read() -> None:
        collector.watch(stage.running)
        descriptors, data = ring.poll()
        if len(descriptors):
            assert are_reports(descriptors, data).all()
            collector.take(read_reports(descriptors, data))
            ring.release(len(descriptors))

    stage.replace([Rule("gone", {}, ["ipv4_src"]), BY_SOURCE])
    collector.watch(stage.running)
    device.transport.send(frames(30_000, 50))
    device.transport.step(5000)
    stage.replace([BY_SOURCE], meanwhile=read)
    stage.finish(read)
    read()
    assert collector.totals["by source"].packets == 30_000 == device.snapshot()["received"]
    assert 0 < collector.totals["gone"].packets < 30_000


def test_another_thread_that_reads_misses_nothing_of_rules_that_change(device: Device) -> None:
    ring = device.open_ring(0, descriptors=256, data_bytes=MIN_DATA_BYTES)
    ring.registers.write("filter_ports", 0)
    ring.registers.write("extras", 1, "reports")
    ring.enable()
    stage = Statistics(device, secret=0)  # all groups in one set: each packet makes one leave
    device.set_pause(True)
    device.enable()
    collector, stopped = ReportCollector(lambda encoded, rows: None), threading.Event()
    stage.listeners.append(collector.watch)

    def reader() -> None:
        while not stopped.is_set() or ring.pending():
            descriptors, data = ring.poll()
            if len(descriptors):
                collector.take(read_reports(descriptors, data))
                ring.release(len(descriptors))

    thread = threading.Thread(target=reader)
    thread.start()
    try:
        stage.set(0, BY_SOURCE)
        device.transport.send(frames(10_000, 10_000))
        for turn in range(4):
            device.transport.step(2000)
            device.forward()
            stage.set(0, Rule(f"turn {turn}", {}, ["ipv4_src"]))
        stage.finish()
    finally:
        stopped.set()
        thread.join()
    told = sum(totals.packets for totals in collector.totals.values())
    assert told == 10_000 == device.snapshot()["filtered"]
    assert collector.lost == 0
