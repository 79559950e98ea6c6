"""Register access by name, with ranges checked.

::

    registers["card"].control.enable = 1
    registers["ring"][2].filter_ports = 0b01
    registers["ring"][2].spread.count        # a field of a register with several

A register whose one field is called ``value`` reads and writes as an integer; any other gives a view of its fields.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from sentinic.abi.layout import Access, Block, Field, Register
from sentinic.abi.registers import BLOCKS
from sentinic.errors import RegisterError

ReadWord = Callable[[int], int]
WriteWord = Callable[[int, int], None]


class FieldView:
    """The fields of one register as attributes; each read or write goes to the card."""

    __slots__ = ("_register", "_window")
    _register: Register
    _window: "RegisterWindow"

    def __init__(self, window: "RegisterWindow", register: Register) -> None:
        object.__setattr__(self, "_window", window)
        object.__setattr__(self, "_register", register)

    def __getattr__(self, name: str) -> int:
        return self._window.read(self._register.name, name)

    def __setattr__(self, name: str, value: int) -> None:
        self._window.write(self._register.name, value, name)

    def __dir__(self) -> list[str]:
        return [item.name for item in self._register.fields]


class RegisterWindow:
    """The registers of one instance of a block as attributes."""

    __slots__ = ("_block", "_index", "_read", "_write")
    _block: Block
    _index: int
    _read: ReadWord
    _write: WriteWord

    def __init__(self, block: Block, index: int, read: ReadWord, write: WriteWord) -> None:
        for name, value in (("_block", block), ("_index", index), ("_read", read), ("_write", write)):
            object.__setattr__(self, name, value)

    def read(self, register: str, field: str = "value") -> int:
        """The value of a field.  Raises :class:`RegisterError` when there is none of that name."""
        item = self._field(register, field)
        block = self._block
        word = self._read(block.address(register, self._index))
        return (word & item.mask) >> item.lsb

    def read_word(self, register: str) -> int:
        """All 32 bits of a register."""
        return self._read(self._block.address(self._register(register).name, self._index))

    def write(self, register: str, value: int, field: str = "value") -> None:
        """Set a field, leaving the others as they are.

        Raises :class:`RegisterError` for an unknown name, a read-only field or a value that does not fit.
        """
        item = self._field(register, field)
        block = self._block
        path = self._path(register, field)
        if item.access is Access.RO:
            raise RegisterError(f"{path} is read-only")
        if not 0 <= int(value) < 1 << item.width:
            unit = f" {item.unit}" if item.unit else ""
            raise RegisterError(f"{path} must be 0..{(1 << item.width) - 1}{unit}, not {value}")
        address = block.address(register, self._index)
        siblings = [
            other for other in block.register(register).fields if other is not item and other.access is Access.RW
        ]
        word = int(value) << item.lsb
        if siblings:
            # Only what reads back as written is kept: a pending W1C bit must not be cleared in passing.
            word |= self._read(address) & sum(other.mask for other in siblings)
        self._write(address, word)

    def _path(self, register: str, field: str) -> str:
        block = self._block
        where = f"{block.name}{self._index}" if block.count > 1 else block.name
        return f"register {where}.{register}" + ("" if field == "value" else f".{field}")

    def _register(self, name: str) -> Register:
        block = self._block
        for register in block.registers:
            if register.name == name:
                return register
        known = ", ".join(register.name for register in block.registers)
        raise RegisterError(f"block {block.name!r} has no register {name!r}; it has {known}")

    def _field(self, register: str, field: str) -> Field:
        fields = self._register(register).fields
        for item in fields:
            if item.name == field:
                return item
        known = ", ".join(item.name for item in fields)
        raise RegisterError(f"{self._path(register, 'value')} has no field {field!r}; it has {known}")

    def __getattr__(self, name: str) -> Any:  # an int, or a FieldView when the register has several fields
        if name.startswith("_"):
            raise AttributeError(name)
        register = self._register(name)
        if len(register.fields) == 1 and register.fields[0].name == "value":
            return self.read(name)
        return FieldView(self, register)

    def __setattr__(self, name: str, value: int) -> None:
        self.write(name, value)

    def __dir__(self) -> list[str]:
        return ["read", "read_word", "write", *(register.name for register in self._block.registers)]


class RegisterBlock(Sequence[RegisterWindow]):
    """A block's instances by index; of a block that stands once, the registers are attributes here too."""

    def __init__(self, block: Block, count: int, read: ReadWord, write: WriteWord) -> None:
        self.__dict__["block"] = block
        self.__dict__["_windows"] = [RegisterWindow(block, index, read, write) for index in range(count)]

    def __len__(self) -> int:
        return len(self.__dict__["_windows"])

    def __getitem__(self, index: int) -> RegisterWindow:  # type: ignore[override]  # no slices of windows
        windows: list[RegisterWindow] = self.__dict__["_windows"]
        if not 0 <= index < len(windows):
            raise RegisterError(
                f"{self.__dict__['block'].name} index must be 0..{len(windows) - 1} on this card, not {index}"
            )
        return windows[index]

    def __iter__(self) -> Iterator[RegisterWindow]:
        return iter(self.__dict__["_windows"])

    def _only(self) -> RegisterWindow:
        if len(self) != 1:
            name = self.__dict__["block"].name
            raise RegisterError(f"block {name!r} stands {len(self)} times: write registers[{name!r}][index]")
        return self[0]

    def read(self, register: str, field: str = "value") -> int:
        return self._only().read(register, field)

    def write(self, register: str, value: int, field: str = "value") -> None:
        self._only().write(register, value, field)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._only(), name)

    def __setattr__(self, name: str, value: int) -> None:
        self._only().write(name, value)


class Registers:
    """All blocks of a card by name: ``registers["ring"][2].filter_ports``."""

    def __init__(self, read: ReadWord, write: WriteWord, *, rings: int) -> None:
        """``rings`` is how many the card holds."""
        self._blocks: dict[str, RegisterBlock] = {}
        for block in BLOCKS:
            count = rings if block.name == "ring" else block.count
            self._blocks[block.name] = RegisterBlock(block, count, read, write)

    def __getitem__(self, name: str) -> RegisterBlock:
        try:
            return self._blocks[name]
        except KeyError:
            known = ", ".join(self._blocks)
            raise RegisterError(f"register block must be one of {known}, not {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def read(self, block: str, register: str, field: str = "value", index: int = 0) -> int:
        """One field of one register; see :meth:`RegisterWindow.read`."""
        return self[block][index].read(register, field)

    def write(self, block: str, register: str, value: int, field: str = "value", index: int = 0) -> None:
        """Set one field of one register; see :meth:`RegisterWindow.write`."""
        self[block][index].write(register, value, field)
