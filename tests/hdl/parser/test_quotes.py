"""What ICMP errors quote: the wide parser against packets of scapy's making, and against the plain reference."""

import random
from ipaddress import IPv4Address, IPv6Address

import pytest
from scapy.layers.inet import IP, TCP
from scapy.packet import Packet

from sentinic.abi.profiles import BOARD, WIDE
from tests.hdl.parser.bench import differences, quotes_of, simulate
from tests.hdl.parser.errors import ETHER, LINKS, cases
from tests.hdl.parser.frames import Stimulus, random_frame, tcp_frame
from tests.reference.quote import Quote, quoted

CASES = cases()
WHOLE = CASES["whole quote"]


def stimulus(packet: Packet, number: int = 0) -> Stimulus:
    data = bytes(packet).ljust(60, b"\0")
    return Stimulus(data, len(data), number)


def read(packet: Packet) -> Quote:
    """A TCP packet as scapy reads it."""
    addresses = [
        0xFFFF << 32 | int(IPv4Address(each)) if IP in packet else int(IPv6Address(each))
        for each in (packet.src, packet.dst)
    ]
    return Quote(*addresses, packet[TCP].sport, packet[TCP].dport, packet[TCP].seq)


def test_what_errors_quote_is_what_scapy_had_put_into_them() -> None:
    made = {f"{link}: {name}": (LINKS[link] / case.error, case) for link in LINKS for name, case in CASES.items()}
    frames = [stimulus(packet, number) for number, (packet, _) in enumerate(made.values())]
    run = simulate(WIDE, frames)
    found = dict(zip(made, quotes_of(run.values, run.quotes), strict=True))
    assert found == {name: read(case.syn) if case.is_read else None for name, (_, case) in made.items()}
    assert [quoted(frame.data) for frame in frames] == list(found.values()), "the reference reads them otherwise"
    assert not differences(frames, run.values)


def test_an_error_cut_before_the_card_counts_as_far_as_it_is_there() -> None:
    data = bytes(ETHER / WHOLE.error)
    needed = 14 + 20 + 8 + 20 + 8
    frames = [Stimulus(data[:length], len(data)) for length in range(needed - 10, needed + 3)]
    run = simulate(WIDE, frames)
    assert quotes_of(run.values, run.quotes) == [None] * 10 + [read(WHOLE.syn)] * 3


@pytest.mark.parametrize(("idle", "busy"), [(0, 0), (0.5, 0.5), (0, 0.8)])
def test_random_errors_are_read_as_the_reference_reads_them(idle: float, busy: float) -> None:
    r = random.Random(int(10 * idle + 100 * busy))
    frames: list[Stimulus] = []
    while len(frames) < 150:
        frame = random_frame(r, largest=100)
        if quoted(frame.data, frame.wire_length) or len(frames) % 3 == 0:
            frames.append(frame)
    run = simulate(WIDE, frames, idle=idle, busy=busy)
    assert not differences(frames, run.values)
    assert quotes_of(run.values, run.quotes) == [quoted(frame.data, frame.wire_length) for frame in frames]


def test_errors_back_to_back_cost_nothing_and_delay_nobody() -> None:
    errors = [stimulus(ETHER / case.error) for case in CASES.values()]
    frames = [frame for n in range(90) for frame in (errors[n % len(errors)], tcp_frame(n))]
    run = simulate(WIDE, frames)
    assert run.refused == 0
    assert max(came - ended for came, ended in zip(run.came, run.ended, strict=True)) <= 24
    assert quotes_of(run.values, run.quotes) == [quoted(frame.data) for frame in frames]


def test_quotes_that_nobody_takes_stop_frames_and_lose_nothing() -> None:
    frames = [stimulus(ETHER / WHOLE.error, n) for n in range(200)]
    run = simulate(WIDE, frames, hold_quotes=1500)
    assert run.refused > 500
    assert quotes_of(run.values, run.quotes) == [read(WHOLE.syn)] * len(frames)


def test_a_parser_without_offload_behind_it_reads_no_quotes() -> None:
    frames = [stimulus(ETHER / WHOLE.error, n) for n in range(5)]
    run = simulate(BOARD, frames)
    assert quotes_of(run.values, run.quotes) == [None] * len(frames)
