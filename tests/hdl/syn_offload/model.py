"""The table of attempts as a plain program: sets are lists, in the order in which attempts came."""

from dataclasses import dataclass, field, replace

from sentinic.abi.syn_offload import MAX_RETRANSMISSIONS, Reason


@dataclass(frozen=True)
class Segment:
    """A TCP packet as the table sees it; ``syn``: one that may be held, ``quoted``: it is what an ICMP error quotes."""

    now: int
    source: int
    destination: int
    source_port: int = 1000
    destination_port: int = 80
    syn: bool = False
    reset: bool = False
    quoted: bool = False
    ipv6: bool = False
    sequence: int = 0
    ip_length: int = 60
    port: int = 0
    name: int = 0

    @property
    def ends(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (self.source, self.source_port), (self.destination, self.destination_port)


@dataclass(frozen=True)
class Sweep:
    """Look after the set ``index``."""

    now: int
    index: int
    flush: bool = False


@dataclass
class Attempt:
    syn: Segment
    last: int
    retransmissions: int = 0
    holding: bool = True


@dataclass(frozen=True)
class Given:
    """A held SYN that goes on."""

    syn: Segment
    reason: Reason
    retransmissions: int
    last: int


@dataclass(frozen=True)
class Fate:
    """What came of a packet or a sweep: ``given`` goes first; the packet then passes, or is held, or ends."""

    given: Given | None = None
    hold: bool = False
    absorb: bool = False


@dataclass
class Model:
    """``index_of`` gives the set of a packet; a set takes ``ways`` attempts."""

    ways: int
    timeout: int
    index_of: object
    sets: dict[int, list[Attempt]] = field(default_factory=dict)

    def step(self, item: Segment | Sweep) -> Fate:
        if isinstance(item, Sweep):
            return self._sweep(item)
        attempts = self.sets.setdefault(self.index_of(item), [])
        mine = next((a for a in attempts if _same(a.syn, item)), None)
        if mine is None:
            return self._enter(attempts, item, None) if item.syn else Fate()
        if mine.syn.now + self.timeout <= item.now:
            given = _give(mine, Reason.EXPIRED)
            attempts.remove(mine)
            return self._enter(attempts, item, given) if item.syn else Fate(given)
        if not mine.holding:
            return Fate()
        if item.quoted:
            if (item.ends, item.sequence) != (mine.syn.ends, mine.syn.sequence):
                return Fate()
            mine.holding = False
            return Fate(_given(mine, Reason.UNREACHABLE))
        if item.ends != mine.syn.ends:
            mine.holding = False
            return Fate(_given(mine, Reason.REFUSED if item.reset else Reason.ANSWERED))
        if item.syn:
            again = item.sequence == mine.syn.sequence and item.ip_length == mine.syn.ip_length
            if again and mine.retransmissions < MAX_RETRANSMISSIONS:
                mine.retransmissions += 1
                mine.last = item.now
                return Fate(absorb=True)
            if again or item.sequence != mine.syn.sequence:
                attempts.remove(mine)
                return self._enter(attempts, item, _given(mine, Reason.SUPERSEDED))
        mine.holding = False
        return Fate(_given(mine, Reason.INTERRUPTED))

    def _enter(self, attempts: list[Attempt], syn: Segment, given: Given | None) -> Fate:
        if len(attempts) == self.ways:
            leaving = next((a for a in attempts if not a.holding), attempts[0])
            over = leaving.syn.now + self.timeout <= syn.now
            given = _give(leaving, Reason.EXPIRED if over else Reason.EVICTED)
            attempts.remove(leaving)
        attempts.append(Attempt(syn, syn.now))
        return Fate(given, hold=True)

    def _sweep(self, sweep: Sweep) -> Fate:
        attempts = self.sets.get(sweep.index, [])
        over = next((a for a in attempts if sweep.flush or a.syn.now + self.timeout <= sweep.now), None)
        if over is None:
            return Fate()
        attempts.remove(over)
        return Fate(_give(over, Reason.EXPIRED))

    @property
    def holding(self) -> int:
        return sum(attempt.holding for attempts in self.sets.values() for attempt in attempts)

    @property
    def live(self) -> int:
        return sum(map(len, self.sets.values()))


def _same(one: Segment, other: Segment) -> bool:
    return one.ipv6 == other.ipv6 and sorted(one.ends) == sorted(other.ends)


def _given(attempt: Attempt, reason: Reason) -> Given:
    return Given(attempt.syn, reason, attempt.retransmissions, attempt.last)


def _give(attempt: Attempt, reason: Reason) -> Given | None:
    return _given(attempt, reason) if attempt.holding else None


def renumbered(segments: list[Segment]) -> list[Segment]:
    """The same, each with its place as its name."""
    return [replace(segment, name=number) for number, segment in enumerate(segments)]
