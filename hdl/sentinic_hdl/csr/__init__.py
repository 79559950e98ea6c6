"""Registers and counters, decoded as ``sentinic.abi.registers`` says."""

from sentinic_hdl.csr.bank import CsrBus, RegisterBank
from sentinic_hdl.csr.bridge import AxiLiteBridge
from sentinic_hdl.csr.counters import CounterBank

__all__ = ["AxiLiteBridge", "CounterBank", "CsrBus", "RegisterBank"]
