"""Which rings take a packet, held against a plain model of a ring; run by ``test_rings_cocotb.py``.

Whether a ring has room just then is the block's to say, within bounds; what follows from it is not.
"""

from collections import deque
from dataclasses import dataclass, field

import cocotb

from sentinic.abi.registers import RING_MARGIN_DESCRIPTORS, RING_MARGIN_SLOTS
from sentinic.abi.syn_offload import Reason
from sentinic.abi.verdicts import Kind, Protocol, Verdict
from sentinic_hdl.meta import PacketMeta
from sentinic_hdl.rings.types import RingConfig, SelectFates, copy_shape, ring_events
from sentinic_hdl.store import release_shape
from tests.hdl.block_bench import LIMIT, Bench, Packed
from tests.reference.card import Ring
from tests.reference.parser import Headers

FATES = ("delivered", "offloaded", "filtered", "sampled_out", "ring_full", "congested")


#: What makes a segment none of which a descriptor tells all.
_ODD = (
    lambda values: {"headers.has_tcp": 0},
    lambda values: {"headers.verdict": Verdict.FRAGMENT},
    lambda values: {"headers.ip_length_is_rest": 1},
    lambda values: {"headers.ip_version": values["headers.ip_version"] ^ 3},
    lambda values: {"headers.transport_offset": values["headers.transport_offset"] + 4},
    lambda values: {"info.wire_length": values["info.length"] + 1},
)


#: What becomes of SYNs in SYN offload: kind, ``raw`` and ``shared``.
_HELD = (
    (Kind.PACKET, 1, 1),
    (Kind.PACKET, 1, 0),
    (Kind.REGENERATED, 0, 0),
    (Kind.REGENERATED, 0, 1),
    (Kind.VOID, 0, 0),
    (Kind.VOID, 0, 1),
)


@dataclass
class Watched:
    """A ring, where it stands, and what its host has done with."""

    ring: Ring
    descriptors: int = 256
    slots: int = 4096
    raw_syns: bool = False
    follow: bool = True  # the host keeps up
    count: int = 0  # copies so far
    head: int = 0  # slots so far, those skipped included
    tails: tuple[int, int] = (0, 0)
    lost: int = 0
    told: int = 0  # of ``lost``, by copies
    wanted: int = 0
    faulted: bool = False

    @property
    def config(self) -> dict[str, int]:
        ring = self.ring
        names = ("filter_ports", "filter_protocols", "filter_verdicts", "sample", "snap_length", "bare_plain")
        return {name: getattr(ring, name) for name in names} | {
            "spread_count": ring.spread_count,
            "spread_index": ring.spread_index,
            "enable": int(ring.enable),
            "raw_syns": int(self.raw_syns),
            "descriptor_mask": self.descriptors - 1,
            "data_mask": self.slots - 1,
            "descriptor_tail": self.tails[0],
            "data_tail": self.tails[1] % (1 << 26),
        }


@dataclass
class Packet:
    payload: int
    values: dict[str, int]
    plain: bool = False  # a descriptor can tell all of it
    copies: list[dict[str, int]] = field(default_factory=list)

    @property
    def kind(self) -> Kind:
        return Kind(self.values.get("kind", Kind.PACKET))

    @property
    def raw(self) -> bool:
        return bool(self.values.get("raw"))

    @property
    def shared(self) -> bool:
        return bool(self.values.get("shared"))

    def is_for(self, watched: Watched) -> bool:
        """Whatever the ring filters: a SYN that SYN offload holds is for rings that want it raw, or for the others."""
        if self.kind is Kind.VOID:
            return False
        return watched.raw_syns if self.raw else not (self.shared and watched.raw_syns)

    @property
    def length(self) -> int:
        return self.values["info.length"]


class SelectBench(Bench):
    def __init__(self, dut, rings: list[Watched], *, pause: bool = False, **options):
        super().__init__(dut, **options)
        self.meta, self.copy = Packed(PacketMeta), Packed(copy_shape(self.profile))
        self.released = Packed(release_shape(self.profile))
        self.rings = rings
        self.packets: deque[Packet] = deque()  # on their way, or not looked at yet
        self.number = 0
        self.unread = 0  # extra copies
        self.extras: list[int] = []  # cells of packets of which there were extra copies
        self.i = self.source("select__i")
        self.o = self.sink("select__o", self._copy)
        self.release = self.sink("select__release")
        self.fates = self.watch("select__fates", SelectFates)
        self.events = self.watch("select__ring_events", ring_events(self.profile))
        dut.select__pause.value = int(pause)
        dut.select__extra_read.value = 0
        cocotb.start_soon(self._read_extras())

    async def _read_extras(self) -> None:
        while True:
            await self.cycles(1)
            reads = self.unread > 0 and self.random.random() < 0.3
            self.unread -= reads
            self.dut.select__extra_read.value = int(reads)

    async def open(self) -> None:
        """Switch the rings on, after a reset or not."""
        for watched in self.rings:
            watched.count = watched.head = watched.lost = watched.told = watched.wanted = 0
            watched.tails = (0, 0)
        self.drive(start=1, enable=0)
        await self.cycles(1)
        self.drive(start=0, enable=0)
        await self.cycles(1)
        self.drive()
        await self.cycles(4)

    async def start(self) -> None:
        self.packets.clear()
        self.unread = 0
        await self.reset()
        await self.open()

    def drive(self, **values: int) -> None:
        for n, watched in enumerate(self.rings):
            config = watched.config | values
            for name in RingConfig().members:
                getattr(self.dut, f"select__rings__{n}__{name}").value = config.get(name, 0)
        self.dut.select__fault.value = sum(watched.faulted << n for n, watched in enumerate(self.rings))

    def send(self, count: int, *, held: bool = False) -> None:
        """Packets of all kinds; the time stamp is their number.  ``held``: among them those of SYN offload."""
        r = self.random
        for _ in range(count):
            values = {
                name: r.getrandbits(width)
                for name, (_, width) in self.meta.fields.items()
                if name == "link" or name.startswith(("info.", "headers."))
            }
            values["cell"] = r.randrange(self.profile.store_cells)
            values["info.length"] = r.choice((14, 60, 63, 64, 65, 128, 1500, 9600, r.randrange(14, 2000)))
            values["info.timestamp"] = self.number
            values["headers.protocol_class"] = r.choice(list(Protocol))
            values["headers.verdict"] = r.choice(list(Verdict))
            plain = r.random() < 0.5
            if plain:
                version = r.choice((1, 2))
                values["info.wire_length"] = values["info.length"]
                values |= {"headers.has_tcp": 1, "headers.verdict": Verdict.CLEAN, "headers.ip_length_is_rest": 0}
                values |= {"headers.ip_version": version, "headers.transport_offset": 14 + 20 * version}
                # Most that one thing sets apart are not.
                odd = r.choice((*[None] * 6, *_ODD))
                if odd is not None:
                    values |= odd(values)
                    plain = False
            else:
                values["headers.has_tcp"] = 0
            kind = Kind.PACKET
            if held:
                kind, values["raw"], values["shared"] = r.choice(
                    (*[(Kind.PACKET, 0, 0)] * 8, *(_HELD if self.extras else _HELD[:1]))
                )
                values["kind"] = kind
            if kind is Kind.REGENERATED:
                values["reason"] = r.choice([reason for reason in Reason if reason])
            if values.get("shared"):
                # What comes again was copied before, where it lies.
                if values["raw"]:
                    self.extras.append(values["cell"])
                else:
                    values["cell"] = r.choice(self.extras[-3:])
                length = r.randrange(14, self.profile.cell_bytes + 1)
                if values["headers.has_tcp"]:  # which it may need to be plain, or lack
                    values["info.wire_length"] += length - values["info.length"]
                values["info.length"] = length
            self.number += 1
            packet = Packet(self.meta.pack(values), values, plain and kind is Kind.PACKET)
            self.packets.append(packet)
            self.i.items.append(packet.payload)

    def _copy(self, number: int) -> None:
        """A copy: in its place, of a packet unchanged, and no ring overrun."""
        copy = self.copy.unpack(number)
        watched = self.rings[copy["ring"]]
        at = copy["meta.info.timestamp"] - self.packets[0].values["info.timestamp"]
        assert 0 <= at < len(self.packets), "a copy of no packet that is here"
        packet = self.packets[at]
        packet.copies.append(copy)
        lsb, _ = self.copy.fields["meta.cell"]
        meta_lsb, _ = self.meta.fields["cell"]
        width = max(lsb + width for lsb, width in self.meta.fields.values())
        assert number >> (lsb - meta_lsb) & ((1 << width) - 1) == packet.payload, "the packet's record changed"
        snap = watched.ring.snap_length
        plain = packet.plain and watched.ring.bare_plain
        if plain:  # unless there is a loss to tell
            assert copy["plain"] or copy["lost"], "a plain segment, and nothing to tell, yet not told as one"
            plain = bool(copy["plain"])
        bare = plain or not snap
        assert (copy["plain"], copy["bare"]) == (plain, bare)
        self.unread += packet.raw and packet.shared and not bare
        assert copy["captured"] == (0 if bare else min(packet.length, max(snap, 64)))
        watched.count += 1
        if not bare:
            slots = 1 + -(-copy["captured"] // 64)
            begin = watched.head
            if begin % watched.slots + slots > watched.slots:
                begin += -begin % watched.slots
            assert copy["slot"] == begin % watched.slots
            watched.head = begin + slots
        assert watched.count - watched.tails[0] <= watched.descriptors, "more descriptors than there are"
        assert watched.head - watched.tails[1] <= watched.slots, "more slots than there are"
        if watched.follow:
            watched.tails = (watched.count, watched.head)
            self.drive()

    async def settle(self) -> None:
        await self.until(lambda: not self.i.items, "all packets went in")
        await self.until(lambda: not self.unread, "all extra copies are read")
        await self.cycles(100 if self.busy else 30)

    def check(self, *, congestible: bool = False) -> list[str]:
        """Each packet went where it must.  Returns its fate, "" if a ring took it."""
        assert not self.unread
        released = deque(self.released.unpack(number) for number in self.release.got)
        earlier: dict[int, str] = {}  # by cell, what became of extra copies
        given_back: dict[bool, list[dict[str, int]]] = {False: [], True: []}  # by whether they are shared
        fates, events = deque(self.fates.seen), deque(self.events.seen)
        result = []
        for packet in self.packets:
            headers = Headers(
                protocol_class=packet.values["headers.protocol_class"], verdict=packet.values["headers.verdict"]
            )
            port, hash_ = packet.values["info.port"], packet.values["headers.flow_hash"]
            wants = {n for n, watched in enumerate(self.rings) if watched.ring.wants(headers, port, hash_)}
            wants = {n for n in wants if packet.is_for(self.rings[n])}
            sampled = set()
            for n in wants:
                watched = self.rings[n]
                if watched.wanted % max(watched.ring.sample, 1) == 0:
                    sampled.add(n)
                watched.wanted += 1
            took = [copy["ring"] for copy in packet.copies]
            assert took == sorted(set(took)), "once to each ring, the lowest first"
            assert set(took) <= sampled, f"{took} took what only {sampled} want"
            lost = sampled - set(took)
            surely = {n for n in lost if self.rings[n].follow and not self.rings[n].faulted}
            assert not surely or (congestible and not took), f"{surely} lost a packet and had room"
            assert [copy["last"] for copy in packet.copies] == [0] * (len(took) - 1) + [1] * bool(took)
            for copy in packet.copies:
                watched = self.rings[copy["ring"]]
                tells = copy["bare"] or packet.kind is Kind.PACKET  # else there is no room for it
                watched.told += copy["lost"] if tells and not copy["plain"] else 0
                # What is lost while a copy waits for its taker is told by that copy.
                told = watched.told == watched.lost or (self.busy and watched.told > watched.lost)
                assert told or not tells or (self.busy and copy["plain"])
            for n in lost:
                self.rings[n].lost += 1
            fate = "filtered" if not wants else "sampled_out" if not sampled else "" if took else "lost"
            if packet.raw and packet.shared:
                earlier[packet.values["cell"]] = fate
                fate = ""
            elif not took:
                seen = [name for name in FATES if fates[0][name]]
                assert len(seen) == 1
                before = earlier.get(packet.values["cell"], "filtered") if packet.shared else "filtered"
                if not before and self.profile.attempts:
                    fate = "delivered"
                elif not wants and (packet.kind is Kind.VOID or packet.raw):
                    fate = "offloaded"
                elif not wants and self.profile.attempts:
                    fate = before
                assert fate == seen[0] or (fate == "lost" and seen[0] in ("ring_full", "congested"))
                assert seen != ["congested"] or congestible
                assert seen != ["ring_full"] or not surely or before == "lost"
                fate = seen[0]
                fates.popleft()
                cells = -(-packet.length // self.profile.cell_bytes)
                given_back[packet.shared].append({"cell": packet.values["cell"], "cells": cells})
            passed_over = wants - sampled
            if passed_over or lost:
                assert events.popleft() == {
                    "sampled_out": sum(1 << n for n in passed_over),
                    "lost": sum(1 << n for n in lost),
                }
            result.append(fate)
        assert [*fates, *events] == [], "more was told than packets came"
        assert len(released) == sum(map(len, given_back.values()))
        assert _is_merged(list(released), given_back[False], given_back[True])
        self.packets.clear()
        self.release.got.clear()
        self.fates.seen.clear()
        self.events.seen.clear()
        return result


def _is_merged(whole: list, one: list, other: list) -> bool:
    """``whole`` is ``one`` and ``other``, each in its order; ``other`` may be late."""
    reached = {0}  # how many of ``one`` may have come so far
    for count, item in enumerate(whole):
        reached = {n + 1 for n in reached if n < len(one) and one[n] == item} | {
            n for n in reached if count - n < len(other) and other[count - n] == item
        }
    return len(one) in reached


def varied() -> list[Watched]:
    """Four rings that differ in all that a ring can be told."""
    return [
        Watched(Ring(filter_ports=0b0101, snap_length=96)),
        Watched(Ring(filter_protocols=0b0000_1010_1101, sample=3, snap_length=0)),
        Watched(Ring(filter_verdicts=0b11_0110, spread_count=3, spread_index=1, snap_length=9600), slots=2048),
        Watched(Ring(spread_count=2, spread_index=0, sample=2, snap_length=1, bare_plain=True), raw_syns=True),
    ]


@cocotb.test(**LIMIT)
@cocotb.parametrize(idle=[0, 0.5], busy=[0, 0.5])
async def each_ring_takes_what_its_filter_sampling_and_share_of_flows_say(dut, idle, busy):
    bench = SelectBench(dut, varied(), idle=idle, busy=busy)
    await bench.start()
    for _ in range(2):
        bench.send(400)
        await bench.settle()
        assert {"", "filtered", "sampled_out"} == set(bench.check())
    assert all(watched.count for watched in bench.rings)
    assert bench.rings[2].head > bench.rings[2].slots, "its slots wrapped"


@cocotb.test(**LIMIT)
@cocotb.parametrize(which=["descriptors", "slots"], busy=[0, 0.4], plain=[False, True])
async def a_full_ring_loses_what_it_wants_tells_how_many_and_holds_up_no_other(dut, which, busy, plain):
    size = {"descriptors": {"descriptors": 64, "slots": 1 << 16}, "slots": {"descriptors": 1024, "slots": 2048}}[which]
    full = Watched(Ring(snap_length=600, bare_plain=plain), follow=False, **size)
    rings = [Watched(Ring(filter_ports=0b0011)), full, *(Watched(Ring(enable=False)) for _ in range(2))]
    bench = SelectBench(dut, rings, busy=busy)
    await bench.start()
    for _ in range(2):
        before = full.tails
        bench.send(600 if plain else 300)  # plain ones take no slots
        await bench.settle()
        fates = bench.check()
        assert {"", "ring_full"} == set(fates)
        if which == "descriptors":
            assert 64 - RING_MARGIN_DESCRIPTORS <= full.count - before[0] <= 64
        else:
            assert 2048 - RING_MARGIN_SLOTS <= full.head - before[1] <= 2048
        full.tails = (full.count, full.head)
        bench.drive()
        await bench.cycles(5)
    full.follow = True
    bench.send(24)
    await bench.settle()
    assert set(bench.check()) == {""}
    assert full.lost > 100
    assert full.told == full.lost


@cocotb.test(**LIMIT)
@cocotb.parametrize(busy=[0, 0.3])
async def what_comes_while_the_bus_is_behind_is_lost_to_all_its_rings(dut, busy):
    bench = SelectBench(dut, varied(), idle=0.3, busy=busy)
    await bench.start()
    bench.send(300)
    for _ in range(30):
        dut.select__congested.value = bench.random.randrange(2)
        await bench.cycles(bench.random.randrange(1, 20))
    dut.select__congested.value = 0
    await bench.settle()
    assert {"", "filtered", "sampled_out", "congested"} == set(bench.check(congestible=True))


@cocotb.test(**LIMIT)
@cocotb.parametrize(busy=[0, 0.3])
async def a_card_that_may_pause_waits_for_the_bus_and_loses_nothing(dut, busy):
    bench = SelectBench(dut, varied(), pause=True, busy=busy)
    await bench.start()
    bench.send(200)
    for _ in range(5):
        dut.select__congested.value = 1
        await bench.cycles(20)
        copies, taken = len(bench.o.got), bench.i.taken
        await bench.cycles(50)
        assert (len(bench.o.got), bench.i.taken) == (copies, taken)
        dut.select__congested.value = 0
        await bench.cycles(8)
    await bench.settle()
    assert {"", "filtered", "sampled_out"} == set(bench.check())


@cocotb.test(**LIMIT)
@cocotb.parametrize(busy=[0, 0.3])
async def a_card_that_may_pause_waits_for_a_full_ring_unless_it_cannot_be_written(dut, busy):
    full = Watched(Ring(filter_ports=0b0011, snap_length=96), descriptors=64, follow=False)
    rings = [Watched(Ring()), full, Watched(Ring(sample=3)), Watched(Ring(enable=False))]
    bench = SelectBench(dut, rings, pause=True, busy=busy)
    await bench.start()
    bench.send(400)
    for time in (1, 2):
        await bench.cycles(3000)
        state = len(bench.i.items), [watched.count for watched in rings]
        assert state[0] > 50, "the card waits"
        assert 64 - RING_MARGIN_DESCRIPTORS <= full.count - full.tails[0] <= 64
        assert full.count >= (64 - RING_MARGIN_DESCRIPTORS) * time
        await bench.cycles(500)
        assert state == (len(bench.i.items), [watched.count for watched in rings])
        full.tails = (full.count, full.head)  # its host reads on, once
        bench.drive()
    await bench.cycles(3000)
    full.faulted = True
    bench.drive()
    await bench.settle()
    assert {"", "sampled_out"} >= set(bench.check())
    assert full.lost > 0
    assert rings[0].count == 400
    assert not rings[0].lost
    assert not rings[2].lost


@cocotb.test(**LIMIT)
@cocotb.parametrize(idle=[0, 0.5], busy=[0, 0.4], congestible=[False, True])
async def a_syn_that_is_held_goes_raw_or_later_and_ends_once(dut, idle, busy, congestible):
    bench = SelectBench(dut, varied(), idle=idle, busy=busy)
    await bench.start()
    bench.send(400, held=True)
    for _ in range(20 * congestible):
        dut.select__congested.value = bench.random.randrange(2)
        await bench.cycles(bench.random.randrange(1, 20))
    dut.select__congested.value = 0
    await bench.settle()
    packets = list(bench.packets)
    fates = bench.check(congestible=congestible)
    assert {"", "offloaded", "filtered", "sampled_out"} <= set(fates)
    raw = [packet for packet in packets if packet.raw]
    assert all(copy["ring"] == 3 for packet in raw for copy in packet.copies)
    assert any(packet.copies for packet in raw)


@cocotb.test(**LIMIT)
async def a_faulted_ring_takes_nothing(dut):
    rings = [Watched(Ring(), faulted=True), Watched(Ring(filter_ports=0b0111, snap_length=0)), *varied()[2:]]
    bench = SelectBench(dut, rings, busy=0.2)
    await bench.start()
    bench.send(150)
    await bench.settle()
    assert {"", "ring_full"} == set(bench.check())
    assert (rings[0].count, rings[0].lost) == (0, 150)


@cocotb.test(**LIMIT)
async def a_ring_switched_on_anew_begins_at_slot_0_and_counts_from_there(dut):
    bench = SelectBench(dut, varied(), busy=0.2)
    await bench.start()
    bench.send(101)
    await bench.settle()
    bench.check()
    for watched, snap_length in zip(bench.rings, (0, 200, 0, 700), strict=True):
        watched.ring.snap_length = snap_length
    bench.drive(enable=0)
    await bench.open()
    bench.send(100)
    await bench.settle()
    assert {"", "filtered", "sampled_out"} == set(bench.check())


@cocotb.test(**LIMIT)
@cocotb.parametrize(after=[5, 33, 90])
async def a_reset_forgets_packets_and_places(dut, after):
    bench = SelectBench(dut, varied(), idle=0.2, busy=0.5)
    await bench.start()
    bench.send(200)
    await bench.cycles(after)
    await bench.start()
    bench.send(120)
    await bench.settle()
    assert {"", "filtered", "sampled_out"} == set(bench.check())
