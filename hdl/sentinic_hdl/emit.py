"""The card as Verilog or RTLIL."""

from pathlib import Path

from amaranth.back import rtlil, verilog

from sentinic.abi.profiles import Profile
from sentinic_hdl.card import Card


def write_verilog(profile: Profile, path: Path) -> None:
    """Write the card of ``profile`` as one Verilog file, top module ``card``."""
    path.write_text(verilog.convert(Card(profile), name="card", emit_src=False))


def write_rtlil(profile: Profile, path: Path) -> None:
    """Write the card of ``profile`` as RTLIL: quicker to synthesise than Verilog, and block RAM stays block RAM."""
    path.write_text(rtlil.convert(Card(profile), name="card", emit_src=False))
