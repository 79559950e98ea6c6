"""A card whose surroundings change at any moment while its stages are at work: rules count, SYNs are held."""

from collections.abc import Callable
from dataclasses import dataclass

from sentinic.abi.registers import STATISTICS, SYN_OFFLOAD
from sentinic.abi.verdicts import Kind
from sentinic.driver.registers import RegisterBlock
from sentinic.driver.rules import Rule
from sentinic.driver.statistics import Statistics
from sentinic.driver.syn_offload import SynOffload
from sentinic.errors import ConfigError
from tests.hdl.card.chaos import Chaos, Period
from tests.hdl.card.native_card import REST_CYCLES, Seen

FIELDS = ("in_port", "eth_src", "eth_type", "ip_proto", "ipv4_src", "ipv6_dst/64", "tcp_dst", "udp_src", "tcp_flags")
MATCHES = ({}, {}, {"in_port": 1}, {"ip_proto": 6}, {"ipv4_src": "10.0.0.0/8"}, {"tcp_flags": "0x02/0x12"})
_KINDS = {Kind.PACKET, Kind.REGENERATED, Kind.REPORT, Kind.VOID}


@dataclass
class BusyChaos(Chaos):
    """As :class:`Chaos`, with rules that come and go, and SYN offload switched on and off.

    What the stages count and hold is for their own tests.  Here every packet that comes out went in, whole and once,
    none is missing in the counters, and the card comes to rest once nothing is held back.
    """

    rules: Statistics | None = None
    offload: RegisterBlock | None = None

    def run(self, actions: int) -> None:
        self._stages()
        super().run(actions)

    def _actions(self) -> list[tuple[Callable[[], object], int]]:
        return [*super()._actions(), (self._rule, 15), (self._hold_syns, 6)]

    def _stages(self) -> None:
        """Secrets and drivers anew, after a reset."""
        stages = self.card.profile.stages
        self.rules = Statistics(self.card.device)
        if "syn_offload" in stages:
            SynOffload(self.card.device)
            transport = self.card.transport
            self.offload = RegisterBlock(SYN_OFFLOAD, 1, transport.read, transport.write)

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
        if self.r.random() < 0.3:
            self._let_go(flush=self.r.random() < 0.5)
            return
        timeout = self.r.choice((1, 40, 1000, 1 << 33, (1 << 64) - 1))
        self.offload.write("timeout_low", timeout & 0xFFFF_FFFF)
        self.offload.write("timeout_high", timeout >> 32)
        self.offload.write("control", 1, "enable")

    def _let_go(self, *, flush: bool) -> None:
        if self.offload is not None:
            self.offload.write("control", 0, "enable")
            self.offload.write("action", int(flush), "flush")

    def _switch(self, number: int) -> None:
        super()._switch(number)
        period = self.periods.get(number)
        if period is not None:
            for extra in ("reports", "crossings", "raw_syns"):
                period.watched.ring.registers.write("extras", period.reads and self.r.getrandbits(1), extra)

    def _reset(self) -> None:
        super()._reset()
        self._stages()

    def _rest(self) -> None:
        """What is held is let go first, and no report waits for a ring for ever."""
        self.card.device.set_pause(False)
        self._let_go(flush=True)
        spent = 0
        while held := self.card.counters()["held"]:  # a sweep moves nothing on the bus, and may take long
            spent += self.card.transport.step(10_000)
            assert spent < REST_CYCLES, f"{held} packets are still inside after {spent} cycles"
        super()._rest()

    def _as_new(self) -> None:
        self.card.device.set_pause(False)
        super()._as_new()

    def _check(self, period: Period) -> None:
        """Each packet is one of those that were sent, byte for byte, and comes to a ring once."""
        seen_stamps = set()
        for number, seen in enumerate(period.watched.seen):
            kind = Kind(seen.status >> 20 & 3)
            assert kind in _KINDS
            if kind in {Kind.REPORT, Kind.VOID}:
                assert kind is Kind.REPORT or period.broken, "a packet is void, but memory never failed"
                continue
            assert seen.timestamp in self.sent, f"packet {number} was never sent: {seen.descriptor.hex()}"
            assert seen.timestamp not in seen_stamps, f"packet {number} came twice: {seen.descriptor.hex()}"
            seen_stamps.add(seen.timestamp)
            frame = self.sent[seen.timestamp].data
            if seen.captured:
                assert _frame_of(seen) == frame[: seen.captured], f"packet {number} is not as it was sent"
        if not period.broken:
            assert not period.watched.ring.faulted


def _frame_of(seen: Seen) -> bytes:
    """The frame in the slot, without the tag."""
    link, tag = 12 + 4 * (seen.status >> 15 & 3), 4 * (seen.status >> 24)
    return seen.slot[:link] + seen.slot[link + tag :]


__all__ = ["BusyChaos"]
