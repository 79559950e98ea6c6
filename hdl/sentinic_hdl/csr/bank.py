"""The registers of one block, straight from its definition in the ABI."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.layout import Access, Block, Register
from sentinic.abi.registers import ADDRESS_WIDTH


class CsrBus(wiring.Signature):
    """The inner register bus, seen from the bridge.

    ``access`` is high for the one cycle of a read or a write, whole or not; ``hit`` and ``read_data`` answer in the
    next cycle, and are 0 in all others.
    """

    def __init__(self):
        super().__init__(
            {
                "address": Out(ADDRESS_WIDTH),
                "access": Out(1),
                "read": Out(1),
                "write": Out(1),
                "write_data": Out(32),
                "read_data": In(32),
                "hit": In(1),
            }
        )


def access_of(register: Register) -> Access:
    """The access of a register's fields, which must all have the same."""
    kinds = {field.access for field in register.fields}
    if len(kinds) != 1:
        raise ValueError(
            f"register {register.name!r}: fields must have one access, not {sorted(k.value for k in kinds)}"
        )
    return kinds.pop()


class RegisterBank(wiring.Component):
    """The registers of ``block``, instance ``index``.

    Members, one group a register, named after it:

    - ro: ``name`` in, what the host reads
    - rw: ``name`` out, what the host wrote
    - w1: ``name_strobe`` out, the bits written as one, for one cycle
    - w1c: ``name`` in, what the host reads; ``name_strobe`` out, the bits to clear, for one cycle
    """

    def __init__(self, *, block: Block, index: int = 0):
        if not 0 <= index < block.count:
            raise ValueError(f"index must be 0..{block.count - 1} for block {block.name!r}, not {index}")
        self._block = block
        self._index = index
        members = {"bus": In(CsrBus())}
        for register in block.registers:
            kind = access_of(register)
            width = max(field.lsb + field.width for field in register.fields)
            if kind is Access.RW:
                members[register.name] = Out(width, init=register.reset)
            elif kind is Access.RO:
                members[register.name] = In(width)
            else:
                members[register.name + "_strobe"] = Out(width)
                if kind is Access.W1C:
                    members[register.name] = In(width)
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        block = self._block
        base = block.base + self._index * block.stride
        m.d.sync += [self.bus.hit.eq(0), self.bus.read_data.eq(0)]
        # Outside of an access nothing compares addresses, which also saves a simulator the work.
        with m.If(self.bus.access):
            with m.Switch(self.bus.address[2:]):
                for register in block.registers:
                    kind = access_of(register)
                    with m.Case((base + register.offset) >> 2):
                        m.d.sync += self.bus.hit.eq(1)
                        if kind is not Access.W1:
                            m.d.sync += self.bus.read_data.eq(getattr(self, register.name))
                        if kind in (Access.W1, Access.W1C):
                            with m.If(self.bus.write):
                                m.d.comb += getattr(self, register.name + "_strobe").eq(self.bus.write_data)
                        if kind is Access.RW:
                            with m.If(self.bus.write):
                                m.d.sync += getattr(self, register.name).eq(self.bus.write_data)
        return m
