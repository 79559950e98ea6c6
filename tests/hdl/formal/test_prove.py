"""Proofs fail when they should, and say where."""

from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tests.hdl.formal import prove as prove_module
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.prove import Failed, mutant, prove, prove_up_to, refute

# Some benches are refused before they are elaborated.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")]


class Counter(wiring.Component):
    """Counts to ``limit`` and starts over."""

    def __init__(self, limit: int = 9):
        super().__init__({"step": In(1), "value": Out(4)})
        self._limit = limit

    def elaborate(self, platform):
        m = Module()
        with m.If(self.step):
            m.d.sync += self.value.eq(self.value + 1)
            with m.If(self.value == self._limit):
                m.d.sync += self.value.eq(0)
        return m


def counter(*, most: int, reach: int = 3, impossible: bool = False) -> Bench:
    bench = Bench()
    dut = bench.add("dut", Counter(), free=True)
    bench.check(dut.value <= most)
    bench.cover(dut.value == reach)
    if impossible:
        bench.assume(dut.value == 1, because="it starts at 0, so nothing is left to prove")
    return bench


def test_what_holds_is_proved_for_all_time(tmp_path: Path) -> None:
    prove(counter(most=9), tmp_path, cover=5)


def test_what_holds_for_some_time_is_proved_for_that_time_only(tmp_path: Path) -> None:
    prove_up_to(counter(most=5), tmp_path / "short", cycles=5)
    with pytest.raises(Failed, match=r"check\(dut\.value <= most\)"):
        prove_up_to(counter(most=5), tmp_path / "long", cycles=8)


def test_a_failure_names_the_property_and_its_trace(tmp_path: Path) -> None:
    with pytest.raises(Failed, match=r"test_prove\.py:\d+.*check\(dut\.value <= most\)") as failure:
        prove(counter(most=2), tmp_path, k=8)
    assert "trace.vcd" in str(failure.value)
    assert next(tmp_path.rglob("trace.vcd")).stat().st_size


def test_a_claim_that_does_not_follow_from_itself_is_not_proved(tmp_path: Path) -> None:
    # True of all states that are reached, but not of the one before 12, which is not.
    with pytest.raises(Failed, match=r"trace_induct\.vcd"):
        prove(counter(most=12), tmp_path, k=1, cover=5)


@pytest.mark.parametrize("impossible", [False, True])
def test_a_cover_out_of_reach_fails_and_contradictory_assumptions_do(impossible: bool, tmp_path: Path) -> None:
    with pytest.raises(Failed):
        prove(counter(most=9, reach=3 if impossible else 10, impossible=impossible), tmp_path, cover=12)


def test_a_proof_without_a_cover_is_refused(tmp_path: Path) -> None:
    bench = Bench()
    bench.add("dut", Counter(), free=True)
    with pytest.raises(ValueError, match="cover"):
        prove(bench, tmp_path)


def test_a_proof_that_takes_too_long_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prove_module, "TIMEOUT", 3)
    bench = Bench()
    factors = [Signal(48, name=f"factor{n}") for n in range(2)]
    bench.drive(*factors)
    # A prime: there is nothing to find, and no quick way to know.
    bench.check((factors[0] * factors[1] != (1 << 61) - 1) | (factors[0] == 1) | (factors[1] == 1))
    bench.cover(factors[0] == 3)
    with pytest.raises(Failed, match="TIMEOUT"):
        prove(bench, tmp_path)


def test_refuting_what_holds_fails(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="hold for 12 cycles"):
        refute(counter(most=9), tmp_path, cycles=12)


def test_a_mutant_differs_where_it_should_and_its_text_must_be_there() -> None:
    changed = mutant("sentinic_hdl.interrupt", "class Interrupt(", "class Changed(")
    assert changed.Changed.__name__ == "Changed"
    with pytest.raises(ValueError, match="once, not 0 times"):
        mutant("sentinic_hdl.interrupt", "no such text", "")


def test_inner_signals_and_memories_are_found_by_name_or_not_at_all() -> None:
    bench = Bench()
    bench.add("dut", Counter(), free=True)
    assert bench.inner("dut.value") is not None
    with pytest.raises(NameError, match="must name one signal, not 0"):
        bench.inner("dut.nothing")


def test_a_condition_of_several_bits_is_refused() -> None:
    bench = Bench()
    dut = bench.add("dut", Counter(), free=True)
    with pytest.raises(ValueError, match="one bit wide, not 4"):
        bench.check(~dut.value)
