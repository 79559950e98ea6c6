"""The schedule of small cards: one packet at a time, and what the packet store says is not kept a second time."""

from sentinic_hdl.stages.syn_offload.folded.stage import FoldedSynOffload

__all__ = ["FoldedSynOffload"]
