"""Config files: what is not understood is refused, with what, where and the limit."""

from pathlib import Path

import pytest

from sentinic.abi.registers import INTERRUPT, RING
from sentinic.abi.verdicts import Protocol
from sentinic.driver.config import Config, load
from sentinic.driver.device import Device
from sentinic.errors import ConfigError
from tests.sw.driver.fake import FakeTransport

FULL = f"""
[card]
hash_key = "{"0123456789ab" * 7 + "cdef"}"
pause = false

[interrupt]
holdoff = 1000
frames = 4

[[ring]]
name = "config-test-web"
ports = [1]
protocols = ["TCP", "udp"]
verdicts = ["CLEAN", "FRAGMENT"]
sample = 10
snap_length = 128
spread_count = 4
spread_index = 3
descriptors = 1024
data_bytes = 1048576

[[ring]]
protocols = []
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "card.toml"
    path.write_text(text)
    return path


def test_every_setting_reaches_its_register(tmp_path: Path) -> None:
    transport = FakeTransport()
    device = Device(transport)
    rings = load(write(tmp_path, FULL)).apply(device, pause=True)
    assert [ring.number for ring in rings] == [0, 1]
    assert rings[0].name == "config-test-web"
    expected = {
        "filter_ports": 2,
        "filter_protocols": 1 << Protocol.TCP | 1 << Protocol.UDP,
        "filter_verdicts": 3,
        "sample": 10,
        "snap_length": 128,
        "spread": 4 | 3 << 8,
        "descriptor_mask": 1023,
        "data_mask": 16383,
        "control": 1,
    }
    assert {name: transport.words[RING.address(name, 0)] for name in expected} == expected
    assert transport.words[RING.address("filter_protocols", 1)] == 0
    assert transport.words[INTERRUPT.address("holdoff")] == 1000
    assert device.registers["card"].control.pause == 0
    assert transport.words[0x40] == 0x89ABCDEF
    device.close()


def test_a_ring_of_descriptors_only_takes_hardly_any_memory_for_data(tmp_path: Path) -> None:
    config = load(write(tmp_path, "[[ring]]\nsnap_length = 0\n[[ring]]\nsnap_length = 0\ndata_bytes = 1048576"))
    assert [ring.snap_length for ring in config.rings] == [0, 0]
    assert [ring.data_bytes for ring in config.rings] == [128 << 10, 1 << 20]


def test_without_a_file_ring_0_takes_everything() -> None:
    transport = FakeTransport()
    device = Device(transport)
    Config().apply(device, pause=True)
    assert device.registers["card"].control.pause == 1
    assert [transport.words[RING.address("control", n)] for n in range(4)] == [1, 0, 0, 0]
    assert transport.words[RING.address("filter_verdicts", 0)] == 0xFFFF
    device.close()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[[ring]]\nsnap_len = 3", ["[[ring]] 0", "unknown key 'snap_len'", "snap_length"]),
        ("[[ring]]\n[[ring]]\nsnap_length = 9601", ["[[ring]] 1: snap_length", "0..9600 bytes", "9601"]),
        ("[[ring]]\nsample = true", ["sample must be an integer in 1..65535"]),
        ("[[ring]]\nsample = 0", ["sample must be an integer in 1..65535", "not 0"]),
        ("[[ring]]\nports = [4]", ["ports: each must be an integer in 0..3, not 4"]),
        ("[[ring]]\nports = 1", ["ports must be a list"]),
        ('[[ring]]\nprotocols = ["TPC"]', ["each must be one of OTHER, ARP", "'TPC'"]),
        ("[[ring]]\ndescriptors = 1000", ["[[ring]] 0", "power of two", "1000"]),
        ("[[ring]]\nspread_count = 2\nspread_index = 2", ["spread_index must be below spread_count (2), not 2"]),
        ('[[ring]]\nname = "a/b"', ["name must be a string"]),
        ('[[ring]]\nname = "a"\n[[ring]]\nname = "a"', ["name of its own"]),
        ("[ring]\nsample = 1", ["[[ring]] tables"]),
        ("[card]\nhash_key = 'abc'", ["[card]: hash_key", "88 hexadecimal digits"]),
        ("[card]\npause = 1", ["pause must be true or false, not 1"]),
        ("[interrupt]\nframes = 70000", ["frames", "0..65535 packets"]),
        ("[crad]", ["unknown key 'crad'"]),
        ("card = 1", ["written [card]"]),
        ("[[ring", ["not valid TOML"]),
        ("[syn_offload]\ntimeout = " + "9" * 5000, ["an integer has too many digits"]),
        ("[[ring]]\nsample = 0x" + "f" * 5000, ["ring 0: sample", f"{-(1 << 63)}..{(1 << 63) - 1}"]),
        (
            '[[statistics]]\nname = "a"\ngroup = ["ipv4_src/' + "1" * 5000 + '"]',
            ["group 0", "1000", "5009"],
        ),
        ('[syn_offload]\ntimeout = "' + "9" * 1_100_000 + 's"', ["syn_offload: timeout", "1000", "1100001"]),
        ('[syn_offload]\ntimeout = "1.00000000000000000000000000001s"', ["timeout", "whole nanoseconds"]),
        ('[syn_offload]\ntimeout = "' + "9" * 900 + 's"', ["timeout", "whole nanoseconds in 1.."]),
        ("a = " + "[" * 5000 + "]" * 5000, ["nested too deep"]),
    ],
)
def test_what_is_not_understood_is_refused_in_a_sentence(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load(path)
    for part in [str(path), *parts]:
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml")


@pytest.mark.parametrize("text", ["[[ring]]\n" * 5, "[[ring]]\nports = [3]"])
def test_more_rings_or_ports_than_the_card_has_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="on this card"):
        load(write(tmp_path, text)).apply(Device(FakeTransport()), pause=True)


def test_a_byte_order_mark_is_no_part_of_a_config(tmp_path: Path) -> None:
    assert load(write(tmp_path, "\ufeff[card]\npause = true")).card.pause is True
