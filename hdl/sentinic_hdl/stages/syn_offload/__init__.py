"""SYN offload: connection attempts wait on the card until somebody answers."""

from sentinic_hdl.stages.syn_offload.stage import SynOffload

__all__ = ["SynOffload"]
