"""Reads headers in the packet store: those of a SYN that is held, or of the packet that an ICMP error quotes.

A header begins at byte 14 + 4k of the frame, so two of its words lie in one beat of 64 bits, or in two that follow each
other: a pair of words a cycle, as the beats come.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sentinic.abi.profiles import Profile
from sentinic_hdl.meta import CELL_BITS
from sentinic_hdl.parser.layout import number
from sentinic_hdl.parser.network import AUTHENTICATION, FRAGMENT, TCP, UDP, is_extension, mapped
from sentinic_hdl.parser.quote import QUOTE_BYTES, QUOTE_EXTENSIONS
from sentinic_hdl.parser.transport import NO_NEXT
from sentinic_hdl.stages.syn_offload.types import End
from sentinic_hdl.store import read_shape

#: Of TCP: ports, sequence and acknowledgment numbers, flags and window.
TCP_BYTES = 16
#: Of a quote: ports and sequence number.
_QUOTED_WORDS = 2
_NOWHERE = 63


class Job(data.Struct):
    """What to read.

    ``start`` is the byte of the frame where the IP header begins, ``end`` the one behind the last that is wanted.  Of a
    SYN, ``transport`` says where TCP begins, in words from there; of a quote, ``left`` how many bytes of it there are.
    """

    cell: CELL_BITS
    start: 8
    end: 8
    ipv6: 1
    quote: 1
    transport: 6
    left: range(QUOTE_BYTES + 1)


class Headers(data.Struct):
    """What was read; of a quote, ends and sequence number."""

    link: 96
    vlan0: 32
    vlan1: 32
    source: End
    destination: End
    ip_length: 16
    ip_dscp: 6
    ip_id: 16
    sequence: 32
    acknowledgment: 32
    tcp_words: 4  # of the TCP header
    congestion: 2  # ECE and CWR
    window: 16


class HeaderReader(wiring.Component):
    """Reads one packet's headers at a time.

    Of a quote it takes what :class:`sentinic_hdl.parser.quote.QuoteReader` takes.

    Members
    -------
    start, job: begin; while not ``busy``
    busy: not done
    found: it is a TCP packet, and ``headers`` has it; stays until the next begins
    read, beats: the packet store; nothing is given back
    """

    def __init__(self, *, profile: Profile):
        if profile.data_width != 64:
            raise ValueError(f"data_width must be 64, not {profile.data_width}")
        super().__init__(
            {
                "start": In(1),
                "job": In(Job),
                "busy": Out(1),
                "found": Out(1),
                "headers": Out(Headers),
                "read": Out(stream.Signature(read_shape(profile))),
                "beats": In(stream.Signature(profile.data_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        job = Signal(Job)
        count, at = Signal(6), Signal(6)  # beats to read, and the number of the one that is here
        behind = Signal(64)  # the beat before
        stepping, first = Signal(), Signal()
        # A pair of words, its number, and whether there is one; as registers, for there is much to be seen in it.
        pair, pair_number, taking = Signal(64), Signal(6), Signal()
        m.d.comb += [
            self.read.p.cell.eq(job.cell),
            self.read.p.beats.eq(count),
            first.eq(at == job.start[3:] + 1),
        ]
        with m.FSM():
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [job.eq(self.job), count.eq((self.job.end + 7) >> 3), at.eq(0)]
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += [self.busy.eq(1), self.read.valid.eq(1)]
                with m.If(self.read.ready):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += [self.busy.eq(1), self.beats.ready.eq(1), stepping.eq(self.beats.valid)]
                with m.If(self.beats.valid & (at == count - 1)):
                    m.next = "LAST"
            # What is left of the last beat has no other behind it.
            with m.State("LAST"):
                m.d.comb += [self.busy.eq(1), stepping.eq(1)]
                m.next = "SEE"
            with m.State("SEE"):
                m.d.comb += self.busy.eq(1)
                m.next = "IDLE"
        m.d.sync += taking.eq(stepping & (at > job.start[3:]))
        with m.If(stepping):
            m.d.sync += [
                at.eq(at + 1),
                behind.eq(self.beats.payload),
                pair_number.eq(Mux(first, 0, pair_number + 1)),
                # Byte 2 or 6 of a beat: a word begins there.
                pair.eq(
                    Mux(
                        job.start[2],
                        Cat(behind[48:], self.beats.payload[:48]),
                        Cat(behind[16:], self.beats.payload[:16]),
                    )
                ),
            ]

        cursor = Signal(6)  # word of the header that comes next
        with m.If(self.start):
            m.d.sync += cursor.eq(Mux(self.job.quote, _NOWHERE, self.job.transport))
        self._link(m, stepping, at)
        self._addresses(m, job, taking, pair_number, pair)
        self._transport(m, cursor, taking, pair_number, pair)
        self._quote(m, job, cursor, taking, pair_number, pair)
        return m

    def _link(self, m: Module, stepping: Value, at: Value) -> None:
        """What comes before the IP header; of VLAN tags the caller knows how many there are."""
        headers, beat = self.headers, self.beats.payload
        with m.If(stepping):
            with m.Switch(at):
                with m.Case(0):
                    m.d.sync += headers.link[:64].eq(beat)
                with m.Case(1):
                    m.d.sync += [headers.link[64:].eq(beat[:32]), headers.vlan0.eq(number(beat, 4, 4))]
                with m.Case(2):
                    m.d.sync += headers.vlan1.eq(number(beat, 0, 4))

    def _addresses(self, m: Module, job: data.View, taking: Value, at: Value, pair: Value) -> None:
        """The fixed IP header, but for what only a quote is asked."""
        headers = self.headers
        source, destination = headers.source.address, headers.destination.address
        with m.If(taking & job.ipv6):
            with m.Switch(at):
                with m.Case(0):
                    m.d.sync += [
                        headers.ip_dscp.eq(number(pair, 0, 2)[6:12]),
                        headers.ip_length.eq(number(pair, 4, 2) + 40),
                        headers.ip_id.eq(0),
                    ]
                for pair_number, target in (
                    (1, source[64:]),
                    (2, source[:64]),
                    (3, destination[64:]),
                    (4, destination[:64]),
                ):
                    with m.Case(pair_number):
                        m.d.sync += target.eq(number(pair, 0, 8))
        with m.Elif(taking):
            with m.Switch(at):
                with m.Case(0):
                    m.d.sync += [
                        headers.ip_dscp.eq(number(pair, 1, 1)[2:]),
                        headers.ip_length.eq(number(pair, 2, 2)),
                        headers.ip_id.eq(number(pair, 4, 2)),
                    ]
                with m.Case(1):
                    m.d.sync += source.eq(mapped(pair, 4))
                with m.Case(2):
                    m.d.sync += destination.eq(mapped(pair, 0))

    def _transport(self, m: Module, cursor: Value, taking: Value, at: Value, pair: Value) -> None:
        """TCP, if it is where the cursor stands."""
        headers = self.headers
        words = []
        for n in range(TCP_BYTES // 4):
            place, word, here = Signal(7, name=f"place{n}"), Signal(32, name=f"word{n}"), Signal(name=f"here{n}")
            m.d.comb += [
                place.eq(cursor + n),
                word.eq(Mux(place[0], pair[32:], pair[:32])),
                here.eq(taking & (at == place[1:])),
            ]
            words.append((here, word))
        (ports_here, ports), (sequence_here, sequence), (ack_here, ack), (flags_here, flags) = words
        with m.If(ports_here):
            m.d.sync += [headers.source.port.eq(number(ports, 0, 2)), headers.destination.port.eq(number(ports, 2, 2))]
        with m.If(sequence_here):
            m.d.sync += headers.sequence.eq(number(sequence, 0, 4))
        with m.If(ack_here):
            m.d.sync += headers.acknowledgment.eq(number(ack, 0, 4))
        with m.If(flags_here):
            m.d.sync += [
                headers.tcp_words.eq(flags[4:8]),
                headers.congestion.eq(flags[14:16]),
                headers.window.eq(number(flags, 2, 2)),
            ]

    def _quote(self, m: Module, job: data.View, cursor: Value, taking: Value, at: Value, pair: Value) -> None:
        """Whether a quote is a whole TCP packet of the version, and where TCP begins in it."""
        stopped, fragment = Signal(), Signal()
        protocol, passed = Signal(8), Signal(range(QUOTE_EXTENSIONS + 1))
        limit = Signal.like(job.left)  # of packet and quote, whichever ends first
        limit_words, first_words = Signal(5), Signal(4)
        length, following = Signal(17), Signal(8)
        is_rest = Signal()
        m.d.comb += [
            limit_words.eq(limit[2:]),
            first_words.eq(pair[:4]),
            following.eq(number(pair, 6, 1)),
            self.found.eq(~stopped & ~fragment & (protocol == TCP) & (limit_words >= cursor + _QUOTED_WORDS)),
        ]
        with m.If(job.ipv6):
            payload = number(pair, 4, 2)
            m.d.comb += [
                length.eq(payload + 40),
                is_rest.eq((payload == 0) & ((following == TCP) | (following == UDP))),
            ]
        with m.Else():
            m.d.comb += [length.eq(number(pair, 2, 2)), is_rest.eq(length == 0)]

        octets, words, end = Signal(32), Signal(10), Signal(11)  # of an extension header
        m.d.comb += [octets.eq(Mux(cursor[0], pair[32:], pair[:32])), end.eq(cursor + words)]
        with m.If(protocol == FRAGMENT):
            m.d.comb += words.eq(2)
        with m.Elif(protocol == AUTHENTICATION):
            m.d.comb += words.eq(octets[8:16] + 2)
        with m.Else():
            m.d.comb += words.eq(Cat(Const(1, 1), octets[8:16]) + 1)

        # The pair after the first has the protocol of IPv4; by then the length has been looked at.
        seen_length, seen_rest, header_bytes = Signal(17), Signal(), Signal(6)
        with m.If(self.start):
            m.d.sync += [stopped.eq(~self.job.quote), fragment.eq(0), protocol.eq(NO_NEXT), passed.eq(0)]
        with m.Elif(taking & ~stopped & (at == 0)):
            m.d.sync += [seen_length.eq(length), seen_rest.eq(is_rest), header_bytes.eq(Cat(Const(0, 2), first_words))]
            with m.If(job.ipv6):
                m.d.sync += [
                    stopped.eq((pair[4:8] != 6) | (job.left < 40)),
                    header_bytes.eq(40),
                    cursor.eq(10),
                    protocol.eq(following),
                ]
            with m.Else():
                m.d.sync += [
                    stopped.eq((pair[4:8] != 4) | (job.left < 20) | (first_words < 5)),
                    cursor.eq(first_words),
                    fragment.eq(number(pair, 6, 2)[:14].any()),  # MF, or an offset
                ]
        with m.Elif(taking & ~stopped & (at == 1)):
            m.d.sync += [
                limit.eq(Mux(seen_rest | (seen_length > job.left), job.left, seen_length)),
                stopped.eq((header_bytes > job.left) | (~seen_rest & (seen_length < header_bytes))),
            ]
            with m.If(~job.ipv6):
                m.d.sync += protocol.eq(number(pair, 1, 1))
        with m.Elif(taking & ~stopped & (at == cursor[1:]) & is_extension(protocol, Mux(job.ipv6, 2, 1))):
            with m.If((limit_words < cursor + 2) | (limit_words < end) | (passed == QUOTE_EXTENSIONS)):
                m.d.sync += stopped.eq(1)
            with m.Else():
                m.d.sync += [cursor.eq(end), protocol.eq(octets[:8]), passed.eq(passed + 1)]
                with m.If(protocol == FRAGMENT):
                    m.d.sync += fragment.eq(octets[24] | number(octets, 2, 2)[3:].any())


__all__ = ["TCP_BYTES", "HeaderReader", "Headers", "Job"]
