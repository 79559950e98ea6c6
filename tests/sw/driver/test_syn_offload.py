"""The driver of SYN offload, over a card whose registers do nothing."""

from pathlib import Path

import pytest

from sentinic.abi.registers import SYN_OFFLOAD, SYN_OFFLOAD_KEY_WORDS
from sentinic.driver.config import SynOffloadConfig, load
from sentinic.driver.device import Device
from sentinic.driver.syn_offload import KEY_BITS, SynOffload, SynOffloadShape
from sentinic.errors import ConfigError, DeviceError, StageMissingError
from tests.sw.driver.fake import FakeTransport


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


def test_the_secret_is_another_one_each_time() -> None:
    keys = set()
    for _ in range(3):
        transport = card()
        SynOffload(Device(transport))
        keys.add(value(transport, *(f"hash_key{n}" for n in range(SYN_OFFLOAD_KEY_WORDS))))
    assert len(keys) == 3


@pytest.mark.parametrize("timeout", [0, -1, 1 << 64])
def test_a_timeout_out_of_range_is_refused(timeout: int) -> None:
    with pytest.raises(ConfigError, match=f"timeout of SYN offload must be 1..18446744073709551615 ns, not {timeout}"):
        SynOffload(Device(card())).enable(timeout)


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
    ):
        path.write_text(text)
        assert load(path).syn_offload == wanted


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("enabled = 1", "[syn_offload]: enabled must be true or false, not 1"),
        ("timeout = 5", "timeout must be a number with a unit"),
        ("time_out = '5s'", "unknown key 'time_out'; known are enabled, timeout"),
    ],
)
def test_a_config_that_is_not_understood_is_refused_in_a_sentence(tmp_path: Path, text: str, part: str) -> None:
    path = tmp_path / "card.toml"
    path.write_text(f"[syn_offload]\n{text}\n")
    with pytest.raises(ConfigError) as error:
        load(path)
    assert part in str(error.value)
