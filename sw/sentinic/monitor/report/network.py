"""Who talked, and how connections ended: from the monitor's rows, with numpy alone."""

from ipaddress import IPv6Address
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.monitor.report.parts import Column, bar, legend, section, table
from sentinic.monitor.report.text import count, counted, escape, octets, share, span
from sentinic.monitor.state import STATES

Rows = npt.NDArray[np.void]
Int64 = npt.NDArray[np.int64]

_MOST = 10
#: Zeek's meanings, in its order of becoming.
_MEANINGS = {
    "SF": "opened and closed as it should be",
    "S0": "attempt, no reply",
    "S1": "open when the capture ended",
    "S2": "open, originator began to close",
    "S3": "open, responder began to close",
    "REJ": "attempt rejected",
    "RSTO": "open, reset by the originator",
    "RSTR": "reset by the responder",
    "RSTOS0": "SYN, then reset by its sender",
    "RSTRH": "SYN ACK, then reset, no SYN seen",
    "SH": "SYN, then FIN, no SYN ACK seen",
    "SHR": "SYN ACK, then FIN, no SYN seen",
    "OTH": "no opening seen, or neither way applies",
}
_TONES = {"SF": "good", "S1": "good", "S2": "good", "S3": "good", "OTH": "plain"}
_TRANSPORTS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6"}


def talkers(rows: Rows | None) -> str:
    if rows is None or not len(rows):
        return section("talkers", "Talkers", lead="No TCP, UDP or ICMP was seen, so nobody talked.")
    return section(
        "talkers",
        "Talkers",
        _hosts(rows),
        legend((("sent", "sent"), ("got", "received")), wide=True),
        _services(rows),
        _longest(rows),
        lead=f"{counted(_host_count(rows), 'address', 'addresses')} in {counted(len(rows), 'connection')}.",
    )


def states(rows: Rows | None) -> str:
    if rows is None or not len(rows):
        return ""
    found = np.bincount(rows["state"], minlength=len(STATES))
    transports = [(number, name) for number, name in _TRANSPORTS.items() if np.any(rows["protocol"] == number)]
    most = int(found.max())
    lines = []
    for index in np.argsort(-found, kind="stable"):
        if not found[index]:
            continue
        name, number = STATES[index], int(found[index])
        among = rows["protocol"][rows["state"] == index]
        of = ", ".join(
            f"{count(int(np.count_nonzero(among == wanted)))}\u00a0{label}"
            for wanted, label in transports
            if np.any(among == wanted)
        )
        lines.append(
            (
                f"<code>{name}</code> <small>{_MEANINGS.get(name, '')}</small>",
                bar([(number, _TONES.get(name, "warn"))], most),
                share(number, len(rows)),
                count(number),
                of,
            )
        )
    columns = (
        Column("State"), Column("Connections", "bar"), Column("%", "num"), Column("Count", "num"),
        Column("Of them", wide=True),
    )  # fmt: skip
    missed = int(np.maximum(rows["missed_bytes"], 0).sum())
    note = f"{octets(missed)} of TCP streams are missing from the capture." if missed else ""
    return section(
        "states",
        "Connection states",
        table("As in Zeek’s <code>conn.log</code>; UDP and ICMP: S0 without, SF with an answer", columns, lines),
        f'<p class="note">{note}</p>' if note else "",
    )


def _hosts(rows: Rows) -> str:
    addresses = np.concatenate([rows["orig_h"], rows["resp_h"]])
    forth, back = _positive(rows["orig_ip_bytes"]), _positive(rows["resp_ip_bytes"])
    sent, got = np.concatenate([forth, back]), np.concatenate([back, forth])
    order, begins = _groups(_words(addresses))
    sums = np.add.reduceat(np.stack([sent, got, np.ones_like(sent)], axis=1)[order], begins, axis=0)
    top = np.argsort(-(sums[:, 0] + sums[:, 1]), kind="stable")[:_MOST]
    most = int(sums[top[0], 0] + sums[top[0], 1])
    lines = [
        (
            _address(addresses[order[begins[group]]]),
            bar([(int(sums[group, 0]), "sent"), (int(sums[group, 1]), "got")], most),
            octets(int(sums[group, 0])),
            octets(int(sums[group, 1])),
            count(int(sums[group, 2])),
        )
        for group in top
    ]
    columns = (
        Column("Address"), Column("IP bytes", "bar", wide=True), Column("Sent", "num"), Column("Received", "num"),
        Column("Connections", "num", wide=True),
    )  # fmt: skip
    return table(f"{_top(len(begins), 'Addresses')} by IP bytes sent and received", columns, lines)


def _services(rows: Rows) -> str:
    chosen = rows[np.isin(rows["protocol"], (6, 17))]
    if not len(chosen):
        return ""
    keys = (chosen["protocol"].astype(np.int64) << 16 | chosen["resp_p"])[:, None]
    order, begins = _groups(keys)
    total = _positive(chosen["orig_ip_bytes"]) + _positive(chosen["resp_ip_bytes"])
    sums = np.add.reduceat(np.stack([total, np.ones_like(total)], axis=1)[order], begins, axis=0)
    top = np.lexsort((-sums[:, 0], -sums[:, 1]))[:_MOST]
    most = int(sums[top, 1].max())
    lines = []
    for group in top:
        row = chosen[order[begins[group]]]
        port = f"{row['resp_p']}/{_TRANSPORTS[int(row['protocol'])].lower()}"
        number = int(sums[group, 1])
        lines.append((port, bar([(number, "plain")], most), count(number), octets(int(sums[group, 0]))))
    columns = (
        Column("Port"), Column("Connections", "bar"), Column("Count", "num"), Column("IP bytes", "num"),
    )  # fmt: skip
    return table(f"{_top(len(begins), 'Responder ports')} by connections", columns, lines)


def _longest(rows: Rows) -> str:
    total = _positive(rows["orig_ip_bytes"]) + _positive(rows["resp_ip_bytes"])
    top = np.argsort(-total, kind="stable")[:_MOST]
    lines = []
    for row, number in zip(rows[top], total[top], strict=True):
        icmp = int(row["protocol"]) not in (6, 17)
        origin, responder = (_end(row[f"{side}_h"], row[f"{side}_p"], icmp) for side in ("orig", "resp"))
        lines.append(
            (
                f'{origin}<span class="to"> → </span>{responder}',
                _TRANSPORTS.get(int(row["protocol"]), str(row["protocol"])),
                f"<code>{_state(row)}</code>",
                span(max(int(row["duration"]), 0)) if row["duration"] > 0 else "–",
                octets(int(number)),
            )
        )
    columns = (
        Column("Originator → responder"), Column("Protocol", wide=True), Column("State", wide=True),
        Column("Lasted", "num", wide=True), Column("IP bytes", "num"),
    )  # fmt: skip
    return table(f"{_top(len(rows), 'Connections')} by IP bytes, both ways", columns, lines)


def _top(number: int, what: str) -> str:
    return f"{what}, the first {_MOST} of {count(number)}" if number > _MOST else what


def _state(row: Any) -> str:
    return STATES[row["state"]] if row["state"] < len(STATES) else "?"


def _positive(values: npt.NDArray[Any]) -> Int64:
    """Unknown amounts are negative in rows."""
    return np.maximum(values.astype(np.int64), 0)


def _words(addresses: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    return np.ascontiguousarray(addresses).view(">u8").astype(np.uint64)


def _groups(keys: npt.NDArray[Any]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """An order in which equal rows of ``keys`` are neighbours, and where each group begins in it."""
    order = np.lexsort(keys.T[::-1])
    ordered = keys[order]
    changed = np.any(ordered[1:] != ordered[:-1], axis=1)
    return order, np.concatenate([np.zeros(1, np.intp), np.flatnonzero(changed) + 1])


def _host_count(rows: Rows) -> int:
    return len(_groups(_words(np.concatenate([rows["orig_h"], rows["resp_h"]])))[1])


def _address(octet_array: npt.NDArray[np.uint8], *, bracketed: bool = False) -> str:
    address = IPv6Address(octet_array.tobytes())
    shown = address.ipv4_mapped or (f"[{address}]" if bracketed else address)
    return f'<span class="ip">{escape(shown)}</span>'


def _end(address: npt.NDArray[np.uint8], port: int, icmp: bool) -> str:
    """ICMP has no ports, and those of its rows are types and codes."""
    if icmp:
        return _address(address)
    return f'{_address(address, bracketed=True)}<span class="port">:{port}</span>'
