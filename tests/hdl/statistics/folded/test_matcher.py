"""The matcher: which rules a packet hits, and the key and its hash, against a plain model in whole numbers."""

import random
from dataclasses import dataclass
from itertools import product

import pytest
from amaranth.sim import Simulator

from sentinic.abi.statistics import field
from sentinic_hdl.stages.statistics.folded.matcher import Matcher

# A component that refuses its parameters is never elaborated.
pytestmark = pytest.mark.filterwarnings("ignore::amaranth.hdl.UnusedElaboratable")
RULES, INDEX_BITS, WORDS = 4, 9, 14
LIMIT = 200
#: Half words in the order in which beats meet the hash's secret: shared, source's, destination's, four times.
ORDER = [0, 6, 7, 8, 9, 10, 11, 1, 4, 12, 13, 5, 20, 21, 2, 14, 15, 16, 22, 23, 24, 3, 17, 18, 19, 25, 26, 27]
ENDS = (("source", "source_port", "eth_src"), ("destination", "destination_port", "eth_dst"))


@dataclass(frozen=True)
class Rule:
    value: int
    mask: int
    group: int
    bidirectional: bool
    enabled: bool


def get(words: int, name: str) -> int:
    place = field(name)
    return words >> place.lsb & (1 << place.width) - 1


def turned(words: int) -> int:
    found = words
    for names in zip(*ENDS, strict=True):
        values = [get(words, name) for name in names]
        for name, value in zip(names, values[::-1], strict=True):
            place = field(name)
            found = found & ~(((1 << place.width) - 1) << place.lsb) | value << place.lsb
    return found


def hashed(key: int, secret: int) -> int:
    beats = sum((key >> 16 * half & 0xFFFF) << 16 * n for n, half in enumerate(ORDER))
    return sum(((beats & secret >> bit).bit_count() & 1) << bit for bit in range(INDEX_BITS))


def expected(rules: list[Rule], packet: int, secret: int) -> list[dict[str, int]]:
    found = []
    for number, rule in enumerate(rules):
        ways = [packet, turned(packet)][: 1 + rule.bidirectional]
        if rule.enabled and any(not (way ^ rule.value) & rule.mask for way in ways):
            key = packet & rule.group
            first, second = ([get(key, name) for name in names] for names in ENDS)
            swap = rule.bidirectional and first > second
            if swap:
                key = turned(packet) & rule.group
            found.append({"rule": number, "reversed": int(swap), "key": key, "index": hashed(key, secret) ^ number})
    return found


def random_packet(r: random.Random) -> int:
    """Ends are often alike in part, so that what is compared last decides."""
    packet = r.getrandbits(448)
    for name, other in zip(*ENDS, strict=True):
        if r.random() < 0.6:
            place = field(other)
            packet &= ~(((1 << place.width) - 1) << place.lsb)
            packet |= get(packet, name) << place.lsb
    return packet


def random_rule(r: random.Random, packets: list[int]) -> Rule:
    mask = r.choice([0, 0xFFFF << 16 * r.randrange(28), 1 << r.randrange(448)])
    group = r.choice([0, (1 << 448) - 1, r.getrandbits(448), ((1 << 128) - 1) << field("source").lsb])
    return Rule(r.choice([*packets, r.getrandbits(448)]), mask, group, r.random() < 0.5, r.random() < 0.9)


async def load(ctx, matcher: Matcher, kind: int, rule: int, words: int, count: int) -> None:
    ctx.set(matcher.load_valid, 1)
    ctx.set(matcher.load_rule, rule)
    for half in range(count):
        ctx.set(matcher.load.kind, kind)
        ctx.set(matcher.load.half, half)
        ctx.set(matcher.load.data, words >> 16 * half & 0xFFFF)
        await ctx.tick()
    ctx.set(matcher.load_valid, 0)


def simulate(
    rules: list[Rule], packets: list[int], secret: int, seed: int, *, stalls: float
) -> tuple[list[list[dict[str, int]]], list[int]]:
    """What each packet hits; and the cycles that packets took whose outcome was taken at once."""
    r = random.Random(seed)
    matcher = Matcher(rules=RULES, index_bits=INDEX_BITS)
    found: list[list[dict[str, int]]] = []
    cycles: list[int] = []

    async def drive(ctx):
        await load(ctx, matcher, 0, 0, secret, 32)
        for number, rule in enumerate(rules):
            for kind, words in enumerate((rule.value, rule.mask, rule.group), 1):
                await load(ctx, matcher, kind, number, words, 2 * WORDS)
        ctx.set(matcher.enabled, sum(rule.enabled << n for n, rule in enumerate(rules)))
        ctx.set(matcher.bidirectional, sum(rule.bidirectional << n for n, rule in enumerate(rules)))
        for packet in packets:
            ctx.set(matcher.fields.as_value(), packet)
            ctx.set(matcher.start, 1)
            await ctx.tick()
            ctx.set(matcher.start, 0)
            found.append([])
            stalled = r.random() < stalls
            spent = 0
            for _ in range(LIMIT):
                ctx.set(matcher.o.ready, not stalled or r.random() < 0.3)
                if ctx.get(matcher.o.valid) and ctx.get(matcher.o.ready):
                    out = ctx.get(matcher.o.payload)
                    found[-1].append({name: int(out[name]) for name in ("rule", "reversed", "key", "index")})
                if not ctx.get(matcher.busy) and not ctx.get(matcher.o.valid):
                    break
                await ctx.tick()
                spent += 1
            else:
                raise AssertionError("the matcher does not come to an end")
            if not stalled:
                cycles.append(spent)

    simulator = Simulator(matcher)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return found, cycles


@pytest.mark.parametrize("seed", range(3))
def test_keys_and_hashes_are_those_of_the_plain_model_and_take_four_or_eight_cycles_a_rule(seed: int) -> None:
    r = random.Random(seed)
    packets = [random_packet(r) for _ in range(25)]
    rules = [random_rule(r, packets) for _ in range(RULES)]
    secret = r.getrandbits(512)
    found, cycles = simulate(rules, packets, secret, seed, stalls=0.5)
    assert found == [expected(rules, packet, secret) for packet in packets]
    assert any(found)
    assert max(cycles) <= 8 * RULES + 1


def test_ends_are_compared_by_address_then_port_then_ethernet_address() -> None:
    whole = (1 << 448) - 1
    rules = [Rule(0, 0, whole, True, True), *[Rule(0, 0, 0, False, False)] * (RULES - 1)]
    # Of each pair of fields: the lowest bit set at one end, at the other, or at both.
    packets = [
        sum(
            1 << field(name).lsb
            for pair, order in zip(zip(*ENDS, strict=True), orders, strict=True)
            for name, there in zip(pair, order, strict=True)
            if there
        )
        for orders in product([(0, 1), (1, 0), (1, 1)], repeat=3)
    ]
    found, cycles = simulate(rules, packets, 0, 0, stalls=0)
    assert found == [expected(rules, packet, 0) for packet in packets]
    turned_round = [hits[0]["reversed"] for hits in found]
    assert turned_round.count(1) == turned_round.count(0) - 1 == 13
    # A rule that is off takes one cycle, and the outcome is told one later.
    assert cycles == [4 + 4 * again + RULES - 1 for again in turned_round]


@pytest.mark.parametrize("bits", [0, 18])
def test_a_hash_of_no_bits_or_more_than_the_secret_has_is_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"index_bits must be 1..17, not {bits}"):
        Matcher(rules=4, index_bits=bits)
