"""What the tracker makes of single connections, and that it holds up under many."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.contrib.geneve import GENEVE, GeneveOptions
from scapy.contrib.gtp import GTP_U_Header, GTPPDUSessionContainer
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import GRE, ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6
from scapy.layers.l2 import LLC, SNAP, Dot1AH, Dot1Q, Dot3, Ether
from scapy.layers.ppp import PPP, PPPoE
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet

from sentinic.monitor.connections import STATES, ConnectionTracker, connection_states
from sentinic.monitor.connlog import conn_log_lines
from sentinic.monitor.flows import FlowMeter
from tests.reference.card import Frame, ReferenceCard, Ring, records_of_capture
from tests.sw.monitor.baselines import as_logged
from tests.sw.monitor.packets import CLIENT, SERVER, Timed, follow, frames, handshake, tcp, udp

CLOSE: list[Timed] = [
    (1.0, tcp(True, "FA", 101, 501)),
    (1.1, tcp(False, "FA", 501, 102)),
    (1.2, tcp(True, "A", 102, 502)),
]


def states(rows: object) -> list[str]:
    return connection_states(rows).tolist()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("packets", "state", "history"),
    [
        ([(0, tcp(True, "S", 100))], "S0", b"S"),
        (handshake(), "S1", b"ShA"),
        (handshake() + CLOSE, "SF", b"ShAFf"),
        ([*handshake(), CLOSE[0]], "S2", b"ShAF"),
        ([*handshake(), (1, tcp(False, "FA", 501, 101))], "S3", b"ShAf"),
        ([(0, tcp(True, "S", 100)), (0.1, tcp(False, "RA", 0, 101))], "REJ", b"Sr"),
        ([*handshake(), (1, tcp(True, "R", 101))], "RSTO", b"ShAR"),
        ([*handshake(), (1, tcp(False, "R", 501))], "RSTR", b"ShAr"),
        ([(0, tcp(True, "S", 100)), (0.1, tcp(True, "R", 101))], "RSTOS0", b"SR"),
        ([(0, tcp(False, "SA", 500, 101)), (0.1, tcp(False, "R", 501))], "OTH", b"HR"),
        ([(0, tcp(True, "S", 100)), (0.1, tcp(True, "F", 101))], "SH", b"SF"),
        ([(0, tcp(True, "A", 101, 501))], "OTH", b"A"),
    ],
)
def test_each_state_of_a_connection_has_its_name(packets: list[Timed], state: str, history: bytes) -> None:
    (row,) = follow(packets)
    assert (STATES[row["state"]], row["history"]) == (state, history)


def test_sizes_come_from_sequence_numbers_and_what_is_missing_is_counted() -> None:
    packets = [
        *handshake(),
        (0.1, tcp(True, "A", 101, 501, 10)),
        (0.2, tcp(True, "A", 131, 501, 10)),  # 20 bytes were lost
        (0.3, tcp(False, "A", 501, 141)),
        (0.4, tcp(True, "A", 131, 501, 10)),
    ]
    (row,) = follow(packets)
    assert (row["orig_bytes"], row["missed_bytes"], row["history"]) == (40, 20, b"ShADaGT")


def test_data_cut_off_by_the_capture_is_a_gap() -> None:
    cut = frames([(0.1, tcp(True, "A", 101, 501, 100))])[0]
    cut = Frame(cut.data[:80], cut.timestamp, 0, len(cut.data))
    tracker = ConnectionTracker(ignore_checksums=True)
    tracker.update(*records_of_capture([*frames(handshake()), cut, *frames([(0.2, tcp(False, "A", 501, 201))])]))
    (row,) = tracker.finish()
    assert (row["orig_bytes"], row["missed_bytes"], row["history"]) == (100, 100, b"ShADaG")


def test_data_cut_off_by_the_ring_only_is_no_gap() -> None:
    card = ReferenceCard([Ring(snap_length=64)])
    card.run(frames([*handshake(), (0.1, tcp(True, "A", 101, 501, 100)), (0.2, tcp(False, "A", 501, 201))]))
    tracker = ConnectionTracker()
    tracker.update(card.rings[0].delivered, card.rings[0].data_ring)
    (row,) = tracker.finish()
    assert (row["orig_bytes"], row["missed_bytes"], row["history"]) == (100, 0, b"ShADa")


def test_descriptors_only_are_refused_but_make_the_same_flow_records() -> None:
    card = ReferenceCard([Ring(), Ring(snap_length=0)])
    card.run(frames([*handshake(), (0.1, tcp(True, "A", 101, 501, 100)), (0.2, tcp(False, "A", 501, 201))]))
    full, bare = (ring.delivered for ring in card.rings)
    assert not bare["captured_length"].any()
    with pytest.raises(ValueError, match="every packet must have a slot"):
        ConnectionTracker().update(bare, card.rings[1].data_ring)
    flows = []
    for rows in (full, bare):
        meter = FlowMeter()
        meter.update(rows)
        flows.append(meter.records())
    assert flows[0]["packets"].tolist() == [3, 2]
    assert (flows[0] == flows[1]).all()


def test_an_attempt_without_an_answer_ends_after_five_seconds() -> None:
    rows = follow([(0, tcp(True, "S", 100)), (4.9, tcp(True, "S", 100)), (5.0, tcp(True, "S", 100))])
    assert rows["orig_pkts"].tolist() == [2, 1]


@pytest.mark.parametrize(("silence", "count"), [(299.9, 1), (300.0, 2)])
def test_an_established_connection_may_be_silent_for_five_minutes(silence: float, count: int) -> None:
    assert len(follow([*handshake(), (0.002 + silence, tcp(True, "A", 101, 501, 1))])) == count


@pytest.mark.parametrize(("silence", "count"), [(3599.0, 1), (3600.0, 2)])
def test_an_interactive_one_for_an_hour(silence: float, count: int) -> None:
    packets = [(at, packet.copy()) for at, packet in handshake()]  # type: ignore[union-attr]
    packets.append((0.002 + silence, tcp(True, "A", 101, 501, 1)))
    for _, packet in packets:
        segment = packet[TCP]
        segment.sport, segment.dport = (22 if port == 9999 else port for port in (segment.sport, segment.dport))
        del segment.chksum
    assert len(follow(packets)) == count


@pytest.mark.parametrize(("silence", "port", "count"), [(59.9, 7777, 1), (60.0, 7777, 2), (9.0, 53, 1), (20.1, 53, 2)])
def test_udp_for_a_minute_and_dns_for_ten_seconds(silence: float, port: int, count: int) -> None:
    rows = follow([(0, udp(True, dport=port)), (silence, udp(False, dport=port))])
    assert len(rows) == count


def test_other_traffic_lets_timers_go_off() -> None:
    """Zeek looks at a closing connection with every packet of any connection."""
    half = [*handshake(), (1.0, tcp(True, "FA", 101, 501))]
    late = (31.0, tcp(False, "A", 501, 102))
    assert len(follow([*half, late])) == 1
    assert len(follow([*half, *((float(at), udp(True)) for at in range(2, 30)), late])) == 2


def test_a_syn_after_the_close_is_another_connection() -> None:
    rows = follow(handshake() + CLOSE + handshake(2.0))
    assert states(rows) == ["SF", "S1"]


def test_after_five_seconds_a_closed_connection_is_gone() -> None:
    rows = follow([*handshake(), *CLOSE, (6.0, tcp(True, "A", 102, 502)), (6.2, tcp(True, "A", 102, 502))])
    assert rows["orig_pkts"].tolist() == [5, 1]


def test_zero_windows_and_strange_flags_have_letters() -> None:
    packets = [*handshake(), (0.1, tcp(False, "A", 501, 101, window=0)), (0.2, tcp(True, "SF", 100))]
    (row,) = follow(packets)
    assert row["history"] == b"ShAawQ"


def test_both_directions_of_an_echo_are_one_connection_with_types_as_ports() -> None:
    ping, pong = ICMP(type=8, id=1) / b"1234", ICMP(type=0, id=1) / b"1234"
    (row,) = follow([(0, IP(src=CLIENT, dst=SERVER) / ping), (1, IP(src=SERVER, dst=CLIENT) / pong)])
    assert (row["orig_p"], row["resp_p"], row["orig_bytes"], row["resp_bytes"]) == (8, 0, 4, 4)
    one, two = "2001:db8::1", "2001:db8::2"
    (row,) = follow(
        [(0, IPv6(src=two, dst=one) / ICMPv6EchoReply()), (1, IPv6(src=one, dst=two) / ICMPv6EchoRequest())]
    )
    assert (row["orig_p"], row["resp_p"], row["orig_pkts"], row["resp_pkts"]) == (129, 128, 1, 1)


def test_unreachables_go_one_way() -> None:
    packet = ICMP(type=3, code=1) / bytes(20)
    rows = follow([(0, IP(src=CLIENT, dst=SERVER) / packet), (1, IP(src=SERVER, dst=CLIENT) / packet)])
    assert [(row["orig_p"], row["resp_p"], row["resp_pkts"]) for row in rows] == [(3, 1, 0)] * 2


def test_a_server_seen_first_is_the_responder() -> None:
    (row,) = follow([(0, IP(src=SERVER, dst=CLIENT) / UDP(sport=53, dport=4000) / b"x")])
    assert (row["orig_p"], row["resp_p"], row["history"]) == (4000, 53, b"^d")
    (row,) = follow([(0, IP(src=SERVER, dst=CLIENT) / UDP(sport=53, dport=4000) / b"x")], udp_servers=())
    assert (row["orig_p"], row["resp_p"], row["history"]) == (53, 4000, b"D")


def inner() -> Packet:
    return IP(src=CLIENT, dst=SERVER) / UDP(sport=5000, dport=7777) / b"hello"


def carrier(port: int) -> Packet:
    return IP(src="9.9.9.9", dst="8.8.8.8") / UDP(sport=999, dport=port)


@pytest.mark.parametrize(
    ("outer", "rows"),
    [
        (IP(src="9.9.9.9", dst="8.8.8.8", proto=4) / inner(), 1),
        (IPv6(src="fd00::1", dst="fd00::2") / inner(), 1),
        (IP(src="9.9.9.9", dst="8.8.8.8") / GRE() / inner(), 1),
        (IP(src="9.9.9.9", dst="8.8.8.8") / GRE(key_present=1, key=7, seqnum_present=1) / inner(), 1),
        (IP(src="9.9.9.9", dst="8.8.8.8") / GRE(proto=0x6558) / Ether() / Dot1Q(vlan=5) / inner(), 1),
        (IP(src="9.9.9.9", dst="8.8.8.8") / GRE(proto=0x88BE, seqnum_present=1) / bytes(8) / Ether() / inner(), 1),
        (IP(src="9.9.9.9", dst="8.8.8.8") / GRE(proto=0x22EB, seqnum_present=1) / bytes(12) / Ether() / inner(), 1),
        (IP(src="9.9.9.9", dst="8.8.8.8") / GRE(proto=0x22EB) / (bytes(11) + b"\1" + bytes(8)) / Ether() / inner(), 1),
        (
            IP(src="9.9.9.9", dst="8.8.8.8")
            / UDP(sport=999, dport=4789)
            / VXLAN(vni=3, flags="Instance")
            / Ether()
            / inner(),
            2,
        ),
        (carrier(6081) / GENEVE(proto=0x0800) / inner(), 2),
        (
            carrier(6081)
            / GENEVE(proto=0x6558, optionlen=2, options=[GeneveOptions(data=b"four", length=1)])
            / Ether()
            / inner(),
            2,
        ),
        (carrier(2152) / GTP_U_Header(teid=7) / inner(), 2),
        (carrier(2152) / GTP_U_Header(teid=7, S=1, seq=9) / inner(), 2),
        (carrier(2152) / GTP_U_Header(teid=7, E=1) / GTPPDUSessionContainer(type=1, QFI=3) / inner(), 2),
        (carrier(5072) / bytes.fromhex("44 52 11 04 00000000") / bytes(16 + 20) / inner(), 2),
        (carrier(9999) / bytes.fromhex("44 52 11 04 00000000") / bytes(16 + 20) / inner(), 2),
    ],
)
def test_connections_within_tunnels_are_followed(outer: Packet, rows: int) -> None:
    (alone,) = follow([(0, inner())])
    found = follow([(0, outer)])
    assert len(found) == rows
    assert as_logged(alone) in [as_logged(row) for row in found]


def test_a_packet_in_a_tunnel_is_cut_as_its_frame_is() -> None:
    vxlan = UDP(sport=999, dport=4789) / VXLAN(vni=3, flags="Instance") / Ether() / inner()
    (whole,) = frames([(0, IP(src="9.9.9.9", dst="8.8.8.8") / vxlan)])
    tracker = ConnectionTracker()
    tracker.update(*records_of_capture([Frame(whole.data[:-3], 0, 0, len(whole.data))]))
    assert [(row["resp_p"], row["orig_ip_bytes"]) for row in tracker.finish()] == [(4789, 83), (7777, 33)]


def labels(count: int) -> Packet:
    stack = MPLS(label=1, s=int(count == 1))
    return stack if count == 1 else stack / labels(count - 1)


@pytest.mark.parametrize(
    "frame",
    [
        Ether() / Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / inner(),
        Ether() / labels(6) / inner(),
        Ether() / Dot1Q(vlan=1) / Dot1Q(vlan=2) / Dot1Q(vlan=3) / labels(5) / inner(),
        Ether() / PPPoE(sessionid=5) / PPP(proto=0x21) / inner(),
        Ether() / Dot1Q(vlan=1) / PPPoE(sessionid=5) / PPP(proto=0x21) / inner(),
        Ether() / Dot1AH(isid=7) / Ether() / inner(),
        Dot3() / LLC(dsap=0xAA, ssap=0xAA, ctrl=3) / SNAP(OUI=0, code=0x0800) / inner(),
        Ether(type=0x8926) / bytes.fromhex("00010002 8100 0003 0800") / inner(),
        Ether(type=0x8903) / bytes.fromhex("0001") / Ether() / inner(),
    ],
)
def test_the_monitor_looks_below_what_the_card_leaves_closed(frame: Packet) -> None:
    (alone,) = follow([(0, inner())])
    (found,) = follow([(0, bytes(frame))])
    assert as_logged(found) == as_logged(alone)


@pytest.mark.parametrize("bad", [False, True])
@pytest.mark.parametrize("order", [1, -1])
def test_a_fragmented_datagram_is_one_packet_whatever_the_order(order: int, bad: bool) -> None:
    whole = (
        IP(src=CLIENT, dst=SERVER, id=77) / UDP(sport=5000, dport=7777, chksum=0x1234 if bad else None) / bytes(3000)
    )
    parts = fragment(IP(bytes(whole)), fragsize=800)
    assert len(parts) == 4
    (row,) = follow([(0.1 * number, part) for number, part in enumerate(parts[::order])])
    if bad:
        assert (row["history"], row["orig_pkts"]) == (b"C", 0)
    else:
        assert (row["orig_pkts"], row["orig_ip_bytes"], row["orig_bytes"]) == (1, 3028, 3000)


def test_more_fragmented_datagrams_than_there_are_places_drop_the_oldest() -> None:
    def parts(number: int) -> list[Packet]:
        whole = IP(src=CLIENT, dst=SERVER, id=number) / UDP(sport=number, dport=7777) / bytes(1000)
        return list(fragment(IP(bytes(whole)), fragsize=800))

    first = [(0.0, parts(number)[0]) for number in range(1, 4)]
    second = [(1.0, parts(number)[1]) for number in (2, 3, 1)]
    rows = follow(first + second, datagrams=2)
    assert sorted(rows["orig_p"].tolist()) == [2, 3]


def test_a_packet_that_tells_no_length_is_as_long_as_it_came_and_counts_for_nothing() -> None:
    """Segmentation offload, as Zeek sees it: sizes come from the bytes, ``orig_ip_bytes`` from the field."""
    offloaded = tcp(True, "A", 101, 501, 1000)
    offloaded.len = 0
    (row,) = follow([*handshake(), (0.1, offloaded)], ignore_checksums=True)
    assert (row["orig_bytes"], row["orig_pkts"], row["orig_ip_bytes"], row["history"]) == (1000, 3, 80, b"ShAD")
    (row,) = follow([*handshake(), (0.1, offloaded)])
    assert (row["orig_bytes"], row["orig_pkts"]) == (0, 2)


@pytest.mark.parametrize("ignore", [False, True])
def test_without_a_length_of_ipv6_udp_counts_its_header_and_tcp_nothing(ignore: bool) -> None:
    ends = {"src": "2001:db8::1", "dst": "2001:db8::2", "plen": 0}
    datagram = IPv6(**ends) / UDP(sport=1, dport=2) / bytes(100)
    segment = IPv6(**ends) / TCP(sport=3, dport=4, flags="A") / bytes(100)
    udp_row, tcp_row = follow([(0, datagram), (1, datagram), (2, segment)], ignore_checksums=ignore)
    assert [udp_row[name] for name in ("orig_bytes", "orig_pkts", "orig_ip_bytes")] == [200, 2, 80]
    assert (tcp_row["history"], tcp_row["orig_pkts"]) == (b"", 0)


def test_zeek_sums_all_that_an_ip_packet_carries_even_behind_a_datagram() -> None:
    datagram = IP(src=CLIENT, dst=SERVER) / UDP(bytes(udp(True)[UDP])) / (b"behind")
    (row,) = follow([(0, datagram)])
    assert (row["history"], row["orig_pkts"]) == (b"C", 0)
    (row,) = follow([(0, datagram), (1, datagram)], ignore_checksums=True)
    assert (row["history"], row["orig_bytes"], row["orig_ip_bytes"]) == (b"D", 10, 78)


@pytest.mark.parametrize(("checksum", "history"), [(0, b"D"), (1, b"C")])
def test_vxlan_over_ipv6_needs_no_checksum(checksum: int, history: bytes) -> None:
    vxlan = UDP(sport=9, dport=4789, chksum=checksum) / VXLAN(vni=3, flags="Instance") / Ether() / inner()
    rows = follow([(0, IPv6(src="fd00::1", dst="fd00::2") / vxlan)])
    assert rows["history"].tolist() == [history, b"D"][: 2 if checksum == 0 else 1]


@pytest.mark.parametrize(
    ("packet", "there", "row"),
    [
        (ICMP(type=8) / bytes(50), 7, None),
        (ICMP(type=8) / bytes(50), 8, (b"", 0)),  # Zeek counts whole ones only
        (UDP(sport=1, dport=2) / bytes(50), 8, (b"D", 1)),
        (TCP(sport=1, dport=2, options=[("NOP", None)] * 8), 20, (b"", 0)),
        (TCP(sport=1, dport=2), 20, (b"S", 1)),
    ],
)
def test_of_a_cut_packet_its_header_must_be_there(packet: Packet, there: int, row: tuple[bytes, int] | None) -> None:
    (whole,) = frames([(0, IP(src=CLIENT, dst=SERVER) / packet)])
    tracker = ConnectionTracker()
    tracker.update(*records_of_capture([Frame(whole.data[: 34 + there], 0, 0, len(whole.data))]))
    rows = tracker.finish()
    assert [(found["history"], found["orig_pkts"]) for found in rows] == ([] if row is None else [row])


def test_checksums_of_datagrams_in_cut_frames_are_not_looked_at() -> None:
    """Not even when what was cut off stood behind them."""
    (whole,) = frames([(0, IP(src=CLIENT, dst=SERVER) / UDP(sport=1, dport=2, chksum=7) / bytes(20))])
    for wire, history in ((len(whole.data), b"C"), (len(whole.data) + 1, b"D")):
        tracker = ConnectionTracker()
        tracker.update(*records_of_capture([Frame(whole.data, 0, 0, wire)]))
        assert tracker.finish()["history"].tolist() == [history]


def test_vlans_tell_connections_apart_only_when_asked_to() -> None:
    plain = inner()
    tagged = [(0.1 * n, bytes(Ether() / Dot1Q(vlan=n) / Dot1Q(vlan=n + 1) / plain)) for n in (1, 2)]
    assert len(follow([(0, plain), *tagged])) == 1
    rows = follow([(0, plain), *tagged], vlan_key=True)
    assert [(row["vlan"], row["inner_vlan"]) for row in rows] == [(-1, -1), (1, 2), (2, 3)]


@pytest.mark.parametrize("room", [1, 100])
def test_many_connections_make_everything_grow(room: int) -> None:
    """More connections, timers, holes and rows than there is room for at first."""
    count = 6000
    ports = range(20000, 20000 + count)
    template = [frames([(0, packet)])[0].data for _, packet in handshake()]
    template.append(frames([(0, tcp(True, "A", 110, 501, 10))])[0].data)  # above a hole
    built = []
    for step, data in enumerate(template):
        for port in ports:
            octets = bytearray(data)
            at = 36 if step == 1 else 34
            octets[at : at + 2] = port.to_bytes(2, "big")
            built.append(Frame(bytes(octets), step * 1000))
    tracker = ConnectionTracker(ignore_checksums=True, room=room)
    descriptors, data_ring = records_of_capture(built)
    tracker.update(descriptors, data_ring)
    assert tracker.live == count
    rows = tracker.finish()
    assert tracker.live == 0
    assert sorted(rows["orig_p"].tolist()) == list(ports)
    assert set(rows["history"].tolist()) == {b"ShAD"}
    assert set(rows["orig_bytes"].tolist()) == {19}


def test_rows_can_be_drained_while_it_runs() -> None:
    tracker = ConnectionTracker()
    tracker.update(*records_of_capture(frames([(0, udp(True))])))
    assert not len(tracker.drain())
    tracker.update(*records_of_capture(frames([(500, udp(True, dport=1))])))
    assert tracker.rows()["resp_p"].tolist() == [7777]
    drained = tracker.drain()
    tracker.update(*records_of_capture(frames([(1000, udp(True, dport=2))])))
    assert drained["resp_p"].tolist() == [7777]
    assert tracker.drain()["resp_p"].tolist() == [1]
    assert tracker.finish()["resp_p"].tolist() == [2]


def test_a_slot_beyond_the_data_ring_is_an_error() -> None:
    descriptors, data = records_of_capture(frames([(0, udp(True))]))
    with pytest.raises(ValueError, match=r"slots must lie within the data ring of 100 bytes"):
        ConnectionTracker().update(descriptors, data[:100])


@settings(max_examples=300)
@given(st.lists(st.tuples(st.binary(min_size=14, max_size=120), st.booleans()), max_size=12), st.booleans())
def test_no_bytes_upset_it(contents: list[tuple[bytes, bool]], ignore: bool) -> None:
    ether = b"\0" * 12 + b"\x08\x00"
    octets = [ether + b"\x45" + data[15:] if ip else data for data, ip in contents]
    rows = follow(
        [(0.1 * number, data) for number, data in enumerate(octets) if len(data) >= 14], ignore_checksums=ignore
    )
    assert (rows["orig_pkts"] + rows["resp_pkts"]).sum() <= 5 * len(octets)


def test_the_log_is_json_in_zeeks_order_and_leaves_out_what_is_not_set() -> None:
    rows = follow([*handshake(), (0.5, udp(True))])
    first, second = (json.loads(line) for line in b"".join(conn_log_lines(rows)).splitlines())
    assert list(first) == [
        "ts",
        "uid",
        "id.orig_h",
        "id.orig_p",
        "id.resp_h",
        "id.resp_p",
        "proto",
        "duration",
        "orig_bytes",
        "resp_bytes",
        "conn_state",
        "missed_bytes",
        "history",
        "orig_pkts",
        "orig_ip_bytes",
        "resp_pkts",
        "resp_ip_bytes",
    ]
    assert (first["ts"], first["duration"], first["id.orig_h"], first["proto"]) == (1_700_000_000, 0.002, CLIENT, "tcp")
    assert set(first) - set(second) == {"duration", "orig_bytes", "resp_bytes"}


def test_uids_are_the_same_in_every_run_and_differ_by_seed() -> None:
    rows = follow([*handshake(), (0.5, udp(True))])
    one, again, other = (
        [json.loads(line)["uid"] for line in b"".join(conn_log_lines(rows, seed=seed)).splitlines()]
        for seed in (1, 1, 2)
    )
    assert one == again
    assert not set(one) & set(other)
    assert all(len(uid) == 18 and uid[0] == "C" and uid.isalnum() for uid in one + other)


def test_nanoseconds_show_where_there_are_any() -> None:
    rows = follow([(0, udp(True)), (1e-9, udp(True))])
    rows["duration"] = 7
    assert b'"duration":0.000000007,' in b"".join(conn_log_lines(rows))


@given(st.binary(min_size=16, max_size=16), st.integers(0, 255))
def test_addresses_are_written_as_python_writes_them(octets: bytes, zeros: int) -> None:
    rows = follow([(0, udp(True))])
    address = bytearray(octets)
    for group in range(8):
        if zeros >> group & 1:
            address[2 * group : 2 * group + 2] = b"\0\0"
    rows["orig_h"] = np.frombuffer(bytes(address), "u1")
    line = json.loads(b"".join(conn_log_lines(rows)))
    assert line["id.orig_h"] == as_logged(rows[0])["id.orig_h"]
