"""The page of a run: complete, well-formed, safe, and true to the numbers it was given."""

import json
import xml.etree.ElementTree as ElementTree
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sentinic.abi.counters import CARD, DROP_REASONS, FATES, counter_names
from sentinic.abi.profiles import WIDE
from sentinic.abi.verdicts import ParseError, Protocol, Verdict
from sentinic.errors import OutputError
from sentinic.monitor.report import render_report, write_report
from sentinic.monitor.report.parts import bar, nice
from sentinic.monitor.report.text import count, escape, moment, octets, plain, scaled, share, span
from sentinic.monitor.state import ROW, STATES
from sentinic.run.traffic import SIZE_CLASSES, TrafficSummary

HOSTILE = "<script>alert(1)</script>\"'&]]>--><img src=x onerror=y>\u202e\x00\udcff"
START = 1_362_692_526_000_000_000


def summary_of(frames: int = 0, dropped: int = 0, **changes: Any) -> dict[str, Any]:
    """A run's summary: ``frames`` TCP frames of 1000 bytes, 10 ms apart, and ``dropped`` runts besides."""
    counters = dict.fromkeys(counter_names(WIDE), 0)
    counters |= {"cycles": 20_000, "received": frames + dropped, "delivered": frames, "dropped_runt": dropped}
    counters |= {"port0.received": frames + dropped, "port0.received_bytes": 1000 * frames, "port0.dropped": dropped}
    counters |= {"dispatch.busy_cycles": 4321, "dispatch.stall_cycles": 8765, "ring0.delivered": frames}
    traffic = TrafficSummary().as_dict()
    if frames:
        traffic["packets"], traffic["bytes"] = frames, 1000 * frames
        traffic["first_ns"], traffic["last_ns"] = START, START + (frames - 1) * 10**7
        traffic["protocols"][Protocol.TCP.name] = {"packets": frames, "bytes": 1000 * frames}
        traffic["verdicts"] |= {Verdict.CLEAN.name: frames - 1, Verdict.MALFORMED.name: 1}
        traffic["parse_errors"][ParseError.UDP_LENGTH.name] = 1
        traffic["sizes"][SIZE_CLASSES.index(1019)]["packets"] = frames
        ones, bytes_ = [1] * frames, [1000] * frames
        traffic["series"] = {"start_ns": START, "bin_ns": 10**7, "packets": ones, "bytes": bytes_}
        traffic["series"]["protocols"] = {"TCP": {"packets": ones, "bytes": bytes_}}
    ring = {"number": 0, "name": "all", "delivered": frames, "delivered_bytes": 1000 * frames, "sampled_out": 0}
    ring |= {"lost": 0, "lost_by_tags": 0, "errors": 0, "faulted": False}
    capture = {"name": "some/web.pcap", "format": "pcap", "frames": frames + dropped, "bytes": 1000 * frames}
    speeds = dict.fromkeys(("frames_per_second", "bits_per_second", "cycles_per_second", "cycles_per_frame"))
    speeds |= dict.fromkeys(("frames_per_second_at_clock", "bits_per_second_at_clock"))
    return {
        "profile": "wide",
        "backend": "native",
        "abi_version": "1.0",
        "written": "2026-11-21T10:00:00Z",
        "captures": [capture | {"backwards": 0, "outside": 0, "clamped": 0}],
        "ended": "complete",
        "error": None,
        "frames": frames + dropped,
        "frames_empty": 0,
        "frames_snapped": 0,
        "bytes": 1000 * frames,
        "delivered": frames,
        "cycles": 20_000,
        "wall_seconds": 0.25,
        "compile_seconds": 0.0,
        "step_seconds": 0.1,
        "speeds": speeds | {"clock_hz": 250_000_000},
        "conservation": {
            "holds": True,
            "received": frames + dropped,
            "fates": {name: counters[name] for name in FATES},
        },
        "drops": {name: counters[name] for name in DROP_REASONS if counters[name]},
        "rings": [ring],
        "counters": counters,
        "traffic": traffic,
        "outputs": ["report.html"],
    } | changes


def packed(address: str) -> np.ndarray[Any, Any]:
    parsed = ip_address(address)
    mapped = parsed if isinstance(parsed, IPv6Address) else IPv6Address(f"::ffff:{address}")
    return np.frombuffer(mapped.packed, np.uint8)


def rows_of(*connections: tuple[str, str, int, str, int, int]) -> np.ndarray[Any, Any]:
    """Connections as (originator, responder, responder's port, state, bytes there, bytes back)."""
    rows = np.zeros(len(connections), ROW)
    for row, (origin, responder, port, state, there, back) in zip(rows, connections, strict=True):
        row["orig_h"], row["resp_h"], row["orig_p"], row["resp_p"] = packed(origin), packed(responder), 40000, port
        row["protocol"], row["state"], row["duration"] = 6, STATES.index(state), 1_500_000_000
        row["orig_ip_bytes"], row["resp_ip_bytes"] = there, back
    return rows


def parsed(page: str) -> ElementTree.Element:
    """The page as a tree; raises where it is not well-formed."""
    doctype, _, rest = page.partition("\n")
    assert doctype == "<!DOCTYPE html>"
    return ElementTree.fromstring(rest)


def words(page: str) -> str:
    return " ".join("".join(parsed(page).find("body").itertext()).replace("\u202f", " ").split())  # type: ignore[union-attr]


def line(page: str, heading: str) -> list[str]:
    """Cells of the first table row whose heading begins so."""
    for row in parsed(page).iter("tr"):
        cells = ["".join(cell.itertext()).replace("\u202f", " ") for cell in row]
        if cells[0].startswith(heading):
            return cells
    raise AssertionError(f"no row {heading!r}")


CONNECTIONS = (
    ("10.0.0.1", "10.0.0.2", 443, "SF", 1000, 500_000),
    ("10.0.0.1", "2001:db8::7", 80, "S0", 60, 0),
    ("10.0.0.3", "10.0.0.2", 443, "REJ", 60, 40),
)


@pytest.fixture
def page() -> str:
    return render_report(summary_of(1797, 23), rows_of(*CONNECTIONS))


def test_the_page_has_every_section_the_run_promises(page: str) -> None:
    headings = [heading.text for heading in parsed(page).iter("h2")]
    assert headings == [
        "Traffic over time", "Protocols", "Talkers", "Connection states", "Frame sizes",
        "What was dropped, and why", "What the parser found", "Where the card was busy", "The run",
    ]  # fmt: skip


@pytest.mark.parametrize("frames", [0, 1, 2, 1797])
@pytest.mark.parametrize("connections", [None, (), CONNECTIONS])
def test_the_page_is_well_formed_and_fetches_nothing(frames: int, connections: Any) -> None:
    page = render_report(summary_of(frames), None if connections is None else rows_of(*connections))
    tree = parsed(page)
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert "url(" not in page
    assert not list(tree.iter("script"))
    links = [element.get(name) for element in tree.iter() for name in ("src", "href") if element.get(name)]
    assert links == ["data:,"]
    identifiers = [element.get("id") for element in tree.iter() if element.get("id")]
    assert len(identifiers) == len(set(identifiers))
    labels = [element.get("aria-labelledby") for element in tree.iter("section")]
    assert set(labels) <= set(identifiers)


def test_numbers_of_the_summary_appear(page: str) -> None:
    text = words(page)
    assert "Every one of 1 820 frames is accounted for: 1 797 delivered, 23 dropped." in text
    assert "23 frames of 1 820 dropped (1.3 %)" in text
    assert line(page, "runt")[-1] == "23"
    assert line(page, "delivered")[-1] == "1 797"
    assert line(page, "TCP")[2:] == ["100 %", "1.8 MB", "1 797"]
    assert line(page, "508–1 019")[-1] == "1 797"
    assert line(page, "malformed")[-1] == "1"
    assert line(page, "UDP length")[-1] == "1"
    assert "Peak 800 kbit/s, as a mean over 10 ms; from 2013-03-07 21:42:06." in text


def test_busy_and_stalled_cycles_are_told_for_each_block(page: str) -> None:
    assert line(page, "dispatch")[2:] == ["21.6 %4 321", "43.8 %8 765"]
    for block in ("ingress", "parser", "statistics", "syn offload", "passthrough", "dma"):
        assert line(page, block)
    assert "Frames waited longest for dispatch: 43.8 % of 20 000 cycles." in words(page)


def test_talkers_add_up_what_each_address_sent_and_received(page: str) -> None:
    assert line(page, "10.0.0.1")[2:] == ["1.06 kB", "500 kB", "2"]
    assert line(page, "10.0.0.2")[2:] == ["500 kB", "1.06 kB", "2"]
    assert line(page, "2001:db8::7")[2:] == ["0 B", "60 B", "1"]
    assert line(page, "443/tcp")[2:] == ["2", "501 kB"]
    assert "4 addresses in 3 connections." in words(page)


def test_only_the_first_ten_talkers_are_listed_and_the_page_says_of_how_many() -> None:
    rows = rows_of(*((f"10.0.1.{n}", "10.0.0.2", 1000 + n, "S0", 60 + n, 0) for n in range(30)))
    page = render_report(summary_of(30), rows)
    assert "Addresses, the first 10 of 31 by IP bytes" in words(page)
    assert "10.0.1.29" in words(page)
    assert "10.0.1.5 " not in words(page)


def test_connection_states_are_counted_and_explained(page: str) -> None:
    for state in ("SF", "S0", "REJ"):
        assert line(page, state)[2:] == ["33.3 %", "1", "1\u00a0TCP"]


def test_unknown_amounts_of_a_connection_count_as_none() -> None:
    rows = rows_of(("10.0.0.1", "10.0.0.2", 443, "SF", -1, -1))
    assert line(render_report(summary_of(1), rows), "10.0.0.1")[2:] == ["0 B", "0 B", "1"]


def test_an_empty_capture_gives_a_page_that_says_so() -> None:
    text = words(render_report(summary_of(), rows_of()))
    assert "The captures hold no frame" in text
    assert "No frame came in, none was dropped." in text
    assert "nan" not in text.lower().split()


def test_a_run_of_no_capture_without_traffic_or_connections_gives_a_page() -> None:
    parsed(render_report(summary_of(captures=[], traffic=None, rings=[]), None))


def test_a_clean_run_says_that_nothing_was_dropped() -> None:
    assert "Nothing was dropped." in words(render_report(summary_of(5), None))


def test_a_capture_of_years_does_not_read_as_no_frames_a_second() -> None:
    summary = summary_of(5)
    summary["traffic"]["last_ns"] = START + 3 * 365 * 86400 * 10**9
    assert "< 0.001 frames/s" in words(render_report(summary, None))


def test_what_went_wrong_stands_first() -> None:
    ring = summary_of()["rings"][0] | {"faulted": True}
    conservation = {"holds": False, "received": 9, "fates": {"delivered": 8}}
    page = render_report(
        summary_of(9, ended="error", error="disk <full>", conservation=conservation, rings=[ring]), None
    )
    alerts = ["".join(part.itertext()) for part in parsed(page).iter("p") if part.get("role") == "alert"]
    assert alerts == [
        "The counters do not add up: 9 frames came in, 8 are known of.",
        "The run ended early: disk <full>.",
        "Ring 0 (all) stopped on a fault.",
    ]
    assert "is accounted for" not in words(page)
    assert "The run was interrupted." in words(render_report(summary_of(9, ended="interrupted"), None))


def test_what_is_odd_about_a_capture_stands_beside_it() -> None:
    capture = {"name": "odd.pcap", "format": "pcap", "frames": 9, "bytes": 540}
    capture |= {"backwards": 2, "outside": 3, "clamped": 1}
    page = words(render_report(summary_of(9, captures=[capture]), None))
    remarks = "time ran backwards 2 times; 3 time stamps before 1970 or after 2262, set to the nearer end; "
    assert f"{remarks}1 frame longer than said to be on the wire" in page
    usual = words(render_report(summary_of(9), None))
    assert "backwards" not in usual
    assert "before 1970" not in usual


def test_what_was_left_out_is_told() -> None:
    page = words(render_report(summary_of(9, frames_empty=1, frames_snapped=1234), None))
    told = "1 frame of no bytes, 1 234 frames snapped below an Ethernet header (14 bytes)."
    assert f"Left out, as there is nothing to parse: {told}" in page
    assert "Left out" not in words(render_report(summary_of(9), None))


def test_compiling_is_told_apart_from_the_run() -> None:
    assert "Wall time0.25 sCompiling besides54.6 s" in words(render_report(summary_of(9, compile_seconds=54.6), None))
    assert "Compiling besides–" in words(render_report(summary_of(9), None))


def test_that_the_page_is_of_ring_0_is_said_when_other_rings_got_frames() -> None:
    ring = summary_of(4)["rings"][0]
    others = [ring | {"number": 1, "name": "<b>", "delivered": 5}, ring | {"number": 2, "delivered": 0}]
    page = words(render_report(summary_of(4, rings=[ring, *others]), None))
    assert "are of ring 0 alone, which got 4 frames; ring 1 (<b>) got 5." in page
    assert "of ring 0 alone" not in words(render_report(summary_of(4, rings=[ring, others[1]]), None))


ATTEMPTS = {
    "attempts": 1000, "again": 41, "answered": 310, "refused": 20, "unreachable": 5, "interrupted": 3, "superseded": 7,
    "expired": 635,    "evicted": 20, "recorded": 660, "unreported": 7, "state_avoided": 647, "packets_avoided": 701,
}  # fmt: skip


def test_what_became_of_attempts_is_told_with_what_the_host_was_spared() -> None:
    page = render_report(summary_of(5, syn_offload=ATTEMPTS), None)
    text = words(page)
    assert "1000 attempts seen; 690 without an answer" in text.replace("1 000", "1000").replace("1,000", "1000")
    assert "kept no state for 647 connections; 701 packets never reached the host" in text
    assert "41 sent again, 660 told of in records" in text
    assert "7 attempts were not reported." in text
    for name in ("answered", "refused", "unreachable", "interrupted", "superseded", "expired", "evicted"):
        assert line(page, name)[-1] == str(ATTEMPTS[name])


def test_without_attempts_on_the_card_there_is_no_section_of_them() -> None:
    assert "attempts" not in words(render_report(summary_of(5, syn_offload=None), None))
    none = dict.fromkeys(ATTEMPTS, 0)
    assert "No attempt was seen" in words(render_report(summary_of(5, syn_offload=none), None))


def test_hostile_strings_stay_text() -> None:
    hostile = {"name": HOSTILE, "format": HOSTILE, "frames": 1, "bytes": 1, "backwards": 2, "outside": 3, "clamped": 1}
    ring = summary_of()["rings"][0] | {"name": HOSTILE}
    summary = summary_of(
        3, captures=[hostile], rings=[ring, ring | {"number": 1}], profile=HOSTILE, backend=HOSTILE,
        abi_version=HOSTILE, written=HOSTILE, ended="error", error=HOSTILE,
    )  # fmt: skip
    summary["traffic"]["verdicts"][HOSTILE] = 3
    summary["traffic"]["parse_errors"][HOSTILE] = 3
    summary["traffic"]["protocols"][HOSTILE] = {"packets": 3, "bytes": 3}
    page = render_report(summary, None)
    tree = parsed(page)
    page.encode()
    assert not list(tree.iter("script"))
    assert not list(tree.iter("img"))
    assert "\u202e" not in page
    assert "<script>alert(1)</script>" in words(page)


@given(st.text(st.characters(codec=None)))
def test_any_text_escaped_is_well_formed_content_and_attribute(text: str) -> None:
    safe = escape(text)
    safe.encode()
    ElementTree.fromstring(f'<p title="{safe}">{safe}</p>')


def test_tables_have_a_caption_and_headings_with_a_scope(page: str) -> None:
    tables = list(parsed(page).iter("table"))
    assert len(tables) >= 9
    for table in tables:
        assert "".join(table.find("caption").itertext()).strip()  # type: ignore[union-attr]
        assert all(heading.get("scope") in ("col", "row") for heading in table.iter("th"))
        width = len(table.find("thead/tr"))  # type: ignore[arg-type]
        assert all(len(row) == width and row[0].tag == "th" for row in table.iterfind("tbody/tr"))


def test_the_chart_draws_nothing_outside_its_box() -> None:
    tree = parsed(render_report(summary_of(200), None))
    charts = [chart for chart in tree.iter("svg") if chart.get("role") == "img"]
    assert len(charts) == 2
    for chart in charts:
        assert chart.get("viewBox") == "0 0 200 1000"
        for path in chart.iter("path"):
            numbers = [int(n) for n in path.get("d", "").translate(str.maketrans("MHVZ", "    ")).split()]
            assert all(0 <= n <= 1000 for n in numbers)


def test_a_page_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_report(tmp_path / "missing" / "report.html", summary_of(1), None)


def test_a_summary_read_back_from_its_file_gives_the_same_page(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", summary_of(4), rows_of(*CONNECTIONS))
    again = render_report(json.loads(json.dumps(summary_of(4))), rows_of(*CONNECTIONS))
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == again


def test_a_reason_of_every_drop_is_known() -> None:
    counters = summary_of(10)["counters"] | {name: n + 2 for n, name in enumerate(DROP_REASONS)}
    page = render_report(summary_of(10, counters=counters), None)
    docs = {counter.name: counter.doc.removeprefix("dropped: ") for counter in CARD}
    for number, name in enumerate(DROP_REASONS):
        cells = line(page, name.removeprefix("dropped_").replace("_", " ").replace("dma", "DMA"))
        assert cells[0].endswith(docs[name])
        assert cells[-1] == str(number + 2)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(1234567), "1 234 567"),
        (octets(999), "999 B"),
        (octets(999_600), "1 MB"),
        (octets(1_291_435), "1.29 MB"),
        (scaled(0, "bit/s"), "0 bit/s"),
        (scaled(2.5e21, "B"), "2 500 000 PB"),
        (span(0), "0 ns"),
        (span(311_628_000), "312 ms"),
        (span(90 * 10**9), "1.5 min"),
        (share(1, 10**6), "&lt; 0.1 %"),
        (share(10**6 - 1, 10**6), "&gt; 99.9 %"),
        (share(0, 5), "0 %"),
        (share(5, 5), "100 %"),
        (share(0, 0), "–"),
        (moment(0), "1970-01-01 00:00:00"),
        (moment(2**64 - 1), "2554-07-21 23:34:33"),
    ],
)
def test_numbers_read_well(shown: str, expected: str) -> None:
    assert plain(shown).replace("\u202f", " ") == expected


@given(st.floats(1e-6, 1e18))
def test_steps_of_an_axis_are_nice_and_never_too_small(least: float) -> None:
    step = nice(least)
    assert least * (1 - 1e-6) <= step <= least * 2.6
    assert f"{step:.0e}"[0] in "125"


def test_a_small_part_of_a_bar_can_be_seen() -> None:
    assert 'width="1.00"' in bar([(1, "bad")], 10**6)
    assert "bad" not in bar([(0, "bad")], 10**6)
    assert "bad" not in bar([(0, "bad")], 0)
