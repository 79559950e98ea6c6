"""The card: everything between the MAC boundary and the DMA bus."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from sentinic.abi import registers as abi
from sentinic.abi.counters import counter_names
from sentinic.abi.descriptor import DESCRIPTOR
from sentinic.abi.profiles import Profile
from sentinic.abi.verdicts import Content, Kind
from sentinic_hdl import counting
from sentinic_hdl.axi import AxiLite, AxiStream, AxiWrite
from sentinic_hdl.csr import AxiLiteBridge, CounterBank, RegisterBank
from sentinic_hdl.ingress.merge import Merge
from sentinic_hdl.ingress.port import IngressPort
from sentinic_hdl.interrupt import Interrupt
from sentinic_hdl.meta import PacketMeta, frame_beat
from sentinic_hdl.parser import Parser
from sentinic_hdl.queue import Queue
from sentinic_hdl.readers import Readers
from sentinic_hdl.rings import compose
from sentinic_hdl.rings.bodies import Bodies
from sentinic_hdl.rings.reports import Reports
from sentinic_hdl.rings.select import Select
from sentinic_hdl.rings.switch import RingSwitch
from sentinic_hdl.rings.types import copy_shape, report_cell
from sentinic_hdl.rings.writer import Writer
from sentinic_hdl.slice import Register, Slice
from sentinic_hdl.stages import SLEEPERS, STAGES
from sentinic_hdl.store import PacketStore, StoredFrame

#: Copies that may wait for the DMA bus.
COPIES_DEPTH = 64
#: With as many copies waiting for the bus, no SYN that nobody answered gets another.
UNANSWERED_COPIES = 4
#: The card takes the bus for congested when less than this share of the store's cells is free.
CONGESTED_SHARE = 8


def snake_case(name: str) -> str:
    return name.replace(".", "_")


class Card(wiring.Component):
    """The whole card of a profile.

    No output depends combinationally on an input.

    Parameters
    ----------
    clock_gates: blocks that sleep have a clock each, which stands still then; by default their registers hold

    Members
    -------
    rx0, rx1: the MACs
    dma: host memory
    csr: registers, as in ``sentinic.abi.registers``
    time: wire time, ns
    irq: new packets
    awake, gate_clk: with ``clock_gates``, which of the sleepers' clocks are to tick at the coming edge, and these
    """

    def __init__(self, profile: Profile, clock_gates: bool = False):
        if profile.ports != 2:
            raise ValueError(f"ports must be 2, not {profile.ports}")
        if not 1 <= profile.rings <= abi.RING.count:
            raise ValueError(f"rings must be 1..{abi.RING.count}, not {profile.rings}")
        self.profile = profile
        self._chain = [
            STAGES[name](profile, clock_gates=clock_gates) if name in SLEEPERS else STAGES[name](profile)
            for name in profile.stages
        ]
        self._sleepers = [stage for stage in self._chain if "awake" in stage.signature.members]
        gates = sum(stage.gates for stage in self._sleepers)
        super().__init__(
            {
                "rx0": In(AxiStream(profile.data_width)),
                "rx1": In(AxiStream(profile.data_width)),
                "dma": Out(AxiWrite(profile.data_width)),
                "csr": In(AxiLite()),
                "time": In(64),
                "irq": Out(1),
                **({"awake": Out(gates), "gate_clk": In(1).array(gates)} if gates else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        profile = self.profile

        # --- Registers ---
        m.submodules.bridge = bridge = AxiLiteBridge()
        wiring.connect(m, wiring.flipped(self.csr), bridge.axi)
        m.submodules.registers = card_bank = RegisterBank(block=abi.CARD)
        m.submodules.interrupt_bank = interrupt_bank = RegisterBank(block=abi.INTERRUPT)
        ring_banks = [RegisterBank(block=abi.RING, index=n) for n in range(profile.rings)]
        for n, bank in enumerate(ring_banks):
            m.submodules[f"ring_bank{n}"] = bank

        # --- From the MACs to one stream ---
        ports = [IngressPort(profile=profile, port=n) for n in range(profile.ports)]
        m.submodules.merge = merge = Merge(profile=profile)
        for n, port in enumerate(ports):
            m.submodules[f"port{n}"] = port
            wiring.connect(m, port.mac, wiring.flipped((self.rx0, self.rx1)[n]))
            wiring.connect(m, port.o, (merge.i0, merge.i1)[n])
            m.d.comb += [port.enable.eq(card_bank.control[0]), port.pause.eq(card_bank.control[1])]

        # Which port is first is a comparison of wire times; whether there is room, many blocks' say.  Not in one cycle.
        m.submodules.merged = merged = Slice(frame_beat(profile))
        wiring.connect(m, merge.o, merged.i)

        # --- Store and parser see the same beats in the same cycle ---
        m.submodules.store = store = PacketStore(profile=profile)
        m.submodules.parser = parser = Parser(profile)
        m.d.comb += [
            store.i.payload.eq(merged.o.payload),
            parser.i.payload.eq(merged.o.payload),
            store.i.valid.eq(merged.o.valid & parser.i.ready),
            parser.i.valid.eq(merged.o.valid & store.i.ready),
            merged.o.ready.eq(store.i.ready & parser.i.ready),
            parser.hash_key.eq(Cat(getattr(card_bank, f"hash_key{n}") for n in range(abi.HASH_KEY_WORDS))),
        ]
        m.submodules.stored = stored = SyncFIFOBuffered(width=StoredFrame.as_shape().size, depth=parser.depth)
        record = Signal(StoredFrame)
        m.d.comb += [
            stored.w_data.eq(store.stored.payload),
            stored.w_en.eq(store.stored.valid),
            store.stored.ready.eq(stored.w_rdy),
            record.eq(stored.r_data),
        ]

        # --- Stages ---
        chain = self._chain
        gates = 0
        for stage in self._sleepers:
            mine = slice(gates, gates := gates + stage.gates)
            m.d.comb += self.awake[mine].eq(stage.awake)
            m.d.comb += [to.eq(clock) for to, clock in zip(stage.gate_clk, self.gate_clk[mine], strict=True)]
        first = Signal(PacketMeta)
        entry_valid = Signal()
        entry_ready = Signal()
        m.d.comb += [
            entry_valid.eq(parser.o.valid & stored.r_rdy),
            parser.o.ready.eq(entry_ready & stored.r_rdy),
            stored.r_en.eq(entry_ready & parser.o.valid),
            first.cell.eq(record.cell),
            first.kind.eq(Kind.PACKET),
            first.link.eq(record.link),
            first.info.eq(record.info),
            first.headers.eq(parser.o.p.headers),
        ]
        valid, ready, payload = entry_valid, entry_ready, first
        for name, stage in zip(profile.stages, chain, strict=True):
            m.submodules[f"stage_{name}"] = stage
            m.d.comb += [stage.i.valid.eq(valid), stage.i.payload.eq(payload), ready.eq(stage.i.ready)]
            valid, ready, payload = stage.o.valid, stage.o.ready, stage.o.payload

        # --- Dispatch ---
        m.submodules.metas = metas = Queue(PacketMeta, depth=profile.metas, parts=profile.queue_parts)
        m.submodules.select = select = Select(profile=profile)
        m.submodules.copies = copies = Queue(copy_shape(profile), depth=COPIES_DEPTH, parts=profile.queue_parts)
        # A block RAM answers late, and the words of tag and descriptor are many choices deep.  Not in one cycle.
        m.submodules.copy = copy = Register(copy_shape(profile))
        m.submodules.writer = writer = Writer(profile=profile)
        wiring.connect(m, metas.o, select.i)
        wiring.connect(m, select.o, copies.i)
        wiring.connect(m, copies.o, copy.i)
        wiring.connect(m, copy.o, writer.i)
        overtaken = self._overtaken(m, chain, select)
        m.d.comb += [
            metas.i.payload.eq(payload),
            metas.i.valid.eq(valid),
            ready.eq(metas.i.ready),
            select.pause.eq(card_bank.control[1]),
            select.fault.eq(writer.fault),
            select.extra_read.eq(writer.events.extra_read),
            select.busy.eq(copies.level >= UNANSWERED_COPIES),
            select.attempts_turn.eq((copies.level == 0) & (overtaken == 0)),
        ]
        cells_used = self._cells_used(m, chain, store)
        # A paused card must not wait for cells: those before dispatch are given back by nobody else.
        m.d.sync += select.congested.eq(
            (copies.level >= COPIES_DEPTH - 2 * profile.rings - 4)
            | (~card_bank.control[1] & (cells_used >= profile.store_cells - profile.store_cells // CONGESTED_SHARE))
        )
        for stage in chain:
            if "lossless" in stage.signature.members:
                m.d.comb += [stage.time.eq(self.time), stage.lossless.eq(card_bank.control[1])]
            if "raw_wanted" in stage.signature.members:
                m.d.comb += stage.raw_wanted.eq(select.raw_wanted)
                m.d.sync += stage.behind.eq(copies.level >= UNANSWERED_COPIES // 2)
            if "quotes" in stage.signature.members:
                wiring.connect(m, parser.quotes, stage.quotes)
        wiring.connect(m, select.release, store.release)
        self._reports(m, chain, select, writer, *self._readers(m, chain, store))
        wiring.connect(m, wiring.flipped(self.dma), writer.dma)

        for n, bank in enumerate(ring_banks):
            m.submodules[f"ring_switch{n}"] = switch = RingSwitch()
            m.d.comb += [
                switch.wanted.eq(bank.control[0]),
                switch.taken.eq(select.taken[n]),
                switch.answered.eq(
                    (writer.events.copy_written | writer.events.copy_failed) & (writer.events.ring == n)
                ),
                bank.status.eq(Cat(writer.fault[n], switch.busy)),
                bank.descriptor_head.eq(writer.heads[n]),
            ]
            self._ring(m, select.rings[n], bank, switch)
            self._ring(m, writer.rings[n], bank, switch)

        # --- Interrupt ---
        m.submodules.interrupt = interrupt = Interrupt(profile=profile)
        new = Signal(profile.rings)
        m.d.comb += [
            interrupt.new.eq(new),
            interrupt.enable.eq(interrupt_bank.enable),
            interrupt.clear.eq(interrupt_bank.pending_strobe),
            interrupt.frames.eq(interrupt_bank.frames),
            interrupt.holdoff.eq(interrupt_bank.holdoff),
            interrupt.time.eq(self.time),
            interrupt_bank.pending.eq(interrupt.pending),
            self.irq.eq(interrupt.irq),
        ]
        for n in range(profile.rings):
            m.d.comb += new[n].eq(writer.events.copy_written & (writer.events.ring == n))

        # --- Counters ---
        steps = {
            "ingress": (merged.o.valid, merged.o.ready),
            "parser": (parser.o.valid, parser.o.ready),
            **{name: (stage.i.valid, stage.i.ready) for name, stage in zip(profile.stages, chain, strict=True)},
            "dispatch": (metas.o.valid, metas.o.ready),
            "dma": (copy.o.valid, copy.o.ready),
        }
        increments = counting.increments(
            m, profile, ports, parser, select, writer, interrupt, steps, valid & ready & ~compose.is_extra(payload)
        )
        for stage in chain:
            if "attempts" in stage.signature.members:
                increments.update(counting.attempts(profile, stage.attempts, select))
        # Reports are no packets.
        increments["reports"] = writer.events.delivered & writer.events.of_report
        increments["reports_lost"] = (
            (writer.events.failed & writer.events.of_report) + select.report_lost + select.attempts_lost
        )
        increments = {name: increments[name] for name in counter_names(profile)}
        m.submodules.counters = counters = CounterBank(
            profile=profile, widths={name: len(value) for name, value in increments.items()}
        )
        for name, value in increments.items():
            m.d.comb += getattr(counters.increments, snake_case(name)).eq(value)
        m.d.comb += counters.held_less.eq(
            select.fates.as_value().any()
            + ((writer.events.delivered | writer.events.failed) & ~writer.events.of_report)
        )

        # --- Identity, and the register bus ---
        self._identity(m, card_bank, cells_used, len(chain))
        windows = [card_bank.bus, interrupt_bank.bus, counters.bus, *(bank.bus for bank in ring_banks)]
        windows += [stage.bus for stage in chain]
        self._decode(m, bridge.bus, windows)
        return m

    def _ring(self, m, config, bank, switch):
        m.d.comb += [
            config.enable.eq(switch.enable),
            config.start.eq(switch.start),
            config.descriptor_base.eq(Cat(bank.descriptor_base_low, bank.descriptor_base_high)),
            config.data_base.eq(Cat(bank.data_base_low, bank.data_base_high)),
            config.spread_count.eq(bank.spread[:7]),
            config.spread_index.eq(bank.spread[8:]),
            config.reports.eq(bank.extras[0]),
            config.crossings.eq(bank.extras[1]),
            config.attempts.eq(bank.extras[2]),
            config.bare_plain.eq(bank.extras[3]),
            config.raw_syns.eq(bank.extras[4]),
        ]
        for name in (
            "descriptor_mask",
            "data_mask",
            "descriptor_tail",
            "data_tail",
            "filter_ports",
            "filter_protocols",
            "filter_verdicts",
            "sample",
            "snap_length",
        ):
            m.d.comb += getattr(config, name).eq(getattr(bank, name))

    def _cells_used(self, m, chain, store):
        """Cells of packets on their way: all that are in use but those of SYNs that are held."""
        holders = [stage for stage in chain if "holding" in stage.signature.members]
        if not holders:
            return store.cells_used
        cells_used = Signal.like(store.cells_used)
        (holder,) = holders
        m.d.sync += cells_used.eq(store.cells_used - holder.holding)
        return cells_used

    def _overtaken(self, m, chain, select):
        """Packets between the stage that makes records of attempts and dispatch, on a card that keeps their order.

        A paused card has records come where they belong among packets: no packet leaves the stage before the records of
        before have left it, and these wait here for the packets ahead of them.
        """
        overtaken = Signal(range(self.profile.metas + 4 * len(chain)))
        for stage in chain:
            if "records" in stage.signature.members:
                m.d.sync += overtaken.eq(overtaken + (stage.o.valid & stage.o.ready) - select.done)
        return Mux(select.pause, overtaken, 0)

    def _readers(self, m, chain, store):
        """Where dispatch reads the packet store: command and beats."""
        peekers = [stage for stage in chain if "peek" in stage.signature.members]
        if not peekers:
            return store.read, store.o
        (stage,) = peekers
        m.submodules.readers = readers = Readers(profile=self.profile)
        wiring.connect(m, readers.read, store.read)
        wiring.connect(m, store.o, readers.beats)
        wiring.connect(m, stage.peek, readers.peek)
        wiring.connect(m, readers.peeked, stage.peeked)
        return readers.ask, readers.o

    def _reports(self, m, chain, select, writer, read, beats):
        """Stages that hand out reports get a place beside the packet store where reports wait."""
        profile = self.profile
        places = {}
        for stage in chain:
            for content, (items, offer, lost) in {
                Content.GROUPS: ("reports", select.report, select.report_lost),
                Content.ATTEMPTS: ("records", select.attempts, select.attempts_lost),
            }.items():
                if items not in stage.signature.members:
                    continue
                m.submodules[items] = reports = places[content] = Reports(profile=profile, content=content)
                wiring.connect(m, getattr(stage, items), reports.i)
                m.d.comb += [
                    reports.time.eq(self.time),
                    reports.release.valid.eq(lost),
                    reports.release.payload.eq(reports.o.p.cell),
                    offer.valid.eq(reports.o.valid),
                    offer.payload.eq(reports.o.payload),
                    reports.o.ready.eq(offer.ready),
                ]
                if content is Content.ATTEMPTS:
                    m.d.comb += [
                        reports.close.eq(stage.hurry),
                        stage.reporting.eq(reports.busy),
                        stage.wanted.eq(select.attempts_wanted),
                    ]
        if not places:
            # Without reports, what is asked for is of the packet store.
            m.d.comb += [
                read.payload.eq(writer.read.p.frame),
                read.valid.eq(writer.read.valid),
                writer.read.ready.eq(read.ready),
            ]
            self._to_writer(m, beats, writer)
            return
        m.submodules.bodies = bodies = Bodies(profile=profile)
        wiring.connect(m, writer.read, bodies.ask)
        self._to_writer(m, bodies.o, writer)
        wiring.connect(m, bodies.store_read, read)
        wiring.connect(m, beats, bodies.store_beats)
        if len(places) == 1:
            (reports,) = places.values()
            wiring.connect(m, bodies.report_read, reports.read)
            wiring.connect(m, reports.beats, bodies.report_beats)
            return
        m.submodules.report_bodies = among = Bodies(profile=profile)
        m.d.comb += [
            among.ask.p.frame.eq(bodies.report_read.payload),
            among.ask.p.report.eq(bodies.report_read.p.cell[report_cell(profile) - 1]),
            among.ask.valid.eq(bodies.report_read.valid),
            bodies.report_read.ready.eq(among.ask.ready),
        ]
        wiring.connect(m, among.o, bodies.report_beats)
        groups, attempts = places[Content.GROUPS], places[Content.ATTEMPTS]
        wiring.connect(m, among.store_read, groups.read)
        wiring.connect(m, groups.beats, among.store_beats)
        wiring.connect(m, among.report_read, attempts.read)
        wiring.connect(m, attempts.beats, among.report_beats)

    def _to_writer(self, m, beats, writer):
        """The beats that the writer has asked for: on a narrow bus whether it takes one is known late."""
        if self.profile.beat_bytes < DESCRIPTOR.size:
            m.submodules.body = body = Slice(self.profile.data_width)
            wiring.connect(m, beats, body.i)
            beats = body.o
        wiring.connect(m, beats, writer.body)

    def _identity(self, m, bank, cells_used, stages):
        profile = self.profile
        time_high = Signal(32)
        m.d.comb += [
            bank.id.eq(abi.CARD_ID),
            bank.abi_version.eq(abi.ABI_VERSION),
            bank.profile.eq(profile.number),
            bank.capabilities.eq(
                profile.beat_bytes
                | profile.ports << 8
                | profile.rings << 12
                | stages << 16
                | len(counter_names(profile)) << 24
            ),
            bank.store.eq(profile.store_cells | profile.cell_bytes << 16),
            bank.time_low.eq(self.time[:32]),
            bank.time_high.eq(time_high),
            bank.cells_used.eq(cells_used),
        ]
        with m.If(bank.bus.read & (bank.bus.address == abi.CARD.address("time_low"))):
            m.d.sync += time_high.eq(self.time[32:])

    def _decode(self, m, bus, windows):
        """Every window sees every access; at most one of them answers."""
        answers = 0
        hits = 0
        for window in windows:
            m.d.comb += [
                window.address.eq(bus.address),
                window.access.eq(bus.access),
                window.read.eq(bus.read),
                window.write.eq(bus.write),
                window.write_data.eq(bus.write_data),
            ]
            answers = answers | window.read_data
            hits = hits | window.hit
        m.d.comb += [bus.read_data.eq(answers), bus.hit.eq(hits)]
