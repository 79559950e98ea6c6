"""Every capture of the corpus, counted by the card itself, against tshark's own count: tables small and as built."""

import struct
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.abi.statistics import ReportFlag
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.statistics import GROUP_DTYPE
from tests.hdl.card.small_tables import SETS, WAYS, open_small
from tests.reference.card import Frame, wire_length
from tests.reference.corpus import CORPUS, captures, needs_corpus
from tests.reference.statistics import RuleSpec
from tests.reference.statistics_tshark import RULES, Groups, Tuple, dissected, grouped, taken
from tests.reference.tshark import needs_tshark
from tests.sw.monitor.statistics_runs import counted_on, rule_of

pytestmark = [pytest.mark.slow, needs_corpus, needs_tshark]
BUILDS = [name for name, profile in PROFILES.items() if "statistics" in profile.stages]
CAPTURES = pytest.mark.parametrize("path", captures(), ids=lambda path: str(path.relative_to(CORPUS)))
#: Of so many frames of a capture the last few come one after another, so that groups also meet again in the table.
TURN, TOGETHER = 16, 4
VERSIONS = (0, 4, 6)


@pytest.fixture(scope="module", params=BUILDS)
def small(request: pytest.FixtureRequest) -> Iterator[Device]:
    with open_small(request.param) as device:
        device.set_pause(True)
        yield device


@pytest.fixture(scope="module", params=BUILDS)
def as_built(request: pytest.FixtureRequest) -> Iterator[Device]:
    with Device.open("native", request.param) as device:
        device.set_pause(True)
        yield device


def stranger(number: int, timestamp: int) -> tuple[Frame, Tuple]:
    """A UDP packet with addresses and ports that no other has, as bytes and as what it is."""
    source, destination = 0xC612_0000 + number, 0xC613_0000 + number  # 198.18.0.0/15, RFC 2544
    ports = 1024 + number, 0xFFFF - number
    words = [0x4500, 32, 0, 0, 0x4011, 0, source >> 16, source & 0xFFFF, destination >> 16, destination & 0xFFFF]
    words[5] = -sum(words) % 0xFFFF  # RFC 1071
    data = struct.pack(">6s6sH10H4HI", b"\2" * 6, b"\2" * 6, 0x0800, *words, *ports, 12, 0, number)
    mapped = 0xFFFF << 32
    return Frame(data, timestamp), (4, mapped | source, mapped | destination, 17, *ports)


def among_strangers(frames: Sequence[Frame]) -> tuple[list[Frame], list[tuple[Tuple, int]]]:
    """Frames with two strangers behind most of them, by which both places of a set are taken; and those strangers."""
    sent: list[Frame] = []
    strangers: list[tuple[Tuple, int]] = []
    numbers = count()
    for n, frame in enumerate(frames):
        sent.append(frame)
        for _ in range(WAYS if n % TURN < TURN - TOGETHER else 0):
            another, item = stranger(next(numbers), frame.timestamp)
            sent.append(another)
            strangers.append((item, wire_length(another)))
    return sent, strangers


def summed(reports: npt.NDArray[np.void]) -> dict[str, Groups]:
    """Packets and bytes of each rule's groups, as their reports say."""
    names = list(RULES)
    found: dict[str, Groups] = {name: {} for name in names}
    for row in reports:
        source, destination = (int.from_bytes(row[end].tobytes(), "big") for end in ("source", "destination"))
        ports = int(row["source_port"]), int(row["destination_port"])
        item = (VERSIONS[row["ip_version"]], source, destination, int(row["ip_proto"]), *ports)
        name = names[row["rule"]]
        counts = found[name].setdefault(RULES[name][1](item), [0, 0])
        counts[0] += int(row["packets"])
        counts[1] += int(row["bytes"])
    return found


def reports_of(device: Device, frames: Sequence[Frame], secret: int | None) -> npt.NDArray[np.void]:
    """All groups that the card tells of; it has lost none on the way, and no packet."""
    reports: list[npt.NDArray[np.void]] = []
    rules = [rule_of(RuleSpec({}, group), name) for name, (group, _) in RULES.items()]
    before = device.snapshot()
    _, collector = counted_on(device, rules, frames, 2000, secret=secret, reports=reports)
    after = device.snapshot()
    check_conservation(after)
    assert after["filtered"] - before["filtered"] == len(frames)
    assert after["reports_lost"] == before["reports_lost"]
    assert collector.lost == 0
    groups = np.concatenate([np.zeros(0, GROUP_DTYPE), *reports])
    assert not (groups["flags"] & ReportFlag.OVERFLOW).any()
    return groups


@CAPTURES
def test_groups_that_leave_a_small_table_with_almost_every_packet_add_up_to_tsharks_count(
    small: Device, path: Path
) -> None:
    frames, strangers = among_strangers(taken(path))
    groups = reports_of(small, frames, secret=0)
    assert summed(groups) == grouped([*dissected(path), *strangers])
    evicted = groups["flags"] & ReportFlag.EVICTED != 0
    for number in range(len(RULES)):
        left = int(evicted[groups["rule"] == number].sum())
        assert left >= 0.85 * len(frames) - SETS * WAYS, f"of {len(frames)} packets only {left} made a group leave"


@CAPTURES
def test_groups_of_the_tables_as_built_add_up_to_tsharks_count(as_built: Device, path: Path) -> None:
    groups = reports_of(as_built, taken(path), secret=None)
    assert summed(groups) == grouped(dissected(path))
