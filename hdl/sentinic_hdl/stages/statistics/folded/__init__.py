"""The rules' work folded over time: one packet at a time, its fields in beats, for cards with cycles to spare."""

from sentinic_hdl.stages.statistics.folded.unit import FoldedUnit

__all__ = ["FoldedUnit"]
