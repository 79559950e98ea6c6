"""SYN offload of a small card: one packet at a time, and a SYN's headers are read where its bytes wait."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2, exact_log2

from sentinic.abi.profiles import Profile
from sentinic.abi.registers import SYN_OFFLOAD
from sentinic.abi.syn_offload import UNANSWERED, Reason
from sentinic.abi.verdicts import Kind
from sentinic_hdl.csr.bank import RegisterBank
from sentinic_hdl.meta import PacketMeta
from sentinic_hdl.stages.syn_offload.clock import PacketClock
from sentinic_hdl.stages.syn_offload.expiry import Expiry
from sentinic_hdl.stages.syn_offload.fate import Fate
from sentinic_hdl.stages.syn_offload.folded.key_hash import KeyHash
from sentinic_hdl.stages.syn_offload.folded.places import Places
from sentinic_hdl.stages.syn_offload.folded.reader import HeaderReader, Job
from sentinic_hdl.stages.syn_offload.folded.types import (
    HASH_BITS,
    Op,
    enter,
    is_holdable,
    kept_shape,
    may_quote,
    quote_job,
    read_back,
    syn_job,
)
from sentinic_hdl.stages.syn_offload.records import Records
from sentinic_hdl.stages.syn_offload.types import (
    SECRET_WORDS,
    End,
    Record,
    ended_of,
    held_shape,
    is_tcp,
    restored,
    stage_members,
)
from sentinic_hdl.store import read_shape

#: Cycles that a sweep waits for one without a packet that has been looked at, before it goes first.
PATIENCE = 63
#: Records that may wait for the reports, in distributed RAM.
RECORDS = 8


class FoldedSynOffload(wiring.Component):
    """Does what :class:`sentinic_hdl.stages.syn_offload.stage.SynOffload` does, one packet after another.

    The table keeps a hash of each attempt's 5-tuple, and the cell where its SYN lies.  Whose SYN it is, and what else
    its meta said, is read there when a packet may be of the same 5-tuple, or when the SYN has to go on; so is what an
    ICMP error quotes.  A SYN that is not held any more has no cell: a packet of another 5-tuple with the same hash is
    taken to be of this one, which lets a SYN pass that could be held, and does no more.

    While it is switched off, a packet takes two cycles.  Else one without TCP takes three; one with it 13 at the least,
    for its hash, while the one before is looked up in ten; a held SYN that has to be read takes some ten more.  Sweeps
    go between packets.  Every SYN that is held can go on raw as well.

    Members as there, but for ``quotes``, and

    peek, peeked: the packet store; nothing is given back
    """

    def __init__(self, profile: Profile):
        self._profile = profile
        super().__init__(
            {
                **stage_members(profile),
                "peek": Out(stream.Signature(read_shape(profile))),
                "peeked": In(stream.Signature(profile.data_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        profile = self._profile
        sets = profile.syn_attempts // profile.syn_ways
        index_bits = exact_log2(sets)
        m.submodules.bank = bank = RegisterBank(block=SYN_OFFLOAD)
        wiring.connect(m, wiring.flipped(self.bus), bank.bus)
        m.submodules.expiry = expiry = Expiry(
            sets=sets, ways=profile.syn_ways, depth=max(16, profile.syn_attempts // 4)
        )
        m.submodules.clock = clock = PacketClock()
        m.submodules.key_hash = key_hash = KeyHash(bits=HASH_BITS)
        m.submodules.reader = reader = HeaderReader(profile=profile)
        m.submodules.places = places = Places(sets=sets, ways=profile.syn_ways)
        m.submodules.ended = ended = Records(depth=RECORDS)
        wiring.connect(m, wiring.flipped(self.peek), reader.read)
        wiring.connect(m, wiring.flipped(self.peeked), reader.beats)
        wiring.connect(m, wiring.flipped(self.records), ended.o)
        kept = kept_shape(profile)
        m.submodules.kept = memory = Memory(shape=kept.size, depth=profile.syn_attempts, init=[])
        read, write = memory.read_port(), memory.write_port()
        old = Signal(kept)  # of the record that was looked at last

        timeout = Cat(bank.timeout_low, bank.timeout_high)
        sweep_timeout = Signal(64)  # the one by which the sweep was due that was begun in the last cycle
        m.d.sync += sweep_timeout.eq(expiry.horizon_timeout)
        idle = Signal()  # all packets pass
        resting = Signal()  # none is inside, nor a sweep
        m.d.comb += [
            bank.shape.eq(ceil_log2(profile.syn_attempts) | profile.syn_ways << 8 | profile.cell_bytes << 16),
            bank.status.eq(Cat(places.clearing, expiry.flushing, ended.reporting)),
            bank.holding.eq(places.holding),
            self.holding.eq(places.holding),
            key_hash.secret.eq(Cat(getattr(bank, f"hash_key{n}") for n in range(SECRET_WORDS))),
            clock.valid.eq(self.i.valid),
            clock.timestamp.eq(self.i.p.info.timestamp),
            clock.time.eq(self.time),
            clock.lossless.eq(self.lossless),
            expiry.now.eq(clock.now),
            expiry.timeout.eq(timeout),
            expiry.flush.eq(bank.action_strobe[0]),
            expiry.empty.eq(resting & (places.live == 0)),
            ended.lossless.eq(self.lossless),
            ended.wanted.eq(self.wanted),
            ended.behind.eq(self.reporting),
            self.hurry.eq(ended.hurry),
            old.eq(read.data),
        ]

        # --- At the door: a packet stays there until it is known whose it is ---
        arriving = self.i.p
        headers, quote = arriving.headers, reader.headers
        seen, tcp, quoting, holdable = Signal(), Signal(), Signal(), Signal()  # it has been looked at, and what it is
        was_read, was_found = Signal(), Signal()  # what it quotes was looked for; and found
        taken, due, sweep, patience = Signal(), Signal(), Signal(), Signal(range(PATIENCE + 1))
        opened = Signal()  # all may come in as they arrive
        source, destination = Signal(End), Signal(End)
        m.d.sync += [
            seen.eq(self.i.valid & ~self.i.ready),
            tcp.eq(is_tcp(arriving)),
            quoting.eq(may_quote(arriving)),
            holdable.eq(is_holdable(profile, arriving)),
            due.eq(expiry.due),
        ]
        m.d.comb += [
            source.eq(Mux(was_read, quote.source, Cat(headers.source_port, headers.source))),
            destination.eq(Mux(was_read, quote.destination, Cat(headers.destination_port, headers.destination))),
            key_hash.valid.eq(seen & (tcp | was_found)),
            key_hash.source.eq(source),
            key_hash.destination.eq(destination),
            key_hash.ipv6.eq(headers.ip_version == 2),
            key_hash.restart.eq(self.i.ready),
            sweep.eq(resting & due & ~idle & ~was_read & ~ended.crowded & (~seen | (patience == PATIENCE))),
            expiry.done.eq(sweep),
            opened.eq(resting & idle),
            self.i.ready.eq(taken | opened),
        ]
        with m.If(sweep | ~due):
            m.d.sync += patience.eq(0)
        with m.Elif(patience != PATIENCE):
            m.d.sync += patience.eq(patience + 1)

        # --- The packet inside, or the sweep ---
        meta = Signal(PacketMeta)
        op = Signal(Op)
        set_index = Signal(index_bits)
        fingerprint = Signal(HASH_BITS - index_bits)
        way, way_here = Signal(range(profile.syn_ways + 2)), Signal(range(profile.syn_ways))  # asked for, and here
        here = Signal(kept)  # a block RAM answers late
        scanning, fetching = Signal(), Signal()
        hits, overs = Signal(profile.syn_ways), Signal(profile.syn_ways)
        forward, backward, same_sequence, same_length = (
            Signal(name=name) for name in ("forward", "backward", "same_sequence", "same_length")
        )
        full = Signal()  # counts no more retransmissions
        fate = Fate(
            m, op, syn=op.syn, there=places.there, held=places.held, hit=places.hit, over=places.over,
            forward=forward, anew=forward & ~same_sequence, again=forward & same_sequence & same_length,
            full=full,
        )  # fmt: skip
        decided = Signal()
        empty = Signal()  # there is no attempt; a register, as what is known of that comes late
        m.d.sync += empty.eq((places.live == 0) & ~decided & ~expiry.flushing)
        # While the table is being cleared, nothing is held.
        m.d.comb += idle.eq(places.clearing | (~bank.control[0] & empty))
        entered = Signal(kept)
        m.d.comb += entered.eq(old)
        with m.If(fate.insert):
            m.d.comb += enter(meta, fingerprint, self.raw_wanted, entered)
        with m.Else():
            m.d.comb += [entered.retransmissions.eq(old.retransmissions + 1), entered.last.eq(op.now)]
        m.d.comb += [
            read.addr.eq(Cat(Mux(scanning, way[: len(places.place)], places.place), set_index)),
            read.en.eq(scanning | fetching),
            way_here.eq(way - 2),
            places.hits.eq(hits),
            places.overs.eq(overs),
            places.sweep.eq(op.sweep),
            places.decide.eq(decided),
            places.insert.eq(fate.insert),
            places.give.eq(fate.give),
            places.remove.eq(fate.remove),
            expiry.insert.eq(decided & fate.insert),
            expiry.index.eq(set_index),
            expiry.at.eq(op.now),
            write.addr.eq(Cat(places.place, set_index)),
            write.data.eq(entered),
            write.en.eq(decided & (fate.insert | fate.absorb)),
        ]

        # --- Out ---
        record, held, back = Signal(Record), Signal(held_shape(profile)), Signal(PacketMeta)
        reason = Signal(Reason)
        offered = Signal()  # the meta, or,
        giving = Signal()  # that of the SYN that was held
        passing = Signal()  # and the meta behind it
        ending = Signal()  # that SYN ends here, and is told of in a record
        moves = Signal()
        given = Signal(kept)  # of the SYN that is given back
        m.d.sync += given.eq(old)
        m.d.comb += read_back(given, reader.headers, record, held)
        m.d.comb += restored(record, held, reason, back)
        m.d.comb += ended_of(record, held, reason, ended.entry)
        with m.If(ending):
            m.d.comb += back.kind.eq(Kind.VOID)
        m.d.comb += [
            moves.eq(self.o.ready & ~ended.waits),
            self.o.valid.eq(offered & ~ended.waits),
            self.o.payload.eq(Mux(giving, back, meta)),
            ended.offered.eq(offered),
            ended.is_record.eq(giving & ending),
            ended.moves.eq(moves),
        ]

        job = Signal(Job)
        quotes = quote_job(m, arriving, job)
        with m.If(self.i.ready):
            m.d.sync += [meta.eq(arriving), was_read.eq(0), was_found.eq(0)]
        with m.FSM():
            with m.State("REST"):
                m.d.comb += resting.eq(1)
                m.d.sync += [way.eq(0), op.sweep.eq(sweep), op.flush.eq(sweep & expiry.sweep.flush)]
                m.d.sync += [
                    op.syn.eq(~sweep & holdable & bank.control[0]),
                    op.quoted.eq(was_read),
                    op.reset.eq(headers.tcp_flags[2]),
                    op.source.eq(source),
                    op.destination.eq(destination),
                    op.ipv6.eq(headers.ip_version == 2),
                    op.sequence.eq(Mux(was_read, quote.sequence, headers.tcp_sequence)),
                    op.ip_length.eq(headers.ip_length),
                    op.now.eq(Mux(sweep, expiry.sweep.now, arriving.info.timestamp)),
                ]
                with m.If(sweep):
                    m.d.sync += set_index.eq(expiry.sweep.index)
                    m.next = "LOOK"
                with m.Elif(opened):
                    with m.If(self.i.valid):
                        m.next = "PASS"
                with m.Elif(seen & key_hash.done):
                    m.d.comb += taken.eq(1)
                    m.d.sync += Cat(set_index, fingerprint).eq(key_hash.hash)
                    m.next = "LOOK"
                with m.Elif(seen & quoting & ~was_read):
                    m.next = "MEASURE"
                with m.Elif(seen & ~key_hash.valid):
                    m.d.comb += taken.eq(1)
                    m.next = "PASS"
            with m.State("MEASURE"):
                m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += [reader.job.eq(job), reader.start.eq(quotes)]
                m.d.sync += was_read.eq(1)
                m.next = "REST"
                with m.If(quotes):
                    m.next = "READ QUOTE"
            with m.State("READ QUOTE"):
                with m.If(~reader.busy):
                    m.d.sync += was_found.eq(reader.found)
                    m.next = "REST"
            # The records of the set, one after another.
            with m.State("LOOK"):
                m.d.comb += [places.load.eq(1), places.index.eq(set_index), scanning.eq(1)]
                m.d.sync += [way.eq(1), op.horizon.eq(op.now - sweep_timeout)]
                m.next = "SCAN"
            with m.State("SCAN"):
                m.d.comb += scanning.eq(1)
                m.d.sync += [
                    way.eq(way + 1),
                    here.eq(read.data),
                    hits.bit_select(way_here, 1).eq((here.fingerprint == fingerprint) & (here.ipv6 == op.ipv6)),
                    overs.bit_select(way_here, 1).eq(op.flush | (~op.horizon[64] & (here.first <= op.horizon[:64]))),
                ]
                with m.If(way == profile.syn_ways + 1):
                    m.next = "CHOOSE"
            with m.State("CHOOSE"):
                m.d.comb += places.choose.eq(1)
                m.next = "FETCH"
                with m.If(~places.found & ~op.syn):
                    m.next = "PASS"
                    with m.If(op.sweep):
                        m.next = "REST"
            with m.State("FETCH"):
                m.d.comb += fetching.eq(1)
                m.next = "BEGIN"
            with m.State("BEGIN"):
                m.d.comb += [*syn_job(old, reader.job), reader.start.eq(places.held)]
                m.next = "READ SYN"
            with m.State("READ SYN"):
                m.d.sync += [
                    forward.eq((op.source == quote.source) & (op.destination == quote.destination)),
                    backward.eq((op.source == quote.destination) & (op.destination == quote.source)),
                    same_sequence.eq(op.sequence == quote.sequence),
                    same_length.eq(op.ip_length == quote.ip_length),
                    full.eq(old.retransmissions.all()),
                ]
                with m.If(~reader.busy):
                    m.next = "DECIDE"
            with m.State("DECIDE"):
                m.d.sync += [
                    passing.eq(~op.sweep & (~fate.insert | self.raw_wanted)),
                    reason.eq(fate.reason),
                    ending.eq(bank.control[1] & Cat(fate.reason == each for each in UNANSWERED).any()),
                ]
                with m.If(places.hit & places.held & ~forward & ~backward):
                    # Another 5-tuple with the same hash.
                    m.d.sync += hits.bit_select(places.place, 1).eq(0)
                    m.next = "CHOOSE"
                with m.Else():
                    m.d.comb += decided.eq(1)
                    m.next = "PASS"
                    with m.If(op.sweep | (fate.insert & ~self.raw_wanted)):
                        m.next = "REST"
                    with m.If(fate.give):
                        m.next = "GIVE"
                    # What is held goes on raw where somebody wants that; what is held already does if the first did.
                    with m.If(fate.insert):
                        m.d.sync += [meta.raw.eq(1), meta.shared.eq(1)]
                    with m.Elif(fate.absorb & old.shared):
                        m.d.sync += meta.raw.eq(1)
                    with m.Elif(fate.absorb):
                        m.d.sync += meta.kind.eq(Kind.VOID)
            with m.State("GIVE"):
                m.d.comb += [offered.eq(1), giving.eq(1)]
                with m.If(moves):
                    m.next = "REST"
                    with m.If(passing):
                        m.next = "PASS"
            with m.State("PASS"):
                m.d.comb += offered.eq(1)
                with m.If(moves):
                    m.next = "REST"

        # --- What became of it, for the counters ---
        m.d.sync += self.attempts.eq(0)
        with m.If(ended.recorded | ended.unreported):
            m.d.sync += [
                self.attempts.recorded.eq(ended.recorded),
                self.attempts.unreported.eq(ended.unreported),
                self.attempts.ended_port.eq(old.port),
            ]
        with m.If(decided):
            m.d.sync += [
                self.attempts.hold.eq(fate.insert),
                self.attempts.absorb.eq(fate.absorb),
                self.attempts.port.eq(meta.info.port),
                self.attempts.reason.eq(Mux(fate.give, fate.reason, Reason.NONE)),
                self.attempts.given_port.eq(old.port),
            ]
        return m


__all__ = ["FoldedSynOffload"]
