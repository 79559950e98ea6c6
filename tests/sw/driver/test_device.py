"""The device: found out first, then configured and counted."""

import pytest

from sentinic.abi.counters import counter_names
from sentinic.abi.profiles import PROFILES
from sentinic.abi.registers import RING, SNAPSHOT
from sentinic.driver.device import DEFAULT_HASH_KEY, Device, check_conservation
from sentinic.driver.frames import FrameBatch
from sentinic.errors import AbiMismatchError, ConservationError, DeviceError, RegisterError
from tests.sw.driver.fake import FakeTransport


@pytest.mark.parametrize("profile", PROFILES)
def test_a_card_tells_its_profile_by_number(profile: str) -> None:
    device = Device(FakeTransport(profile))
    assert device.profile is PROFILES[profile]
    assert device.capabilities.rings == 4
    assert device.capabilities.store_cells == PROFILES[profile].store_cells


def test_another_id_is_refused_with_both_ids_and_both_versions() -> None:
    with pytest.raises(AbiMismatchError) as error:
        Device(FakeTransport(card_id=0xDEADBEEF, abi_version=0x0002_0003))
    for part in ("0xdeadbeef", "0x534e4943", "2.3", "1.0"):
        assert part in str(error.value)


@pytest.mark.parametrize(("version", "accepted"), [(0x0001_0000, True), (0x0001_0007, True), (0x0002_0000, False)])
def test_only_another_major_abi_version_is_refused(version: int, accepted: bool) -> None:
    transport = FakeTransport(abi_version=version)
    if accepted:
        assert Device(transport).capabilities.abi_version == version
    else:
        with pytest.raises(AbiMismatchError):
            Device(transport)


def test_a_refused_card_is_not_written() -> None:
    transport = FakeTransport(card_id=1)
    with pytest.raises(AbiMismatchError):
        Device(transport)
    assert not transport.writes


def test_an_unknown_profile_number_is_refused() -> None:
    transport = FakeTransport()
    transport.words[0x08] = 99
    with pytest.raises(DeviceError, match=r"1 \(wide\), 2 \(board\), not 99"):
        Device(transport)


def test_registers_are_reached_by_name() -> None:
    transport = FakeTransport()
    device = Device(transport)
    device.registers["ring"][2].filter_ports = 0b01
    assert transport.words[RING.address("filter_ports", 2)] == 1
    assert device.registers["ring"][2].filter_ports == 1
    device.registers["ring"][1].spread.index = 3
    device.registers["ring"][1].spread.count = 4
    assert transport.words[RING.address("spread", 1)] == 4 | 3 << 8
    assert device.registers["card"].capabilities.ports == 2
    assert device.registers.read("ring", "spread", "index", index=1) == 3


@pytest.mark.parametrize(
    ("block", "index", "register", "field", "value", "message"),
    [
        ("ring", 0, "filter_ports", "value", 16, "ring0.filter_ports must be 0..15, not 16"),
        ("ring", 0, "sample", "value", -1, "ring0.sample must be 0..65535 packets, not -1"),
        ("ring", 4, "sample", "value", 1, "ring index must be 0..3 on this card, not 4"),
        ("ring", 0, "status", "fault", 1, "ring0.status.fault is read-only"),
        ("ring", 0, "spread", "value", 1, "no field 'value'; it has count, index"),
        ("ring", 0, "nothing", "value", 1, "no register 'nothing'"),
        ("rings", 0, "sample", "value", 1, "must be one of card, interrupt"),
    ],
)
def test_a_register_access_out_of_range_says_the_limit(
    block: str, index: int, register: str, field: str, value: int, message: str
) -> None:
    transport = FakeTransport()
    device = Device(transport)
    with pytest.raises(RegisterError, match=message):
        device.registers.write(block, register, value, field, index)
    assert not transport.writes


def test_hash_key_word_0_holds_the_lowest_bits() -> None:
    transport = FakeTransport()
    Device(transport).set_hash_key()
    assert sum(transport.words[0x40 + 4 * n] << 32 * n for n in range(11)) == DEFAULT_HASH_KEY


def test_a_snapshot_has_every_counter_by_its_abi_name_in_order() -> None:
    device = Device(FakeTransport())
    device.open_ring(0).enable()
    device.enable()
    device.transport.send(FrameBatch.from_frames([bytes(60)] * 3 + [bytes(5)]))
    device.transport.step()
    counters = device.snapshot()
    assert list(counters) == counter_names(device.profile)
    assert counters["received"] == 4
    assert counters["delivered"] == counters["ring0.delivered"] == 3
    assert counters["dropped_runt"] == 1
    check_conservation(counters)
    device.close()


def test_a_card_that_has_no_snapshot_to_give_does_not_hang_the_driver() -> None:
    transport = FakeTransport()
    device = Device(transport)
    transport.words[SNAPSHOT.address("busy")] = 1
    with pytest.raises(DeviceError, match="not copied"):
        device.snapshot()


def test_counters_that_do_not_add_up_are_named() -> None:
    device = Device(FakeTransport(miscount=2))
    with pytest.raises(ConservationError, match="received 2 packets"):
        check_conservation(device.snapshot())


def test_closing_gives_the_shared_memory_back() -> None:
    transport = FakeTransport()
    with Device(transport) as device:
        ring = device.open_ring(0)
        ring.enable()
        device.close()
    assert transport.closed
    assert not device.rings
