"""The stages, in files of their own, and the list of them.

Adding a stage: write its component here with the interface of :class:`sentinic_hdl.stages.base.StageSignature`, give
it a block of registers in ``sentinic.abi.registers.STAGE_BLOCKS``, and name it below and in the profile.
"""

from sentinic_hdl.stages.passthrough import PassThrough
from sentinic_hdl.stages.statistics import Statistics
from sentinic_hdl.stages.syn_offload import syn_offload

#: Stages by the name that a profile lists them under; each is made with the profile.
STAGES = {"passthrough": PassThrough, "statistics": Statistics, "syn_offload": syn_offload}
#: Of these, the ones with blocks that sleep while nobody needs them.
SLEEPERS = {"statistics"}
