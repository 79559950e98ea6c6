"""What every stage looks like from outside."""

from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sentinic_hdl.csr.bank import CsrBus
from sentinic_hdl.meta import PacketMeta


class StageSignature(wiring.Signature):
    """A stage: metas in, metas out, and a window of registers.

    Members
    -------
    i, o: metas; a stage accepts one a cycle as long as ``o`` is taken
    bus: the stage's registers
    """

    def __init__(self):
        super().__init__(
            {
                "i": In(stream.Signature(PacketMeta)),
                "o": Out(stream.Signature(PacketMeta)),
                "bus": In(CsrBus()),
            }
        )
