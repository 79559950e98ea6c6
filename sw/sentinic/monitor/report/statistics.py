"""What the rules of ``[[statistics]]`` counted, and the largest groups of each."""

from typing import Any

from sentinic.monitor.report.parts import Column, section, table
from sentinic.monitor.report.text import count, counted, escape, octets

_MOST = 5


def rules(summary: dict[str, Any]) -> str:
    """Nothing where no rules were set."""
    statistics = summary.get("statistics")
    if not statistics:
        return ""
    lines = [
        (
            escape(rule["name"]),
            "on the card" if rule["counted"] == "card" else "in software",
            count(rule["packets"]),
            octets(rule["bytes"]),
            count(rule["rows"]),
            count(rule["thresholds_crossed"]),
        )
        for rule in statistics["rules"]
    ]
    columns = (
        Column("Rule"), Column("Counted", wide=True), Column("Packets", "num"), Column("Bytes", "num"),
        Column("Groups", "num"), Column("Thresholds", "num", wide=True),
    )  # fmt: skip
    missing = sum(rule["overflow_packets"] for rule in statistics["rules"])
    note = ""
    if missing:
        note = f'<p class="note">{counted(missing, "packet is", "packets are")} in totals and in no group.</p>'
    return section(
        "statistics",
        "Statistics",
        table("What each rule counted; groups of each interval, and packets that reached a threshold", columns, lines),
        *(_largest(rule) for rule in statistics["rules"]),
        note,
        lead=f"{counted(len(lines), 'rule')} counted; every group is in <code>stats.jsonl</code>.",
    )


def _largest(rule: dict[str, Any]) -> str:
    lines = [
        (
            escape(group_text(line["group"] | {name: line[name] for name in ("originator",) if name in line})),
            count(line["packets"]),
            octets(line["bytes"]),
            f"<code>{escape(line['history'])}</code>" if line["history"] else "–",
        )
        for line in rule["largest"][:_MOST]
        if line["group"]
    ]
    if not lines:
        return ""
    columns = (Column("Group"), Column("Packets", "num"), Column("Bytes", "num"), Column("History", wide=True))
    when = ", in one interval" if rule["report_every_ns"] else ""
    return table(f"Largest groups of {escape(rule['name'])}{when}", columns, lines)


def group_text(group: dict[str, Any]) -> str:
    """``ip_proto 6, tcp_dst 80``."""
    return ", ".join(f"{name} {value if value != '' else '–'}" for name, value in group.items())
