"""From the MAC boundary to one stream of whole, good frames."""
