"""The counters' totals against plain sums, at snapshots taken at any moment."""

import random

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from sentinic.abi.counters import counter_names
from sentinic.abi.profiles import BOARD, WIDE
from sentinic.abi.registers import COUNTERS_BASE, SNAPSHOT
from sentinic_hdl.csr import CounterBank

#: Two rounds of the larger card, and what the bench takes to ask.
CYCLES_TO_COPY = 2 * 128 + 8
WIDTHS = {"received": 2, "held": 2, "port0.received_bytes": 14, "ring1.delivered_bytes": 14}

# A component that refuses its parameters is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")


class Bench:
    """A bank, what it was told, and the sums after each cycle."""

    def __init__(self, profile, *, seed, share):
        self.names = counter_names(profile)
        self.widths = {name: WIDTHS.get(name, 1) for name in self.names}
        self.reset = Signal()
        self.bank = CounterBank(profile=profile, widths=self.widths)
        self.random = random.Random(seed)
        self.share = share
        self.sums = dict.fromkeys(self.names, 0)
        self.history = []

    def run(self, testbench):
        simulator = Simulator(ResetInserter(self.reset)(self.bank))
        simulator.add_clock(1e-6)

        async def main(context):
            self.context = context
            await testbench(self)

        simulator.add_testbench(main)
        simulator.run()

    async def tick(self, **bus):
        """One cycle with random increments; returns ``hit`` and ``read_data`` after it."""
        for name in ("address", "access", "read", "write", "write_data"):
            self.context.set(getattr(self.bank.bus, name), bus.get(name, 0))
        steps = {}
        for name in self.names:
            largest = (1 << self.widths[name]) - 1
            steps[name] = self.random.choice((largest, self.random.randint(0, largest)))
            if self.random.random() >= self.share:
                steps[name] = 0
            self.context.set(getattr(self.bank.increments, name.replace(".", "_")), steps[name])
        less = self.random.randint(0, min(3, self.sums["held"]))
        self.context.set(self.bank.held_less, less)
        resetting = self.context.get(self.reset)
        await self.context.tick()
        for name in self.names:
            self.sums[name] = 0 if resetting else self.sums[name] + steps[name] - (less if name == "held" else 0)
        self.history.append(dict(self.sums))
        return self.context.get(self.bank.bus.hit), self.context.get(self.bank.bus.read_data)

    async def read(self, address):
        hit, value = await self.tick(address=address, access=1, read=1)
        assert await self.tick() == (0, 0)
        return hit, value

    async def copied(self):
        return {
            name: (await self.read(COUNTERS_BASE + 8 * n))[1] | (await self.read(COUNTERS_BASE + 8 * n + 4))[1] << 32
            for n, name in enumerate(self.names)
        }

    async def take(self):
        """Take a snapshot; returns it, and the cycles it took."""
        start = len(self.history)
        assert (await self.tick(address=SNAPSHOT.address("take"), access=1, write=1, write_data=1))[0]
        await self.tick()
        while (await self.read(SNAPSHOT.address("busy")))[1]:
            assert len(self.history) - start <= CYCLES_TO_COPY
        return await self.copied(), self.history[start - 1 : start + CYCLES_TO_COPY]


@pytest.mark.parametrize("profile", [WIDE, BOARD], ids=lambda profile: profile.name)
@pytest.mark.parametrize("share", [1.0, 0.1])
def test_a_snapshot_is_of_one_cycle_at_or_after_it_was_asked_for(profile, share) -> None:
    async def testbench(bench):
        assert set((await bench.copied()).values()) == {0}
        last = -1
        for _ in range(2):
            for _ in range(bench.random.randint(0, 130)):
                await bench.tick()
            snapshot, then = await bench.take()
            assert snapshot in then
            assert snapshot["cycles"] > last
            last = snapshot["cycles"]
            # It stays while the counters go on.
            assert await bench.copied() == snapshot

    Bench(profile, seed=int(10 * share), share=share).run(testbench)


def test_a_reset_clears_the_totals_and_the_copies_too() -> None:
    async def testbench(bench):
        for _ in range(300):
            await bench.tick()
        snapshot, _ = await bench.take()
        assert all(snapshot[name] for name in bench.names if name != "held")
        for wait in (1, 40):
            bench.context.set(bench.reset, 1)
            await bench.tick()
            bench.context.set(bench.reset, 0)
            for _ in range(wait):
                await bench.tick()
            snapshot, then = await bench.take()
            assert snapshot in then

        bench.context.set(bench.reset, 1)
        await bench.tick()
        bench.context.set(bench.reset, 0)
        while (await bench.read(SNAPSHOT.address("busy")))[1]:
            pass
        assert set((await bench.copied()).values()) == {0}

    Bench(WIDE, seed=3, share=1.0).run(testbench)


def test_only_its_own_addresses_are_answered() -> None:
    async def testbench(bench):
        end = COUNTERS_BASE + 8 * len(bench.names)
        for address, hit in (
            (COUNTERS_BASE - 4, 0),
            (COUNTERS_BASE, 1),
            (end - 4, 1),
            (end, 0),
            (SNAPSHOT.address("take"), 1),
            (SNAPSHOT.address("busy"), 1),
            (SNAPSHOT.address("busy") + 4, 0),
        ):
            assert (await bench.read(address))[0] == hit, hex(address)
        assert await bench.tick(address=COUNTERS_BASE) == (0, 0)  # no access

    Bench(BOARD, seed=4, share=0.5).run(testbench)


def test_widths_must_name_every_counter() -> None:
    with pytest.raises(ValueError, match="differs in"):
        CounterBank(profile=WIDE, widths={"received": 1})
