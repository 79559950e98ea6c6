"""Statistics in hardware: rules that match and group header fields, count, and tell when a threshold is crossed."""

from sentinic_hdl.stages.statistics.stage import Statistics

__all__ = ["Statistics"]
