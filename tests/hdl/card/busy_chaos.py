"""A card whose surroundings change at any moment while its stages are at work: rules count, SYNs are held."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sentinic.abi.registers import STATISTICS, SYN_OFFLOAD
from sentinic.abi.reports import REPORT_HEAD_BYTES
from sentinic.abi.syn_offload import UNANSWERED, Reason
from sentinic.abi.verdicts import Content, Kind
from sentinic.driver.registers import RegisterBlock
from sentinic.driver.reports import REPORT_DTYPE
from sentinic.driver.rules import Rule
from sentinic.driver.statistics import KEY_BITS as STATISTICS_KEY_BITS
from sentinic.driver.statistics import Statistics
from sentinic.driver.syn_offload import KEY_BITS, RECORD_DTYPE, SynOffload, attempts_of
from sentinic.errors import ConfigError
from tests.hdl.card.attempts import attempt_frame
from tests.hdl.card.chaos import Chaos, Period
from tests.hdl.card.native_card import EXTRAS, REST_CYCLES, Seen
from tests.reference.card import Frame

FIELDS = ("in_port", "eth_src", "eth_type", "ip_proto", "ipv4_src", "ipv6_dst/64", "tcp_dst", "udp_src", "tcp_flags")
MATCHES = ({}, {}, {"in_port": 1}, {"ip_proto": 6}, {"ipv4_src": "10.0.0.0/8"}, {"tcp_flags": "0x02/0x12"})
_KINDS = {Kind.PACKET, Kind.REGENERATED, Kind.REPORT, Kind.VOID}


#: Names of counters, by which an attempt ends.
_ENDS = [reason.name.lower() for reason in Reason if reason]
_UNANSWERED = [reason.name.lower() for reason in UNANSWERED]


@dataclass
class BusyChaos(Chaos):
    """As :class:`Chaos`, with rules that come and go, and SYN offload switched on and off, in either mode or both.

    What the stages count and hold is for their own tests.  Here every packet that comes out went in, whole and once,
    none is missing in the counters, and the card comes to rest once nothing is held back.  A record tells of a SYN that
    went in, once; each attempt ended for one reason, and where nobody answered it was told of or counted.

    Members
    -------
    modes: of SYN offload in this run: compact or not
    reached: how often what came about, for a look over many runs
    """

    rules: Statistics | None = None
    offload: RegisterBlock | None = None
    modes: Sequence[bool] = (False, True)
    reached: Counter[str] = field(default_factory=Counter)

    def run(self, actions: int) -> None:
        self.modes = self.r.choice(((False,), (True,), (True,), (False, True), (False, True)))
        self._stages()
        super().run(actions)

    def _actions(self) -> list[tuple[Callable[[], object], int]]:
        return [*super()._actions(), (self._rule, 15), (self._hold_syns, 20), (self._send, 20)]

    def _frames(self, count: int) -> list[Frame]:
        """A share of them, in this moment, of connection attempts."""
        share = self.r.choice((0, 0.3, 0.9))
        return [
            frame._replace(data=attempt_frame(self.r), wire_length=None) if self.r.random() < share else frame
            for frame in super()._frames(count)
        ]

    def _stages(self) -> None:
        """Secrets and drivers anew, after a reset.  Under the secret 0 all attempts meet in one set, soon full."""
        stages = self.card.profile.stages
        self.rules = Statistics(self.card.device, secret=self.r.getrandbits(STATISTICS_KEY_BITS))
        self.rules._meanwhile = self._read_reports
        if "syn_offload" in stages:
            SynOffload(self.card.device, secret=self.r.choice((0, self.r.getrandbits(KEY_BITS))))
            transport = self.card.transport
            self.offload = RegisterBlock(SYN_OFFLOAD, 1, transport.read, transport.write)
            if self.r.random() < 0.8:
                while self.offload.read("status", "clearing"):  # nothing is held before
                    transport.step(self.r.choice((100, 10_000)))
                self._hold_syns()

    def _read_reports(self) -> None:
        """A report waits until the rings that want it have room, and changes of rules wait for reports."""
        for period in self.periods.values():
            if {"reports", "attempts"} & set(period.extras):
                period.watched.read_all()
        self.card.device.forward()

    def _rule(self) -> None:
        """Set, remove or report a rule, unless the change before still waits."""
        registers = RegisterBlock(STATISTICS, 1, self.card.transport.read, self.card.transport.write)
        if self.rules is None or registers.read("status", "pending"):
            return
        r = self.r
        number = r.randrange(self.card.profile.statistics_rules)
        choice = r.random()
        if choice < 0.15:
            self.rules.remove(number)
        elif choice < 0.3:
            self.rules.report(number)
        else:
            group = r.sample(FIELDS, r.randrange(4))
            bidirectional = r.random() < 0.2
            rule = Rule(
                f"r{number}",
                {} if bidirectional else r.choice(MATCHES),
                () if bidirectional else tuple(group),
                report_every=r.choice((0, 0, 1, 50, 1000, 1 << 40)),
                threshold_packets=r.choice((0, 1, 2, 10)),
                threshold_bytes=r.choice((0, 1, 2000)),
                bidirectional=bidirectional,
                cumulative=r.random() < 0.3,
            )
            try:
                self.rules.set(number, rule)
            except ConfigError as error:  # fields that no packet has together
                if "no packet has both" not in str(error):
                    raise

    def _hold_syns(self) -> None:
        if self.offload is None:
            return
        if self.offload.read("control", "enable") and self.r.random() < 0.3:
            self._let_go(flush=self.r.random() < 0.5)
            return
        timeout = self.r.choice((1, 40, 1000, 1 << 33, (1 << 64) - 1))
        self.offload.write("timeout_low", timeout & 0xFFFF_FFFF)
        self.offload.write("timeout_high", timeout >> 32)
        compact = self.r.choice(self.modes)
        if compact != self.offload.read("control", "compact") and self.offload.read("holding"):
            self.reached["other mode while SYNs were held"] += 1
        self.offload.write("control", int(compact), "compact")
        self.offload.write("control", 1, "enable")

    def _let_go(self, *, flush: bool) -> None:
        if self.offload is not None:
            self.offload.write("control", 0, "enable")
            self.offload.write("action", int(flush), "flush")

    def _extras(self) -> Sequence[str]:
        return [extra for extra in EXTRAS if self.r.getrandbits(1)]

    def _reset(self) -> None:
        self._count()
        super()._reset()
        self._stages()

    def _count(self) -> None:
        """What counters tell, before they begin anew."""
        if self.offload is not None and self.modes == (True,):
            self.reached["unreported"] += attempts_of(self.card.counters(), self.card.profile)["unreported"]

    def _rest(self) -> None:
        """What is held is let go first, and no report waits for a ring for ever."""
        self.card.device.set_pause(False)
        self._let_go(flush=True)
        spent = 0
        while held := self.card.counters()["held"]:  # a sweep moves nothing on the bus, and may take long
            spent += self.card.transport.step(10_000)
            assert spent < REST_CYCLES, f"{held} packets are still inside after {spent} cycles"
        super()._rest()
        if self.offload is not None:
            self._check_attempts(self.offload)

    def _check_attempts(self, offload: RegisterBlock) -> None:
        """Nothing is held: every attempt ended, once, and of those without an answer it is known what became."""
        spent = 0
        while offload.read("status", "reporting"):
            self._read_reports()
            spent += self.card.transport.step(1000)
            assert spent < REST_CYCLES, "records wait for ever"
        assert not offload.read("holding")
        told = attempts_of(self.card.counters(), self.card.profile)
        assert told["attempts"] == sum(told[name] for name in _ENDS), told
        unanswered, known = (sum(told[name] for name in names) for names in (_UNANSWERED, ("recorded", "unreported")))
        if self.modes == (True,):
            assert known == unanswered, told
        else:
            assert known <= unanswered, told
        if self.modes == (False,):
            assert not told["recorded"], told

    def _as_new(self) -> None:
        self._count()
        super()._as_new()

    def _check(self, period: Period) -> None:
        """Each packet is one of those that were sent, byte for byte, and comes to a ring once."""
        seen_stamps: set[int] = set()
        recorded: set[int] = set()
        reports = -1
        for number, seen in enumerate(period.watched.seen):
            kind = Kind(seen.status >> 20 & 3)
            assert kind in _KINDS
            if kind in {Kind.REPORT, Kind.VOID}:
                assert kind is Kind.REPORT or period.broken, "a packet is void, but memory never failed"
                if kind is Kind.REPORT:
                    reports = self._check_records(seen, reports, recorded)
                continue
            assert seen.timestamp in self.sent, f"packet {number} was never sent: {seen.descriptor.hex()}"
            assert seen.timestamp not in seen_stamps, f"packet {number} came twice: {seen.descriptor.hex()}"
            seen_stamps.add(seen.timestamp)
            frame = self.sent[seen.timestamp].data
            if seen.captured:
                assert _frame_of(seen) == frame[: seen.captured], f"packet {number} is not as it was sent"
        if "raw_syns" not in period.extras:
            assert not recorded & seen_stamps, "an attempt was told of in a record and by its SYN"
        assert not recorded or "attempts" in period.extras
        if not period.broken:
            assert not period.watched.ring.faulted

    def _check_records(self, seen: Seen, before: int, recorded: set[int]) -> int:
        """The attempts in a report are of SYNs that were sent, each of another; the report's number, if it has any."""
        octets = seen.slot[4 * (seen.status >> 24) :]
        head = np.frombuffer(octets, REPORT_DTYPE, 1, REPORT_HEAD_BYTES - REPORT_DTYPE.itemsize)[0]
        if head["content"] != Content.ATTEMPTS:
            return before
        assert head["sequence"] > before, "a report came twice"
        assert self.modes != (False,), "a record, but no attempt was to come as one"
        for item in np.frombuffer(octets, RECORD_DTYPE, int(head["items"]), REPORT_HEAD_BYTES):
            first, last = int(item["first"]), int(item["last"])
            assert first not in recorded, f"an attempt came twice: {item}"
            recorded.add(first)
            reason = Reason(int(item["reason"]))
            assert reason in UNANSWERED
            for stamp in (first, last):
                assert stamp in self.sent, f"a SYN that was never sent: {item}"
                frame = self.sent[stamp]
                headers = self.oracle.headers(frame)
                for name in ("source_port", "destination_port", "tcp_flags", "ip_length"):
                    assert item[name] == getattr(headers, name), (name, item, frame)
                for name in ("source", "destination"):
                    assert int.from_bytes(item[name].tobytes(), "big") == getattr(headers, name), (name, item, frame)
                assert item["sequence"] == headers.tcp_sequence
            assert int(item["origin"]) & 3 == self.sent[first].port
            assert bool(item["retransmissions"]) == (first != last)
            self.reached[f"record: {reason.name.lower()}"] += 1
        return int(head["sequence"])


def _frame_of(seen: Seen) -> bytes:
    """The frame in the slot, without the tag."""
    link, tag = 12 + 4 * (seen.status >> 15 & 3), 4 * (seen.status >> 24)
    return seen.slot[:link] + seen.slot[link + tag :]


__all__ = ["BusyChaos"]
