"""``sentinic info``, ``regs`` and ``counters``: what there is to know of a card, its registers and counters."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentinic.abi.counters import counter_table
from sentinic.abi.layout import Block, Field, Register
from sentinic.abi.profiles import PROFILES, Profile
from sentinic.abi.registers import ABI_VERSION, BLOCKS, CARD_ID

if TYPE_CHECKING:
    from sentinic.driver.device import Device


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "info",
        help="profiles, backends, or what a card says of itself",
        description="Without --backend: this installation's ABI, profiles and backends. With it: open a card and say "
        "what it is.",
    )
    _card_options(parser, none="all of them; of a card: wide")
    parser.set_defaults(command=_info)

    parser = commands.add_parser(
        "regs",
        help="the register map, or a card's registers",
        description="Print the register map: addresses, fields, access, reset values, meaning. With --backend, open a "
        "card and print its values too.",
        epilog="examples:\n  sentinic regs                      the blocks\n  sentinic regs ring"
        "                 every register of a receive ring\n  sentinic regs ring.filter_ports    one register\n"
        "  sentinic regs card --backend native    with the values of a card after reset",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("which", metavar="BLOCK[.REGISTER]", nargs="?", help="a block, or a register of one")
    _card_options(parser)
    parser.set_defaults(command=_regs)

    parser = commands.add_parser(
        "counters",
        help="what is counted, or what a run or a ring counted",
        description="Print the card's counters and what they mean; with a summary.json, what that run counted; with "
        "--ring, what a ring that is in use now has delivered and lost.",
    )
    parser.add_argument("summary", metavar="summary.json", nargs="?", type=Path, help="a run's summary, or its folder")
    parser.add_argument("--ring", metavar="NAME", help="attach to a ring by its name")
    parser.add_argument("--profile", choices=list(PROFILES), default="wide", help="(default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="of a run, counters that are zero as well")
    parser.set_defaults(command=_counters)


def _card_options(parser: argparse.ArgumentParser, none: str = "wide") -> None:
    """``none`` says what is taken when no profile is named."""
    parser.add_argument("--backend", metavar="NAME", help="open a card: native or cocotb")
    parser.add_argument("--profile", choices=list(PROFILES), help=f"(default: {none})")


def _info(options: argparse.Namespace) -> int:
    from sentinic.driver.control import version_text
    from sentinic.driver.transport import available

    if options.backend:
        with _open(options) as device:
            have = device.capabilities
            print(f"id             {CARD_ID:#010x}")
            print(f"ABI version    {version_text(have.abi_version)} (this driver: {version_text(ABI_VERSION)})")
            print(f"profile        {have.profile.name} (number {have.profile.number})")
            print(f"data path      {8 * have.beat_bytes} bits, meant for {have.profile.clock_hz / 1e6:g} MHz")
            print(f"ports, rings   {have.ports}, {have.rings}")
            print(f"stages         {have.stages}: {', '.join(have.profile.stages)}")
            print(f"packet store   {have.store_cells} cells of {have.cell_bytes} bytes")
            print(f"counters       {have.counters}")
        return 0
    print(f"ABI version    {version_text(ABI_VERSION)}")
    print(f"backends       {', '.join(available()) or 'none installed'}")
    print("profiles")
    for profile in [PROFILES[options.profile]] if options.profile else PROFILES.values():
        print(
            f"  {profile.name:<12} {profile.data_width} bits at {profile.clock_hz / 1e6:g} MHz, {profile.ports} ports, "
            f"{profile.rings} rings, {profile.store_cells} cells of {profile.cell_bytes} bytes"
        )
    return 0


def _regs(options: argparse.Namespace) -> int:
    from sentinic.errors import ConfigError

    device = _open(options) if options.backend else None
    try:
        if options.which is None and device is None:
            for block in BLOCKS:
                where = f"{block.base:#06x}" + (f" + {block.stride:#x} n" if block.count > 1 else "")
                print(f"{block.name:<14} {where:<18} {_plain(block.doc)}")
            print("\nsentinic regs BLOCK shows a block's registers.")
            return 0
        name, _, register = (options.which or "").partition(".")
        blocks = [block for block in BLOCKS if name in ("", block.name)]
        if not blocks:
            raise ConfigError(f"register block must be one of {', '.join(item.name for item in BLOCKS)}, not {name!r}")
        if register and register not in [item.name for item in blocks[0].registers]:
            known = ", ".join(item.name for item in blocks[0].registers)
            raise ConfigError(f"block {name!r} has no register {register!r}; it has {known}")
        for block in blocks:
            _print_block(block, register, device)
    finally:
        if device is not None:
            device.close()
    return 0


def _print_block(block: Block, only: str, device: "Device | None") -> None:
    count = (device.capabilities.rings if block.name == "ring" else block.count) if device else 1
    print(f"{block.name}: {_plain(block.doc)}")
    for index in range(count):
        if device and block.count > 1:
            print(f"{block.name} {index}:")
        for register in block.registers:
            if only in ("", register.name):
                _print_register(block, register, index, device)


def _print_register(block: Block, register: Register, index: int, device: "Device | None") -> None:
    step = f" + {block.stride:#x} n" if block.count > 1 and not device else ""
    value = ""
    if device:
        word = device.registers[block.name][index].read_word(register.name)
        value = f" = {word:#010x}"
    print(f"  {block.address(register.name, index):#06x}{step}  {register.name}{value}  {_plain(register.doc)}")
    for field in register.fields:
        if field.name == "value" and field.doc == register.doc:
            print(f"      {_bits(field)}  {_traits(field)}")
        else:
            print(f"      {_bits(field)}  {field.name}  {_plain(field.doc)}  {_traits(field)}")


def _plain(doc: str) -> str:
    """For a terminal: the marks around code are the documentation's."""
    return doc.replace("``", "")


def _bits(field: Field) -> str:
    top = field.lsb + field.width - 1
    return f"{top}..{field.lsb}" if field.width > 1 else str(field.lsb)


def _traits(field: Field) -> str:
    unit = f", {field.unit}" if field.unit else ""
    return f"[{field.access.value}, reset {field.reset:#x}{unit}]"


def _counters(options: argparse.Namespace) -> int:
    if options.ring:
        return _ring_counters(options.ring)
    if options.summary is None:
        _print_counters(PROFILES[options.profile], None, everything=True)
        return 0
    from sentinic.errors import ConfigError

    path = options.summary / "summary.json" if options.summary.is_dir() else options.summary
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        profile, counters = PROFILES[summary["profile"]], dict(summary["counters"])
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: is not the summary of a run") from error
    _print_counters(profile, counters, everything=options.all)
    from sentinic.driver.device import check_conservation

    check_conservation(counters)
    return 0


def _print_counters(profile: Profile, counters: dict[str, int] | None, *, everything: bool) -> None:
    for name, counter in counter_table(profile):
        value = counters.get(name, 0) if counters is not None else None
        if value or everything:
            number = "" if value is None else f"{value:>16,}  "
            print(f"{number}{name:<26} {_plain(counter.doc)} [{counter.unit}]")


def _ring_counters(name: str) -> int:
    from sentinic.driver.attach import attach

    with attach(name) as ring:
        statistics = ring.statistics
        page = ring.page
        print(f"ring {page['ring']} {name!r}, {'running' if ring.running else 'closed'}")
        print(f"{page['descriptor_head']:>16,}  written by the card")
        print(f"{page['descriptor_tail']:>16,}  released by its consumer")
        for field in ("delivered", "sampled_out", "lost", "errors"):
            print(f"{getattr(statistics, field):>16,}  {field} (as of the owner's last snapshot)")
    return 0


def _open(options: argparse.Namespace) -> "Device":
    from sentinic.driver.device import Device

    profile = options.profile or "wide"
    print(f"opening a {profile} card ({options.backend})", file=sys.stderr)
    return Device.open(options.backend, profile)
