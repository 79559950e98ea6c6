"""Our connections against what Zeek recorded of the same captures."""

import itertools
import re

import numpy as np
import pytest

from sentinic.monitor.connections import ConnectionTracker
from tests.reference.corpus import needs_corpus
from tests.sw.monitor.baselines import (
    ZEEK,
    Baseline,
    as_logged,
    baselines,
    logged,
    records,
    sorted_rows,
    track,
)

BASELINES = baselines()


@needs_corpus
@pytest.mark.parametrize("bare_plain", [False, True])
@pytest.mark.parametrize("baseline", BASELINES, ids=[baseline.name for baseline in BASELINES])
def test_every_field_that_records_can_tell_equals_zeeks(baseline: Baseline, bare_plain: bool) -> None:
    want = list(logged(baseline.log))
    rows = track(
        baseline.trace,
        ignore_checksums=baseline.ignore_checksums,
        vlan_key=baseline.vlan_key,
        bare_plain=bare_plain,
    )
    got = [{column: as_logged(row)[column] for column in want[0]} for row in rows]
    assert sorted_rows(got) == sorted_rows(want)


@needs_corpus
def test_all_baselines_of_the_corpus_are_compared() -> None:
    assert len(BASELINES) == 16
    assert sum(len(list(logged(baseline.log))) for baseline in BASELINES) == 118


@needs_corpus
@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("trace", ["tunnels__Teredo.pcap", "ssh__ssh.pcap", "ipv6-fragmented-dns.pcap"])
def test_it_does_not_matter_how_records_are_cut_into_batches(trace: str, size: int) -> None:
    descriptors, data = records(trace)
    tracker = ConnectionTracker()
    for start in range(0, len(descriptors), size):
        tracker.update(descriptors[start : start + size], data)
    np.testing.assert_array_equal(tracker.finish(), track(trace))


@needs_corpus
def test_a_syn_ack_before_its_syn_flips_the_connection() -> None:
    """core.connection_flipped: histories at new_connection, connection_flipped and connection_state_remove."""
    text = (ZEEK / "tcp__handshake-reorder.pcap.gt/core.connection_flipped/out").read_text()
    last = next(line for line in text.splitlines() if "connection_state_remove" in line)
    found = re.search(r"orig_h=(\S+), orig_p=(\d+)/tcp, resp_h=(\S+), resp_p=(\d+)/tcp.*\], (\S+), ", last)
    assert found
    (row,) = track("tcp__handshake-reorder.pcap", tcp_servers=())
    ours = as_logged(row)
    assert tuple(ours[name] for name in ("id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "history")) == (
        found.groups()
    )


@needs_corpus
def test_retransmissions_are_counted_in_powers_of_ten() -> None:
    """core.tcp.tcp-dups: the history at the connection's end."""
    text = (ZEEK / "tcp__ssh-dups.pcap.gt/core.tcp.tcp-dups/out").read_text()
    (removed,) = [line for line in text.splitlines() if line.startswith("REMOVE")]
    (row,) = track("tcp__ssh-dups.pcap", ignore_checksums=True)
    assert removed.endswith(", " + row["history"].decode())


@needs_corpus
def test_an_injected_reset_does_not_make_sizes_huge() -> None:
    """core.tcp.rst-after-syn: sizes and counts of both sides."""
    text = (ZEEK / "tcp__rst-inject-rae.pcap.gt/core.tcp.rst-after-syn/.stdout").read_text()
    want = [
        int(value)
        for side in ("orig", "resp")
        for value in re.search(side + r":, \[size=(\d+), .*num_pkts=(\d+), num_bytes_ip=(\d+)", text).groups()  # type: ignore[union-attr]
    ]
    (row,) = track("tcp__rst-inject-rae.pcap")
    names = [f"{side}_{what}" for side, what in itertools.product(("orig", "resp"), ("bytes", "pkts", "ip_bytes"))]
    assert [row[name] for name in names] == want


@needs_corpus
def test_fragments_of_a_dns_answer_count_as_one_datagram() -> None:
    """core.ipv6-frag: the lengths of the reassembled packets."""
    text = (ZEEK / "ipv6-fragmented-dns.pcap.gt/core.ipv6-frag/output").read_text()
    udp = [int(value) for value in re.findall(r"ulen=(\d+)\]", text)]
    rows = track("ipv6-fragmented-dns.pcap")
    assert sum(row["orig_bytes"] + row["resp_bytes"] for row in rows) == sum(length - 8 for length in udp)
    assert sum(row["orig_pkts"] + row["resp_pkts"] for row in rows) == len(udp)
    assert sum(row["orig_ip_bytes"] + row["resp_ip_bytes"] for row in rows) == sum(length + 40 for length in udp)


@needs_corpus
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize("version", ["ip4", "ip6"])
def test_a_bad_checksum_is_a_letter_and_no_packet(protocol: str, version: str) -> None:
    (bad,) = track(f"chksums__{version}-{protocol}-bad-chksum.pcap")
    assert (bad["history"], bad["orig_pkts"], bad["resp_pkts"]) == (b"C", 0, 0)
    (good,) = track(f"chksums__{version}-{protocol}-good-chksum.pcap")
    (ignored,) = track(f"chksums__{version}-{protocol}-bad-chksum.pcap", ignore_checksums=True)
    for row in (good, ignored):
        assert b"C" not in row["history"]
        assert row["orig_pkts"] + row["resp_pkts"] == 1


@needs_corpus
def test_a_packet_with_a_bad_ip_header_checksum_is_no_connection() -> None:
    assert not len(track("chksums__ip4-bad-chksum.pcap"))
