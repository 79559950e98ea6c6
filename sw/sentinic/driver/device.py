"""The card: found out, configured, counted.  Knows a :class:`~sentinic.driver.transport.Transport` and the ABI only."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sentinic.abi.counters import FATES, counter_table
from sentinic.abi.profiles import PROFILES, Profile
from sentinic.abi.registers import ABI_VERSION, CARD, CARD_ID, COUNTERS_BASE, HASH_KEY_WORDS
from sentinic.driver.control import version_text
from sentinic.driver.memory import sweep
from sentinic.driver.registers import Registers
from sentinic.driver.ring import DEFAULT_DATA_BYTES, DEFAULT_DESCRIPTORS, Ring
from sentinic.driver.transport import Transport, open_transport
from sentinic.errors import AbiMismatchError, ConservationError, DeviceError

HASH_KEY_BITS = 32 * HASH_KEY_WORDS
#: Microsoft's key for receive side scaling, lengthened to 352 bits. Any key hashes both directions of a flow alike.
DEFAULT_HASH_KEY = int("6d5a56da255b0ec24167253d43a38fb0d0ca2bcbae7b30b477cb2da38030f20c6a42b73bbeac01fa5b0e2c6d", 16)

#: Reads until the card is taken to have no snapshot to give.  It takes about a hundred cycles.
SNAPSHOT_TRIES = 10_000


@dataclass(frozen=True)
class Capabilities:
    """What a card says of itself.  ``abi_version`` is major in bits 31..16, minor in 15..0."""

    abi_version: int
    profile: Profile
    beat_bytes: int
    ports: int
    rings: int
    stages: int
    counters: int
    store_cells: int
    cell_bytes: int


class Device:
    """A card behind a transport.

    Opening checks the card's id and ABI version before anything else is read or written.
    Use as a context manager, or :meth:`close` it: rings and transport are let go of.

    Members
    -------
    transport, capabilities, profile
    registers: access by name, ``device.registers["ring"][2].filter_ports``
    rings: the rings opened so far, by number
    """

    def __init__(self, transport: Transport) -> None:
        """Raises :class:`AbiMismatchError` when the card is none of ours, or of another major ABI version."""
        self.transport = transport
        self.rings: dict[int, Ring] = {}
        self.capabilities = self._probe()
        self.profile = self.capabilities.profile
        self.registers = Registers(transport.read, transport.write, rings=self.capabilities.rings)
        self._counters = counter_table(self.profile)

    @classmethod
    def open(cls, backend: str = "native", profile: str = "wide", **options: object) -> Self:
        """Open a transport by name and the card behind it; ``options`` are the transport's own.

        Shared memory that killed processes left behind is removed first.
        Raises :class:`DeviceError` when the card's profile is another than asked for.
        """
        sweep()
        transport = open_transport(backend, profile, **options)
        try:
            device = cls(transport)
            if device.profile.name != profile:
                raise DeviceError(f"the card is of profile {device.profile.name!r}, not {profile!r} as asked for")
            return device
        except BaseException:
            transport.close()
            raise

    def _probe(self) -> Capabilities:
        read = self.transport.read
        identity, version = read(CARD.address("id")), read(CARD.address("abi_version"))
        if identity != CARD_ID or version >> 16 != ABI_VERSION >> 16 or version < ABI_VERSION:
            raise AbiMismatchError(
                f"the card has id {identity:#010x} and ABI version {version_text(version)}; this driver knows id "
                f"{CARD_ID:#010x} and ABI version {version_text(ABI_VERSION)} (a higher minor number is fine)"
            )
        number = read(CARD.address("profile"))
        profile = next((item for item in PROFILES.values() if item.number == number), None)
        if profile is None:
            known = ", ".join(f"{item.number} ({item.name})" for item in PROFILES.values())
            raise DeviceError(f"the card's profile must be one of {known}, not {number}")
        values = {
            field.name: (read(CARD.address(register.name)) & field.mask) >> field.lsb
            for register in (CARD.register("capabilities"), CARD.register("store"))
            for field in register.fields
        }
        found = Capabilities(
            abi_version=version,
            profile=profile,
            beat_bytes=values["beat_bytes"],
            ports=values["ports"],
            rings=values["rings"],
            stages=values["stages"],
            counters=values["counters"],
            store_cells=values["cells"],
            cell_bytes=values["cell_bytes"],
        )
        for name, expected in (
            ("beat_bytes", profile.beat_bytes),
            ("ports", profile.ports),
            ("rings", profile.rings),
            ("counters", len(counter_table(profile))),
        ):
            if getattr(found, name) != expected:
                raise DeviceError(
                    f"the card says {name} is {getattr(found, name)}, but its profile {profile.name!r} has {expected}: "
                    "it was built from other sources than this driver"
                )
        return found

    def enable(self) -> None:
        """Take frames in."""
        self.registers["card"].write("control", 1, "enable")

    def disable(self) -> None:
        """Hold the ports."""
        self.registers["card"].write("control", 0, "enable")

    def set_pause(self, pause: bool) -> None:
        """Whether a full card, or ring, holds the ports (for a replay) rather than drops.

        A card that pauses loses nothing that a ring wants, and takes no frames while a ring that is on has no room:
        each must be read.
        """
        self.registers["card"].write("control", int(pause), "pause")

    @property
    def pauses(self) -> bool:
        """Whether that is so now."""
        return bool(self.registers["card"].read("control", "pause"))

    def set_hash_key(self, key: int = DEFAULT_HASH_KEY) -> None:
        """Set the Toeplitz key of the flow hash, 352 bits."""
        if not 0 <= key < 1 << HASH_KEY_BITS:
            raise DeviceError(f"hash key must fit {HASH_KEY_BITS} bits, not {key.bit_length()}")
        for word in range(HASH_KEY_WORDS):
            self.registers["card"].write(f"hash_key{word}", key >> 32 * word & 0xFFFF_FFFF)

    def open_ring(
        self,
        number: int,
        *,
        name: str | None = None,
        descriptors: int = DEFAULT_DESCRIPTORS,
        data_bytes: int = DEFAULT_DATA_BYTES,
    ) -> Ring:
        """Allocate ring ``number``; set its filters in ``ring.registers``, then ``ring.enable()``."""
        if number in self.rings:
            raise DeviceError(f"ring {number} is open already, as {self.rings[number].name!r}")
        ring = Ring(self, number, name=name, descriptors=descriptors, data_bytes=data_bytes)
        self.rings[number] = ring
        return ring

    def forward(self) -> None:
        """Tell the card what the rings' consumers have released."""
        for ring in self.rings.values():
            ring.forward()

    def snapshot(self) -> dict[str, int]:
        """All counters, from one and the same cycle, by their ABI names and in their order."""
        snapshot = self.registers["snapshot"]
        snapshot.write("take", 1)
        for _ in range(SNAPSHOT_TRIES):
            if not snapshot.read("busy"):
                break
        else:
            raise DeviceError(f"the card's counters were not copied while the driver asked {SNAPSHOT_TRIES} times")
        read = self.transport.read
        counters = {
            name: read(COUNTERS_BASE + 8 * index) | read(COUNTERS_BASE + 8 * index + 4) << 32
            for index, (name, _) in enumerate(self._counters)
        }
        for ring in self.rings.values():
            ring.publish(counters)
        return counters

    def time(self) -> int:
        """The card's wire time, in ns."""
        registers = self.registers["card"]
        return registers.read("time_low") | registers.read("time_high") << 32

    def close(self) -> None:
        """Close the rings and the transport.  Safe to call twice."""
        try:
            for ring in self.rings.values():
                ring.close()
            self.rings.clear()
        finally:
            self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def check_conservation(counters: dict[str, int]) -> None:
    """Raise :class:`ConservationError` unless ``received`` is the sum of what became of the packets."""
    total = sum(counters[name] for name in FATES)
    if counters["received"] != total:
        parts = " + ".join(f"{name} {counters[name]}" for name in FATES if counters[name])
        raise ConservationError(
            f"counters do not add up: received {counters['received']} packets, but {parts or 'all fates'} makes {total}"
        )
