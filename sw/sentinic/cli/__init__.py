"""The command ``sentinic``.

Exit codes: 0 done; 1 the counters do not add up; 2 wrong usage, config or output folder, nothing was run; 3 the run
ended early (capture, card or disk), what was delivered until then is on disk; 130 stopped by Ctrl-C, 143 by SIGTERM,
129 by SIGHUP, likewise.
"""

import argparse
import sys
from collections.abc import Sequence
from io import TextIOWrapper

EXIT_CONSERVATION = 1
EXIT_USAGE = 2
EXIT_ENDED_EARLY = 3

_DESCRIPTION = """\
Sentinic: an open FPGA network card for security monitoring.

A capture goes in as if off the wire, through the card's real RTL in a simulator, out of its receive rings, and into
files that your tools know."""

_EPILOG = """\
a first run:
  sentinic run capture.pcapng --out out          everything, on the 512-bit card
  sentinic counters out/summary.json             what the card counted, and what each counter means
  sentinic regs ring                             the registers of a receive ring

exit codes:
  0    done, and every frame is accounted for
  1    the card's counters do not add up
  2    wrong usage, config or output folder: nothing was run
  3    the run ended early (capture, card or disk): what was delivered until then is valid on disk
  130  stopped by Ctrl-C (143: SIGTERM, 129: SIGHUP), likewise
"""


def build_parser() -> argparse.ArgumentParser:
    """The whole command line; only light modules are imported for it."""
    from sentinic.cli import build, replay, show, stats

    parser = argparse.ArgumentParser(
        prog="sentinic",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=_Version())
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for module in (replay, stats, show, build):
        module.add_commands(commands)
    return parser


class _Version(str):
    """Looked up when it is asked for."""

    def __mod__(self, values: object) -> str:
        from importlib.metadata import version

        return f"sentinic {version('sentinic')}"

    def __contains__(self, part: object) -> bool:
        return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code (usage errors leave by :class:`SystemExit`)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names in letters that a terminal does not have
    parser = build_parser()
    options = parser.parse_args(arguments)
    from sentinic.errors import ConservationError, SentinicError
    from sentinic.run.stopping import exit_code, name_of, number_of, raised

    try:
        with raised():
            return int(options.command(options))
    except ConservationError as error:
        return fail(error, EXIT_CONSERVATION)
    except SentinicError as error:
        return fail(error, EXIT_USAGE)
    except KeyboardInterrupt as stop:
        number = number_of(stop)
        return fail(f"stopped by {name_of(number)}", exit_code(number))
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing to say, and nobody to say it to.
        sys.stderr.close()
        return 0


def fail(message: object, code: int) -> int:
    """Say what went wrong, in a sentence, on standard error."""
    print(f"sentinic: {message}", file=sys.stderr)
    return code
