"""``sentinic run``."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sentinic.abi.profiles import PROFILES
from sentinic.cli.arguments import path_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sentinic.run.pipeline import Outcome
    from sentinic.run.session import Replay, Result

_MOVING = "through the card"
_COMPILING = "compiling reader and monitor, once"
#: What takes less is not worth a line.
_TOLD_SECONDS = 0.01
_OUTPUTS = ("packets", "jsonl", "conn", "stats", "summary", "report")
#: Files that tell of no other ring.
_OF_RING_0 = ("packets.pcapng", "conn.log", "report.html")

_DESCRIPTION = """\
Run captures through the card, and write what came out of its rings.

Captures are pcap or pcapng, plain or gzip, '-' for standard input. Ethernet is shown to the card as it is; loopback,
raw IP, Linux cooked and PPP get a synthetic Ethernet header, and lose it again on the way out. Wire time is the
capture's."""

_EPILOG = """\
what is written to --out (choose with --write, names in brackets):
  packets.pcapng  [packets]  what ring 0 delivered: byte-identical to the input, unless a ring cuts or filters
  packets.jsonl   [jsonl]    a line a delivered frame of every ring, with the decoded tag (only when asked for)
  conn.log        [conn]     connections of ring 0 as Zeek logs them, in JSON
  stats.jsonl     [stats]    what the rules of [[statistics]] counted, a line a rule, interval and group
  summary.json    [summary]  counters by their ABI names, conservation, cycles, speeds
  report.html     [report]   one page to look at: the card, and the traffic of ring 0

what is left out, and counted: frames of no bytes, and those that a capture snapped below 14 bytes, an Ethernet header.

several captures: those of one port follow each other; ports are merged by time.
  --port-map 0,1             first capture to port 0, second to port 1
  --port-map if0=0,if1=1     the interfaces of a pcapng capture to ports

--config names a TOML file; all of it is optional:
  [card]
  hash_key = "..."           88 hexadecimal digits
  pause = true               hold the wire when the card, or a ring, is full, rather than drop
  [interrupt]                for programs that wait for a ring
  holdoff = 50000            ns from a ring's first new packet to the interrupt at the latest
  frames = 32                packets that interrupt at once; 0: only the holdoff counts
  [[ring]]                   ring 0; the next [[ring]] is ring 1
  name = "web"               other processes can attach by it
  ports = [0, 1]             protocols = ["TCP", "UDP"]     verdicts = ["CLEAN"]
  sample = 1                 one packet in this many
  snap_length = 9600         bytes; 0: descriptors only, no bytes of packets (for ring 0: no conn, no report)
  bare_plain = true          plain TCP segments as descriptors only; left out: if neither packets nor jsonl are written
  spread_count = 4           spread_index = 0       this ring takes a quarter of the flows
  descriptors = 65536        data_bytes = 33554432  attempts = true  to get records of SYN offload (ring 0 does)
  raw_syns = true            to get the SYNs of SYN offload as they are sent, not afterwards or as records
  crossings = true           to get each packet that crosses a threshold, whatever this ring filters and samples
  [[statistics]]             a rule that counts, on the card or in software; OpenFlow's names of fields
  name = "web"               match = { tcp_dst = 80, ipv4_dst = "10.0.0.0/8" }
  group = ["ipv4_src/24"]    report_every = "10s"       threshold = { packets = 1000, bytes = 1000000 }
  bidirectional = false      cumulative = false
  [syn_offload]              connection attempts wait on the card, if it has the stage, until somebody answers
  enabled = true             timeout = "5s"             of wire time
  mode = "compact"           those that nobody answers come as records, many to a frame; "syn": each as its SYN

examples:
  sentinic run capture.pcapng --out out
  sentinic run a.pcap b.pcap --port-map 0,1 --out out --write conn,summary
  zcat big.pcap.gz | sentinic run - --out out --limit 100000
  sentinic run capture.pcap --out out --backend cocotb       # the same card, in the verification bench
  sentinic run capture.pcap --out out --limit 20 --wave card.fst && gtkwave card.gtkw
"""


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "run",
        help="captures through the card, into files",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("captures", metavar="CAPTURE", nargs="+", help="pcap or pcapng file, or '-'")
    parser.add_argument("--out", metavar="DIR", type=path_of, required=True, help="folder to write to; made if needed")
    parser.add_argument(
        "--profile", choices=list(PROFILES), default="wide", help="which build of the card (default: %(default)s)"
    )
    parser.add_argument(
        "--backend",
        metavar="NAME",
        default="native",
        help="how the card is run: native (fast) or cocotb (the verification bench) (default: %(default)s)",
    )
    parser.add_argument("--config", metavar="FILE.toml", type=path_of, help="set the card and its rings up (see below)")
    parser.add_argument("--port-map", metavar="MAP", help="which ingress port frames come in by (see below)")
    parser.add_argument(
        "--tags",
        choices=("keep", "strip"),
        default="strip",
        help="packets.pcapng with the card's tags, or the frames as they came in (default: %(default)s)",
    )
    parser.add_argument(
        "--write",
        metavar="LIST",
        help=f"outputs, separated by commas, of {', '.join(_OUTPUTS)} (default: all but jsonl)",
    )
    parser.add_argument("--limit", metavar="N", type=_positive, help="stop after so many frames")
    parser.add_argument(
        "-C",
        "--ignore-checksums",
        action="store_true",
        help="conn.log counts packets with wrong checksums as well, as Zeek's -C does",
    )
    parser.add_argument(
        "--wave",
        metavar="FILE.fst",
        type=path_of,
        help="write waveforms, and FILE.gtkw to look at them with GTKWave; slows the card down",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar, no closing lines")
    parser.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """``sentinic run``; returns the exit code."""
    from sentinic.cli import EXIT_CONSERVATION, EXIT_ENDED_EARLY, fail
    from sentinic.errors import ConservationError
    from sentinic.jit import compiling
    from sentinic.run.session import replay
    from sentinic.run.stopping import exit_code, name_of

    request = _request(options)
    with _progress(options.quiet) as (tell, compiles), compiling(compiles):
        result = replay(request, tell)
    if not options.quiet and result.summary:
        _closing(result, request)
    if isinstance(result.error, ConservationError):
        return fail(result.error, EXIT_CONSERVATION)
    if result.error is not None:
        missing = f"; {' and '.join(result.missing)} could not be written" if result.missing else ""
        more = "".join(f"; {error}" for error in result.more_errors)
        return fail(f"{result.error}{more}{missing}", EXIT_ENDED_EARLY)
    if result.stopped:
        return fail(
            f"stopped by {name_of(result.stopped)} after {_counted(result.summary['frames'], 'frame')}; what was "
            f"delivered until then is in {request.folder}",
            exit_code(result.stopped),
        )
    return 0


def _request(options: argparse.Namespace) -> "Replay":
    from sentinic.driver.config import Config, load
    from sentinic.errors import ConfigError
    from sentinic.run.port_map import parse
    from sentinic.run.session import DEFAULT_OUTPUTS, Replay

    write = DEFAULT_OUTPUTS if options.write is None else tuple(item.strip() for item in options.write.split(","))
    for item in write:
        if item not in _OUTPUTS:
            raise ConfigError(f"--write: each output must be one of {', '.join(_OUTPUTS)}, not {item!r}")
    if options.captures.count("-") > 1:
        raise ConfigError("standard input, '-', can be read once only")
    ports, interfaces = parse(options.port_map, len(options.captures))
    return Replay(
        captures=options.captures,
        folder=options.out,
        profile=options.profile,
        backend=options.backend,
        config=load(options.config) if options.config else Config(),
        ports=ports,
        interfaces=interfaces,
        keep_tags=options.tags == "keep",
        write=write,
        limit=options.limit,
        ignore_checksums=options.ignore_checksums,
        backend_options={"wave": options.wave} if options.wave else {},
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, not {text!r}")
    return int(text)


@contextmanager
def _progress(
    quiet: bool,
) -> "Iterator[tuple[Callable[[Outcome, float | None], None] | None, Callable[[str | None], None]]]":
    """A bar on standard error when somebody looks at it; how to move it, and how to say what is being compiled.

    Compiling takes half a minute the first time: that is said in a line where there is no bar.
    """
    if quiet or not sys.stderr.isatty():
        said = quiet

        def say(name: str | None) -> None:
            nonlocal said
            if not said:
                said = True
                print(f"{_COMPILING} (half a minute)", file=sys.stderr, flush=True)

        yield None, say
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TextColumn("{task.fields[frames]:,} frames"),
        TextColumn("{task.fields[speed]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=8)
    task = bar.add_task(_MOVING, start=False, total=1.0, frames=0, speed="")

    moving = False

    def tell(outcome: "Outcome", fraction: float | None) -> None:
        nonlocal moving
        if not moving:
            moving = True
            bar.start_task(task)
            bar.update(task, visible=True)
            bar.start()
        speed = f"{outcome.cycles or 0:,} cycles" if outcome.cycles else ""
        if fraction is None:
            bar.update(task, total=None, frames=outcome.frames, speed=speed)
        else:
            bar.update(task, completed=fraction, frames=outcome.frames, speed=speed)

    def show(name: str | None) -> None:
        bar.update(task, description=f"{_COMPILING}: {name}" if name else _MOVING, visible=moving or name is not None)
        if name:
            bar.start()
        elif not moving:
            bar.stop()  # building the card shows a bar of its own

    try:
        yield tell, show
    finally:
        bar.stop()


def _closing(result: "Result", request: "Replay") -> None:
    summary = result.summary
    speeds = summary["speeds"]
    fates = {name: count for name, count in summary["conservation"]["fates"].items() if count}
    parts = (
        ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in fates.items()) or "nothing to account for"
    )
    rate = f" ({speeds['frames_per_second']:,.0f} frames/s)" if speeds["frames_per_second"] else ""
    print(
        f"{_counted(summary['frames'], 'frame')} in {summary['wall_seconds']:.2f} s{rate}, "
        f"{_counted(summary['cycles'], 'cycle')} of the {summary['profile']} card: {parts}",
        file=sys.stderr,
    )
    if summary["compile_seconds"] >= _TOLD_SECONDS:
        print(f"{_COMPILING}: {summary['compile_seconds']:.2f} s more", file=sys.stderr)
    for note in (*result.notes, *_notes(summary)):
        print(f"note: {note}", file=sys.stderr)
    written = [name for name in summary["outputs"] if name not in result.missing]
    print(f"written to {request.folder}: {', '.join(written) or 'nothing'}", file=sys.stderr)


def _counted(number: int, one: str) -> str:
    return f"{number:,} {one}{'' if number == 1 else 's'}"


def _notes(summary: "dict[str, Any]") -> "Iterator[str]":
    """What the outputs do not tell of, and what is odd about the captures and did not end the run."""
    yield from _other_rings(summary)
    for capture in summary["captures"]:
        name, backwards, clamped = capture["name"], capture["backwards"], capture["clamped"]
        if backwards:
            first = f"first packet {capture['first_backwards']}"
            yield f"{name}: frames earlier than the one before: {backwards:,}, {first}; times stay as they are"
        if capture["outside"]:
            outside = f"{capture['outside']:,}, first packet {capture['first_outside']}"
            yield f"{name}: time stamps before 1970 or after 2262: {outside}; set to the nearer end"
        if clamped:
            yield f"{name}: frames longer than said to be on the wire: {clamped:,}; the bytes that are there count"
    if summary["frames_empty"]:
        yield f"frames of no bytes: {summary['frames_empty']:,}; left out, as no wire carries them"
    if summary["frames_snapped"]:
        snapped = f"{summary['frames_snapped']:,}"
        yield f"frames snapped below an Ethernet header (14 bytes): {snapped}; left out, as there is nothing to parse"
    if summary["traffic"] and summary["traffic"]["truncated"]:
        count = summary["traffic"]["truncated"]
        yield f"packets of ring 0 cut short (snap length): {count:,}; marked, with their length on the wire"


def _other_rings(summary: "dict[str, Any]") -> "Iterator[str]":
    first, *others = summary["rings"]
    got = [f"ring {ring['number']} {_counted(ring['delivered'], 'frame')}" for ring in others if ring["delivered"]]
    if got:
        files = [name for name in summary["outputs"] if name in _OF_RING_0]
        what = f"{', '.join(files)}: of ring 0 alone, which got" if files else "ring 0 got"
        yield f"{what} {_counted(first['delivered'], 'frame')}; {', '.join(got)}"
