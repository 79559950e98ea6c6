"""Where the card was busy, and the figures of the run itself."""

from typing import Any

from sentinic.monitor.report.parts import Column, bar, legend, section, table
from sentinic.monitor.report.text import count, counted, digits, escape, octets, scaled, share, with_unit


def blocks(summary: dict[str, Any]) -> str:
    """Busy and stall cycles of the blocks, in the order that packets meet them."""
    counters = summary["counters"]
    cycles = counters["cycles"]
    rows, stalls = [], {}
    for name in counters:
        name, _, what = name.rpartition(".")
        if what != "busy_cycles":
            continue
        block = name.replace("_", " ")
        busy, stall = counters[f"{name}.busy_cycles"], counters[f"{name}.stall_cycles"]
        stalls[block] = stall
        rows.append(
            (
                block,
                bar([(busy, "busy"), (stall, "stall")], cycles),
                f"{share(busy, cycles)}<small>{count(busy)}</small>",
                f"{share(stall, cycles)}<small>{count(stall)}</small>",
            )
        )
    columns = (Column("Block"), Column("Cycles", "bar"), Column("Busy", "num"), Column("Stalled", "num"))
    worst = max(stalls, key=lambda block: stalls[block])
    if stalls[worst]:
        lead = (
            f"Frames waited longest for <b>{worst}</b>: {share(stalls[worst], cycles)} of {counted(cycles, 'cycle')}."
        )
    else:
        lead = f"No block kept another waiting in {counted(cycles, 'cycle')}."
    bus = counters["dma_data_beats"] + counters["dma_descriptor_beats"]
    note = f"The DMA bus carried {counted(bus, 'beat')}, in {share(bus, cycles)} of the cycles"
    note += (
        f"; {counted(counters['dma_errors'], 'write was', 'writes were')} answered with an error."
        if counters["dma_errors"]
        else "."
    )
    return section(
        "busy",
        "Where the card was busy",
        table("Cycles in which a block’s input moved (busy) or waited for it (stalled)", columns, rows),
        legend((("busy", "busy"), ("stall", "stalled"), ("track", "idle"))),
        f'<p class="note">{note}</p>',
        lead=lead,
    )


def run(summary: dict[str, Any]) -> str:
    """Speeds, and what was read."""
    speeds = summary["speeds"]
    facts = [
        ("Cycles", count(summary["cycles"])),
        ("Cycles per frame", _maybe(speeds["cycles_per_frame"], lambda value: digits(value))),
        ("Card clock", scaled(speeds["clock_hz"], "Hz")),
        ("At that clock", _maybe(speeds["bits_per_second_at_clock"], lambda value: scaled(value, "bit/s"))),
        ("Wall time", with_unit(digits(summary["wall_seconds"]), "s")),
        ("Compiling besides", _maybe(summary["compile_seconds"] or None, lambda value: with_unit(digits(value), "s"))),
        ("Simulated", _maybe(speeds["cycles_per_second"], lambda value: scaled(value, "cycles/s"))),
        ("Whole run", _maybe(speeds["frames_per_second"], lambda value: scaled(value, "frames/s"))),
        ("ABI version", escape(summary["abi_version"])),
    ]
    items = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)
    captures = [
        (
            f'<span class="path">{escape(capture["name"])}</span>',
            escape(capture["format"]),
            count(capture["frames"]),
            octets(capture["bytes"]),
            _remarks(capture),
        )
        for capture in summary["captures"]
    ]
    columns = (
        Column("Capture"), Column("Format", wide=True), Column("Frames", "num"), Column("Bytes", "num"),
        Column("Remarks", wide=True),
    )  # fmt: skip
    ports = sorted(
        name.removesuffix(".received")
        for name in summary["counters"]
        if name.startswith("port") and name.endswith(".received")
    )
    lines = [
        (
            port.removeprefix("port"),
            count(summary["counters"][f"{port}.received"]),
            octets(summary["counters"][f"{port}.received_bytes"]),
            count(summary["counters"][f"{port}.dropped"]),
        )
        for port in ports
        if summary["counters"][f"{port}.received"]
    ]
    return section(
        "run",
        "The run",
        f'<dl class="facts">{items}</dl>',
        table("What was read", columns, captures) if captures else "",
        _left_out(summary),
        table(
            "Ingress ports",
            (Column("Port"), Column("Frames", "num"), Column("Bytes", "num"), Column("Dropped", "num")),
            lines,
        )
        if lines
        else "",
    )


def _left_out(summary: dict[str, Any]) -> str:
    kinds = (("frames_empty", "of no bytes"), ("frames_snapped", "snapped below an Ethernet header (14 bytes)"))
    told = [f"{counted(summary[key], 'frame')} {what}" for key, what in kinds if summary[key]]
    return f'<p class="note">Left out, as there is nothing to parse: {", ".join(told)}.</p>' if told else ""


def _remarks(capture: dict[str, Any]) -> str:
    remarks = []
    if capture["backwards"]:
        remarks.append(f"time ran backwards {counted(capture['backwards'], 'time')}")
    if capture["outside"]:
        remarks.append(f"{counted(capture['outside'], 'time stamp')} before 1970 or after 2262, set to the nearer end")
    if capture["clamped"]:
        remarks.append(f"{counted(capture['clamped'], 'frame')} longer than said to be on the wire")
    return "; ".join(remarks) or "–"


def _maybe(value: float | None, shown: Any) -> str:
    return "–" if value is None else str(shown(value))
