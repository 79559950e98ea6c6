"""All rules hit by every frame, whatever their groups: a frame a cycle on ``wide``, a gigabit a second on ``board``."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest

from sentinic.abi.profiles import PROFILES
from sentinic.abi.statistics import ReportFlag
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.driver.ring import Ring
from sentinic.driver.rules import Rule
from sentinic.driver.statistics import Statistics
from sentinic_sim.bench.traffic import FRAME_BYTES, WIRE_BITS, minimum_frames
from sentinic_sim.native import LatencyProbe, NativeTransport
from tests.hdl.card.test_statistics_flood import all_counted, drained, reports_ring

pytestmark = pytest.mark.slow
WIDE_FRAMES, BOARD_FRAMES = 20_000, 5_000
#: Cycles from the last beat in until its frame is counted among those that no ring wanted, and these have been read.
ENDS = 200
#: A frame's cycles at a gigabit a second.
GIGABIT = WIRE_BITS * PROFILES["board"].clock_hz / 1e9
ENDS_OF_CONNECTION = ["source", "destination", "ip_proto", "source_port", "destination_port"]


@dataclass(frozen=True)
class Case:
    """``flows`` come in turn, a group each; 0: each frame is a new one.  In one set, if the secret is 0.

    ``turned``: bidirectional rules, and all frames go from the higher end to the lower one.
    """

    name: str
    flows: int
    secret: int | None = None
    turned: bool = False

    def rules(self, count: int) -> list[Rule]:
        group = ENDS_OF_CONNECTION if self.turned else ["ipv4_src"]
        return [Rule(f"r{n}", {}, group, bidirectional=self.turned) for n in range(count)]

    def frames(self, count: int) -> FrameBatch:
        batch = minimum_frames(count, self.flows or count)
        if not self.turned:
            return batch
        rows = batch.data.reshape(count, FRAME_BYTES).copy()
        rows[:, 26:34] = np.roll(rows[:, 26:34], 4, axis=1)  # the addresses; the checksums stay right
        return replace(batch, data=rows.reshape(-1))


CASES = pytest.mark.parametrize(
    "case",
    [
        Case("one group", 1),
        Case("two groups in one set", 2, secret=0),
        Case("one group more than a set holds", 5, secret=0),
        Case("every frame a new group", 0),
        Case("every frame a new group in one set", 0, secret=0),
        Case("one group, turned round", 1, turned=True),
        Case("every frame a new group, turned round", 0, turned=True),
        Case("every frame a new group in one set, turned round", 0, secret=0, turned=True),
    ],
    ids=lambda case: case.name,
)


@contextmanager
def card(profile: str, case: Case) -> Iterator[tuple[Device, Ring, Statistics]]:
    """A card that waits for nobody, all its rules on."""
    with Device.open("native", profile) as device:
        ring = reports_ring(device, 1 << 16, 1 << 24)
        stage = Statistics(device, secret=case.secret)
        stage.replace(case.rules(stage.shape.rules))
        stage.settle()
        device.set_pause(False)
        device.enable()
        yield device, ring, stage


def summed(device: Device, ring: Ring, stage: Statistics, frames: int) -> npt.NDArray[np.void]:
    """All that the rules have told by their end: each has counted every frame once, in its groups or its overflow."""
    rules = stage.shape.rules
    for number in range(rules):
        stage.remove(number)
        stage.settle()
    groups = drained(device, ring, stage)
    counters = device.snapshot()
    check_conservation(counters)
    assert counters["reports_lost"] == 0
    for number in range(rules):
        mine = groups[groups["rule"] == number]
        assert int(mine["packets"].sum()) == frames
        assert int(mine["bytes"].sum()) == frames * FRAME_BYTES
    return groups


def check_groups(groups: npt.NDArray[np.void], case: Case, frames: int) -> None:
    """Few groups stay in the table to the end, and many do not."""
    if case.flows in (1, 2):
        assert (groups["flags"] & ReportFlag.FINAL).all()
        assert (groups["packets"] == frames // case.flows).all()
    else:
        assert (groups["flags"] & ReportFlag.EVICTED).any()


@CASES
def test_sixteen_rules_count_a_frame_a_cycle(case: Case) -> None:
    with card("wide", case) as (device, ring, stage):
        assert isinstance(device.transport, NativeTransport)
        probe = LatencyProbe(WIDE_FRAMES)
        device.transport.attach_probe(probe)
        before = device.snapshot()
        device.transport.send(case.frames(WIDE_FRAMES))
        device.transport.step(WIDE_FRAMES + ENDS)
        after = device.snapshot()
        taken = probe.frame_cycles.astype(np.int64)
        assert len(taken) == WIDE_FRAMES
        assert (np.diff(taken) == 1).all(), "the port did not take a frame a cycle"
        news = {name: after[name] - before[name] for name in after}
        assert news["filtered"] == news["received"] == WIDE_FRAMES, "frames were lost, or were not through in time"
        for block in ("ingress", "parser", "statistics"):
            assert news[f"{block}.busy_cycles"] == WIDE_FRAMES
            assert news[f"{block}.stall_cycles"] == 0, f"a frame waited for {block}"
        check_groups(summed(device, ring, stage, WIDE_FRAMES), case, WIDE_FRAMES)


@CASES
def test_four_rules_keep_up_with_the_smallest_frames_of_a_gigabit(case: Case) -> None:
    """One frame after another, each in exactly the cycles that the wire leaves for it."""
    assert GIGABIT == 42
    with card("board", case) as (device, ring, stage):
        before = device.snapshot()
        batch = case.frames(BOARD_FRAMES)
        for number in range(BOARD_FRAMES):
            device.transport.send(batch[number : number + 1])
            device.transport.step(int(GIGABIT))
        device.transport.step(ENDS)
        after = device.snapshot()
        assert after["filtered"] - before["filtered"] == BOARD_FRAMES, "frames were lost, or queue up"
        check_groups(summed(device, ring, stage, BOARD_FRAMES), case, BOARD_FRAMES)


@CASES
def test_a_frame_that_hits_four_rules_takes_no_longer_than_a_gigabit_leaves_for_it(case: Case) -> None:
    """Frames back to back, of which the port drops those that come too fast, so that the next one always waits."""
    with card("board", case) as (device, ring, stage):
        before = device.snapshot()
        device.transport.send(case.frames(BOARD_FRAMES))
        after = all_counted(device)
        frames = after["filtered"] - before["filtered"]
        assert after["dropped_overflow"] > 0, "the port was not ahead of the rules, which shows nothing"
        assert frames > 500
        cycles = sum(
            after[f"statistics.{kind}_cycles"] - before[f"statistics.{kind}_cycles"] for kind in ("busy", "stall")
        )
        # When all four rules count it turned round, it takes all that there is.
        assert cycles <= GIGABIT * frames if case.turned else cycles < GIGABIT * frames
        summed(device, ring, stage, frames)
