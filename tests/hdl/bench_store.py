"""The packet store under a host that reads, holds and releases in any order; run by ``test_blocks.py``."""

import random
from collections import deque
from dataclasses import dataclass

import cocotb

from sentinic_hdl.store import StoredFrame, read_shape, release_shape
from tests.hdl.block_bench import LIMIT, Bench, Packed
from tests.hdl.parser.bench import beats_of
from tests.hdl.parser.frames import Stimulus


@dataclass
class Held:
    """A frame in the store."""

    cell: int
    frame: Stimulus
    was_read: bool = False


class StoreBench(Bench):
    def __init__(self, dut, **options):
        super().__init__(dut, **options)
        self.records, self.reads, self.releases = (
            Packed(shape) for shape in (StoredFrame, read_shape(self.profile), release_shape(self.profile))
        )
        self.i, self.read, self.release = (self.source(f"store__{name}") for name in ("i", "read", "release"))
        self.stored = self.sink("store__stored", self._stored)
        self.o = self.sink("store__o", self._beat)
        self.coming: deque[Stimulus] = deque()  # written, no record yet
        self.held: list[Held] = []
        self.expected: deque[bytes] = deque()  # beats asked for and not come, without what is past the frame's end

    async def reset(self) -> None:
        for queue in (self.coming, self.held, self.expected):
            queue.clear()
        await super().reset()

    def cells_of(self, frame: Stimulus) -> int:
        return -(-len(frame.data) // self.profile.cell_bytes)

    @property
    def cells_used(self) -> int:
        return int(self.dut.store__cells_used.value)

    def write(self, frames: list[Stimulus]) -> None:
        for frame in frames:
            self.coming.append(frame)
            self.i.items.extend(beats_of(self.profile, frame, self.random))

    def _stored(self, number: int) -> None:
        """A record: of the next frame written, in a cell that no other held frame has."""
        record, frame = self.records.unpack(number), self.coming.popleft()
        info = [record[f"info.{name}"] for name in ("length", "wire_length", "timestamp", "port")]
        assert info == [len(frame.data), frame.wire_length, frame.timestamp, frame.port]
        assert record["link"] == int.from_bytes(frame.data[:12], "little")
        assert record["cell"] not in [held.cell for held in self.held], "two frames begin in one cell"
        self.held.append(Held(record["cell"], frame))

    def _beat(self, number: int) -> None:
        assert self.expected, "a beat that nobody asked for"
        wanted = self.expected.popleft()
        got = number.to_bytes(self.profile.beat_bytes, "little")[: len(wanted)]
        assert got == wanted, f"{got.hex()} was read, {wanted.hex()} was written"

    def ask(self, held: Held, beats: int, *, release: bool) -> None:
        """Read the first ``beats`` beats of a frame, and release it after if so asked."""
        frame, width = held.frame, self.profile.beat_bytes
        self.expected.extend(frame.data[width * n : width * (n + 1)] for n in range(beats))
        values = {"cell": held.cell, "beats": beats, "cells": self.cells_of(frame), "release": int(release)}
        self.read.items.append(self.reads.pack(values))
        held.was_read = True
        if release:
            self.held.remove(held)

    def give_back(self, held: Held) -> None:
        """Release a frame that nobody has read."""
        assert not held.was_read
        self.release.items.append(self.releases.pack({"cell": held.cell, "cells": self.cells_of(held.frame)}))
        self.held.remove(held)

    def anything(self, r: random.Random) -> None:
        """Do with some held frame what dispatch may do."""
        held = r.choice(self.held)
        whole = -(-len(held.frame.data) // self.profile.beat_bytes)
        choice = r.random()
        if choice < 0.25 and not held.was_read:
            self.give_back(held)
        elif choice < 0.4 and held.was_read:
            self.ask(held, 0, release=True)
        elif choice < 0.8:
            self.ask(held, r.choice((1, whole, whole, r.randint(1, whole))), release=True)
        else:
            self.ask(held, r.choice((1, whole, r.randint(1, whole))), release=False)

    async def settle(self) -> None:
        """Nothing is under way any more; the cells in use are those of the frames held."""
        await self.until(
            lambda: not (self.coming or self.expected or self.read.items or self.release.items), "all is done"
        )
        await self.cycles(250)
        assert self.cells_used == sum(self.cells_of(held.frame) for held in self.held)


def frames_of(r: random.Random, count: int, largest: int) -> list[Stimulus]:
    lengths = (14, 60, 64, 65, 127, 128, 129, 255, 256, 257)
    return [
        Stimulus(r.randbytes(length), length + r.randrange(3), r.getrandbits(64), r.randrange(4))
        for length in (r.choice((*lengths, *(r.randrange(14, largest) for _ in range(6)))) for _ in range(count))
    ]


async def wild(bench: StoreBench, count: int, keep: int) -> None:
    """Write ``count`` frames and do anything with them, holding ``keep`` of them or as many as fit."""
    r = bench.random
    frames = frames_of(r, count, 1500)
    bench.write(frames)
    stuck, taken = 0, 0
    while bench.coming or bench.held:
        await bench.cycles(1)
        stuck, taken = (stuck + 1, taken) if bench.i.taken == taken else (0, bench.i.taken)
        if bench.held and len(bench.expected) < 64 and (len(bench.held) > keep or stuck > 60 or r.random() < 0.02):
            bench.anything(r)
    await bench.settle()
    assert bench.cells_used == 0


@cocotb.test(**LIMIT)
@cocotb.parametrize(idle=[0, 0.4], busy=[0, 0.5], keep=[1, 12])
async def what_is_read_is_what_was_written_whatever_is_held_and_given_back_meanwhile(dut, idle, busy, keep):
    bench = StoreBench(dut, seed=keep, idle=idle, busy=busy)
    await bench.reset()
    await wild(bench, 70, keep)


@cocotb.test(**LIMIT)
async def a_full_store_waits_for_a_cell_and_no_frame_suffers(dut):
    bench = StoreBench(dut)
    await bench.reset()
    r = bench.random
    bench.write(frames_of(r, 140, 1500))
    for _ in range(3):
        await bench.until(lambda: bench.cells_used == bench.profile.cells, "the store is full")
        await bench.cycles(30)
        taken = bench.i.taken
        await bench.cycles(100)
        assert bench.i.taken == taken, "a beat was taken that has no cell"
        assert bench.held, "whole frames are in the store"
        for held in bench.held[::2]:
            bench.ask(held, -(-len(held.frame.data) // bench.profile.beat_bytes), release=r.random() < 0.8)
        await bench.until(lambda: not bench.expected, "all beats came")
        await bench.cycles(200)  # cells are given back one by one
    while bench.coming or bench.held:
        await bench.cycles(1)
        if bench.held and len(bench.expected) < 64:
            bench.ask(bench.held[0], -(-len(bench.held[0].frame.data) // bench.profile.beat_bytes), release=True)
    await bench.settle()
    assert bench.cells_used == 0


@cocotb.test(**LIMIT)
async def a_frame_of_the_longest_kind_goes_through_and_leaves_nothing_behind(dut):
    bench = StoreBench(dut, idle=0.1, busy=0.1)
    await bench.reset()
    r = bench.random
    for how in ("read", "release"):
        bench.write([Stimulus(r.randbytes(9600), 9600)])
        await bench.until(lambda: bench.held, "it is stored")
        assert bench.cells_used == 9600 // bench.profile.cell_bytes + (9600 % bench.profile.cell_bytes > 0)
        if how == "read":
            bench.ask(bench.held[0], 9600 // bench.profile.beat_bytes, release=True)
        else:
            bench.give_back(bench.held[0])
        await bench.settle()
        assert bench.cells_used == 0


@cocotb.test(**LIMIT)
@cocotb.parametrize(after=[40, 90, 333])
async def after_a_reset_every_cell_is_free_again(dut, after):
    bench = StoreBench(dut, idle=0.1, busy=0.3)
    await bench.reset()
    bench.write(frames_of(bench.random, 60, 1500))
    for _ in range(after):
        await bench.cycles(1)
        if len(bench.held) > 3:
            bench.anything(bench.random)
    await bench.reset()
    await bench.cycles(20)
    assert bench.cells_used == 0
    assert not bench.stored.got
    await wild(bench, 30, 50)
