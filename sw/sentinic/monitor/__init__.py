"""What the host makes of ring records: flows, connections and their log."""
