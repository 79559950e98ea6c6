"""The register bridge keeps to AXI4-Lite: each access is answered once, and takes effect once."""

from pathlib import Path

import pytest
from amaranth.hdl import Mux, Signal

from sentinic_hdl.csr import bridge
from tests.hdl.formal.bench import Bench
from tests.hdl.formal.prove import mutant, prove, refute

pytestmark = pytest.mark.slow

OKAY, SLVERR, DECERR = 0, 2, 3


def axi_lite(dut) -> Bench:
    bench = Bench()
    m = bench.m
    bench.add("dut", dut, free=True)
    axi, bus = dut.axi, dut.bus
    for valid, ready, payload in (
        (axi.awvalid, axi.awready, [axi.awaddr]),
        (axi.wvalid, axi.wready, [axi.wdata, axi.wstrb]),
        (axi.arvalid, axi.arready, [axi.araddr]),
    ):
        bench.assume(bench.channel(valid, ready, payload).kept, because="an AXI master holds what it offers")
    bench.check(bench.channel(axi.bvalid, axi.bready, [axi.bresp]).kept)
    bench.check(bench.channel(axi.rvalid, axi.rready, [axi.rdata, axi.rresp]).kept)

    # Accesses that were taken and not yet answered, and what they ask for.
    address, data, read = axi.awvalid & axi.awready, axi.wvalid & axi.wready, axi.arvalid & axi.arready
    answer, value = axi.bvalid & axi.bready, axi.rvalid & axi.rready
    addresses, words, reads = (Signal(2, name=name) for name in ("addresses", "words", "reads"))
    written, fetched = (Signal(2, name=name) for name in ("written", "fetched"))  # by the bus, not yet answered
    writes = bus.access & ~bus.read
    m.d.sync += [
        addresses.eq(addresses + address - answer),
        words.eq(words + data - answer),
        reads.eq(reads + read - value),
        written.eq(written + writes - answer),
        fetched.eq(fetched + bus.read - value),
    ]
    asked = {}  # what each channel's last or present transfer says
    for name, moves, source in (
        ("w_address", address, axi.awaddr),
        ("w_data", data, axi.wdata),
        ("w_whole", data, axi.wstrb.all()),
        ("r_address", read, axi.araddr),
    ):
        kept = Signal(len(source), name=name)
        with m.If(moves):
            m.d.sync += kept.eq(source)
        asked[name] = Mux(moves, source, kept)

    # One at a time, and no answer to what was not asked.
    bench.check((addresses <= 1) & (words <= 1) & (reads <= 1))
    bench.check(~axi.bvalid | ((addresses == 1) & (words == 1) & (written == 1)))
    bench.check(~axi.rvalid | ((reads == 1) & (fetched == 1)))
    # The bus sees each access once, as it was asked for; a write of less than a word writes nothing.
    bench.check(bus.access == (writes | bus.read))
    bench.check(~writes | ((addresses + address == 1) & (words + data == 1) & (written == 0)))
    bench.check(~writes | ((bus.address == asked["w_address"]) & (bus.write_data == asked["w_data"])))
    bench.check(bus.write == (writes & asked["w_whole"]))
    bench.check(~bus.read | ((reads + read == 1) & (fetched == 0) & (bus.address == asked["r_address"])))
    # The answer tells what the bus said in the cycle after.
    hit, read_data = bench.past(bus.hit), bench.past(bus.read_data)
    wrote, got = bench.past(bench.past(writes)), bench.past(bench.past(bus.read))
    bench.check(~wrote | (axi.bvalid & (axi.bresp == Mux(~hit, DECERR, Mux(asked["w_whole"], OKAY, SLVERR)))))
    bench.check(~got | (axi.rvalid & (axi.rresp == Mux(hit, OKAY, DECERR)) & (axi.rdata == Mux(hit, read_data, 0))))
    # Nothing waits for long once it is its turn.
    names = ("IDLE", "WRITE", "WRITTEN", "RESPOND", "READ", "FETCHED", "ANSWER")
    state = {name: bench.in_state("dut.fsm", name) for name in names}
    writing = axi.awvalid | axi.wvalid | (addresses != 0) | (words != 0)
    for offered in (axi.awvalid & axi.wvalid, axi.arvalid & ~writing):
        waits = Signal(3, name="waits")
        with m.If(offered & ~axi.bvalid & ~axi.rvalid):
            m.d.sync += waits.eq(waits + 1)
        with m.Else():
            m.d.sync += waits.eq(0)
        bench.check(waits <= 4)
    bench.cover(answer & (axi.bresp == OKAY) & axi.arvalid)
    bench.cover(answer & (axi.bresp == SLVERR))
    bench.cover(value & (axi.rdata == 5) & axi.awvalid)

    # --- What induction has to know ---
    have_address, have_data = bench.inner("dut.have_address"), bench.inner("dut.have_data")
    bench.invariant(sum(state.values()) == 1)
    bench.invariant((state["RESPOND"] == axi.bvalid) & (state["ANSWER"] == axi.rvalid) & (state["READ"] == axi.arready))
    bench.invariant(~(axi.awready | axi.wready) | state["IDLE"] | state["WRITE"])
    bench.invariant(~axi.awready | (have_address & axi.awvalid))
    bench.invariant(~axi.wready | (have_data & axi.wvalid))
    bench.invariant(~axi.arready | axi.arvalid)
    bench.invariant(~(state["WRITE"] | state["WRITTEN"]) | (have_address & have_data))
    bench.invariant(have_address + axi.bvalid == addresses + axi.awready)
    bench.invariant(have_data + axi.bvalid == words + axi.wready)
    bench.invariant(~have_address | (bus.address == asked["w_address"]))
    whole = bench.inner("dut.whole")
    bench.invariant(~(have_data | axi.bvalid) | ((bus.write_data == asked["w_data"]) & (whole == asked["w_whole"])))
    bench.invariant(~state["READ"] | (bus.address == asked["r_address"]))
    reading = state["READ"] | state["FETCHED"] | state["ANSWER"]
    bench.invariant(~reading | ~(have_address | have_data))
    bench.invariant(reads == (state["FETCHED"] | state["ANSWER"]))
    bench.invariant((fetched == reads) & (written == (state["WRITTEN"] | state["RESPOND"])))
    return bench


def test_each_access_is_answered_once_and_done_once(tmp_path: Path) -> None:
    prove(axi_lite(bridge.AxiLiteBridge()), tmp_path, k=6, cover=12)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("self.bus.write.eq(whole)", "self.bus.write.eq(1)"),
        ("have_data.eq(0),\n", ""),
        ("with m.If(self.axi.bready):\n", "with m.If(self.axi.bready | self.axi.awvalid):\n"),
    ],
    ids=["writes less than a word", "takes a word for the next one too", "answers and does not wait"],
)
def test_a_bridge_that_breaks_a_rule_is_found_out(before: str, after: str, tmp_path: Path) -> None:
    refute(axi_lite(mutant(bridge.__name__, before, after).AxiLiteBridge()), tmp_path, cycles=14)
