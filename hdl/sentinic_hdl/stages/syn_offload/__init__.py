"""SYN offload: connection attempts wait on the card until somebody answers."""

from sentinic_hdl.stages.syn_offload.folded import FoldedSynOffload
from sentinic_hdl.stages.syn_offload.stage import SynOffload


def syn_offload(profile):
    """The stage in the schedule of the profile."""
    return FoldedSynOffload(profile) if profile.folded_syn_offload else SynOffload(profile)


__all__ = ["FoldedSynOffload", "SynOffload", "syn_offload"]
