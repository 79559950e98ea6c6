"""Zeek's recorded conn.logs, and our rows in the same words."""

import ipaddress
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sentinic.monitor.connections import STATES, ConnectionTracker
from tests.reference.card import records_of_capture
from tests.reference.corpus import CORPUS, frames_of

ZEEK = CORPUS / "zeek"
PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp"}
#: Columns that no ring record tells, or that differ from run to run.
NOT_COMPARED = {"ts", "uid", "service", "local_orig", "local_resp", "tunnel_parents", "ip_proto"}
NOT_COMPARED |= {"orig_l2_addr", "resp_l2_addr"}

Row = dict[str, str]


class Baseline(NamedTuple):
    """A log; ``trace`` without its folder."""

    trace: str
    log: Path
    ignore_checksums: bool
    vlan_key: bool

    @property
    def name(self) -> str:
        return f"{self.trace}:{self.log.parent.name}"


#: Tests that ran ``zeek -C`` (INDEX.tsv tells).
IGNORING = {
    "core.vlan-mpls",
    "core.tcp.missing-syn",
    "core.history-flip",
    "core.tcp.rxmit-history",
    "scripts.base.protocols.imap.starttls",
}


def baselines() -> list[Baseline]:
    """Every recorded conn.log of the corpus that lists connections."""
    found = []
    for log in sorted(ZEEK.glob("*.gt/*/conn*.log*")):
        trace, test = log.parent.parent.name.removesuffix(".gt"), log.parent.name
        if test == "scripts.policy.protocols.conn.community-id-logging-flipped":
            continue  # columns without names; its connection is in test_zeek.py
        vlans = test.endswith("vlan_fivetuple-2")
        found.append(Baseline(trace, log, test in IGNORING, vlans))
    return found


def logged(path: Path) -> Iterator[Row]:
    """Rows of a Zeek log, or of a cut one whose first line names the columns."""
    names: list[str] = []
    for line in path.read_text().splitlines():
        if line.startswith("#fields"):
            names = line.split("\t")[1:]
        elif not line.startswith("#"):
            values = line.split("\t")
            if names:
                yield {k: v for k, v in zip(names, values, strict=True) if k and k not in NOT_COMPARED}
            else:
                names = values


@cache
def records(trace: str, *, bare_plain: bool = False) -> tuple[npt.NDArray[Any], npt.NDArray[np.uint8]]:
    return records_of_capture(frames_of(ZEEK / trace), bare_plain=bare_plain)


def track(trace: str, *, bare_plain: bool = False, **options: Any) -> npt.NDArray[Any]:
    tracker = ConnectionTracker(**options)
    tracker.update(*records(trace, bare_plain=bare_plain))
    return tracker.finish()


def address(octets: Any) -> str:
    full = ipaddress.IPv6Address(bytes(octets))
    return str(full.ipv4_mapped or full)


def as_logged(row: Any) -> Row:
    """A row as Zeek's text log has it."""
    lasted = row["duration"] > 0
    microseconds = (row["ts"] + row["duration"]) // 1000 - row["ts"] // 1000
    return {
        "id.orig_h": address(row["orig_h"]),
        "id.orig_p": str(row["orig_p"]),
        "id.resp_h": address(row["resp_h"]),
        "id.resp_p": str(row["resp_p"]),
        "id.ctx.vlan": "-" if row["vlan"] < 0 else str(row["vlan"]),
        "id.ctx.inner_vlan": "-" if row["inner_vlan"] < 0 else str(row["inner_vlan"]),
        "proto": PROTOCOLS[int(row["protocol"])],
        "duration": f"{microseconds / 1e6:.6f}" if lasted else "-",
        "orig_bytes": str(row["orig_bytes"]) if lasted else "-",
        "resp_bytes": str(row["resp_bytes"]) if lasted else "-",
        "conn_state": STATES[row["state"]],
        "missed_bytes": str(row["missed_bytes"]),
        "history": row["history"].decode() or "-",
        "orig_pkts": str(row["orig_pkts"]),
        "orig_ip_bytes": str(row["orig_ip_bytes"]),
        "resp_pkts": str(row["resp_pkts"]),
        "resp_ip_bytes": str(row["resp_ip_bytes"]),
    }


def sorted_rows(rows: Iterator[Row] | list[Row]) -> list[tuple[tuple[str, str], ...]]:
    return sorted(tuple(sorted(row.items())) for row in rows)
