"""The benchmarks' command line: ``python -m sentinic_sim.bench``."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import sentinic_sim.bench
from sentinic.abi.profiles import PROFILES
from sentinic_sim.bench import card, host, latency, others, statistics, syn_offload
from sentinic_sim.bench.table import Table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m sentinic_sim.bench", description=sentinic_sim.bench.__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--frames", type=int, default=200_000, help="for the card's figures (default: %(default)s)")
    parser.add_argument("--only", choices=["card", "flows", "host", "others", "build"], action="append")
    options = parser.parse_args(arguments)
    table = Table()

    def cards() -> None:
        for profile in PROFILES.values():
            frames = options.frames if profile.name == "wide" else options.frames // 10
            card.card_figures(table, profile, frames)
            latency.latency(table, profile)
            statistics.statistics_figures(table, profile, frames)
            statistics.interval_figures(table, profile, frames)
            statistics.end_figures(table, profile, frames)
            syn_offload.syn_offload_figures(table, profile, frames)
            latency.delays_beside_syns(table, profile)

    def flows() -> None:
        host.flow_figures(table, 2_000_000)
        host.captured_flows(table, 1 << 20)

    def beside() -> None:
        others.cocotb_figures(table, "wide", 500)
        others.meter_figures(table, 1_000_000)

    parts: dict[str, Callable[[], None]] = {
        "card": cards,
        "flows": flows,
        "host": lambda: host.host_figures(table, 1_000_000),
        "others": beside,
        "build": lambda: host.build_figures(table),
    }
    for name, part in parts.items():
        if not options.only or name in options.only:
            part()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    machine = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    options.out.write_text(json.dumps({"machine": machine, "figures": table.rows}, indent=2) + "\n")
    print(f"written to {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
