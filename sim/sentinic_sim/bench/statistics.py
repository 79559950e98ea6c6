"""What the statistics stage takes in a cycle: every packet hits all rules, whatever their groups, however short their
intervals."""

from dataclasses import replace

import numpy as np

from sentinic.abi.profiles import Profile
from sentinic.abi.statistics import ReportFlag
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.rules import Rule
from sentinic.driver.statistics import Statistics, are_reports, read_reports
from sentinic_sim.bench.table import Table
from sentinic_sim.bench.traffic import FRAME_BYTES, minimum_frames, padded
from sentinic_sim.native import MemoryOptions

#: A ring for the reports of all groups.
_DESCRIPTORS, _DATA_BYTES = 1 << 18, 1 << 28
#: Longer frames, in beats, about as many as the bus takes for a group: with more of them, nothing may be in overflows.
_BEATS = {"wide": (2, 3), "board": (18, 19)}
#: Report intervals, ns, and the wire time between two frames of 64 bytes at the rate that a build is for.
_INTERVALS = (1_000_000, 200_000, 50_000, 10_000, 1_000)
_APART = {"wide": 7, "board": 672}
#: Where an interval ends: groups of each rule, and the share of a port's cycles without a beat at that rate.
_GROUPS = {"wide": 500, "board": 200}
_IDLE = {"wide": 0.4, "board": 0.81}


def interval_figures(table: Table, profile: Profile, frames: int) -> None:
    """Cycles a packet where one rule's intervals end ever more often, on a card that lets no packet go."""
    if "statistics" not in profile.stages:
        return
    for every in _INTERVALS:
        with Device.open("native", profile.name) as device:
            ring = device.open_ring(0, descriptors=_DESCRIPTORS, data_bytes=_DATA_BYTES)
            ring.registers.write("filter_ports", 0)
            ring.registers.write("extras", 1, "reports")
            ring.enable()
            Statistics(device).set(0, Rule("r", {}, ["ipv4_src"], report_every=every))
            device.set_pause(True)
            device.enable()
            batch = minimum_frames(frames, 1)
            apart = np.arange(frames, dtype=np.uint64) * np.uint64(_APART[profile.name])
            before = device.snapshot()["cycles"]
            device.transport.send(replace(batch, timestamp=batch.timestamp[0] + apart))
            while (counters := device.snapshot())["filtered"] < frames:
                device.transport.step(2000)
            check_conservation(counters)
        table.add(
            f"{profile.name}: one rule, an interval of {every // 1000:,} us, 64-byte frames at the rate it is for",
            (counters["cycles"] - before) / frames,
            "cycles/frame",
            f"{frames:,} frames, {int(apart[-1]) // every:,} ends",
        )


def end_figures(table: Table, profile: Profile, frames: int) -> None:
    """What one end of an interval costs where rules hold many groups, on a card that drops, at the rate it is for."""
    if "statistics" not in profile.stages:
        return
    groups, apart = _GROUPS[profile.name], _APART[profile.name]
    every = frames * apart
    for rules in sorted({1, profile.statistics_rules}):
        memory = MemoryOptions(rx_idle=_IDLE[profile.name])
        with Device.open("native", profile.name, memory=memory) as device:
            ring = device.open_ring(0, descriptors=_DESCRIPTORS, data_bytes=_DATA_BYTES)
            ring.registers.write("filter_ports", 0)
            ring.registers.write("extras", 1, "reports")
            ring.enable()
            stage = Statistics(device)
            stage.replace([Rule(f"r{n}", {}, ["ipv4_src"], report_every=every) for n in range(rules)])
            device.set_pause(False)
            device.enable()
            batch = minimum_frames(frames, groups)
            begin = (int(batch.timestamp[0]) // every + 1) * every + frames * 4 // 10 * apart
            stamps = np.uint64(begin) + np.arange(frames, dtype=np.uint64) * np.uint64(apart)
            device.transport.send(replace(batch, timestamp=stamps))
            stage.finish()
            counters = device.snapshot()
            check_conservation(counters)
            lost = counters["dropped_overflow"]
            descriptors, data = ring.poll()
            found = read_reports(descriptors[are_reports(descriptors, data)], data).groups
            counted = int(found["packets"].sum())
            assert counted == rules * (frames - lost), (counted, rules, frames, lost)
            short = int(found["packets"][found["flags"] & ReportFlag.OVERFLOW != 0].sum())
        what = f"{rules} {'rule' if rules == 1 else 'rules'} of {groups} groups"
        table.add(
            f"{profile.name}: {what}, frames lost where an interval ends",
            lost,
            "frames",
            f"{frames:,} 64-byte frames at the rate it is for; {100 * short / counted:.1f} % of counts in overflows",
        )


def statistics_figures(table: Table, profile: Profile, frames: int) -> None:
    """Cycles a packet, and that the sums over all reports and overflows are what was sent."""
    if "statistics" not in profile.stages:
        return
    all_rules = profile.statistics_rules
    in_one_set = "every packet a new group, all in one set"
    cases = (
        ("one group", all_rules, [], 1, None, FRAME_BYTES),
        ("every packet a new group", all_rules, ["ipv4_src"], frames, None, FRAME_BYTES),
        *((in_one_set, rules, ["ipv4_src"], frames, 0, FRAME_BYTES) for rules in (all_rules, 1)),
        *((in_one_set, 1, ["ipv4_src"], frames, 0, beats * profile.beat_bytes) for beats in _BEATS[profile.name]),
    )
    for what, rules, group, flows, secret, length in cases:
        with Device.open("native", profile.name) as device:
            ring = device.open_ring(0, descriptors=_DESCRIPTORS, data_bytes=_DATA_BYTES)
            ring.registers.write("filter_ports", 0)
            ring.registers.write("extras", 1, "reports")
            ring.enable()
            stage = Statistics(device, secret=secret)
            stage.replace([Rule(f"r{n}", {}, group) for n in range(rules)])
            stage.settle()
            device.set_pause(False)
            device.enable()
            before = device.snapshot()
            device.transport.send(padded(minimum_frames(frames, flows), length))
            device.transport.step()
            # Packets that no ring wants move nothing that the transport sees.
            while (counters := device.snapshot())["held"]:
                device.transport.step()
            written = counters["dma_data_beats"] + counters["dma_descriptor_beats"]
            cycles = sum(
                counters[f"ingress.{kind}_cycles"] - before[f"ingress.{kind}_cycles"] for kind in ("busy", "stall")
            )
            # What a card that is not for this rate could not take in, it has dropped before the rules.
            passed = counters["filtered"]
            elapsed = counters["cycles"] - before["cycles"]
            assert passed == frames or profile.folded_statistics, counters
            stage.replace([])
            stage.settle()
            while (after := device.snapshot())["reports"] > counters["reports"]:
                counters = after
                device.transport.step(10_000)
            check_conservation(counters)
            descriptors, data = ring.poll()
            groups = read_reports(descriptors[are_reports(descriptors, data)], data).groups
        packets = int(groups["packets"].sum())
        assert packets == rules * passed, f"{packets} packets in {len(groups)} reports of {rules} rules on {passed}"
        overflow = int(groups["packets"][groups["flags"] & 16 != 0].sum())
        table.add(
            f"{profile.name}: {rules} {'rule' if rules == 1 else 'rules'} hit by every {length + 4}-byte frame, {what}",
            cycles / passed,
            "cycles/frame",
            f"{passed:,} of {frames:,} frames back to back; {100 * overflow / packets:.1f} % of counts in overflows, "
            f"bus busy {100 * written / elapsed:.0f} %",
            want=str(-(-length // profile.beat_bytes)) if profile.name == "wide" else "below 42 (1 Gbit/s)",
        )
