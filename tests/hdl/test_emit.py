"""What is written out for tools: memories by loops, and parts that are alike once."""

import re

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sentinic_hdl.emit import to_rtlil, to_verilog
from sentinic_hdl.parts import part


class Store(wiring.Component):
    """A memory; ``init`` is what it holds at first."""

    address: In(4)
    data: Out(8)

    def __init__(self, init):
        self._init = init
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = Memory(shape=8, depth=16, init=self._init)
        read = words.read_port()
        m.d.comb += [read.addr.eq(self.address), self.data.eq(read.data)]
        return m


class Both(wiring.Component):
    """Two stores that are alike."""

    address: In(4)
    low: Out(8)
    high: Out(8)

    def elaborate(self, platform):
        m = Module()
        for name, out in (("first", self.low), ("second", self.high)):
            store = Store([])
            m.submodules[name] = part(platform, "alike", store)
            m.d.comb += [store.address.eq(self.address), out.eq(store.data)]
        return m


def test_a_memory_of_zeros_is_written_as_a_loop_over_all_its_words() -> None:
    text = to_verilog(Store([]), "top")
    assert re.search(r"for \(word = 0; word <= 15; word = word \+ 1\) words\[word\] = 8'h00;", text)
    assert "[0] = " not in text
    assert to_rtlil(Store([]), "top").count("0" * 16) == 0


def test_a_memory_of_other_values_is_written_word_by_word() -> None:
    text = to_verilog(Store([0, 5]), "top")
    assert "words[0] = 8'h00;" in text
    assert "words[1] = 8'h05;" in text
    assert "words[15] = 8'h00;" in text
    assert "for (" not in text


def test_parts_that_are_alike_are_one_module_with_two_instances() -> None:
    for text in (to_verilog(Both(), "top"), to_rtlil(Both(), "top")):
        assert len(re.findall(r"^module \\?alike\b", text, re.MULTILINE)) == 1
        assert len(re.findall(r"^ +(?:cell )?\\?alike \\?(?:first|second)\b", text, re.MULTILINE)) == 2
    assert to_rtlil(Both(), "top").count("attribute \\top 1") == 1


def test_without_that_platform_a_part_is_itself() -> None:
    store = Store([])
    store._MustUse__used = True
    assert part(None, "alike", store) is store


class Half(wiring.Component):
    """Two bits of which one never changes."""

    i: In(1)
    o: Out(2)

    def elaborate(self, platform):
        m = Module()
        both = Signal(2)
        m.d.comb += [both[0].eq(1), self.o.eq(both)]
        with m.If(self.i):
            m.d.comb += both[1].eq(1)
        return m


def test_a_part_of_a_signal_that_never_changes_does_not_wait_for_a_change() -> None:
    text = to_verilog(Half(), "top")
    assert re.search(r"initial\n +\S+ ?\[0\] = 1'h1;", text), text
    assert not re.search(r"always @\*\n +\S+ ?\[0\] = 1'h1;", text)


class Queues(wiring.Component):
    """A FIFO, and a memory that is read and written at any address."""

    address: In(4)
    data: Out(8)

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFOBuffered(width=8, depth=17)
        m.submodules.words = words = Memory(shape=8, depth=16, init=[])
        read, write = words.read_port(), words.write_port()
        m.d.comb += [
            read.addr.eq(self.address),
            write.addr.eq(self.address),
            write.en.eq(fifo.r_rdy),
            write.data.eq(fifo.r_data),
            fifo.r_en.eq(1),
            fifo.w_en.eq(self.address[0]),
            fifo.w_data.eq(self.address),
            self.data.eq(read.data),
        ]
        return m


def test_synthesis_is_told_that_a_fifo_never_reads_the_word_it_writes_and_nothing_of_other_memories() -> None:
    text = to_rtlil(Queues(), "top")
    reads = re.findall(r"cell \$memrd_v2 .*?end\n", text, re.DOTALL)
    masks = {re.search(r'MEMID "\W+(\w+)"', read)[1]: re.search(r"COLLISION_X_MASK (\S+)", read)[1] for read in reads}
    assert masks == {"storage": "1'1", "words": "1'0"}
