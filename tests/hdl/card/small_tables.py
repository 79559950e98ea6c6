"""The card with tables of statistics so small that in most traffic almost every packet makes a group leave."""

from dataclasses import replace
from pathlib import Path

from sentinic.abi.profiles import Profile
from sentinic.driver.device import Device
from sentinic_hdl.card import Card
from sentinic_sim.build import Design, build_model, card_design
from sentinic_sim.native import NativeTransport

__all__ = ["SETS", "SMALL_TABLES", "WAYS", "open_small", "small_tables"]

#: The fewest that both schedules can be built with.
SETS, WAYS = 2, 2


def small_tables(profile: Profile, clock_gates: bool = False) -> Card:
    """The card of ``profile``, in all else as it is."""
    tables = profile.statistics_rules // profile.statistics_rules_a_table
    changed = replace(profile, statistics_groups=tables * SETS * WAYS, statistics_ways=WAYS)
    return Card(changed, clock_gates=clock_gates)


SMALL_TABLES = Design(
    "small-tables", "tests.hdl.card.small_tables:small_tables", (*card_design().sources, Path(__file__))
)


def open_small(profile_name: str) -> Device:
    """The shipped driver on the native model, which is built once for each state of the sources."""
    return Device(NativeTransport(build_model(profile_name, design=SMALL_TABLES)))
