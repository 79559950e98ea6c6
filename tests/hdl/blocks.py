"""The card's blocks side by side in one design, all their ports outside, so that one model serves all their benches."""

from dataclasses import replace
from pathlib import Path

from amaranth.hdl import Module
from amaranth.hdl._ast import Statement
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi import registers as abi
from sentinic.abi.counters import counter_names
from sentinic.abi.profiles import Profile
from sentinic_hdl.axi import AxiLite
from sentinic_hdl.csr import AxiLiteBridge, CounterBank, RegisterBank
from sentinic_hdl.ingress.merge import Merge
from sentinic_hdl.ingress.port import IngressPort
from sentinic_hdl.interrupt import Interrupt
from sentinic_hdl.meta import frame_beat
from sentinic_hdl.parser import Parser
from sentinic_hdl.rings.select import Select
from sentinic_hdl.rings.writer import Writer
from sentinic_hdl.slice import Slice
from sentinic_hdl.store import PacketStore
from sentinic_sim.build import Design, package_folder

__all__ = ["BLOCKS", "COUNTER_BITS", "PORT", "RING_BANK", "Blocks", "small"]

#: What the ingress port says its number is, and which ring's registers are among the blocks.
PORT, RING_BANK = 2, 1
#: Bits of the counters' increments that have more than one.
COUNTER_BITS = {"received": 2, "held": 2, "port0.received_bytes": 14, "ring1.delivered_bytes": 14}
#: All blocks of a profile, for the cocotb build.
BLOCKS = Design(
    "blocks",
    "tests.hdl.blocks:Blocks",
    (package_folder("sentinic_hdl"), package_folder("sentinic.abi"), Path(__file__)),
)


def small(profile: Profile) -> Profile:
    """``profile`` with a port's buffer and a store that a few long frames fill."""
    return replace(
        profile,
        port_fifo_bytes=16384,
        port_frames=profile.port_frames // 2,
        store_cells=96,
        syn_attempts=min(profile.syn_attempts, 8),
    )


def outward(signature: wiring.Signature, outer, inner) -> list[Statement]:
    """Makes ``outer`` of the ports of ``inner``; ``connect`` cannot, as it does not flip an array of interfaces."""
    pairs = zip(signature.flatten(outer), signature.flatten(inner), strict=True)
    return [there.eq(here) if member.flow == In else here.eq(there) for (_, member, here), (_, _, there) in pairs]


class Merged(wiring.Component):
    """Two ports' frames into one stream, and the register slice behind, as in the card."""

    def __init__(self, profile: Profile):
        self._merge = Merge(profile=profile)
        self._slice = Slice(frame_beat(profile))
        ports = self._merge.signature.members
        super().__init__({name: ports[name] for name in ("i0", "i1", "o")})

    def elaborate(self, platform):
        m = Module()
        m.submodules.merge = merge = self._merge
        m.submodules.slice = cut = self._slice
        wiring.connect(m, wiring.flipped(self.i0), merge.i0)
        wiring.connect(m, wiring.flipped(self.i1), merge.i1)
        wiring.connect(m, merge.o, cut.i)
        wiring.connect(m, cut.o, wiring.flipped(self.o))
        return m


class RegisterFile(wiring.Component):
    """Bridge, counters and register banks; of the latter every member but the bus."""

    def __init__(self, profile: Profile):
        widths = {name: COUNTER_BITS.get(name, 1) for name in counter_names(profile)}
        self._parts = {
            "card": RegisterBank(block=abi.CARD),
            "interrupt": RegisterBank(block=abi.INTERRUPT),
            "ring": RegisterBank(block=abi.RING, index=RING_BANK),
            "counters": CounterBank(profile=profile, widths=widths),
        }
        members = {"axi": In(AxiLite())}
        for name, part in self._parts.items():
            others = {key: member for key, member in part.signature.members.items() if key != "bus"}
            members[name] = Out(wiring.Signature(others))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        m.submodules.bridge = bridge = AxiLiteBridge()
        wiring.connect(m, wiring.flipped(self.axi), bridge.axi)
        hit, read_data = 0, 0
        for name, part in self._parts.items():
            m.submodules[name] = part
            port = getattr(self, name)
            m.d.comb += outward(port.signature, port, part)
            for key in ("address", "access", "read", "write", "write_data"):
                m.d.comb += getattr(part.bus, key).eq(getattr(bridge.bus, key))
            hit, read_data = hit | part.bus.hit, read_data | part.bus.read_data
        m.d.comb += [bridge.bus.hit.eq(hit), bridge.bus.read_data.eq(read_data)]
        return m


class Blocks(wiring.Component):
    """Each block by itself; its port ``member`` is ``block__member`` of the model."""

    def __init__(self, profile: Profile):
        profile = small(profile)
        self._blocks = {
            "port": IngressPort(profile=profile, port=PORT),
            "merged": Merged(profile),
            "store": PacketStore(profile=profile),
            "parser": Parser(profile),
            "select": Select(profile=profile),
            "writer": Writer(profile=profile),
            "registers": RegisterFile(profile),
            "interrupt": Interrupt(profile=profile),
        }
        super().__init__({name: Out(block.signature) for name, block in self._blocks.items()})

    def elaborate(self, platform):
        m = Module()
        for name, block in self._blocks.items():
            m.submodules[name] = block
            m.d.comb += outward(block.signature, getattr(self, name), block)
        return m
