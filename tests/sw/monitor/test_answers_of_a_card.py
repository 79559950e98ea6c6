"""Answers of the real card: as documented, with a small ring, and with reports that nobody has taken."""

import re
from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import dpkt
import pytest

from sentinic.abi.verdicts import Protocol
from sentinic.driver.device import Device
from sentinic.driver.frames import FrameBatch
from sentinic.driver.ring import MIN_DATA_BYTES, MIN_DESCRIPTORS, Ring
from sentinic.driver.settling import settle
from sentinic.driver.statistics import Statistics
from sentinic.driver.syn_offload import SynOffload
from sentinic.errors import ConfigError, RingError
from sentinic.monitor.statistics import tasks
from sentinic.monitor.statistics.answers import Answers
from sentinic.monitor.statistics.tasks import Distinct, Task, make_plan
from tests.reference.corpus import CORPUS, needs_corpus

pytestmark = pytest.mark.slow
DOCUMENTED = Path(__file__).parents[3] / "docs" / "statistics.md"
NOW = 1_700_000_040  # s: a multiple of a minute
PORTS = 1000


def segment(source: int, destination: int, sport: int, dport: int, flags: int) -> bytes:
    tcp = dpkt.tcp.TCP(sport=sport, dport=dport, flags=flags)
    ip = dpkt.ip.IP(src=source.to_bytes(4), dst=destination.to_bytes(4), p=dpkt.ip.IP_PROTO_TCP, data=tcp)
    ip.len = len(ip)
    return bytes(dpkt.ethernet.Ethernet(src=b"\2\0\0\0\0\1", dst=b"\2\0\0\0\0\2", data=ip))


def scan() -> list[bytes]:
    """One host tries many ports of another, which refuses; a third opens a connection to it."""
    scanner, victim, other = 0xAC100008, 0x400D8634, 0xAC100009
    frames = [segment(other, victim, 5000, 80, dpkt.tcp.TH_SYN)]
    for port in range(1, PORTS + 1):
        frames.append(segment(scanner, victim, 40_000, port, dpkt.tcp.TH_SYN))
        frames.append(segment(victim, scanner, port, 40_000, dpkt.tcp.TH_RST | dpkt.tcp.TH_ACK))
    return frames


def sources(count: int, now: int = NOW) -> FrameBatch:
    frames = [segment(0x0A000000 + number, 0x0A800001, 5000, 80, dpkt.tcp.TH_ACK) for number in range(count)]
    return FrameBatch.from_frames(frames, timestamp=[now * 10**9] * count)


@pytest.fixture
def device() -> Iterator[Device]:
    with Device.open("native", "board") as found:
        found.set_pause(True)
        found.enable()
        yield found


def ring_of(device: Device, *, small: bool = False) -> Ring:
    ring = device.open_ring(0, descriptors=MIN_DESCRIPTORS, data_bytes=MIN_DATA_BYTES) if small else device.open_ring(0)
    ring.enable()
    return ring


def drain(ring: Ring, answers: Answers) -> None:
    while ring.pending():
        descriptors, data = ring.poll()
        answers.take(descriptors, data)
        ring.release(len(descriptors))
        ring.device.forward()


def test_the_documented_program_finds_a_scan_with_all_its_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [program] = re.findall(r"```python\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    with (tmp_path / "scan.pcap").open("wb") as file:
        writer = dpkt.pcap.Writer(file)
        for number, frame in enumerate(scan()):
            writer.writepkt(frame, NOW + number / 1000)
    monkeypatch.chdir(tmp_path)
    exec(compile(program, DOCUMENTED, "exec"), {})
    told = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    minute = NOW // 60
    assert told == [
        "fan-out: on the card (1 rule)",
        "port scan: on the card (1 rule)",
        f"{minute} {{'source': '172.16.0.8', 'destination': '64.13.134.52'}} {PORTS} a scan",
        f"{minute} {{'source': '172.16.0.9', 'destination': '64.13.134.52'}} 1",
    ]


@needs_corpus
def test_the_documented_program_finds_the_scanner_of_synscan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    capture = CORPUS / "ndpi" / "synscan.pcap"
    opened = defaultdict(set)
    with capture.open("rb") as file:
        for seconds, octets in dpkt.pcap.Reader(file):
            tcp = dpkt.ethernet.Ethernet(octets).data.data
            if isinstance(tcp, dpkt.tcp.TCP) and tcp.flags & 0x12 == 0x02:
                opened[int(seconds) // 60, octets[26:30], octets[30:34]].add(tcp.dport)
    (tmp_path / "scan.pcap").symlink_to(capture)
    monkeypatch.chdir(tmp_path)
    [program] = re.findall(r"```python\n(.*?)```", DOCUMENTED.read_text(), re.DOTALL)
    exec(compile(program, DOCUMENTED, "exec"), {})
    told = capsys.readouterr().out.splitlines()[2:]
    expected = []
    for (minute, source, destination), ports in opened.items():
        ends = {"source": str(IPv4Address(source)), "destination": str(IPv4Address(destination))}
        expected.append(f"{minute} {ends} {len(ports)} {'a scan' if len(ports) >= 100 else ''}")
    assert sorted(line.rstrip() for line in told) == sorted(line.rstrip() for line in expected)
    assert {line.split("'")[3] for line in told if "a scan" in line} == {"172.16.0.8"}


def test_the_lines_at_the_head_of_tasks_give_all_answers(device: Device, capsys: pytest.CaptureFixture[str]) -> None:
    [lines] = re.findall(r"::\n\n(.*?)\n\n", tasks.__doc__ or "", re.DOTALL)
    program = "\n".join(line.removeprefix("    ") for line in lines.splitlines())
    first, again, rest = program.partition("answers.poll()")
    ring, statistics = ring_of(device), Statistics(device)
    names = {
        "Task": Task, "Distinct": Distinct, "make_plan": make_plan, "Answers": Answers, "ring": ring,
        "statistics": statistics, "shape": statistics.shape,
    }  # fmt: skip
    exec(first, names)
    frames = scan()
    device.transport.send(FrameBatch.from_frames(frames, timestamp=[NOW * 10**9] * len(frames)))
    exec(again + rest, names)
    assert capsys.readouterr().out == "fan-out: on the card (1 rule)\n"
    answer = names["answer"]
    assert [sorted(dict(group).values()) for group in answer.groups] == [
        ["172.16.0.8"],
        ["172.16.0.9"],
        ["64.13.134.52"],
    ]
    assert answer.values == (1, 1, 1)


@pytest.mark.parametrize("polls", [True, False], ids=["polled meanwhile", "closed alone"])
def test_a_small_ring_that_only_answers_read_is_no_reason_to_wait_or_to_miss_any(device: Device, polls: bool) -> None:
    """The packets alone are thirty times what the ring holds, and their groups more than the card's table."""
    count = 2000
    ring, statistics = ring_of(device, small=True), Statistics(device)
    answers = Answers(make_plan([Task("sources", group=["source"])], statistics.shape), statistics, ring)
    device.transport.send(sources(count))
    while polls and device.transport.pending:
        device.transport.step(10_000)
        answers.poll()
    [answer] = answers.close()
    assert answer.values == (1,) * count
    assert answer.exact


def test_answers_are_not_closed_while_a_ring_that_others_read_holds_reports(device: Device) -> None:
    count = 300
    ring, statistics = ring_of(device), Statistics(device)
    ring.registers.write("extras", 1, "reports")
    answers = Answers(make_plan([Task("sources", group=["source"])], statistics.shape), statistics)
    device.transport.send(sources(count))
    device.transport.step()
    drain(ring, answers)
    with pytest.raises(RingError, match=r"ring 0 holds \d+ descriptors, reports of statistics among them, that must"):
        answers.close()
    drain(ring, answers)
    [answer] = answers.close()
    assert sum(answer.values) == count
    assert answer.exact


def test_an_answer_says_that_reports_are_lost(device: Device) -> None:
    ring, statistics = ring_of(device), Statistics(device)
    answers = Answers(make_plan([Task("sources", group=["source"])], statistics.shape), statistics, ring)
    device.transport.send(sources(20))  # so few that none has to leave the table
    device.transport.step()
    ring.disable()
    [answer] = answers.close()
    assert (answer.interval, answer.groups) == (0, ())
    assert answer.missing.reports_lost >= 3  # of seven groups at most
    assert not answer.exact


def test_an_answer_of_software_says_what_the_ring_had_no_room_for(device: Device) -> None:
    count = 2000
    device.set_pause(False)
    ring = ring_of(device, small=True)
    answers = Answers(make_plan([Task("sources", group=["source"])], None), None, ring)
    frames = sources(count)
    for first in range(0, count, 20):  # so few at once that the bus keeps up
        device.transport.send(frames[first : first + 20])
        device.transport.step()
    [answer] = answers.close()
    assert 0 < answer.missing.packets_lost == count - sum(answer.values)
    assert not answer.exact


def test_answers_of_intervals_come_when_they_are_over(device: Device) -> None:
    every, count = 10**9, 5
    ring, statistics = ring_of(device), Statistics(device)
    card = Task("card", group=["source"], every=every)
    soft = [Task(f"soft{n}", group=["source"], every=every) for n in range(4)]
    ways = Task("ways", {"ip_proto": [6, 17]}, every=every)
    plan = make_plan([card, *soft, ways], statistics.shape)
    assert [planned.on_card for planned in plan.planned] == [True] * 4 + [False] * 2
    answers = Answers(plan, statistics, ring)
    assert answers.ready() == []
    told = []
    for second in range(count):
        device.transport.send(sources(3 + second, NOW + second))
        settle(device, answers.poll)
        ready = answers.ready()
        assert not answers.ready()
        # The card reports an interval at its end; that no more reports of it come is known by those of the next.
        on_card = {(name, NOW + second - 2) for name in ("card", "soft0", "soft1", "soft2")}
        in_software = {("soft3", NOW + second - 1)}
        expected = (on_card if second > 1 else set()) | (in_software if second else set())
        assert {(answer.task, answer.interval) for answer in ready} == expected
        told += ready
    told += answers.close()
    assert all(answer.exact for answer in told)
    for task in (card, *soft):
        mine = [answer for answer in told if answer.task == task.name]
        assert [(answer.interval, sum(answer.values)) for answer in mine] == [(NOW + n, 3 + n) for n in range(count)]
    assert [answer.interval for answer in told if answer.task == "ways"] == [NOW + n for n in range(count)]


def test_an_answer_of_software_says_what_keeps_packets_from_the_ring(device: Device) -> None:
    ring = device.open_ring(0)
    ring.registers.write("filter_protocols", 1 << Protocol.UDP)
    ring.enable()
    answers = Answers(make_plan([Task("sources", group=["source"])], None), None, ring)
    SynOffload(device).enable()
    device.transport.send(sources(10))
    [answer] = answers.close()
    assert (answer.groups, answer.missing.ring_lacks) == ((), ("protocols", "no raw_syns"))
    assert not answer.exact


def test_what_the_card_counts_is_exact_whatever_the_ring_takes(device: Device) -> None:
    ring, statistics = device.open_ring(0), Statistics(device)
    ring.registers.write("filter_protocols", 1 << Protocol.UDP)
    ring.enable()
    answers = Answers(make_plan([Task("sources", group=["source"])], statistics.shape), statistics, ring)
    device.transport.send(sources(10))
    [answer] = answers.close()
    assert (answer.values, answer.missing.ring_lacks) == ((1,) * 10, ())
    assert answer.exact


@pytest.mark.parametrize(
    ("register", "value", "message"),
    [("snap_length", 0, "snap_length must be at least 1"), ("extras", 1, "bare_plain must be false")],
)
def test_software_refuses_a_ring_without_bytes(device: Device, register: str, value: int, message: str) -> None:
    ring = device.open_ring(0)
    ring.registers.write(register, value, "bare_plain" if register == "extras" else "value")
    ring.enable()
    with pytest.raises(ConfigError, match=f"ring 0: {message} for tasks counted in software"):
        Answers(make_plan([Task("sources", group=["source"])], None), None, ring)
