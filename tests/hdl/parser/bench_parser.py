"""The parser fed with packets of scapy's making, its records held against scapy's own reading of them.

Run by ``test_parser_cocotb.py`` inside the simulator.
"""

import random
from dataclasses import fields as members
from typing import NamedTuple

import cocotb
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from sentinic.abi.verdicts import Verdict
from sentinic_hdl.parser import ParsedFrame
from tests.hdl.block_bench import LIMIT, Bench, Packed
from tests.hdl.parser.bench import KEY, beats_of
from tests.hdl.parser.frames import Stimulus
from tests.reference.card import Frame
from tests.reference.parser import Headers, flow_hash
from tests.reference.scapys_view import differences


class Made(NamedTuple):
    """A packet, and what the parser has to think of it as a whole."""

    frame: Stimulus
    verdict: Verdict


def _link(r: random.Random) -> Packet:
    packet = Ether(dst="02:00:00:00:00:01", src=f"02:00:00:00:00:{r.randrange(256):02x}")
    tag = {"vlan": r.randrange(4096), "prio": r.randrange(8)}
    tags = r.choice((None, None, Dot1Q(**tag), Dot1AD(**tag), Dot1AD(**tag) / Dot1Q(vlan=r.randrange(4096))))
    packet = packet if tags is None else packet / tags
    labels = r.choice((0, 0, 0, 1, 2, 4))
    for n in range(labels):
        packet = packet / MPLS(label=r.randrange(1 << 20), s=int(n == labels - 1), ttl=r.randrange(256))
    return packet


def _network(r: random.Random, *, whole: bool) -> Packet:
    """IPv4 or IPv6 with options or extension headers, and in pieces sometimes."""
    if r.random() < 0.5:
        return IP(
            src=f"10.{r.randrange(256)}.{r.randrange(256)}.1",
            dst=f"192.0.2.{r.randrange(256)}",
            id=r.randrange(65536),
            tos=r.randrange(256),
            options=b"\x01" * r.choice((0, 0, 4, 8, 40)),
            flags="" if whole else "MF",
            frag=0 if whole else r.choice((0, 5)),
        )
    packet = IPv6(
        src=f"2001:db8::{r.randrange(65536):x}", dst=f"2001:db8:1::{r.randrange(65536):x}", tc=r.randrange(256)
    )
    extensions = [IPv6ExtHdrHopByHop(), IPv6ExtHdrRouting(segleft=0), IPv6ExtHdrDestOpt()]
    for extension in extensions:
        if r.random() < 0.25:
            packet = packet / extension
    return packet if whole else packet / IPv6ExtHdrFragment(m=1, offset=r.choice((0, 9)), id=r.getrandbits(32))


def _transport(r: random.Random, network: Packet) -> Packet:
    # Ports that no application of scapy's has.
    ports = {"sport": r.randrange(50_000, 65_536), "dport": r.randrange(50_000, 65_536)}
    kinds: list[Packet] = [
        TCP(
            **ports,
            seq=r.getrandbits(32),
            ack=r.getrandbits(32),
            window=r.getrandbits(16),
            flags=r.getrandbits(8),
            options=r.choice(([], [("MSS", 1460)], [("NOP", None)] * 3 + [("Timestamp", (r.getrandbits(32), 0))])),
        ),
        UDP(**ports),
        ICMPv6EchoRequest(id=r.getrandbits(16)) if IPv6 in network else ICMP(id=r.getrandbits(16)),
    ]
    if type(network.lastlayer()) in (IP, IPv6):
        kinds.append(SCTP(**ports, tag=r.getrandbits(32)))
        if IP in network:
            kinds.append(UDP(**ports, chksum=0))
    return r.choice(kinds)


def made(r: random.Random, number: int) -> Made:
    """A well-formed packet, a bit of it flipped now and then where only a checksum can tell."""
    if r.random() < 0.05:
        data = bytes(Ether(src="02:00:00:00:00:01") / ARP(psrc="10.0.0.1", pdst="10.0.0.2"))
        return Made(Stimulus(data, len(data), number, number % 4), Verdict.CLEAN)
    whole = r.random() < 0.85
    network = _network(r, whole=whole)
    transport = _transport(r, network)
    size = r.choice((1, 2, 7, 18, 30, 63, 64, 65, 200, r.randrange(1, 1400)))
    packet = _link(r) / network / transport / Raw(r.randbytes(size))
    data = bytearray(bytes(packet))
    verdict = Verdict.CLEAN if whole else Verdict.FRAGMENT
    summed = whole and not isinstance(transport, SCTP) and getattr(transport, "chksum", None) != 0
    if r.random() < 0.12 and IP in packet:
        data[len(data) - len(bytes(packet[IP])) + 8] ^= 1 << r.randrange(8)  # the time to live
        verdict = Verdict.BAD_NETWORK_CHECKSUM
    if r.random() < 0.2:
        data[-1 - r.randrange(size)] ^= 1 << r.randrange(8)
        verdict = Verdict.BAD_TRANSPORT_CHECKSUM if summed else verdict
    frame = bytes(data) + bytes(max(0, 60 - len(data)))
    return Made(Stimulus(frame, len(frame), number, number % 4), verdict)


class ParserBench(Bench):
    def __init__(self, dut, **options):
        super().__init__(dut, **options)
        self.shape = Packed(ParsedFrame)
        self.i = self.source("parser__i")
        self.o = self.sink("parser__o")
        self.quotes = self.sink("parser__quotes")
        dut.parser__hash_key.value = KEY

    def send(self, packets: list[Made]) -> None:
        for packet in packets:
            self.i.items.extend(beats_of(self.profile, packet.frame, self.random))

    async def settle(self, count: int) -> None:
        await self.until(lambda: len(self.o.got) >= count, "every frame gave a record")
        await self.cycles(100)
        assert len(self.o.got) == count

    def check(self, packets: list[Made]) -> None:
        for number, (packet, record) in enumerate(zip(packets, self.o.got, strict=True)):
            values, frame = self.shape.unpack(record), packet.frame
            headers = Headers(**{member.name: values[f"headers.{member.name}"] for member in members(Headers)})
            where = f"frame {number}, {frame.data.hex()}"
            assert not differences(Frame(frame.data), headers), (where, differences(Frame(frame.data), headers))
            assert (headers.verdict, headers.parse_error) == (packet.verdict, 0), where
            assert values["headers.flow_hash"] == flow_hash(headers, KEY), where
            info = [values[f"info.{name}"] for name in ("length", "wire_length", "timestamp", "port")]
            assert info == [len(frame.data), frame.wire_length, frame.timestamp, frame.port], where


@cocotb.test(**LIMIT)
@cocotb.parametrize(idle=[0, 0.4], busy=[0, 0.7])
async def the_headers_are_what_scapy_reads(dut, idle, busy):
    bench = ParserBench(dut, seed=int(10 * idle + 100 * busy), idle=idle, busy=busy)
    await bench.reset()
    packets = [made(bench.random, number) for number in range(80)]
    bench.send(packets)
    await bench.settle(len(packets))
    bench.check(packets)
    assert {packet.verdict for packet in packets} == {
        Verdict.CLEAN,
        Verdict.FRAGMENT,
        Verdict.BAD_NETWORK_CHECKSUM,
        Verdict.BAD_TRANSPORT_CHECKSUM,
    }


@cocotb.test(**LIMIT)
async def frames_wait_for_a_reader_and_none_is_lost(dut):
    bench = ParserBench(dut, seed=5)
    await bench.reset()
    bench.o.hold = True
    packets = [made(bench.random, number) for number in range(90)]
    bench.send(packets)
    await bench.cycles(1500)
    waiting = len(bench.i.items)
    assert waiting, "the parser takes no more than it can hold"
    await bench.cycles(100)
    assert len(bench.i.items) == waiting
    bench.o.hold = False
    await bench.settle(len(packets))
    bench.check(packets)


@cocotb.test(**LIMIT)
@cocotb.parametrize(after=[320, 350, 500, 900])
async def a_reset_within_a_frame_forgets_it_and_all_before(dut, after):
    bench = ParserBench(dut, seed=after, idle=0.2, busy=0.5)
    await bench.reset()
    bench.send([made(bench.random, number) for number in range(80)])
    await bench.cycles(after)
    assert bench.i.taken > 0
    await bench.reset()
    packets = [made(bench.random, number) for number in range(20)]
    bench.send(packets)
    await bench.settle(len(packets))
    bench.check(packets)
