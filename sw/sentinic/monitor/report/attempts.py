"""What became of connection attempts that waited on the card, and what the host was spared."""

from typing import Any

from sentinic.monitor.report.parts import Column, bar, section, table
from sentinic.monitor.report.text import count, counted, share

#: What ends an attempt, and how that is to be taken.
_ENDS = {
    "answered": ("the responder sent something", "good"),
    "refused": ("the responder sent a RST", "warn"),
    "unreachable": ("an ICMP error came back", "warn"),
    "interrupted": ("the originator sent something else", "plain"),
    "superseded": ("the originator began anew", "plain"),
    "expired": ("nobody answered in time", "plain"),
    "evicted": ("the table was full", "warn"),
}


def syn_offload(summary: dict[str, Any]) -> str:
    """Nothing where attempts did not wait on the card."""
    told = summary.get("syn_offload")
    if not told:
        return ""
    attempts = told["attempts"]
    if not attempts:
        return section("attempts", "Connection attempts", lead="No attempt was seen that could wait on the card.")
    rows = [
        (
            f"{name} <small>{why}</small>",
            bar([(told[name], tone)], attempts),
            share(told[name], attempts),
            count(told[name]),
        )
        for name, (why, tone) in _ENDS.items()
        if told[name] or name in ("answered", "expired")
    ]
    columns = (Column("End"), Column("Attempts", "bar"), Column("%", "num"), Column("Count", "num"))
    spared = (
        f"The monitor kept no state for {counted(told['state_avoided'], 'connection')}; "
        f"{counted(told['packets_avoided'], 'packet')} never reached the host "
        f"({count(told['again'])} sent again, {count(told['recorded'])} told of in records)."
    )
    notes = [spared]
    if told["unreported"]:
        notes.append(f'<b class="loss">{counted(told["unreported"], "attempt was", "attempts were")} not reported.</b>')
    return section(
        "attempts",
        "Connection attempts",
        table(f"What became of {counted(attempts, 'attempt')} that waited on the card", columns, rows),
        f'<p class="note">{" ".join(notes)}</p>',
        lead=f"{counted(attempts, 'attempt')} seen; {count(attempts - told['answered'])} without an answer that "
        "opens a connection.",
    )
