"""The driver of SYN offload, over a card whose registers do nothing."""

import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest

from sentinic.abi.codec import decode_bits
from sentinic.abi.descriptor import DESCRIPTOR
from sentinic.abi.registers import RING, SYN_OFFLOAD, SYN_OFFLOAD_KEY_WORDS
from sentinic.abi.syn_offload import RECORD, Reason
from sentinic.abi.verdicts import Kind
from sentinic.driver.config import SynOffloadConfig, load
from sentinic.driver.device import Device
from sentinic.driver.records import DESCRIPTOR_DTYPE
from sentinic.driver.syn_offload import (
    KEY_BITS,
    Mode,
    SynOffload,
    SynOffloadShape,
    are_records,
    read_records,
)
from sentinic.errors import ConfigError, DeviceError, StageMissingError
from tests.sw.driver.fake import FakeTransport
from tests.vectors import load as load_vectors

REPORTS = load_vectors("reports")


def card() -> FakeTransport:
    transport = FakeTransport()
    transport.words[SYN_OFFLOAD.address("shape")] = 10 | 4 << 8 | 128 << 16
    return transport


def value(transport: FakeTransport, *names: str) -> int:
    return sum(transport.words[SYN_OFFLOAD.address(name)] << 32 * n for n, name in enumerate(names))


def test_a_build_without_the_stage_is_told_of() -> None:
    with pytest.raises(StageMissingError, match="this build of the wide card has no SYN offload stage"):
        SynOffload(Device(FakeTransport()))


def test_every_setting_reaches_its_register() -> None:
    transport = card()
    offload = SynOffload(Device(transport), secret=(1 << KEY_BITS) - 5)
    assert offload.shape == SynOffloadShape(attempts=1024, ways=4, frame_bytes=128)
    offload.enable(timeout=(3 << 32) + 7)
    names = [f"hash_key{n}" for n in range(SYN_OFFLOAD_KEY_WORDS)]
    assert value(transport, *names) == (1 << KEY_BITS) - 5
    assert value(transport, "timeout_low", "timeout_high") == (3 << 32) + 7
    assert value(transport, "control") == 1


def test_compact_mode_is_a_bit_and_records_go_to_the_rings_that_are_there_for_them() -> None:
    transport = card()
    device = Device(transport)
    offload = SynOffload(device)
    ring = device.open_ring(1, descriptors=64, data_bytes=1 << 17)
    offload.to_ring(ring)
    offload.enable(mode=Mode.COMPACT)
    assert value(transport, "control") == 3
    assert transport.words[RING.address("extras", 1)] == 4
    offload.to_ring(ring, wanted=False)
    offload.enable(mode=Mode.SYN)
    assert value(transport, "control") == 1
    assert transport.words[RING.address("extras", 1)] == 0


def in_ring(frame: bytes) -> tuple[npt.NDArray[np.void], npt.NDArray[np.uint8]]:
    """A report as it lies in a ring: its descriptor, and the data ring with something before it."""
    descriptors = np.zeros(1, DESCRIPTOR_DTYPE)
    descriptors["offset"], descriptors["captured_length"] = 128, len(frame)
    descriptors["status"] = int(Kind.REPORT) << DESCRIPTOR.bit("status", "kind").lsb
    return descriptors, np.frombuffer(bytes(128 + 64) + frame + bytes(64), np.uint8).copy()


def test_a_record_is_read_as_it_was_written_by_hand() -> None:
    descriptors, data = in_ring(REPORTS["one_attempt"])
    assert are_records(descriptors, data).tolist() == [True]
    found = read_records(descriptors, data)
    assert found.heads["sequence"].tolist() == [9]
    assert found.at.tolist() == [128 + 64 + 64]
    [record] = found.items
    told = {name: int(record[name]) for name in ("reason", "ip_length", "retransmissions", "source_port")}
    assert told == {"reason": Reason.EXPIRED, "ip_length": 60, "retransmissions": 2, "source_port": 49152}
    assert decode_bits(RECORD.record.bits["origin"], int(record["origin"])) == {
        "port": 1, "ip_version": 1, "window_zero": 1,
    }  # fmt: skip
    assert (int(record["first"]), int(record["last"])) == (1_699_999_995 * 10**9, 1_699_999_998 * 10**9)
    assert record["source"].tobytes() == bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 1))
    assert (int(record["sequence"]), int(record["tcp_flags"])) == (0x89ABCDEF, 0xC2)


def test_groups_are_no_records() -> None:
    descriptors, data = in_ring(REPORTS["one_group"])
    assert are_records(descriptors, data).tolist() == [False]
    with pytest.raises(DeviceError, match="a report of 1 attempts must be 130 bytes"):
        read_records(descriptors, data)


@pytest.mark.parametrize(("at", "new"), [(12, 0), (16, 0x10), (18, 2), (64, 0x11)])
def test_a_report_of_attempts_that_is_none_is_refused(at: int, new: int) -> None:
    descriptors, data = in_ring(REPORTS["one_attempt"])
    data[128 + 64 + at] = new
    with pytest.raises(DeviceError, match="report"):
        read_records(descriptors, data)


def test_the_secret_is_another_one_each_time() -> None:
    keys = set()
    for _ in range(3):
        transport = card()
        SynOffload(Device(transport))
        keys.add(value(transport, *(f"hash_key{n}" for n in range(SYN_OFFLOAD_KEY_WORDS))))
    assert len(keys) == 3


@pytest.mark.parametrize("timeout", [0, -1, 1 << 64, 5.5, "5s", None])
def test_a_timeout_out_of_range_is_refused_and_leaves_the_card_as_it_is(timeout: Any) -> None:
    transport = card()
    offload = SynOffload(Device(transport))
    before = value(transport, "timeout_low", "timeout_high")
    refused = f"timeout of SYN offload must be 1..18446744073709551615 ns, whole, not {timeout!r}"
    with pytest.raises(ConfigError, match=re.escape(refused)):
        offload.enable(timeout)
    assert value(transport, "timeout_low", "timeout_high") == before


def test_a_mode_is_one_of_two() -> None:
    with pytest.raises(ConfigError, match=re.escape("must be Mode.SYN or Mode.COMPACT, not 'compact'")):
        SynOffload(Device(card())).enable(mode=cast(Mode, "compact"))


def test_the_key_of_a_table_that_holds_syns_is_not_changed() -> None:
    transport = card()
    transport.words[SYN_OFFLOAD.address("holding")] = 3
    with pytest.raises(DeviceError, match="3 SYNs are held"):
        SynOffload(Device(transport))


def test_the_config_says_whether_and_for_how_long(tmp_path: Path) -> None:
    path = tmp_path / "card.toml"
    for text, wanted in (
        ("", SynOffloadConfig(enabled=False, timeout=5 * 10**9)),
        ("[syn_offload]\nenabled = true", SynOffloadConfig(enabled=True, timeout=5 * 10**9)),
        ('[syn_offload]\nenabled = true\ntimeout = "1.5s"', SynOffloadConfig(enabled=True, timeout=1_500_000_000)),
        ('[syn_offload]\nmode = "compact"', SynOffloadConfig(enabled=False, mode=Mode.COMPACT)),
    ):
        path.write_text(text)
        assert load(path).syn_offload == wanted


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("enabled = 1", "[syn_offload]: enabled must be true or false, not 1"),
        ("timeout = 5", "timeout must be a number with a unit"),
        ("timeout = '-5s'", "timeout must be whole nanoseconds in 1..18446744073709551615, not '-5s'"),
        ("timeout = '0s'", "timeout must be whole nanoseconds in 1..18446744073709551615, not '0s'"),
        ("time_out = '5s'", "unknown key 'time_out'; known are enabled, timeout, mode"),
        ("mode = 'record'", "mode must be one of syn, compact, not 'record'"),
        ("mode = true", "mode must be one of syn, compact, not True"),
    ],
)
def test_a_config_that_is_not_understood_is_refused_in_a_sentence(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "card.toml"
    path.write_text(f"[syn_offload]\n{text}\n")
    with pytest.raises(ConfigError) as error:
        load(path)
    assert part in str(error.value)
