"""The card, running: model building, native harness, cocotb benches."""
