"""Delivered frames as lines of JSON, with their decoded tags."""

import json
from functools import partial
from ipaddress import IPv6Address
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.descriptor import PLAIN_TAG_WORDS
from sentinic.abi.syn_offload import Reason
from sentinic.abi.tag import ATTEMPT, CROSSING, HEADERS, LOSS, PACKET, TAG_VERSION, TCP, Tlv
from sentinic.abi.verdicts import Checksum, Fragment, Kind, ParseError, Protocol, Verdict
from sentinic.driver.records import status_bits
from sentinic.driver.statistics import have_crossing, read_crossings
from sentinic.driver.syn_offload import are_regenerated, read_attempts
from sentinic.driver.tags import has_tlv, tlv_rows

#: Addresses remembered as text.
_MOST_ADDRESSES = 1 << 18
_ENUMS = {"kind": Kind, "parse_error": ParseError, "protocol_class": Protocol, "reason": Reason, "verdict": Verdict}
#: Members of a TLV that say nothing of a packet.
_UNTOLD = frozenset({"type", "length", "reserved", "timestamp_high", "timestamp_low"})


class JsonLines:
    """Formats packets as one JSON object a line; keys are the names of the ABI.

    Addresses are text (empty when the packet is not IP), enumerations their names, times ns.  What only a tag tells is
    null for a descriptor without one; what only the descriptor of a plain segment tells, for all others.
    """

    def __init__(self) -> None:
        self._addresses: dict[bytes, str] = {}

    def format(self, ring: int, descriptors: npt.NDArray[Any], data: npt.NDArray[np.uint8]) -> str:
        """Lines for polled descriptors; ``data`` is the data ring."""
        status = descriptors["status"]
        plain = ("timestamp", "wire_length", "captured_length", "ip_length", "protocol")
        columns: dict[str, list[Any]] = {name: descriptors[name].tolist() for name in plain}
        versions = status_bits(status, "ip_version").tolist()
        for side in ("source", "destination"):
            octets = np.ascontiguousarray(descriptors[side]).view("V16")[:, 0].tolist()
            columns[side] = [
                self._address(item, version) if version else "" for item, version in zip(octets, versions, strict=True)
            ]
            columns[f"{side}_port"] = descriptors[f"{side}_port"].tolist()
        columns["tcp_flags"] = descriptors["tcp_flags"].tolist()
        is_plain = status_bits(status, "plain") != 0
        columns["flow_hash"] = _spread(descriptors["flow_hash"][~is_plain].tolist(), ~is_plain)
        columns["port"] = status_bits(status, "port").tolist()
        columns["vlan_count"] = status_bits(status, "vlan_count").tolist()
        for name in ("mpls", "truncated", "network_checksum_bad"):
            columns[name] = (status_bits(status, name) != 0).tolist()
        columns["fragment"] = _names(Fragment, status_bits(status, "fragment"))
        columns["transport_checksum"] = _names(Checksum, status_bits(status, "transport_checksum"))
        has_tag = has_tlv(descriptors, HEADERS)
        tagged = descriptors[has_tag]
        headers = tlv_rows(tagged, data, HEADERS)
        columns["verdict"] = _spread(_names(Verdict, headers["verdict"]), has_tag)
        columns["parse_error"] = _names(ParseError, status_bits(status, "parse_error"))
        columns["tag"] = _spread(self._tags(tagged, data, headers), has_tag)
        columns["plain"] = _spread(_plain_segments(descriptors[is_plain]), is_plain)
        names = list(columns)
        dump = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
        lines = [
            dump({"ring": ring, **dict(zip(names, row, strict=True))}) for row in zip(*columns.values(), strict=True)
        ]
        return "\n".join(lines) + "\n" if lines else ""

    def _tags(
        self, descriptors: npt.NDArray[Any], data: npt.NDArray[np.uint8], headers: npt.NDArray[Any]
    ) -> list[dict[str, Any]]:
        packet = tlv_rows(descriptors, data, PACKET)
        times = packet["timestamp_high"].astype(np.uint64) << np.uint64(32) | packet["timestamp_low"]
        words = status_bits(descriptors["status"], "tag_words").tolist()
        tags: list[dict[str, Any]] = [{"version": TAG_VERSION, "words": count} for count in words]
        for tlv, there, values in (
            (CROSSING, have_crossing(descriptors), read_crossings),
            (ATTEMPT, are_regenerated(descriptors), read_attempts),
            (LOSS, has_tlv(descriptors, LOSS), partial(tlv_rows, tlv=LOSS)),
            (TCP, has_tlv(descriptors, TCP), partial(tlv_rows, tlv=TCP)),
        ):
            rows = np.flatnonzero(there)
            for row, value in zip(rows.tolist(), _values(tlv, values(descriptors[rows], data)), strict=True):
                tags[row][tlv.name] = value
        for tag, head in zip(tags, _values(HEADERS, headers), strict=True):
            tag[HEADERS.name] = head
        for tag, rest, time in zip(tags, _values(PACKET, packet), times.tolist(), strict=True):
            tag[PACKET.name] = {"timestamp": time, **rest}
        return tags

    def _address(self, octets: bytes, version: int) -> str:
        text = self._addresses.get(octets)
        if text is None:
            if len(self._addresses) >= _MOST_ADDRESSES:
                self._addresses.clear()
            text = ".".join(map(str, octets[12:])) if version == 1 else str(IPv6Address(octets))
            self._addresses[octets] = text
        return text


def _plain_segments(descriptors: npt.NDArray[Any]) -> list[dict[str, int]]:
    words = status_bits(descriptors["status"], "tag_words")
    columns = {"sequence": descriptors["offset"], "acknowledgment": descriptors["flow_hash"]}
    columns |= {bits.name: words >> np.uint32(bits.lsb) & np.uint32((1 << bits.width) - 1) for bits in PLAIN_TAG_WORDS}
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _values(tlv: Tlv, rows: npt.NDArray[Any]) -> list[dict[str, Any]]:
    names = [member.name for member in tlv.record if member.name not in _UNTOLD]
    columns = [_names(_ENUMS[name], rows[name]) if name in _ENUMS else rows[name].tolist() for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _spread(values: list[Any], there: npt.NDArray[np.bool_]) -> list[Any]:
    """``values`` at the places that are ``there``, None at the others."""
    rest = iter(values)
    return [next(rest) if here else None for here in there.tolist()]


def _names(kind: Any, values: npt.NDArray[Any]) -> list[str]:
    names = {int(item): item.name for item in kind}
    return [names.get(value, str(value)) for value in values.tolist()]
