"""A card whose surroundings change at any moment, and what holds all the same."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sentinic.abi.registers import CARD, HASH_KEY_WORDS, PASSTHROUGH
from sentinic.errors import TransportError
from sentinic_sim.native import MemoryOptions
from tests.hdl.card.native_card import (
    NativeCard,
    Oracle,
    Watched,
    check_against_model,
    check_one_by_one,
    check_port_order,
    in_order,
    random_memory,
    random_ring,
)
from tests.hdl.card.wild import wild_frames
from tests.reference.card import Frame, Ring

#: Bus addresses where no memory is: writes are answered DECERR.
NOWHERE = 0x7654_3000_0000


@dataclass
class Period:
    """A ring's time from on to off.  ``broken``: errors on the bus may have left a hole that no reader gets past."""

    watched: Watched
    reads: bool
    broken: bool = False
    extras: Sequence[str] = ()


@dataclass
class Chaos:
    """Draws what happens next, does it, and looks at the counters."""

    card: NativeCard
    r: random.Random
    stock: Sequence[bytes]
    oracle: Oracle = field(default_factory=Oracle)
    sent: dict[int, Frame] = field(default_factory=dict)  # since the last reset, by time stamp
    keys: dict[int, int | None] = field(default_factory=dict)
    periods: dict[int, Period] = field(default_factory=dict)  # of the rings that are on
    faulty: bool = False  # the bus answers with errors, or did while these rings were on
    frames_before: int = 0  # taken by the card before the last reset
    stamp: int = 0

    def run(self, actions: int) -> None:
        r = self.r
        self.card.device.set_pause(r.random() < 0.5)
        self.card.device.enable()
        for number in range(self.card.profile.rings):
            if r.random() < 0.8:
                self._switch(number)
        table = self._actions()
        for _ in range(actions):
            (action,) = r.choices([action for action, _ in table], [weight for _, weight in table])
            action()
        self._rest()
        self.card.counters()
        for number in list(self.periods):
            self._off(number)
        self._as_new()

    # --- What may happen ---

    def _actions(self) -> list[tuple[Callable[[], object], int]]:
        """What may happen, and how often."""
        return [
            (self._send, 30),
            (self._step, 30),
            (self._read, 20),
            (lambda: self.card.counters(), 10),
            (lambda: self._switch(self.r.randrange(self.card.profile.rings)), 10),
            (self._memory, 5),
            (self._pause, 4),
            (self._hold, 3),
            (self._key, 3),
            (self._reset, 2),
            (self._time, 2),
            (self._interrupt, 3),
            (self._peek, 5),
            (self._rest, 3),
        ]

    def _send(self) -> None:
        frames = self._frames(self.r.choice((1, 5, 40, 200)))
        base = min(frame.timestamp for frame in frames)
        # One stretch of time after the other, so that no time stamp comes twice.
        frames = [frame._replace(timestamp=frame.timestamp - base + self.stamp) for frame in frames]
        self.stamp = max(frame.timestamp for frame in frames) + 1
        self.sent |= {frame.timestamp: frame for frame in frames}
        self.keys |= {frame.timestamp: self.card.key for frame in frames}
        self.card.send(frames)

    def _frames(self, count: int) -> list[Frame]:
        """What to send next; time stamps are unique."""
        return wild_frames(self.r, count, self.stock)

    def _step(self) -> None:
        self.card.transport.step(self.r.choice((1, 3, 10, 50, 300, 3000, 20_000)))

    def _read(self) -> None:
        for period in self.periods.values():
            if period.reads:
                period.watched.read(self.r.choice((None, 1, 20)))
        if self.r.random() < 0.8:
            self.card.device.forward()

    def _switch(self, number: int) -> None:
        """Off if it is on, and on again with other settings, perhaps without a pause in between."""
        if number in self.periods and (self._off(number) or self.r.random() < 0.4):
            return
        config, reads = random_ring(self.r), self.r.random() < 0.8
        extras = self._extras() if reads else ()
        ring = self.card.device.rings.get(number)
        if ring is None:
            watched = self.card.open_ring(number, config, extras)
        else:
            config = replace(config, descriptors=len(ring.descriptors), data_bytes=len(ring.data))
            watched = self.card.start_ring(ring, config, extras)
        period = self.periods[number] = Period(watched, reads, broken=self.faulty, extras=extras)
        if self.r.random() < 0.05:
            # Where there is no memory; the ring's own is put back when it is switched off.
            period.broken = True
            which = self.r.choice(("descriptor", "data"))
            watched.ring.registers.write(f"{which}_base_high", NOWHERE >> 32)

    def _extras(self) -> Sequence[str]:
        """What else a ring that is read wants."""
        return ()

    def _off(self, number: int) -> bool:
        """Switch a ring off and check what it got; whether to leave it off."""
        period = self.periods.pop(number)
        watched = period.watched
        watched.ring.disable()
        self._own_memory(watched)
        watched.read_all()
        self._check(period)
        return self.r.random() < 0.3

    def _own_memory(self, watched: Watched) -> None:
        """Undo what may have led the ring nowhere."""
        for which, region in zip(("descriptor", "data"), watched.ring._regions, strict=True):
            watched.ring.registers.write(f"{which}_base_high", region.bus_address >> 32)

    def _memory(self) -> None:
        errors = self.r.random() < 0.4
        options = random_memory(self.r, errors=errors)
        if errors and self.periods and self.r.random() < 0.5:
            ring = self.r.choice(list(self.periods.values())).watched.ring
            region = self.r.choice(ring._regions)
            begin = region.bus_address + self.r.randrange(len(region.array))
            options = replace(options, error_begin=begin, error_end=begin + self.r.choice((1, 64, 4096, 100_000)))
        self.card.transport.configure(options)
        self.faulty = errors
        if errors:
            for period in self.periods.values():
                period.broken = True

    def _pause(self) -> None:
        self.card.device.set_pause(self.r.random() < 0.5)

    def _hold(self) -> None:
        """Take no frames in for a while."""
        self.card.device.disable()
        self.card.transport.step(self.r.choice((1, 100, 3000)))
        self.card.counters()
        self.card.device.enable()

    def _key(self) -> None:
        """Another flow-hash key, word by word: what is on its way may meet any mixture."""
        if self.r.random() < 0.5:
            self._rest()
        else:
            self.keys = dict.fromkeys(self.keys)
        self.card.key = self.r.getrandbits(32 * HASH_KEY_WORDS)
        self.card.device.set_hash_key(self.card.key)

    def _reset(self) -> None:
        self.card.counters()
        self.card.reset()
        for period in self.periods.values():
            self._own_memory(period.watched)
            period.watched.read_all()
            self._check(period)
        self.periods.clear()
        self.sent.clear()
        self.keys.clear()
        self.frames_before = self.card.transport.stats().frames
        counters = self.card.counters()
        assert not any(counters[name] for name in counters if name != "cycles" and not name.endswith("_cycles"))
        self.card.device.set_pause(self.r.random() < 0.5)
        self.card.device.enable()

    def _time(self) -> None:
        self.card.transport.advance_time(self.stamp + self.r.choice((1, 1000, 1 << 40)))

    def _interrupt(self) -> None:
        registers = self.card.device.registers["interrupt"]
        registers.write("enable", self.r.getrandbits(4))
        registers.write("frames", self.r.choice((0, 1, 32, 65_535)))
        registers.write("holdoff", self.r.choice((0, 1, 50_000, 0xFFFF_FFFF)))
        registers.write("pending", self.r.getrandbits(16))

    def _peek(self) -> None:
        """Any register is answered under any load, a value or an error; what is for the host's use keeps its value."""
        scratch = self.r.getrandbits(32)
        marks = {CARD.address("scratch"): scratch}
        if "passthrough" in self.card.profile.stages:
            marks[PASSTHROUGH.address("mark")] = scratch ^ 1
        for address, mark in marks.items():
            self.card.transport.write(address, mark)
        refused = ""
        try:
            self.card.transport.read(self.r.randrange(1 << 16) & ~3)
        except TransportError as error:
            refused = str(error)
        assert not refused or "was answered DECERR" in refused
        assert {address: self.card.transport.read(address) for address in marks} == marks

    def _rest(self) -> None:
        """Unless it waits for rings, the card comes to rest by itself, and has counted every frame it took."""
        self.card.device.set_pause(False)
        self.card.settle()
        counters = self.card.check_rest()
        assert counters["received"] == self.card.transport.stats().frames - self.frames_before

    # --- What holds ---

    def _check(self, period: Period) -> None:
        watched = period.watched
        check_one_by_one(watched, self.sent, self.oracle, self.keys)
        kept = [self.sent[each.timestamp] for each in watched.seen]
        check_port_order(list(self.sent.values()), kept)
        if not period.broken:
            assert not any(each.void for each in watched.seen), "a packet is void, but memory never failed"
            assert not watched.ring.faulted

    def _as_new(self) -> None:
        """After all that, the card serves a right ring as a new one does."""
        self.card.transport.configure(MemoryOptions(), parallel=False)
        self.card.reset()
        self.card.device.set_pause(True)
        config = Ring()
        ring = self.card.device.rings.get(0)
        if ring is None:
            watched = self.card.open_ring(0, replace(config, descriptors=512, data_bytes=1 << 18))
        else:
            config = replace(config, descriptors=len(ring.descriptors), data_bytes=len(ring.data))
            watched = self.card.start_ring(ring, config)
        self.card.device.enable()
        frames = [
            frame._replace(timestamp=n, data=frame.data[:1000])
            for n, frame in enumerate(wild_frames(self.r, 40, self.stock))
        ]
        self.card.send(frames)
        self.card.settle()
        watched.read_all()
        order = in_order(frames, [watched.seen])
        assert order is not None
        check_against_model(order, [watched], self.card.check_rest(), frozenset(), self.card.key)
