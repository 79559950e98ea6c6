"""The card in plain Python: what the gateware and the host's fast paths are compared with.

Slow, and meant to be read beside the RFCs.  It shares names and numbers with ``sentinic.abi``, but neither encoder nor
decoder.
"""
