"""SYNs with whatever options TCP allows, and some that it does not: held, and given back bit for bit."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet, Raw

from sentinic.abi.profiles import PROFILES
from tests.sw.cli.captures import pcap
from tests.sw.cli.test_syn_offload import BUILDS, packets, run

pytestmark = pytest.mark.slow
LINK = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
#: Kinds whose length is that of RFC 9293, 7323, 2018, 7413, 2385, 8684; the length is that of the data.
KNOWN = {2: 2, 3: 1, 4: 0, 8: 8, 34: 8, 19: 16, 30: 10}


@st.composite
def options(draw: st.DrawFn) -> bytes:
    """Up to 40 octets: known and unknown kinds, some with a length that is wrong, in any order, and padding."""
    found = b""
    for kind in draw(st.lists(st.one_of(st.just(1), st.sampled_from(sorted(KNOWN)), st.integers(5, 254)), max_size=8)):
        if kind == 1:
            one = b"\x01"
        else:
            size = KNOWN.get(kind, draw(st.integers(0, 12)))
            length = draw(st.sampled_from([size + 2] * 6 + [0, 1, 255]))
            one = bytes([kind, length]) + draw(st.binary(min_size=size, max_size=size))
        if len(found) + len(one) <= 40:
            found += one
    return found + draw(st.sampled_from([b"\x00", b"\x01"])) * (-len(found) % 4)


@st.composite
def syns(draw: st.DrawFn, port: int) -> tuple[bytes, bytes]:
    """A SYN from ``port``, padded as a sender may, and the SYN and ACK that answers it."""
    tags = draw(st.integers(0, 2))

    def made(layer: Packet, segment: Packet) -> bytes:
        link: Packet = Ether(**LINK)
        for _ in range(tags):
            link /= Dot1Q(vlan=port % 4095 + 1)
        return bytes(link / layer / segment).ljust(60, b"\0")

    content = draw(options())
    sequence, window = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 65535))
    flags = draw(st.sampled_from(["S", "SEC"]))
    segment = TCP(
        sport=port, dport=80, flags=flags, seq=sequence, window=window, dataofs=5 + len(content) // 4
    ) / Raw(content)  # fmt: skip
    answer = TCP(sport=80, dport=port, flags="SA", ack=(sequence + 1) % 2**32)
    if draw(st.booleans()):
        return made(IP(src="10.0.0.1", dst="10.0.0.2"), segment), made(IP(src="10.0.0.2", dst="10.0.0.1"), answer)
    return made(IPv6(src="2001:db8::1", dst="2001:db8::2"), segment), made(
        IPv6(src="2001:db8::2", dst="2001:db8::1"), answer
    )


@st.composite
def handshakes(draw: st.DrawFn) -> list[tuple[bytes, bytes]]:
    return [draw(syns(2000 + n)) for n in range(draw(st.integers(1, 40)))]


@pytest.mark.parametrize("profile", BUILDS)
@given(made=handshakes(), apart=st.booleans())
@settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_a_syn_with_any_options_comes_back_bit_for_bit(
    profile: str, made: list[tuple[bytes, bytes]], apart: bool
) -> None:
    if apart:
        frames = [syn for syn, _ in made] + [answer for _, answer in made]
    else:
        frames = [frame for both in made for frame in both]
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "syns.pcap"
        capture.write_bytes(pcap(frames))
        summary = run(capture, profile, Path(folder) / "out", "[syn_offload]\nenabled = true\n")
        run(capture, profile, Path(folder) / "off", "")
        delivered = packets(Path(folder) / "out")
        assert delivered == packets(Path(folder) / "off")
    assert sum(delivered.values()) == len(frames)
    assert {frame for _, frame in delivered} == set(frames)
    told = summary["syn_offload"]
    held = sum(len(syn) <= PROFILES[profile].cell_bytes for syn, _ in made)
    assert (told["attempts"], told["answered"]) == (held, held)
