"""What a ring's settings keep from it: asked by whoever counts packets on what a ring delivers."""

from sentinic.abi.registers import SYN_OFFLOAD
from sentinic.abi.verdicts import Protocol, Verdict
from sentinic.driver.device import Device
from sentinic.driver.registers import RegisterBlock
from sentinic.driver.ring import Ring
from sentinic.driver.stage import read_shape
from sentinic.errors import ConfigError, StageMissingError


def lacks(ring: Ring, *, syn_offload: bool | None = None) -> list[str]:
    """What keeps packets that the card sees from a ring, by the keys of its config.

    ``syn_offload``: the card is to hold SYNs; ``None``: as it does now.
    """
    registers, found = ring.registers, []
    ports = range(ring.device.capabilities.ports)
    for key, numbers in (("ports", ports), ("protocols", Protocol), ("verdicts", Verdict)):
        every = sum(1 << number for number in numbers)
        if registers.read(f"filter_{key}") & every != every:
            found.append(key)
    if registers.read("sample") > 1:
        found.append("sample")
    if registers.read("spread", "count") > 1:
        found.append("spread_count")
    if syn_offload is None:
        syn_offload = _holds_syns(ring.device)
    if syn_offload and not registers.read("extras", "raw_syns"):
        found.append("no raw_syns")
    return found


def check_bytes(ring: Ring, place: str, why: str) -> None:
    """Raise :class:`ConfigError` unless the ring gets the bytes of all its packets; ``why`` says what needs them."""
    if not ring.snap_length:
        raise ConfigError(f"{place}: snap_length must be at least 1 for {why}, not 0 (descriptors only)")
    if ring.registers.read("extras", "bare_plain"):
        raise ConfigError(f"{place}: bare_plain must be false for {why}")


def _holds_syns(device: Device) -> bool:
    try:
        read_shape(device, SYN_OFFLOAD, "SYN offload")
    except StageMissingError:
        return False
    registers = RegisterBlock(SYN_OFFLOAD, 1, device.transport.read, device.transport.write)
    return bool(registers.read("control", "enable"))
