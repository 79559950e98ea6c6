"""The same frames by the same rule: through the card with its stage, in software, and in the plain model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from sentinic.driver.device import Device
from sentinic.driver.frames import FrameBatch
from sentinic.driver.rules import Encoded, Rule
from sentinic.driver.statistics import Statistics, are_reports, read_reports
from sentinic.monitor.statistics.counting import ReportCollector, SoftwareCounter
from sentinic.monitor.statistics.groups import Rows, field_numbers, history_text
from tests.reference.card import Frame, records_of_capture
from tests.reference.statistics import Key, RuleSpec, Tally
from tests.sw.driver.fake_statistics import StatisticsTransport

#: packets, bytes, first, last, history
Counts = tuple[int, int, int, int, str]
Found = dict[Key, Counts]


def rule_of(spec: RuleSpec, name: str = "r", **options: Any) -> Rule:
    return Rule(
        name, spec.match, spec.group, report_every=spec.report_every, bidirectional=spec.bidirectional, **options
    )


def batch_of(frames: Sequence[Frame]) -> FrameBatch:
    return FrameBatch.from_frames(
        [frame.data for frame in frames],
        timestamp=[frame.timestamp for frame in frames],
        wire_length=[max(frame.wire_length or 0, len(frame.data)) for frame in frames],
        port=[frame.port for frame in frames],
    )


class Gathered:
    """Rows as they come, told apart by interval and grouped values."""

    def __init__(self) -> None:
        self.found: Found = {}
        self.rows = 0

    def __call__(self, encoded: Encoded, rows: Rows) -> None:
        keys: npt.NDArray[np.int64] = rows["key"]
        columns = []
        for part in encoded.fields:
            numbers = [number & part.mask for number in field_numbers(keys, part.name.field)]
            columns.append([(0, 4, 6)[n] for n in numbers] if part.name.name == "ip_version" else numbers)
        if any(part.name.name in ("source", "destination") for part in encoded.fields):
            columns.append([(0, 4, 6)[n] for n in field_numbers(keys, "ip_version")])
        for number, row in enumerate(rows):
            key = (int(row["interval"]), tuple(column[number] for column in columns))
            assert key not in self.found, "a group of an interval is told once"
            counts = [int(row[name]) for name in ("packets", "bytes", "first", "last")]
            self.found[key] = (counts[0], counts[1], counts[2], counts[3], history_text(int(row["history"])))
        self.rows += len(rows)


def by_software(rule: Encoded, frames: Sequence[Frame], part: int = 50) -> tuple[Found, SoftwareCounter]:
    gathered = Gathered()
    counter = SoftwareCounter([rule], gathered)
    descriptors, data = records_of_capture(frames)
    for first in range(0, len(descriptors), part):
        counter.take(descriptors[first : first + part], data)
    counter.close()
    return gathered.found, counter


def by_card(rule: Rule, frames: Sequence[Frame], part: int = 50, **options: Any) -> tuple[Found, ReportCollector]:
    """``options`` are those of the card's model."""
    device = Device(StatisticsTransport(**options))
    try:
        [found], collector = counted_on(device, [rule], frames, part)
    finally:
        device.close()
    return found, collector


def counted_on(
    device: Device,
    rules: Sequence[Rule],
    frames: Sequence[Frame],
    part: int = 50,
    *,
    secret: int | None = None,
    reports: list[npt.NDArray[np.void]] | None = None,
) -> tuple[list[Found], ReportCollector]:
    """What the card reports of each rule, all of them at once; with ``secret`` 0 all groups fall into one set.

    ``reports``: the groups of all reports are put here too, as the card told them.
    """
    gathered: dict[str, Gathered] = {rule.name: Gathered() for rule in rules}
    collector = ReportCollector(lambda encoded, rows: gathered[encoded.rule.name](encoded, rows))
    ring = device.rings.get(0) or device.open_ring(0, descriptors=1 << 14, data_bytes=1 << 23)
    ring.registers.write("filter_ports", 0)
    ring.registers.write("extras", 1, "reports")
    ring.disable()
    ring.enable()
    device.enable()
    statistics = Statistics(device, secret=secret)

    def drain() -> None:
        while True:
            descriptors, data = ring.poll()
            if not len(descriptors):
                return
            assert are_reports(descriptors, data).all()
            told = read_reports(descriptors, data)
            collector.take(told)
            if reports is not None:
                reports.append(told.groups)
            ring.release(len(descriptors))
            device.forward()

    def rest() -> None:
        """Until nothing is on its way: a sweep ends before its last report is written."""
        quiet = 0
        while quiet < 3:
            device.transport.step(2000)
            before = ring.position
            drain()
            moving = device.transport.pending or device.registers.read("card", "cells_used") or statistics.busy
            quiet = 0 if moving or ring.position != before else quiet + 1

    for rule in rules:
        statistics.set(len(statistics.running), rule)
        drain()
    collector.watch(statistics.running)
    for first in range(0, len(frames), part):
        device.transport.send(batch_of(frames[first : first + part]))
        rest()
    for number in list(statistics.running):
        statistics.remove(number)
        drain()
    rest()
    collector.close()
    return [gathered[rule.name].found for rule in rules], collector


def of_model(tallies: dict[Key, Tally]) -> Found:
    return {key: (item.packets, item.bytes, item.first, item.last, item.history) for key, item in tallies.items()}


MATCHES = [
    ("in_port", 1), ("eth_type", 0x0800), ("eth_type", "0x8000/0x8000"), ("vlan_vid", 7), ("ip_proto", 6),
    ("ip_dscp", 46), ("ipv4_src", "10.0.0.0/30"), ("ipv4_dst", "10.0.0.1"), ("ipv6_src", "2001:db8::/64"),
    ("tcp_src", 80), ("tcp_dst", "0x0040/0xffc0"), ("tcp_flags", "0x02/0x12"), ("udp_dst", 53), ("sctp_src", 80),
    ("icmpv4_type", 8), ("icmpv6_type", 8), ("is_fragment", True), ("ip_version", 6), ("source", "10.0.0.1"),
    ("destination", "2001:db8::1"), ("destination_port", 53), ("eth_src", "02:00:00:00:00:00/ff:ff:ff:ff:ff:fc"),
]  # fmt: skip
GROUPS = [
    "in_port", "eth_src", "eth_dst", "eth_type", "vlan_vid", "ip_proto", "ip_dscp", "ipv4_src/30", "ipv6_dst/64",
    "tcp_src", "tcp_flags", "udp_dst", "icmpv4_code", "icmpv6_code", "is_fragment", "ip_version", "source",
    "destination", "source_port", "destination_port",
]  # fmt: skip
PAIRS = [
    ["source", "destination"], ["source_port", "destination_port"], ["eth_src", "eth_dst"], ["ip_proto"],
    ["tcp_src", "tcp_dst"], ["ipv4_src/31", "ipv4_dst/31"], ["vlan_vid"],
]  # fmt: skip
_INTERVALS = st.sampled_from([0, 0, 7_000, 50_000])
_matches = st.one_of(
    st.just({}), st.lists(st.sampled_from(MATCHES), max_size=2, unique_by=lambda item: item[0]).map(dict)
)
SPECS = st.one_of(
    st.builds(RuleSpec, _matches, st.lists(st.sampled_from(GROUPS), max_size=3, unique=True), _INTERVALS),
    st.builds(
        lambda match, pairs, interval: RuleSpec(match, [name for pair in pairs for name in pair], interval, True),
        _matches,
        st.lists(st.sampled_from(PAIRS), max_size=3, unique_by=lambda pair: pair[0]),
        _INTERVALS,
    ),
)
