"""SYN offload of a card: switched on and off while traffic runs, and what tags say of the attempts it held.

::

    offload = SynOffload(device)
    offload.enable(timeout=5 * 10**9)
    ...
    descriptors, data = ring.poll()
    attempts = read_attempts(descriptors[are_regenerated(descriptors)], data)
    ...
    offload.finish()

In compact mode those that nobody answered come as records, in reports::

    offload.to_ring(ring)
    offload.enable(mode=Mode.COMPACT)
    ...
    descriptors, data = ring.poll()
    records = read_records(descriptors[are_records(descriptors, data)], data).items
"""

import time
from dataclasses import dataclass
from enum import Enum
from operator import index
from typing import SupportsIndex

import numpy as np
import numpy.typing as npt

from sentinic.abi.counters import ATTEMPTS
from sentinic.abi.profiles import Profile
from sentinic.abi.registers import SYN_OFFLOAD, SYN_OFFLOAD_KEY_WORDS
from sentinic.abi.syn_offload import RECORD
from sentinic.abi.tag import ATTEMPT, TAG_HEADER_BYTES
from sentinic.abi.verdicts import Content, Kind
from sentinic.driver.device import Device
from sentinic.driver.records import record_dtype, status_bits
from sentinic.driver.registers import RegisterBlock
from sentinic.driver.reports import Items, hold, read_items
from sentinic.driver.ring import Bytes, Descriptors, Ring
from sentinic.driver.secret import spreading_secret
from sentinic.driver.settling import FULL_SECONDS, ROOM_STEPS, Meanwhile, is_any_full, nothing
from sentinic.driver.stage import read_shape
from sentinic.driver.tags import tag_end
from sentinic.errors import ConfigError, DeviceError

KEY_BITS = 32 * SYN_OFFLOAD_KEY_WORDS
#: Where scans count in the key of the table's hash (port and address of the lower end, then of the higher one): in
#: ports, one by one or two by two, and in the lowest and the second octet of addresses.
_RUNS = (0, 1, 16, 24, 144, 145, 160, 168)
#: Of an attempt, unless told otherwise, ns: Zeek's ``tcp_attempt_delay``.
DEFAULT_TIMEOUT = 5 * 10**9
#: dtype of the TLV, in network order.
ATTEMPT_DTYPE = record_dtype(ATTEMPT.record)
#: dtype of an attempt in a report, in network order.
RECORD_DTYPE = record_dtype(RECORD.record)
#: How long attempts may take to be given back: cycles at a time, and how many times.
_WAIT_CYCLES, _WAIT_STEPS = 2000, 20_000
#: Steps without a packet inside after which all descriptors are written, too.
_QUIET_STEPS = 2


class Mode(Enum):
    """How the host hears of an attempt that nobody answered."""

    SYN = "syn"  #: by its SYN
    COMPACT = "compact"  #: by a record, many to a frame


@dataclass(frozen=True)
class SynOffloadShape:
    """What a build holds: attempts in all and in a set, and the longest SYN, in bytes."""

    attempts: int
    ways: int
    frame_bytes: int


class SynOffload:
    """The SYN offload stage of ``device``: keyed with a secret of its own when this is made, which must be before it
    is switched on.

    Members
    -------
    shape: what the build holds
    """

    def __init__(self, device: Device, *, secret: int | None = None) -> None:
        """``secret``: the key of the table's hash, 320 bits; random unless given, so that nobody can aim at a set.

        A random one spreads scans of consecutive ports or addresses evenly (:func:`spreading_secret`).
        Raises :class:`StageMissingError` when the build has no such stage, and :class:`DeviceError` when SYNs are held
        already: under another key they would not be found.
        """
        self._device = device
        self.shape = _shape(device)
        self._registers = RegisterBlock(SYN_OFFLOAD, 1, device.transport.read, device.transport.write)
        if self.holding:
            raise DeviceError(f"SYN offload: {self.holding} SYNs are held: finish whoever switched it on first")
        index_bits = (self.shape.attempts // self.shape.ways).bit_length() - 1
        runs = [range(bit, bit + index_bits) for bit in _RUNS]
        key = spreading_secret(KEY_BITS, runs, index_bits) if secret is None else secret
        if not 0 <= key < 1 << KEY_BITS:
            raise ConfigError(f"secret of SYN offload must fit {KEY_BITS} bits, not {key.bit_length()}")
        for word in range(SYN_OFFLOAD_KEY_WORDS):
            self._registers.write(f"hash_key{word}", key >> 32 * word & 0xFFFF_FFFF)

    def enable(self, timeout: int = DEFAULT_TIMEOUT, mode: Mode = Mode.SYN, meanwhile: Meanwhile = nothing) -> None:
        """Hold SYNs from the next packet on, ``timeout`` ns of wire time at most.

        In :attr:`Mode.COMPACT` some ring must be there for records (:meth:`to_ring`), else they are only counted.
        What a :meth:`finish` that nobody read for left on its way goes first: ``meanwhile`` takes from the rings then.
        Raises :class:`ConfigError` when ``timeout`` is not 1..2^64 - 1 ns, and :class:`DeviceError` when nobody reads.
        """
        if not isinstance(timeout, SupportsIndex) or not 1 <= index(timeout) < 1 << 64:
            raise ConfigError(f"timeout of SYN offload must be 1..{(1 << 64) - 1} ns, whole, not {timeout!r}")
        if not isinstance(mode, Mode):
            raise ConfigError(f"mode of SYN offload must be Mode.SYN or Mode.COMPACT, not {mode!r}")
        timeout = index(timeout)
        self._wait("flushing", meanwhile)  # new SYNs would be taken for old ones, and given back at once
        self._registers.write("timeout_high", 0xFFFF_FFFF)  # while half of it is written, nothing is over
        self._registers.write("timeout_low", timeout & 0xFFFF_FFFF)
        self._registers.write("timeout_high", timeout >> 32)
        self._wait("clearing")
        self._registers.write("control", int(mode is Mode.COMPACT), "compact")
        self._registers.write("control", 1, "enable")

    def to_ring(self, ring: Ring, wanted: bool = True) -> None:
        """Have reports of attempts delivered to ``ring``, which must not be one of descriptors only."""
        ring.registers.write("extras", int(wanted), "attempts")

    @property
    def holding(self) -> int:
        """SYNs held now."""
        return self._registers.read("holding")

    def finish(self, meanwhile: Meanwhile = nothing) -> None:
        """Hold no more SYNs, and have those held delivered, or told of, as expired.

        ``meanwhile`` takes from the rings, unless another thread does: on a card that pauses, what finds no room in a
        ring waits.  Raises :class:`DeviceError` when nobody reads.
        """
        self._registers.write("control", 0, "enable")
        self._registers.write("action", 1, "flush")
        self._wait("flushing", meanwhile)
        device, card = self._device, self._device.registers["card"]
        quiet = with_room = 0
        for _ in range(_WAIT_STEPS):
            self._step(meanwhile)
            held = self.holding or self._registers.read("status", "reporting")
            quiet = 0 if held or card.read("cells_used") else quiet + 1
            # Other packets may come without end.
            with_room = 0 if held or is_any_full(device.rings.values()) else with_room + 1
            if quiet == _QUIET_STEPS or with_room == ROOM_STEPS:
                return
        records = " and records of attempts" if self._registers.read("status", "reporting") else ""
        raise DeviceError(
            f"SYN offload: {card.read('cells_used')} packets{records} still wait after {_WAIT_STEPS} times "
            f"{_WAIT_CYCLES} cycles: are the rings read?"
        )

    def _wait(self, field: str, meanwhile: Meanwhile = nothing) -> None:
        left, held = _WAIT_STEPS, self.holding
        while left:
            if not self._registers.read("status", field):
                return
            self._step(meanwhile)
            before, held = held, self.holding
            left = left - 1 if held == before else _WAIT_STEPS
        raise DeviceError(
            f"SYN offload: still {field} after {_WAIT_STEPS} times {_WAIT_CYCLES} cycles: are packets read?"
        )

    def _step(self, meanwhile: Meanwhile) -> None:
        """Give those who take from the rings time, where something may wait for room."""
        device = self._device
        device.forward()
        device.transport.step(_WAIT_CYCLES)
        meanwhile()
        if is_any_full(device.rings.values()):
            time.sleep(FULL_SECONDS)


def _shape(device: Device) -> SynOffloadShape:
    values = read_shape(device, SYN_OFFLOAD, "SYN offload")
    return SynOffloadShape(1 << values["attempts_log2"], values["ways"], values["frame_bytes"])


def attempts_of(counters: dict[str, int], profile: Profile) -> dict[str, int]:
    """What became of attempts at all ports together, from a snapshot: ``attempts``, ``again``, ``answered``, ..."""
    return {
        item.name.removeprefix("attempts_"): sum(counters[f"port{n}.{item.name}"] for n in range(profile.ports))
        for item in ATTEMPTS
    }


def are_regenerated(descriptors: Descriptors) -> npt.NDArray[np.bool_]:
    """Which descriptors stand for SYNs that were held."""
    found: npt.NDArray[np.bool_] = status_bits(descriptors["status"], "kind") == Kind.REGENERATED
    return found


def read_attempts(descriptors: Descriptors, data: Bytes) -> npt.NDArray[np.void]:
    """The TLV ``attempt`` of descriptors that stand for nothing but SYNs that were held, as ``ATTEMPT_DTYPE``, copied.

    ``data`` is the data ring.  A ring of descriptors only has no tags.
    """
    words = status_bits(descriptors["status"], "tag_words").astype(np.int64)
    at = tag_end(descriptors) - 4 * words + TAG_HEADER_BYTES
    octets = data[at[:, None] + np.arange(ATTEMPT_DTYPE.itemsize)]
    rows: npt.NDArray[np.void] = np.ascontiguousarray(octets).view(ATTEMPT_DTYPE)[:, 0]
    return rows


def are_records(descriptors: Descriptors, data: Bytes) -> npt.NDArray[np.bool_]:
    """Which descriptors stand for reports of attempts that nobody answered; ``data`` is the data ring."""
    return hold(descriptors, data, Content.ATTEMPTS)


def read_records(descriptors: Descriptors, data: Bytes) -> Items:
    """The attempts in reports, as ``RECORD_DTYPE``, of descriptors that stand for nothing but such reports.

    Raises :class:`DeviceError` when a report is not as the ABI says.
    """
    return read_items(descriptors, data, Content.ATTEMPTS)
