"""Statistics: rules counted by the card or in software, with the same answer."""
