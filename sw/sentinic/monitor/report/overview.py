"""The head of the page, its headline figures, and what the traffic was made of."""

from pathlib import PurePath
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.counters import DROP_REASONS, FATES
from sentinic.monitor.report.parts import Column, Layer, bar, legend, section, table, time_chart
from sentinic.monitor.report.text import THIN, count, counted, digits, escape, moment, octets, scaled, share, span

#: How protocol classes are called, in the order that they are stacked and listed; anything new goes last.
PROTOCOLS = {
    "TCP": "TCP",
    "UDP": "UDP",
    "SCTP": "SCTP",
    "ICMP": "ICMP",
    "ICMPV6": "ICMPv6",
    "ARP": "ARP",
    "IP_OTHER": "other IP",
    "OTHER": "not IP",
}


def title(summary: dict[str, Any]) -> str:
    """Plain text, not yet escaped."""
    names = [PurePath(str(capture["name"])).name or str(capture["name"]) for capture in summary["captures"]]
    if not names:
        return "No capture"
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def header(summary: dict[str, Any]) -> str:
    about = [
        f"profile <b>{escape(summary['profile'])}</b>",
        f"backend <b>{escape(summary['backend'])}</b>",
        f"written {escape(str(summary['written']).replace('T', ' ').removesuffix('Z'))}",
    ]
    return (
        f'<header>\n<p class="kicker">sentinic run</p>\n<h1>{escape(title(summary))}</h1>\n'
        f'<p class="about">{" · ".join(about)}</p>\n</header>'
    )


def headline(summary: dict[str, Any], rows: npt.NDArray[np.void] | None) -> str:
    """The verdict in one sentence, then the figures."""
    counters, traffic = summary["counters"], summary["traffic"] or {}
    received, delivered = counters["received"], counters["delivered"]
    dropped = sum(counters[name] for name in DROP_REASONS)
    length = traffic["last_ns"] - traffic["first_ns"] if traffic.get("packets") else 0
    figures = [
        ("frames", count(received), f"{octets(summary['bytes'])} from the captures"),
        ("delivered", share(delivered, received) if received else "–", f"{count(delivered)} to rings"),
        ("dropped", count(dropped), share(dropped, received) + " of all" if received else "nothing came"),
        ("connections", count(0 if rows is None else len(rows)), "TCP, UDP and ICMP, of ring 0"),
        (
            "capture time",
            span(length) if length else "–",
            f"from {moment(traffic['first_ns'])}" if length else "one moment" if received else "no frame",
        ),
        (
            "mean rate",
            scaled(8e9 * traffic["bytes"] / length, "bit/s") if length else "–",
            f"{_rate(1e9 * traffic['packets'] / length)} frames/s" if length else "needs two moments",
        ),
    ]
    items = "\n".join(
        f'<div><dt>{name}</dt><dd class="figure">{value}</dd><dd class="note">{note}</dd></div>'
        for name, value, note in figures
    )
    return f'{_verdict(summary)}\n<dl class="figures">\n{items}\n</dl>{_other_rings(summary)}'


def _other_rings(summary: dict[str, Any]) -> str:
    others = [ring for ring in summary["rings"] if ring["number"] and ring["delivered"]]
    if not others:
        return ""
    own = sum(ring["delivered"] for ring in summary["rings"] if not ring["number"])
    told = ", ".join(
        f"ring {ring['number']} ({escape(ring['name'])}) got {count(ring['delivered'])}" for ring in others
    )
    return (
        '\n<p class="note">Traffic, protocols, talkers, connections and what the parser found are of ring 0 alone, '
        f"which got {counted(own, 'frame')}; {told}.</p>"
    )


def _rate(rate: float) -> str:
    """Three digits; a rate that is there never reads 0."""
    return digits(rate) if rate >= 0.001 else "&lt;" + THIN + "0.001"


def _verdict(summary: dict[str, Any]) -> str:
    conservation, received = summary["conservation"], summary["counters"]["received"]
    notes = []
    if not conservation["holds"]:
        total = sum(conservation["fates"].values())
        notes.append(
            f"<b>The counters do not add up:</b> {counted(received, 'frame')} came in, {count(total)} are known of."
        )
    if summary["ended"] == "interrupted":
        notes.append("<b>The run was interrupted.</b> What had been delivered until then is here.")
    elif summary["ended"] != "complete":
        notes.append(f"<b>The run ended early:</b> {escape(summary['error'] or 'no reason was given')}.")
    faulted = [ring for ring in summary["rings"] if ring["faulted"]]
    for ring in faulted:
        notes.append(f"<b>Ring {ring['number']} ({escape(ring['name'])}) stopped on a fault.</b>")
    if notes:
        return "\n".join(f'<p class="verdict bad" role="alert">{note}</p>' for note in notes)
    if not received:
        return '<p class="verdict">The captures hold no frame, so there is nothing to show but an idle card.</p>'
    every = "The only frame" if received == 1 else f"Every one of {count(received)} frames"
    where = ", ".join(f"{count(number)} {what}" for what, number in _whereabouts(summary) if number)
    return f'<p class="verdict good">{every} is accounted for: {where}.</p>'


def _whereabouts(summary: dict[str, Any]) -> list[tuple[str, int]]:
    counters = summary["counters"]
    kept = [(name.replace("_", " "), counters[name]) for name in FATES if name not in DROP_REASONS]
    return [*kept, ("dropped", sum(counters[name] for name in DROP_REASONS))]


def traffic(summary: dict[str, Any]) -> str:
    data = summary["traffic"]
    if not data or not data["packets"]:
        return section("traffic", "Traffic over time", lead="Ring 0 delivered no frame.")
    series = data["series"]
    bins, width = len(series["packets"]), series["bin_ns"]
    start = f"from {moment(data['first_ns'])}"
    if bins < 2:
        lead = f"{counted(data['packets'], 'frame')} within {span(width)}, {start}: too short for a curve."
        return section("traffic", "Traffic over time", lead=lead)
    seconds = width / 1e9
    present = [name for name in _ordered(series["protocols"]) if sum(series["protocols"][name]["packets"])]
    layers = [
        Layer(
            _style(name),
            PROTOCOLS.get(name, escape(name)),
            [8 * n / seconds for n in series["protocols"][name]["bytes"]],
        )
        for name in present
    ]
    packets = [
        Layer(
            _style(name), PROTOCOLS.get(name, escape(name)), [n / seconds for n in series["protocols"][name]["packets"]]
        )
        for name in present
    ]
    peak = max(series["bytes"])
    lead = f"Peak {scaled(8 * peak / seconds, 'bit/s')}, as a mean over {span(width)}; {start}."
    return section(
        "traffic",
        "Traffic over time",
        legend((layer.style, layer.name) for layer in layers),
        time_chart("Bits per second on the wire", "bit/s", layers, width),
        time_chart("Frames per second", "/s", packets, width, low=True),
        lead=lead,
    )


def protocols(summary: dict[str, Any]) -> str:
    data = summary["traffic"]
    if not data or not data["packets"]:
        return ""
    classes = {
        name: data["protocols"][name] for name in _ordered(data["protocols"]) if data["protocols"][name]["packets"]
    }
    rows = [
        (
            f'<span class="key {_style(name)}"></span>{PROTOCOLS.get(name, escape(name))}',
            bar([(entry["bytes"], _style(name))], data["bytes"]),
            share(entry["bytes"], data["bytes"]),
            octets(entry["bytes"]),
            count(entry["packets"]),
        )
        for name, entry in sorted(classes.items(), key=lambda item: -item[1]["bytes"])
    ]
    columns = (
        Column("Protocol"), Column("Share of bytes", "bar"), Column("%", "num"), Column("Bytes", "num", wide=True),
        Column("Frames", "num"),
    )  # fmt: skip
    facts = [
        (data["ip_versions"].get("IPv4", 0), "IPv4"),
        (data["ip_versions"].get("IPv6", 0), "IPv6"),
        (data["vlan_tags"].get("1", 0), "with one VLAN tag"),
        (data["vlan_tags"].get("2", 0), "with two"),
        (data["mpls"], "under MPLS labels"),
        (data["fragments"].get("FIRST", 0) + data["fragments"].get("LATER", 0), "IP fragments"),
    ]
    told = ", ".join(f"{count(number)} {what}" for number, what in facts if number)
    return section(
        "protocols",
        "Protocols",
        table("Frames of ring 0 by protocol class, on the wire", columns, rows),
        f'<p class="note">Of {counted(data["packets"], "frame")}: {told}.</p>' if told else "",
    )


def sizes(summary: dict[str, Any]) -> str:
    data = summary["traffic"]
    if not data or not data["packets"]:
        return ""
    entries = list(data["sizes"])
    while len(entries) > 1 and not entries[-1]["packets"]:
        entries.pop()
    most = max(entry["packets"] for entry in entries)
    rows = [
        (
            f"{count(entry['from_bytes'])}–{count(entry['to_bytes'])}",
            bar([(entry["packets"], "plain")], most),
            share(entry["packets"], data["packets"]),
            count(entry["packets"]),
        )
        for entry in entries
    ]
    columns = (
        Column("Bytes"), Column("Frames", "bar"), Column("%", "num"), Column("Count", "num"),
    )  # fmt: skip
    lead = f"A frame had {octets(round(data['bytes'] / data['packets']))} on average."
    return section(
        "sizes", "Frame sizes", table("Frames of ring 0 by length on the wire, without FCS", columns, rows), lead=lead
    )


def _ordered(names: dict[str, Any]) -> list[str]:
    known = [name for name in PROTOCOLS if name in names]
    return known + [name for name in names if name not in PROTOCOLS]


def _style(name: str) -> str:
    return f"p-{name.lower().replace('_', '-')}" if name in PROTOCOLS else "p-other"
