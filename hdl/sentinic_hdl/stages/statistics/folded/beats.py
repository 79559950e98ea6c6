"""The fields of a packet, and the words of a rule, in beats that turn round easily.

A beat has a part of one end's fields, the same part of the other end's, and some bits of what both share, so that the
packet as its other end shows it is the same beats with two parts exchanged.
"""

from amaranth.hdl import Cat, Value
from amaranth.lib import data

from sentinic.abi.statistics import FIELD_WORDS, FOLDED_BEATS, FOLDED_LAYOUT, HALF_BITS, PAIRS
from sentinic.abi.statistics import field as abi_field

BEATS, HALF, LAYOUT = FOLDED_BEATS, HALF_BITS, FOLDED_LAYOUT
HALVES = 32 // HALF * FIELD_WORDS
COLUMNS = len(LAYOUT[0])
#: Of them, those of one end, and those that both ends share.
_END = sum(abi_field(name).width for name, _ in PAIRS) // HALF // BEATS
_REST = COLUMNS - 2 * _END
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
