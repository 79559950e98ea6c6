"""``make bench``: how fast the card is, in cycles, and how fast it is simulated and read, in seconds.

Cycles come from the card's own counters and the harness's probe, and do not depend on the machine.  Seconds do: they
are the best of a few runs.  Each figure says what it was measured on.
"""
