"""A capture's way through a card and out of its rings, into files."""
