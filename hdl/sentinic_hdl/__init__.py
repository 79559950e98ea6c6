"""The Sentinic card, in Amaranth."""
