"""scapy and the reference say the same of every frame of the corpus, but for what ``scapys_view`` explains."""

from collections import Counter

import pytest
from scapy.layers.inet import ICMP, TCP, UDP
from scapy.layers.sctp import SCTP
from scapy.packet import Packet, Raw

from sentinic.abi.verdicts import Checksum

from .corpus import captures, frames_of, needs_corpus
from .parser import parse
from .scapys_view import differences


@pytest.fixture
def headers_only(monkeypatch):
    """scapy stops at the transport: applications take most of its time, and are none of ours."""

    def stop(self: Packet, data: bytes) -> None:
        if data:
            self.add_payload(Raw(data))

    for layer in (TCP, UDP, SCTP, ICMP):
        monkeypatch.setattr(layer, "do_dissect_payload", stop)


@needs_corpus
def test_every_frame_of_the_corpus_is_what_scapy_says(headers_only):
    found: list[str] = []
    seen: Counter[int] = Counter()
    for capture in captures():
        for number, frame in enumerate(frames_of(capture), 1):
            if len(frame.data) <= 9600:
                headers = parse(frame.data, frame.wire_length)
                seen[headers.transport_checksum] += 1
                found += [f"{capture.name} {number}: {text}" for text in differences(frame, headers)]
    assert not found, "\n".join(found[:20])
    assert seen[Checksum.GOOD] > 1000
    assert seen[Checksum.BAD] > 100
    assert seen[Checksum.ABSENT]
