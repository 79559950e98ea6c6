"""The card's boundary: AXI4-Stream in, AXI4 out, AXI4-Lite for registers (names as in the AMBA specifications)."""

from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.registers import ADDRESS_WIDTH


class MacUser(data.Struct):
    """``tuser`` of an ingress port.  ``error`` counts on the last beat, the others on the first."""

    error: 1  # the MAC found the frame bad (FCS, alignment)
    wire_length: 16  # length before the frame was cut upstream; 0: as received
    timestamp: 64  # wire time of the first byte, ns


class AxiStream(wiring.Signature):
    """A MAC port, seen from the MAC."""

    def __init__(self, data_width: int):
        super().__init__(
            {
                "tdata": Out(data_width),
                "tkeep": Out(data_width // 8),
                "tlast": Out(1),
                "tuser": Out(data.StructLayout({"error": 1, "wire_length": 16, "timestamp": 64})),
                "tvalid": Out(1),
                "tready": In(1),
            }
        )


class AxiWrite(wiring.Signature):
    """The write half of AXI4, seen from the master.  One ID, 0: responses come in order."""

    def __init__(self, data_width: int):
        super().__init__(
            {
                "awid": Out(1),
                "awaddr": Out(64),
                "awlen": Out(8),
                "awsize": Out(3),
                "awburst": Out(2),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(data_width),
                "wstrb": Out(data_width // 8),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bid": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
            }
        )


class AxiLite(wiring.Signature):
    """AXI4-Lite, 32 bits, seen from the master."""

    def __init__(self) -> None:
        super().__init__(
            {
                "awaddr": Out(ADDRESS_WIDTH),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(ADDRESS_WIDTH),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )
