"""The vocabulary of the ABI: fields, registers, blocks of registers, packed records.

Everything here is plain data, standard library only, so that gateware, driver,
dissector and reference pages can all be derived from one definition.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum


class Access(Enum):
    """Who may change a register field."""

    RO = "ro"  #: set by the card, read by the host
    RW = "rw"  #: set by the host, read back as written
    W1 = "w1"  #: writing one triggers an action; reads as zero
    W1C = "w1c"  #: set by the card, cleared by the host writing one


class ByteOrder(Enum):
    LITTLE = "little"
    BIG = "big"


@dataclass(frozen=True)
class Field:
    """A run of bits in a register.

    ``unit`` is empty for flags and enumerations.  ``reset`` is the value after reset.
    """

    name: str
    lsb: int
    width: int
    access: Access
    doc: str
    unit: str = ""
    reset: int = 0

    @property
    def mask(self) -> int:
        return ((1 << self.width) - 1) << self.lsb


@dataclass(frozen=True)
class Register:
    """One 32-bit word at byte ``offset`` in its block."""

    name: str
    offset: int
    fields: tuple[Field, ...]
    doc: str = ""

    def __post_init__(self) -> None:
        if self.offset % 4:
            raise ValueError(f"register {self.name!r}: offset must be a multiple of 4 bytes, not {self.offset:#x}")
        taken = 0
        for item in self.fields:
            if item.lsb + item.width > 32:
                raise ValueError(f"register {self.name!r}: field {item.name!r} must end within 32 bits")
            if taken & item.mask:
                raise ValueError(f"register {self.name!r}: field {item.name!r} overlaps another")
            if item.reset >> item.width:
                raise ValueError(f"register {self.name!r}: reset of {item.name!r} must fit {item.width} bits")
            taken |= item.mask

    @property
    def reset(self) -> int:
        return sum(item.reset << item.lsb for item in self.fields)


@dataclass(frozen=True)
class Block:
    """A window of registers at byte ``base``, repeated ``count`` times every ``stride`` bytes."""

    name: str
    base: int
    registers: tuple[Register, ...]
    doc: str = ""
    count: int = 1
    stride: int = 0x100

    def __post_init__(self) -> None:
        offsets: dict[int, str] = {}
        for register in self.registers:
            if register.offset in offsets:
                other = offsets[register.offset]
                raise ValueError(
                    f"block {self.name!r}: {register.name!r} and {other!r} share offset {register.offset:#x}"
                )
            if register.offset >= self.stride and self.count > 1:
                raise ValueError(
                    f"block {self.name!r}: {register.name!r} must lie within the stride of {self.stride:#x}"
                )
            offsets[register.offset] = register.name

    def register(self, name: str) -> Register:
        for item in self.registers:
            if item.name == name:
                return item
        raise KeyError(f"block {self.name!r} has no register {name!r}")

    def address(self, name: str, index: int = 0) -> int:
        """Byte address of register ``name`` of instance ``index``."""
        if not 0 <= index < self.count:
            raise IndexError(f"block {self.name!r}: index must be 0..{self.count - 1}, not {index}")
        return self.base + index * self.stride + self.register(name).offset


@dataclass(frozen=True)
class Member:
    """One value in a packed record: ``size`` bytes at byte ``offset``; ``count`` > 1 for byte strings."""

    name: str
    offset: int
    size: int
    doc: str
    unit: str = ""
    count: int = 1


@dataclass(frozen=True)
class Bits:
    """A run of bits inside a member."""

    name: str
    lsb: int
    width: int
    doc: str

    @property
    def mask(self) -> int:
        return ((1 << self.width) - 1) << self.lsb


@dataclass(frozen=True)
class Record:
    """A packed record of a fixed size in bytes; members neither overlap nor leave the record."""

    name: str
    size: int
    order: ByteOrder
    members: tuple[Member, ...]
    bits: dict[str, tuple[Bits, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken: dict[int, str] = {}
        for member in self.members:
            length = member.size * member.count
            if member.offset + length > self.size:
                raise ValueError(f"record {self.name!r}: {member.name!r} must end within {self.size} bytes")
            if member.offset % member.size:
                raise ValueError(f"record {self.name!r}: {member.name!r} must be aligned to {member.size} bytes")
            for byte in range(member.offset, member.offset + length):
                if byte in taken:
                    raise ValueError(f"record {self.name!r}: {member.name!r} overlaps {taken[byte]!r}")
                taken[byte] = member.name

    def __iter__(self) -> Iterator[Member]:
        return iter(self.members)

    def member(self, name: str) -> Member:
        for item in self.members:
            if item.name == name:
                return item
        raise KeyError(f"record {self.name!r} has no member {name!r}")

    def bit(self, member: str, name: str) -> Bits:
        for item in self.bits.get(member, ()):
            if item.name == name:
                return item
        raise KeyError(f"record {self.name!r}: member {member!r} has no bits {name!r}")
