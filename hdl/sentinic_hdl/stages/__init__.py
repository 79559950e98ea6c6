"""The stages, in files of their own, and the list of them.

Adding a stage: write its component here with the interface of :class:`sentinic_hdl.stages.base.StageSignature`, give
it a block of registers in ``sentinic.abi.registers.STAGE_BLOCKS``, and name it below and in the profile.
"""

from sentinic_hdl.stages.passthrough import PassThrough

#: Stages by the name that a profile lists them under.
STAGES = {"passthrough": PassThrough}
