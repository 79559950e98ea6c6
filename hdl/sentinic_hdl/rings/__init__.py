"""From a packet's meta to its slot and descriptor in host memory."""
