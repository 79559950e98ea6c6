"""Driver: transports, the device, rings."""
