"""The reference card, against literal bytes and against what must hold of any card."""

import struct

import numpy as np
import pytest
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import IP, TCP, UDP, IPOption_NOP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrDestOpt
from scapy.layers.l2 import LLC, SNAP, Dot1Q, Dot3, Ether

from sentinic.abi.counters import FATES, counter_names
from sentinic.abi.profiles import WIDE
from sentinic.abi.verdicts import Protocol, Verdict
from sentinic.driver.frames import FrameBatch
from sentinic.driver.records import status_bits

from .card import Frame, ReferenceCard, Ring, frames_of_batch, records_of_capture
from .corpus import captures, frames_of, needs_corpus

ETH = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02")
SEGMENT = bytes(ETH / Dot1Q(vlan=5) / IP(src="192.0.2.1", dst="198.51.100.2") / TCP(seq=7, ack=9, window=512) / b"hi")
DATAGRAM = bytes(ETH / IP() / UDP(sport=1, dport=2) / bytes(30))


def conserved(card: ReferenceCard) -> bool:
    return card.counters["received"] == sum(card.counters[name] for name in FATES)


def original(data_ring: np.ndarray, descriptor: np.void) -> bytes:
    """The frame without its tag, as the contract says where its parts lie."""
    status = int(descriptor["status"])
    tag, before = 4 * (status >> 24), 12 + 4 * (status >> 15 & 3)
    slot = data_ring[int(descriptor["offset"]) :]
    return (
        slot[64 - tag : 64 - tag + before].tobytes() + slot[64 + before : 64 + descriptor["captured_length"]].tobytes()
    )


def test_a_slot_holds_these_bytes():
    card = ReferenceCard(key=0)
    card.take(Frame(SEGMENT, 0x0102030405060708, port=1, wire_length=70))
    assert len(SEGMENT) == 60
    assert (
        card.rings[0].data_ring.tobytes()
        == bytes.fromhex(
            "00000000 00000000 00000000 00000000"
            "020000000001 020000000002 81000005"  # addresses and VLAN tag, 48 bytes before the original's
            "88b5 01 0c"
            "03 03 0200 00000007 00000009"
            "02 03 00 03 12 26 3a 02 0002 0001"  # offsets 18, 38, 58; truncated; payload 2; id 1
            "01 05 01 00 0102030405060708 0046 003c 00000000"
        )
        + SEGMENT[16:]
        + bytes(4)
    )


def test_a_descriptor_holds_these_bytes():
    card = ReferenceCard(key=0)
    card.take(Frame(SEGMENT, 0x0102030405060708, port=1, wire_length=70))
    assert card.rings[0].records[0] == bytes.fromhex(
        "0807060504030201"
        "00000000000000000000ffffc0000201"
        "00000000000000000000ffffc6336402"
        "1400 5000 00000000 00000000 4600 3c00 2a00 06 02"
    ) + struct.pack("<I", 1 | 1 << 1 | 1 << 3 | 0 << 8 | 1 << 15 | 1 << 19 | 1 << 22 | 12 << 24)


def test_loss_is_told_by_the_next_packet_delivered():
    card = ReferenceCard()
    ring = card.rings[0]
    card.take(Frame(DATAGRAM))
    ring.blocked = True
    for _ in range(3):
        assert card.take(Frame(DATAGRAM)) == "dropped_ring_full"
    ring.blocked = False
    card.run([Frame(DATAGRAM)] * 2)
    assert status_bits(ring.delivered["status"], "loss").tolist() == [0, 1, 0]
    assert status_bits(ring.delivered["status"], "tag_words").tolist() == [9, 11, 9]
    offset = int(ring.delivered["offset"][1]) + 64 - 44 + 12
    assert ring.data_ring[offset : offset + 12].tobytes() == bytes.fromhex("88b5010b 04020000 00000003")
    assert (ring.lost, card.counters["dropped_ring_full"]) == (3, 3)
    assert conserved(card)


def test_ports_protocols_and_verdicts_filter():
    rings = [
        Ring(filter_ports=2),
        Ring(filter_protocols=1 << Protocol.UDP),
        Ring(filter_verdicts=1 << Verdict.TRUNCATED),
    ]
    card = ReferenceCard(rings)
    fates = [
        card.take(Frame(DATAGRAM)),
        card.take(Frame(SEGMENT)),
        card.take(Frame(SEGMENT, port=1)),
        card.take(Frame(SEGMENT, wire_length=100)),
    ]
    assert fates == ["delivered", "filtered", "delivered", "delivered"]
    assert [len(ring.records) for ring in rings] == [1, 1, 1]
    assert conserved(card)


def test_sampling_takes_the_first_of_each_n():
    card = ReferenceCard([Ring(sample=3)])
    fates = [card.take(Frame(DATAGRAM, number)) for number in range(7)]
    assert card.rings[0].delivered["timestamp"].tolist() == [0, 3, 6]
    assert fates.count("sampled_out") == card.counters["ring0.sampled_out"] == 4
    assert conserved(card)


def test_every_flow_is_in_one_part_of_a_spread():
    frames = [Frame(bytes(ETH / IP() / UDP(sport=port))) for port in range(1000, 1100)]
    rings = [Ring(spread_count=3, spread_index=index) for index in range(3)]
    card = ReferenceCard(rings)
    card.run(frames)
    counts = [len(ring.records) for ring in rings]
    assert sum(counts) == 100
    assert min(counts) > 10


@pytest.mark.parametrize(("snap_length", "captured"), [(1, 64), (63, 64), (65, 65), (9600, 72)])
def test_the_snap_length_cuts_and_marks(snap_length, captured):
    card = ReferenceCard([Ring(snap_length=snap_length)])
    card.take(Frame(DATAGRAM))
    (descriptor,) = card.rings[0].delivered
    assert descriptor["captured_length"] == captured
    assert descriptor["wire_length"] == 72
    assert descriptor["status"] >> 19 & 1 == (captured < 72)


def test_a_ring_of_descriptors_only_takes_no_bytes_and_tells_its_losses_in_place_of_the_offset():
    card = ReferenceCard([Ring(snap_length=0)], key=0)
    ring = card.rings[0]
    card.take(Frame(SEGMENT, 0x0102030405060708, port=1, wire_length=70))
    ring.blocked = True
    card.run([Frame(SEGMENT)] * 3)
    ring.blocked = False
    card.take(Frame(SEGMENT, 9))
    first, second = ring.records
    assert first == bytes.fromhex(
        "0807060504030201"
        "00000000000000000000ffffc0000201"
        "00000000000000000000ffffc6336402"
        "1400 5000 00000000 00000000 4600 0000 2a00 06 02"
    ) + struct.pack("<I", 1 | 1 << 1 | 1 << 3 | 1 << 15 | 1 << 19)
    assert second[44:48] == struct.pack("<I", 3)
    assert second[60:] == struct.pack("<I", 1 | 1 << 3 | 1 << 8 | 1 << 15 | 1 << 18 | 1 << 19)
    assert (ring.data_ring.size, card.counters["ring0.delivered_bytes"]) == (0, 0)
    assert conserved(card)


PLAIN = {
    "IPv4": bytes(
        ETH / IP(src="192.0.2.1", dst="198.51.100.2") / TCP(seq=7, ack=9, window=0, options=[("NOP", 0)] * 4)
    ),
    "IPv6": bytes(ETH / IPv6(src="2001:db8::1", dst="2001:db8::2") / TCP(seq=2**32 - 1, window=512, flags="S") / b"hi"),
}
#: Whatever a descriptor would not tell, each alone.
NOT_PLAIN = {
    "VLAN tag": SEGMENT,
    "IPv4 options": bytes(ETH / IP(options=[IPOption_NOP()] * 4) / TCP()),
    "UDP": DATAGRAM,
    "checksum": PLAIN["IPv4"][:-1] + b"\0",
    "no length": bytes(ETH / IP(len=0) / TCP()),
    "fragment": bytes(ETH / IP(flags="MF") / TCP() / bytes(8)),
    "LLC": bytes(Dot3(src="02::1", dst="02::2") / LLC() / SNAP(OUI=0, code=0x0800) / IP() / TCP()),
    "extension": bytes(ETH / IPv6() / IPv6ExtHdrDestOpt() / TCP()),
    "label": bytes(ETH / MPLS(s=1) / IP() / TCP()),
}


def test_a_plain_segments_descriptor_holds_these_bytes():
    ring = Ring(bare_plain=True)
    ReferenceCard([ring], key=0).run([Frame(PLAIN["IPv4"], 1, port=1), Frame(PLAIN["IPv6"], 2)])
    first, second = ring.records
    assert first == bytes.fromhex(
        "0100000000000000"
        "00000000000000000000ffffc0000201"
        "00000000000000000000ffffc6336402"
        "1400 5000 07000000 09000000 3a00 0000 2c00 06 02"
    ) + struct.pack("<I", 1 | 1 << 1 | 1 << 3 | 1 << 8 | 1 << 23 | (6 | 1 << 4) << 24)
    assert second == bytes.fromhex(
        "0200000000000000"
        "20010db8000000000000000000000001"
        "20010db8000000000000000000000002"
        "1400 5000 ffffffff 00000000 4c00 0000 3e00 06 02"
    ) + struct.pack("<I", 1 | 2 << 3 | 1 << 8 | 1 << 23 | 5 << 24)
    assert ring.data_ring.size == 0


@pytest.mark.parametrize("why", NOT_PLAIN)
def test_what_a_descriptor_does_not_tell_keeps_its_slot(why):
    ring = Ring(bare_plain=True)
    ReferenceCard([ring]).run([Frame(NOT_PLAIN[why])])
    assert ring.delivered["captured_length"].tolist() == [len(NOT_PLAIN[why])]


def test_a_plain_segment_behind_a_loss_keeps_its_slot_and_tells_it():
    ring = Ring(bare_plain=True, blocked=True)
    card = ReferenceCard([ring])
    card.run([Frame(PLAIN["IPv4"])] * 2)
    ring.blocked = False
    card.run([Frame(PLAIN["IPv4"])] * 2)
    assert status_bits(ring.delivered["status"], "plain").tolist() == [0, 1]
    assert status_bits(ring.delivered["status"], "loss").tolist() == [1, 0]


def test_ingress_drops_by_reason():
    card = ReferenceCard()
    frames = [Frame(bytes(13)), Frame(bytes(9601)), Frame(bytes(14), error=True), Frame(bytes(13), error=True, port=1)]
    fates = [card.take(frame) for frame in frames]
    assert fates == ["dropped_runt", "dropped_oversize", "dropped_error", "dropped_error"]
    assert (card.counters["port0.dropped"], card.counters["port1.dropped"]) == (3, 1)
    assert conserved(card)


def test_rings_wrap_with_the_phase_and_never_within_a_slot():
    card = ReferenceCard([Ring(descriptors=4, data_bytes=512)])
    card.run([Frame(bytes(100), number) for number in range(6)])  # 192 bytes a slot: two fit
    ring = card.rings[0]
    assert ring.delivered["offset"].tolist() == [0, 192, 0, 192, 0, 192]
    assert status_bits(ring.delivered["status"], "phase").tolist() == [1, 1, 1, 1, 0, 0]
    assert ring.descriptor_ring["timestamp"].tolist() == [4, 5, 2, 3]


def test_counters_are_named_as_in_a_snapshot():
    assert set(ReferenceCard([Ring() for _ in range(WIDE.rings)]).counters) <= set(counter_names(WIDE))


def test_a_batch_becomes_frames():
    data = np.frombuffer(SEGMENT + DATAGRAM, np.uint8)
    batch = FrameBatch(
        data=data,
        offset=np.array([60, 0], np.int64),
        length=np.array([72, 60], np.uint32),
        wire_length=np.array([72, 70], np.uint32),
        timestamp=np.array([1, 2], np.uint64),
        port=np.array([0, 1], np.uint8),
        error=np.array([0, 1], np.uint8),
    )
    assert frames_of_batch(batch) == [Frame(DATAGRAM, 1, 0, 72, False), Frame(SEGMENT, 2, 1, 70, True)]


@needs_corpus
def test_every_frame_of_the_corpus_comes_back_from_its_slot():
    for capture in captures():
        frames = [frame for frame in frames_of(capture) if len(frame.data) <= 9600]
        descriptors, data_ring = records_of_capture(frames)
        assert len(descriptors) == len(frames)
        for frame, descriptor in zip(frames, descriptors, strict=True):
            assert original(data_ring, descriptor) == frame.data
