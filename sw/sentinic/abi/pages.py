"""The reference pages and the Wireshark dissector, made from the ABI.

``python -m sentinic.abi.pages`` writes them into ``docs/``; with ``--check`` it changes nothing and exits with
status 1 when one differs from what the ABI says now.
"""

import argparse
import inspect
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum, IntFlag
from pathlib import Path

from sentinic.abi import counters, descriptor, profiles, registers, reports, statistics, tag, verdicts
from sentinic.abi.codec import enumeration_of
from sentinic.abi.layout import Access, Bits, Block, Field, Member, Record
from sentinic.abi.verdicts import Content
from sentinic.abi.wireshark import dissector

_GENERATED = "<!-- Generated from sentinic.abi by `make docs`; do not edit. -->"
_ENUMERATIONS: tuple[type[IntEnum], ...] = tuple(
    item for item in vars(verdicts).values() if isinstance(item, type) and item.__module__ == verdicts.__name__
)
_ACCESS = {
    Access.RO: "set by the card, read by the host",
    Access.RW: "set by the host, reads back as written",
    Access.W1: "writing one triggers an action; reads as zero",
    Access.W1C: "set by the card, cleared by writing one",
}


def _text(doc: str) -> str:
    """A docstring's sentence as Markdown: one paragraph, code in single backticks, no stray table bars."""
    doc = re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", inspect.cleandoc(doc))
    return re.sub(r"\s+", " ", doc.replace("``", "`")).replace("|", "\\|").strip()


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    lines += ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _page(title: str, *parts: str) -> str:
    return "\n\n".join((f"# {title}", _GENERATED, *parts)) + "\n"


def _bits(lsb: int, width: int) -> str:
    return str(lsb) if width == 1 else f"{lsb + width - 1}..{lsb}"


def _meaning(item: Member | Bits) -> str:
    """The text of a member; an enumeration becomes a link to its table."""
    enumeration = enumeration_of(item)
    if enumeration is None:
        return _text(item.doc)
    return f"[{enumeration.__name__}](#{enumeration.__name__.lower()})"


def _comments(enumeration: type[IntEnum] | type[IntFlag]) -> dict[str, str]:
    """The ``#:`` comment beside each value, or above it; they exist in the source alone."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in inspect.getsource(enumeration).splitlines():
        comment = re.match(r"\s+#: (.*)", line)
        value = re.match(r"\s+([A-Z][A-Z0-9_]*) = \d+(?:\s+#: (.*))?$", line)
        if comment:
            above.append(comment[1])
        elif value:
            found[value[1]] = _text(" ".join([*above, value[2] or ""]))
            above = []
    return found


def _enumeration_table(enumeration: type[IntEnum] | type[IntFlag]) -> str:
    comments = _comments(enumeration)
    rows = [(item.value, f"`{item.name}`", comments.get(str(item.name), "")) for item in enumeration]
    # An IntEnum without a docstring inherits one that says nothing of it.
    doc = enumeration.__dict__.get("__doc__") or ""
    parts = [f"## {enumeration.__name__}", _text(doc), _table(("Value", "Name", "Meaning"), rows)]
    return "\n\n".join(part for part in parts if part)


def _enumerations(used: Iterable[Member | Bits]) -> list[str]:
    names = {enumeration_of(item) for item in used}
    return [_enumeration_table(enumeration) for enumeration in _ENUMERATIONS if enumeration in names]


def _record_table(record: Record) -> str:
    def size(member: Member) -> str:
        return str(member.size) if member.count == 1 else f"{member.count} x {member.size}"

    rows = [(m.offset, size(m), f"`{m.name}`", m.unit, _meaning(m)) for m in record]
    return _table(("Byte", "Bytes", "Member", "Unit", "Meaning"), rows)


def _reset(item: Field) -> str:
    return "" if item.access is Access.W1 else (str(item.reset) if item.reset < 10 else f"{item.reset:#x}")


def _block(block: Block) -> str:
    where = f"At `{block.base:#06x}`"
    if block.count > 1:
        where = (
            f"Up to {block.count} of them; number *n* begins at `{block.base:#06x} + n * {block.stride:#x}`"
            " (the capabilities say how many a card holds)"
        )
    rows: list[tuple[object, ...]] = []
    for register in block.registers:
        for item in register.fields:
            single = item.name == "value"
            name = f"`{register.name}`" if single else f"`{register.name}.{item.name}`"
            cells = (_bits(item.lsb, item.width), item.access.name, _reset(item), item.unit, _text(item.doc))
            rows.append((f"`{register.offset:#04x}`", name, *cells))
    heads = ("Offset", "Register and field", "Bits", "Access", "Reset", "Unit", "Meaning")
    return "\n\n".join((f"## {block.name}", f"{_text(block.doc)} {where}.", _table(heads, rows)))


def registers_page() -> str:
    """docs/registers.md"""
    access = _table(("Access", "Meaning"), [(kind.name, _ACCESS[kind]) for kind in Access])
    build = _table(
        ("Profile", "Number", "Data path", "Clock aimed at", "Ports", "Rings", "Packet store"),
        [
            (
                f"`{profile.name}`",
                profile.number,
                f"{profile.data_width} bits",
                f"{profile.clock_hz / 1e6:g} MHz",
                profile.ports,
                profile.rings,
                f"{profile.store_cells} cells of {profile.cell_bytes} bytes",
            )
            for profile in profiles.PROFILES.values()
        ],
    )
    return _page(
        "Registers",
        _text(registers.__doc__ or "") + f" The card's id is `{registers.CARD_ID:#010x}`, the ABI's version"
        f" {registers.ABI_VERSION >> 16}.{registers.ABI_VERSION & 0xFFFF}."
        " Where a build decides what a read-only register says, its reset value is given as 0.",
        access,
        "## Profiles",
        "Parameters of a build; the registers `profile`, `capabilities` and `store` tell them.",
        build,
        *(_block(block) for block in registers.BLOCKS),
        "## Room that the card keeps",
        f"A ring counts as full while fewer than {registers.RING_MARGIN_DESCRIPTORS} descriptors or fewer than"
        f" {registers.RING_MARGIN_SLOTS} slots of {descriptor.SLOT_ALIGNMENT} bytes are free.",
        # The filter registers select by these.
        _enumeration_table(verdicts.Protocol),
        _enumeration_table(verdicts.Verdict),
    )


def descriptor_page() -> str:
    """docs/descriptor.md"""
    record = descriptor.DESCRIPTOR
    status = record.bits["status"]
    rows = [(_bits(bits.lsb, bits.width), f"`{bits.name}`", _meaning(bits)) for bits in status]
    align, headroom = descriptor.SLOT_ALIGNMENT, descriptor.HEADROOM
    return _page(
        "The receive descriptor",
        _text(descriptor.__doc__ or ""),
        _record_table(record),
        "## Status",
        _table(("Bits", "Name", "Meaning"), rows),
        "## The slot in the data ring",
        f"A packet's slot begins at `offset`, a multiple of {align} bytes, and takes {headroom} bytes of headroom and"
        f" its captured length rounded up to a multiple of {align}. It never wraps: what does not fit before the data"
        " ring's end begins at its start. With T the tag's length in bytes (4 * `tag_words`) and V the bytes of VLAN"
        " tags (4 * `vlan_count`):",
        _table(
            ("Bytes of the slot", "Hold"),
            [
                (f"0 .. {headroom} - T", "nothing"),
                (f"{headroom} - T .. {headroom} - T + 12 + V", "the frame's addresses and VLAN tags"),
                (f"{headroom} - T + 12 + V .. {headroom} + 12 + V", "the [tag](tag.md)"),
                (f"{headroom} + 12 + V .. {headroom} + `captured_length`", "the rest, from the original EtherType on"),
            ],
        ),
        f"So the tagged frame lies in one piece from {headroom} - T on, and the tag's end is found without reading it.",
        "## A descriptor without a slot",
        "A ring that is switched on with `snap_length` 0 gets descriptors only. They have neither slot nor tag:"
        " `captured_length`, `tag_words` and `tcp` are 0, `truncated` is 1, and when `loss` is set, `offset` holds how"
        " many packets the ring lost since the one before. A descriptor without a slot is never of kind `VOID`.",
        "## A plain segment",
        "A ring with `extras.bare_plain` gets plain TCP segments without a slot, other packets with one. A segment is"
        " plain when the card has seen all of it, nothing is wrong with it (verdict `CLEAN`), and nothing but an"
        " Ethernet header of 14 bytes and an IP header without options or extension headers, which tells the packet's"
        " length, stands before TCP. Its descriptor tells what else is known: `plain` is 1, `offset` holds the sequence"
        " number and `flow_hash` the acknowledgment number, `truncated` is 0, the transport checksum is `GOOD`, and in"
        " place of `tag_words`:",
        _table(
            ("Bits of `tag_words`", "Name", "Meaning"),
            [(_bits(bits.lsb, bits.width), f"`{bits.name}`", _meaning(bits)) for bits in descriptor.PLAIN_TAG_WORDS],
        ),
        "A segment that crosses a threshold of statistics, a SYN that was held, and the first segment behind a loss are"
        " delivered with their slot, whose tag tells of that.",
        *_enumerations(status),
    )


def tag_page() -> str:
    """docs/tag.md"""
    introduction, diagram, rest = _around_block(tag.__doc__ or "")
    tlvs = [_tlv(item, "Optional" if item.optional else "In every tag") for item in tag.TLVS]
    of_reports = [_tlv(item, "In reports only") for item in reports.REPORT_TLVS]
    return _page(
        "The tag",
        _text(introduction),
        f"```\n{diagram}\n```",
        _text(rest),
        f"EtherType `{tag.TAG_ETHERTYPE:#06x}` (IEEE 802 Local Experimental EtherType 1), version {tag.TAG_VERSION}, at"
        f" most {tag.TAG_MAX_BYTES} bytes. A frame that carries no packet has the original EtherType"
        f" {tag.NO_PACKET_ETHERTYPE}. Cutting the tag out gives the original frame, byte for byte.",
        "Wireshark shows it with `-X lua_script:docs/sentinic.lua`, scapy after `import sentinic.scapy_layer`.",
        *tlvs,
        "## Finding TLVs from the tag's end",
        _table(
            ("TLV", "Begins before the tag's end", "Present"),
            [
                ("`packet`", f"{tag.PACKET_FROM_END} bytes", "always"),
                ("`headers`", f"{tag.HEADERS_FROM_END} bytes", "always"),
                ("`tcp`", f"{tag.TCP_FROM_END} bytes", "when the descriptor's bit `tcp` is set"),
                ("`loss`", "right before `tcp` or `headers`", "when the descriptor's bit `loss` is set"),
                ("`crossing`", "first in the tag", "when the tag is longer than the others make it"),
            ],
        ),
        "## Reports",
        "A report is a frame with a tag and no packet, in a descriptor of kind `REPORT`: a head, then items of one"
        f" kind: up to {reports.most_items(Content.GROUPS)} groups of [statistics](statistics.md), or up to"
        f" {reports.most_items(Content.ATTEMPTS)} attempts of [SYN offload](syn_offload.md). Its Ethernet addresses are"
        " zero.",
        *of_reports,
        *_enumerations(member for item in (*tag.TLVS, *reports.REPORT_TLVS) for member in item.record),
        _enumeration_table(statistics.ReportFlag),
        _enumeration_table(statistics.Event),
    )


def _tlv(item: tag.Tlv, where: str) -> str:
    return (
        f"## TLV `{item.name}`, type {item.type:#04x}\n\n{_text(item.doc)} {where}; {item.words} words.\n\n"
        f"{_record_table(item.record)}"
    )


def _around_block(doc: str) -> tuple[str, str, str]:
    """The text before ``::``, the indented block after it, and the text behind that."""
    before, _, after = doc.partition("::")
    lines = after.lstrip("\n").splitlines()
    size = next((n for n, line in enumerate(lines) if line and not line.startswith(" ")), len(lines))
    return before, inspect.cleandoc("\n".join(lines[:size])).strip(), "\n".join(lines[size:])


def counters_page() -> str:
    """docs/counters.md"""
    introduction = _text((counters.__doc__ or "").partition("At any snapshot")[0])
    tables = []
    for profile in profiles.PROFILES.values():
        rows = [
            (n, f"`{registers.COUNTERS_BASE + 8 * n:#06x}`", f"`{name}`", item.unit, _text(item.doc))
            for n, (name, item) in enumerate(counters.counter_table(profile))
        ]
        tables.append((profile, _table(("Number", "Address", "Counter", "Unit", "Meaning"), rows)))
    groups: dict[str, list[str]] = {}
    for profile, table in tables:
        groups.setdefault(table, []).append(f"`{profile.name}`")
    return _page(
        "Counters",
        introduction,
        "Writing 1 to the register `snapshot.take` has all of them copied as they are in one and the same cycle; when"
        " `snapshot.busy` is 0 again, the copy is read as two words each, low word first, from"
        f" `{registers.COUNTERS_BASE:#06x}` on. At any snapshot",
        "```\nreceived = " + "\n         + ".join(counters.FATES) + "\n```",
        "## Reasons for a drop",
        _table(
            ("Counter", "Meaning"),
            [(f"`{c.name}`", _text(c.doc)) for c in counters.CARD if c.name in counters.DROP_REASONS],
        ),
        *(part for table, names in groups.items() for part in (f"## Profiles {' and '.join(names)}", table)),
    )


#: The generated files of ``docs/``.
PAGES: dict[str, Callable[[], str]] = {
    "registers.md": registers_page,
    "descriptor.md": descriptor_page,
    "tag.md": tag_page,
    "counters.md": counters_page,
    "sentinic.lua": dissector,
}


def outdated(folder: Path) -> list[str]:
    """Names of the pages in ``folder`` that are missing or differ from what the ABI says."""

    def current(name: str) -> str | None:
        path = folder / name
        return path.read_text(encoding="utf-8") if path.exists() else None

    return [name for name, make in PAGES.items() if current(name) != make()]


def write(folder: Path) -> list[str]:
    """Write the pages that are out of date; their names."""
    names = outdated(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(PAGES[name](), encoding="utf-8")
    return names


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m sentinic.abi.pages", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 when a page is out of date")
    parser.add_argument(
        "--docs", type=Path, default=Path("docs"), help="the folder of the pages (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.check:
        names = outdated(options.docs)
        for name in names:
            print(f"{options.docs / name} is not what sentinic.abi says now: run `make docs`", file=sys.stderr)
        return 1 if names else 0
    for name in write(options.docs):
        print(f"wrote {options.docs / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
