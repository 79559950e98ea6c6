"""``sentinic rtl`` and ``sentinic synth``: the card as Verilog, as a bitstream."""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from sentinic.abi.profiles import PROFILES
from sentinic.cli.arguments import path_of


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "rtl",
        help="the card's Verilog",
        description="Write the card's Verilog, one file, top module 'card'. Needs the extra 'hdl'.",
    )
    parser.add_argument("--profile", choices=list(PROFILES), default="wide", help="(default: %(default)s)")
    parser.add_argument("--out", metavar="FILE.v", type=path_of, required=True)
    parser.set_defaults(command=_rtl)
    parser = commands.add_parser(
        "synth",
        help="a bitstream, and what it takes of an FPGA",
        description="Synthesise the card with open tools: Fmax, LUTs, flip-flops and block RAM per block; for an ECP5 "
        "board, a bitstream of the core with a test top. Needs the extras 'hdl' and 'synth'.",
    )
    parser.add_argument("--profile", choices=list(PROFILES), default="board", help="(default: %(default)s)")
    parser.add_argument("--board", metavar="NAME", default="ecpix5", help="ECP5-85 board (default: %(default)s)")
    stages = sorted({stage for profile in PROFILES.values() for stage in profile.stages})
    parser.add_argument(
        "--without", metavar="STAGE", choices=stages, action="append", default=[],
        help=f"leave a stage out: {', '.join(stages)}; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--seeds", metavar="N", type=int, nargs="+",
        help="of the placement; of several, each is placed, and the one with the highest clock routed",
    )  # fmt: skip
    parser.add_argument(
        "--out", metavar="DIR", type=path_of, default=Path("build/synth"), help="(default: %(default)s)"
    )
    parser.set_defaults(command=_synth)


def _rtl(options: argparse.Namespace) -> int:
    emit = _module("sentinic_hdl.emit", "hdl")
    from sentinic.errors import OutputError

    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        emit.write_verilog(PROFILES[options.profile], options.out)
    except OSError as error:
        raise OutputError(f"{options.out}: cannot be written: {error.strerror}") from error
    print(f"written: {options.out}")
    return 0


def _synth(options: argparse.Namespace) -> int:
    synth = _module("sentinic_hdl.synth", "hdl,synth")
    from sentinic.errors import OutputError

    try:
        figures, file = synth.synthesise(
            PROFILES[options.profile], options.board, options.out, leave_out=options.without,
            seeds=options.seeds or (synth.SEED,),
        )  # fmt: skip
    except OSError as error:
        raise OutputError(f"{options.out}: cannot be written: {error.strerror}") from error
    print(synth.show(figures))
    print(f"figures: {file}")
    if figures.clock_missed:
        print(f"synth: Fmax of {figures.fmax_mhz} MHz misses {figures.wanted_mhz} MHz", file=sys.stderr)
        return 1
    return 0


def _module(name: str, extras: str) -> Any:
    """Import a module that needs extras; says which when they are missing."""
    from sentinic.errors import BuildError

    try:
        return import_module(name)
    except ImportError as error:
        raise BuildError(
            f"this command needs {error.name or name}, which is not installed: pip install 'sentinic[{extras}]'"
        ) from error
