"""How long an established flow's packets take through the card while SYN offload holds all that comes in between."""

import pytest

from sentinic.abi.profiles import WIDE
from sentinic.abi.reports import REPORT_MAX_BYTES
from sentinic.driver.syn_offload import Mode
from sentinic_sim.bench.latency import Syns, flow_delays

FRAMES = 16_384
#: A report and its descriptor on the bus, which a packet that comes meanwhile waits for, and for one already composed.
BEFORE = 2 * (REPORT_MAX_BYTES // WIDE.beat_bytes + 1)


@pytest.fixture(scope="module", params=[1, 2, 4], ids=lambda beats: f"{beats} beats")
def length(request: pytest.FixtureRequest) -> int:
    return int(request.param) * WIDE.beat_bytes


def delays(length: int, syns: Syns) -> tuple[int, int]:
    """The least and the most, of a flow that loses nothing."""
    found, lost = flow_delays(WIDE, FRAMES, length, syns)
    assert not lost
    return int(found.min()), int(found.max())


def test_syns_that_are_held_delay_a_flow_no_more_than_frames_that_nobody_wants(length: int) -> None:
    least, most = delays(length, Syns(mode=Mode.COMPACT))
    among_others = delays(length, Syns(syns=False))
    assert least <= among_others[0]
    assert most <= among_others[1]


@pytest.mark.parametrize("syns", [Syns(mode=Mode.COMPACT, full=True), Syns(mode=Mode.SYN, full=True, delivered=True)])
def test_what_a_full_table_makes_leave_delays_a_flow_by_what_it_takes_of_the_bus_and_no_more(
    length: int, syns: Syns
) -> None:
    _, most = delays(length, syns)
    _, among_others = delays(length, Syns(syns=False))
    assert among_others < most <= among_others + BEFORE


def test_without_syn_offload_the_same_flood_costs_the_flow_packets() -> None:
    _, lost = flow_delays(WIDE, FRAMES, WIDE.beat_bytes, Syns(delivered=True))
    assert lost > FRAMES // 32
