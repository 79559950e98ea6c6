"""``sentinic stats``: what the rules of a run count, as a table that follows the run."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import RenderableType

_FILE = "stats.jsonl"
_REFRESH_SECONDS = 0.25

_DESCRIPTION = """\
Show what the rules of [[statistics]] count: of each rule the largest groups of its newest interval. On a terminal the
table follows a run that is under way, until Ctrl-C; otherwise it is printed once."""


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
    """Reads whole lines of a file that grows; begins anew when it has become shorter."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._number = 0
        self.rules: dict[str, Newest] = {}

    def read(self) -> None:
        """Take what is new.  Raises :class:`ConfigError` when the file cannot be read, or is another."""
        from sentinic.errors import ConfigError

        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._at:
                    self._at = self._number = 0
                    self.rules.clear()
                file.seek(self._at)
                for line in _whole_lines(file):
                    self._at += len(line)
                    self._number += 1
                    self._take(json.loads(line))
        except OSError as error:
            raise ConfigError(f"{self._path}: cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self._path}: line {self._number} is not one of statistics") from error

    def _take(self, line: dict[str, Any]) -> None:
        for name in ("group", "packets", "bytes", "history"):
            line[name]
        interval = line["interval"]
        newest = self.rules.get(line["rule"])
        if newest is None:
            newest = self.rules[line["rule"]] = Newest(interval)
        newest.lines += 1
        if interval is not None and newest.interval is not None and interval > newest.interval:
            newest.interval = interval
            newest.groups.clear()
        if interval == newest.interval:
            newest.groups.append(line)


def _whole_lines(file: Any) -> Iterator[bytes]:
    for line in file:
        if not line.endswith(b"\n"):
            return  # its end is being written
        yield line


def _stats(options: argparse.Namespace) -> int:
    from rich.console import Console

    from sentinic.errors import ConfigError

    if options.top < 1:
        raise ConfigError(f"--top must be at least 1 group, not {options.top}")
    follower = Follower(options.path / _FILE if options.path.is_dir() else options.path)
    follower.read()
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if options.once or not sys.stdout.isatty():
        for wanted in options.rule or ():
            if wanted not in follower.rules:
                known = ", ".join(follower.rules) or "none"
                raise ConfigError(f"--rule must be one of the run's rules ({known}), not {wanted!r}")
        console.print(_tables(follower, options))
        return 0
    return _follow(follower, options, console)


def _follow(follower: Follower, options: argparse.Namespace, console: Any) -> int:
    from rich.live import Live

    try:
        with Live(_tables(follower, options), console=console, auto_refresh=False, screen=False) as live:
            while True:
                time.sleep(_REFRESH_SECONDS)
                follower.read()
                live.update(_tables(follower, options), refresh=True)
    except KeyboardInterrupt:
        return 0


def _tables(follower: Follower, options: argparse.Namespace) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    tables = [
        _table(name, newest, options)
        for name, newest in follower.rules.items()
        if not options.rule or name in options.rule
    ]
    return Group(*tables) if tables else Text("nothing counted yet")


def _moment(seconds: float) -> str:
    """A point in time, to the millisecond."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s"


def _table(name: str, newest: Newest, options: argparse.Namespace) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    when = f", interval of {_moment(newest.interval)}" if newest.interval is not None else ""
    groups = f"{len(newest.groups):,} group{'' if len(newest.groups) == 1 else 's'}"
    table = Table(title=Text(f"{name}{when}: {groups}"), title_justify="left", expand=True)
    rows = sorted(newest.groups, key=lambda line: -line[options.by])[: options.top]
    fields = list(rows[0]["group"]) if rows else []
    for column in fields:
        table.add_column(column, overflow="fold")
    table.add_column("packets", justify="right")
    table.add_column("bytes", justify="right")
    table.add_column("history")
    both_ways = any("originator" in line for line in rows)
    if both_ways:
        table.add_column("originator")
    for line in rows:
        values = [str(line["group"].get(column, "")) for column in fields]
        values += [f"{line['packets']:,}", f"{line['bytes']:,}", line["history"]]
        table.add_row(*map(Text, (*values, line.get("originator", "")) if both_ways else values))
    return table
