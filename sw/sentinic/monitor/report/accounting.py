"""What became of every frame, and what the parser found in them."""

from typing import Any

from sentinic.abi.counters import CARD, DROP_REASONS, FATES
from sentinic.monitor.report.parts import Column, bar, section, table
from sentinic.monitor.report.text import count, counted, escape, octets, share

_DOCS = {counter.name: counter.doc for counter in CARD}
_ABBREVIATED = {"VLAN", "MPLS", "IP", "IPv4", "TCP", "UDP", "ARP"}
_VERDICTS = {
    "CLEAN": "clean",
    "FRAGMENT": "IP fragment",
    "TRUNCATED": "bytes missing",
    "BAD_NETWORK_CHECKSUM": "wrong IPv4 header checksum",
    "BAD_TRANSPORT_CHECKSUM": "wrong transport checksum",
    "MALFORMED": "malformed",
}


def fates(summary: dict[str, Any]) -> str:
    """Where each frame went; drops with their reasons; the rings."""
    counters = summary["counters"]
    received = counters["received"]
    if not received:
        return section("dropped", "What was dropped, and why", lead="No frame came in, none was dropped.")
    dropped = sum(counters[name] for name in DROP_REASONS)
    if dropped:
        lead = f"{counted(dropped, 'frame')} of {count(received)} dropped ({share(dropped, received)})."
    else:
        lead = "Nothing was dropped."
    rows = [
        (
            f"{_name(name)} <small>{escape(_reason(name))}</small>",
            bar([(counters[name], _tone(name))], received),
            share(counters[name], received),
            count(counters[name]),
        )
        for name in FATES
        if counters[name] or name == "delivered"
    ]
    columns = (Column("Fate"), Column("Frames", "bar"), Column("%", "num"), Column("Count", "num"))
    silent = [_name(name) for name in DROP_REASONS if not counters[name]]
    note = f"Did not happen: {', '.join(silent)}." if silent and dropped else ""
    return section(
        "dropped",
        "What was dropped, and why",
        table(f"Where the {counted(received, 'received frame')} went", columns, rows),
        f'<p class="note">{note}</p>' if note else "",
        _rings(summary),
        lead=lead,
    )


def _rings(summary: dict[str, Any]) -> str:
    busy = [
        ring
        for ring in summary["rings"]
        if ring["number"] == 0
        or ring["faulted"]
        or any(ring[key] for key in ("delivered", "sampled_out", "lost", "errors"))
    ]
    rows = [
        (
            f"{ring['number']} <small>{escape(ring['name'])}</small>" + (" <b>faulted</b>" if ring["faulted"] else ""),
            count(ring["delivered"]),
            octets(ring["delivered_bytes"]),
            count(ring["sampled_out"]),
            _lost(ring["lost"]),
            _lost(ring["errors"]),
        )
        for ring in busy
    ]
    columns = (
        Column("Ring"), Column("Delivered", "num"), Column("Bytes", "num", wide=True), Column("Sampled out", "num"),
        Column("Lost", "num"), Column("Errors", "num", wide=True),
    )  # fmt: skip
    return table("Rings in use; a frame may go to several", columns, rows) if rows else ""


def findings(summary: dict[str, Any]) -> str:
    data = summary["traffic"]
    if not data or not data["packets"]:
        return ""
    packets = data["packets"]
    errors = {name: number for name, number in data["parse_errors"].items() if number}
    rows = [
        (
            _VERDICTS.get(name, escape(name)),
            bar([(number, "good" if name == "CLEAN" else "warn")], packets),
            share(number, packets),
            count(number),
        )
        for name, number in data["verdicts"].items()
        if number
    ]
    columns = (Column("Verdict"), Column("Frames", "bar"), Column("%", "num"), Column("Count", "num"))
    more = ""
    if errors:
        more = table(
            "What was wrong, the first thing in each frame",
            (Column("Parse error"), Column("Frames", "bar"), Column("%", "num"), Column("Count", "num")),
            [
                (
                    escape(_error(name)),
                    bar([(number, "warn")], max(errors.values())),
                    share(number, packets),
                    count(number),
                )
                for name, number in sorted(errors.items(), key=lambda item: -item[1])
            ],
        )
    sums = data["transport_checksums"]
    told = ", ".join(
        f"{count(sums[name])} {name.lower()}" for name in ("GOOD", "BAD", "ABSENT", "UNCHECKED") if sums.get(name)
    )
    return section(
        "findings",
        "What the parser found",
        table("Frames of ring 0 by verdict; all of them were delivered", columns, rows),
        more,
        f'<p class="note">Transport checksums: {told}.</p>' if told else "",
    )


def _error(name: str) -> str:
    """``UDP_LENGTH`` as ``UDP length``."""
    words = name.replace("IPV4", "IPv4").split("_")
    return " ".join(word if word in _ABBREVIATED else word.lower() for word in words)


def _name(counter: str) -> str:
    return counter.removeprefix("dropped_").replace("_", " ").replace("dma", "DMA")


def _reason(counter: str) -> str:
    return _DOCS[counter].removeprefix("dropped: ").removeprefix("frames ")


def _tone(fate: str) -> str:
    return "good" if fate == "delivered" else "bad" if fate in DROP_REASONS else "plain"


def _lost(number: int) -> str:
    return f'<b class="loss">{count(number)}</b>' if number else "0"
