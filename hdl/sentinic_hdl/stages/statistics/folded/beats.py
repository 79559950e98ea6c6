"""The fields of a packet, and the words of a rule, in beats that turn round easily.

A beat has a part of one end's fields, the same part of the other end's, and some bits of what both share, so that the
packet as its other end shows it is the same beats with two parts exchanged.
"""

from amaranth.hdl import Cat, Value
from amaranth.lib import data

from sentinic.abi.statistics import FIELD_WORDS, PAIRS
from sentinic.abi.statistics import field as abi_field

#: Beats of a packet.
BEATS = 4
#: What a rule's words are cut into, bits.
HALF = 16
HALVES = 32 // HALF * FIELD_WORDS


def _halves(names: list[str]) -> list[int]:
    """Where the fields lie in a rule's words, as numbers of half words, the lowest first."""
    found: list[int] = []
    for name in names:
        place = abi_field(name)
        assert place.lsb % HALF == place.width % HALF == 0
        found += range(place.lsb // HALF, (place.lsb + place.width) // HALF)
    return found


# The lower end is told by address, then port, then Ethernet address: the highest comes last.
_FIRST, _SECOND = (_halves([pair[end] for pair in reversed(PAIRS)]) for end in (0, 1))
_COMMON = [half for half in range(HALVES) if half not in _FIRST + _SECOND]
_END, _REST = len(_FIRST) // BEATS, len(_COMMON) // BEATS
assert not len(_FIRST) % BEATS
assert not len(_COMMON) % BEATS
#: Of each beat, the half words in it.
LAYOUT = [
    _COMMON[_REST * n : _REST * (n + 1)] + _FIRST[_END * n : _END * (n + 1)] + _SECOND[_END * n : _END * (n + 1)]
    for n in range(BEATS)
]
COLUMNS = len(LAYOUT[0])
#: One beat; beats come with the lowest bits of both ends first.
Beat = data.StructLayout({"common": HALF * _REST, "first": HALF * _END, "second": HALF * _END})
assert Beat.size == HALF * COLUMNS


def beats_of(words: Value) -> list[Value]:
    """The beats of a rule's words or of a packet's fields."""
    return [Cat(words[HALF * half : HALF * (half + 1)] for half in beat) for beat in LAYOUT]


def words_of(beats: Value) -> Value:
    """The words that all beats together, the first one lowest, stand for."""
    place = {half: Beat.size * n + HALF * c for n, beat in enumerate(LAYOUT) for c, half in enumerate(beat)}
    return Cat(beats[place[half] : place[half] + HALF] for half in range(HALVES))


def turned(beat: data.View) -> Value:
    """The beat as the packet's other end would show it."""
    return Cat(beat.common, beat.second, beat.first)


__all__ = ["BEATS", "COLUMNS", "HALF", "LAYOUT", "Beat", "beats_of", "turned", "words_of"]
