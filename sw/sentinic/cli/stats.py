"""``sentinic stats``: what the rules of a run count, as a table that follows the run."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

_FILE, _SUMMARY = "stats.jsonl", "summary.json"
_REFRESH_SECONDS = 0.25
#: Of the file's beginning, what tells it from another.
_HEAD_BYTES = 512
#: Where the output is no terminal: as wide as the table wants to be.
_ANY_WIDTH = 10_000

_DESCRIPTION = """\
Show what the rules of [[statistics]] count: of each rule the largest groups of its newest interval. On a terminal the
table follows a run that is under way, or is about to begin, until Ctrl-C; otherwise it is printed once."""


def add_commands(commands: Any) -> None:
    parser = commands.add_parser(
        "stats",
        help="what statistics rules count, as a live table",
        description=_DESCRIPTION,
        epilog="examples:\n  sentinic run capture.pcapng --config rules.toml --out out & sentinic stats out\n"
        "  sentinic stats out --rule web --by packets --top 20",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", metavar="DIR", type=Path, help=f"a run's folder, or its {_FILE}")
    parser.add_argument("--rule", metavar="NAME", action="append", help="only this rule; may be given several times")
    parser.add_argument("--top", metavar="N", type=int, default=10, help="groups a rule (default: %(default)s)")
    parser.add_argument("--by", choices=("bytes", "packets"), default="bytes", help="(default: %(default)s)")
    parser.add_argument("--once", action="store_true", help="print what there is and end, on a terminal too")
    parser.set_defaults(command=_stats)


@dataclass
class Newest:
    """The newest interval of a rule: its lines, and how many there were of all intervals."""

    interval: float | None
    groups: list[dict[str, Any]] = field(default_factory=list)
    lines: int = 0


class Follower:
    """Reads whole lines of a file that grows; begins anew when it is another, or has become shorter."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._begin()

    def _begin(self) -> None:
        self._at = self._number = self._inode = 0
        self._head = b""
        self.rules: dict[str, Newest] = {}

    def read(self, *, awaited: bool = False) -> None:
        """Take what is new.

        ``awaited``: the file need not be there yet.  Raises :class:`ConfigError` when it cannot be read, or is no
        file of statistics.
        """
        from sentinic.errors import ConfigError

        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                is_another = status.st_ino != self._inode or file.read(len(self._head)) != self._head
                if is_another or status.st_size < self._at:
                    self._begin()
                    self._inode = status.st_ino
                file.seek(self._at)
                for line in _whole_lines(file):
                    self._head += line[: _HEAD_BYTES - len(self._head)]
                    self._at += len(line)
                    self._number += 1
                    self._take(json.loads(line))
        except FileNotFoundError as error:
            if not awaited:
                raise ConfigError(f"{self.path}: cannot be read: {error.strerror}") from error
            self._begin()
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(f"{self.path}: line {self._number} is not one of statistics") from error

    def _take(self, line: dict[str, Any]) -> None:
        kinds = {"rule": str, "group": dict, "packets": int, "bytes": int, "history": str, "originator": str}
        for name, kind in kinds.items():
            if not isinstance(line.get(name, "") if name == "originator" else line[name], kind):
                raise TypeError(name)
        interval = line["interval"]
        if not isinstance(interval, int | float | None):
            raise TypeError("interval")
        newest = self.rules.get(line["rule"])
        if newest is None:
            newest = self.rules[line["rule"]] = Newest(interval)
        newest.lines += 1
        if interval is not None and newest.interval is not None and interval > newest.interval:
            newest.interval = interval
            newest.groups.clear()
        if interval == newest.interval:
            newest.groups.append(line)

    def silent(self) -> list[str]:
        """Rules that counted nothing, as the summary of a run that has ended tells."""
        summary = self.path.parent / _SUMMARY
        try:
            if summary.stat().st_mtime_ns < self.path.stat().st_mtime_ns:
                return []  # it is of a run before: it is written last
            rules = json.loads(summary.read_bytes())["statistics"]["rules"]
            return [str(rule["name"]) for rule in rules if rule["name"] not in self.rules]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return []  # there is none, yet or at all


def _whole_lines(file: Any) -> Iterator[bytes]:
    for line in file:
        if not line.endswith(b"\n"):
            return  # its end is being written
        yield line


def _stats(options: argparse.Namespace) -> int:
    from rich.console import Console

    from sentinic.errors import ConfigError, OutputError

    if options.top < 1:
        raise ConfigError(f"--top must be at least 1 group, not {options.top}")
    if sys.stdout is None:
        return 0
    follows = sys.stdout.isatty() and not options.once
    is_file = options.path.is_file() or options.path.suffix == Path(_FILE).suffix
    follower = Follower(options.path if is_file else options.path / _FILE)
    follower.read(awaited=follows)

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # `main` knows what to make of it

    console = Output(width=None if sys.stdout.isatty() else _ANY_WIDTH, highlight=False)
    if follows:
        return _follow(follower, options, console)
    known = [*follower.rules, *follower.silent()]
    for wanted in options.rule or ():
        if wanted not in known:
            raise ConfigError(f"--rule must be one of the run's rules ({', '.join(known) or 'none'}), not {wanted!r}")
    try:
        console.print(_tables(follower, options, console))
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is not tried again
        raise OutputError(f"standard output: cannot be written: {error.strerror}") from error
    return 0


def _follow(follower: Follower, options: argparse.Namespace, console: "Console") -> int:
    from rich.live import Live

    try:
        with Live(_tables(follower, options, console), console=console, auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(_REFRESH_SECONDS)
                follower.read(awaited=True)
                live.update(_tables(follower, options, console), refresh=True)
    except KeyboardInterrupt:
        return 0


def _tables(follower: Follower, options: argparse.Namespace, console: "Console") -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    parts = [
        _table(name, newest, options, console)
        for name, newest in follower.rules.items()
        if not options.rule or name in options.rule
    ]
    silent = [name for name in follower.silent() if not options.rule or name in options.rule]
    parts += [Text(f"{name}: counted nothing") for name in silent]
    of = f" by {', '.join(options.rule)}" if options.rule else ""
    return Group(*parts) if parts else Text(f"{follower.path}: nothing counted yet{of}")


def _moment(seconds: float) -> str:
    """A point in time, to the millisecond."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"


def _table(name: str, newest: Newest, options: argparse.Namespace, console: "Console") -> "RenderableType":
    """A column for each of the group's fields, or, where that is too wide, one for all, a line a field."""
    from rich.console import Group
    from rich.measure import Measurement
    from rich.text import Text

    rows = sorted(newest.groups, key=lambda line: -line[options.by])[: options.top]
    when = f", interval of {_moment(newest.interval)}" if newest.interval is not None else ""
    title = Text(f"{name}{when}: {len(newest.groups):,} group{'' if len(newest.groups) == 1 else 's'}", "italic")
    wide = _columns(rows)
    if Measurement.get(console, console.options.update(max_width=_ANY_WIDTH), wide).maximum <= console.width:
        wide.expand = sys.stdout.isatty()
        return Group(title, wide)
    return Group(title, _stacked(rows))


def _columns(rows: list[dict[str, Any]]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table()
    fields = list(rows[0]["group"]) if rows else []
    both_ways = any("originator" in line for line in rows)
    for column in fields:
        table.add_column(column)
    _add_counts(table)
    if both_ways:
        table.add_column("originator")
    for line in rows:
        values = [str(line["group"].get(column, "")) for column in fields]
        values += _counts(line)
        table.add_row(*map(Text, (*values, line.get("originator", "")) if both_ways else values))
    return table


def _stacked(rows: list[dict[str, Any]]) -> "Table":
    from rich.box import HORIZONTALS
    from rich.table import Table
    from rich.text import Text

    table = Table(box=HORIZONTALS, show_lines=True, pad_edge=False, collapse_padding=True)
    table.add_column("group", overflow="fold", min_width=10)
    _add_counts(table)
    for line in rows:
        group = dict(line["group"])
        if "originator" in line:
            group["originator"] = line["originator"]
        table.add_row(*map(Text, ("\n".join(f"{field} {value}" for field, value in group.items()), *_counts(line))))
    return table


def _add_counts(table: "Table") -> None:
    table.add_column("packets", justify="right", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("history", no_wrap=True)


def _counts(line: dict[str, Any]) -> list[str]:
    return [f"{line['packets']:,}", f"{line['bytes']:,}", line["history"]]
