"""A SYN that was held comes back as it was, whatever it said."""

from dataclasses import replace
from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.syn_offload import Reason
from sentinic.abi.verdicts import Kind
from sentinic_hdl.meta import PacketMeta
from sentinic_hdl.stages.syn_offload import types
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.profile import SMALL
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow

#: Cells that a SYN of every length that can be held fits into.
PROFILE = replace(SMALL, cell_bytes=256)


class HeldAndRestored(wiring.Component):
    """A SYN that is entered, held and given back at once."""

    def __init__(self, parts):
        self._parts = parts
        super().__init__({"meta": In(PacketMeta), "back": Out(PacketMeta), "holdable": Out(1)})

    def elaborate(self, platform):
        m = Module()
        parts = self._parts
        op, record, held = Signal(parts.Op), Signal(parts.Record), Signal(parts.held_shape(PROFILE))
        reverse, key = Signal(), Signal(parts.Key)
        m.d.comb += [
            *parts.op_of(PROFILE, self.meta, op, enabled=1),
            self.holdable.eq(op.syn),
            reverse.eq(parts.is_reversed(op)),
            key.eq(parts.key_of(op, reverse)),
            *parts.enter(op, key, reverse, record),
            *parts.held_of(self.meta, held),
            *parts.restored(record, held, Reason.ANSWERED, self.back),
        ]
        return m


def held_and_restored(parts) -> Bench:
    bench = Bench()
    dut = bench.add("dut", HeldAndRestored(parts), free=True)
    bench.assume(dut.meta.cell < PROFILE.store_cells, because="the store has no other cells")
    # What the parser leaves 0 where there is no VLAN tag need not be 0 here: all of it comes back.
    expected = Signal(PacketMeta)
    bench.m.d.comb += [
        expected.eq(dut.meta),
        expected.kind.eq(Kind.REGENERATED),
        expected.reason.eq(Reason.ANSWERED),
        expected.crossing.value.eq(dut.meta.info.timestamp),
    ]
    bench.check(~dut.holdable | (dut.back.as_value() == expected.as_value()))
    bench.cover(dut.holdable & (dut.meta.headers.ip_version == 2) & (dut.meta.headers.vlan_count == 2))
    bench.cover(dut.holdable & (dut.meta.headers.source > dut.meta.headers.destination))
    return bench


def test_a_syn_that_was_held_comes_back_as_it_was(tmp_path: Path) -> None:
    prove(held_and_restored(types), tmp_path, k=1, cover=1)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("headers.mpls_count == 0", "headers.mpls_count[1:] == 0"),
        ("~headers.ip_length[IP_LENGTH_BITS:].any()", "~headers.ip_length[IP_LENGTH_BITS + 1 :].any()"),
        ("info.length.any() & (info.length <= profile.cell_bytes)", "info.length.any()"),
        ('("high", "low"), ("low", "high")', '("low", "high"), ("high", "low")'),
        ("held.congestion.eq(headers.tcp_flags[6:])", "held.congestion.eq(0)"),
    ],
    ids=["labels", "long packet", "long frame", "other way", "flags"],
)
def test_a_syn_that_comes_back_otherwise_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(held_and_restored(mutant(types.__name__, before, after)), tmp_path, cycles=1)
