"""The stub card's models, built once for all tests of the harness."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinic.driver.memory import DmaRegion
from sentinic_sim.build import Design, build_model, card_design
from sentinic_sim.native import NativeTransport

STUB = Design(
    "stub", "tests.sim.stub_card:StubCard", (Path(__file__).with_name("stub_card.py"), *card_design().sources[1:])
)

OpenStub = Callable[..., "StubBench"]


class StubBench:
    """The stub behind a transport, with its two regions."""

    def __init__(self, transport: NativeTransport, *, data_bytes: int, descriptors: int, **alloc: Any) -> None:
        self.transport = transport
        self.beat = transport.profile.beat_bytes
        self.data: DmaRegion = transport.alloc("data", data_bytes, **alloc)
        self.descriptors: DmaRegion = transport.alloc("descriptors", 64 * descriptors, watch=True)
        for address, region in ((0x08, self.data), (0x10, self.descriptors)):
            transport.write(address, region.bus_address & 0xFFFF_FFFF)
            transport.write(address + 4, region.bus_address >> 32)

    def enable(self, *, sink: bool = False) -> None:
        self.transport.write(4, 1 | sink << 1)


@pytest.fixture(params=["wide", "board"])
def profile_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_stub(profile_name: str) -> Iterator[OpenStub]:
    """Opens stub cards, and closes them."""
    opened: list[NativeTransport] = []

    def open_one(
        *, data_bytes: int = 1 << 20, descriptors: int = 1024, alloc: dict[str, Any] | None = None, **options: Any
    ) -> StubBench:
        transport = NativeTransport(build_model(profile_name, design=STUB), **options)
        opened.append(transport)
        return StubBench(transport, data_bytes=data_bytes, descriptors=descriptors, **(alloc or {}))

    yield open_one
    for transport in opened:
        transport.close()
