"""``sentinic run``: captures in, a card set up, outputs written, a summary."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sentinic.abi.counters import DROP_REASONS, FATES
from sentinic.capture import CaptureReader, LinkTable, interleave
from sentinic.driver.config import Config
from sentinic.driver.control import version_text
from sentinic.driver.device import Device, check_conservation
from sentinic.driver.syn_offload import Mode, SynOffload, attempts_of
from sentinic.errors import (
    ConfigError,
    ConservationError,
    DeviceError,
    SentinicError,
    StageMissingError,
    TransportError,
)
from sentinic.run import port_map
from sentinic.run.files import prepare_folder, refuse_overwriting, remove, write_whole
from sentinic.run.outputs import Lines, Output, Packets, TagLosses, Traffic
from sentinic.run.pipeline import Outcome, Pipeline, Progress

if TYPE_CHECKING:
    from sentinic.run.monitoring import Monitor
    from sentinic.run.statistics import StatisticsOutput

#: What ``--write`` takes, and the file of each.
OUTPUTS: dict[str, str] = {
    "packets": "packets.pcapng",
    "jsonl": "packets.jsonl",
    "conn": "conn.log",
    "stats": "stats.jsonl",
    "summary": "summary.json",
    "report": "report.html",
}
#: Made in one go when the run is over.
_WRITTEN_LAST = ("summary", "report")
DEFAULT_OUTPUTS = tuple(name for name in OUTPUTS if name != "jsonl")


@dataclass(frozen=True)
class Replay:
    """What a run is asked to do.

    ``ports`` maps captures to ingress ports by their order (the last goes on for further captures); ``interfaces``
    maps the interfaces of pcapng captures instead.  ``write`` holds names of ``OUTPUTS``.
    """

    captures: Sequence[str]
    folder: Path
    profile: str = "wide"
    backend: str = "native"
    config: Config = field(default_factory=Config)
    ports: Sequence[int] = (0,)
    interfaces: dict[int, int] | None = None
    keep_tags: bool = False
    write: Sequence[str] = DEFAULT_OUTPUTS
    limit: int | None = None
    ignore_checksums: bool = False
    backend_options: dict[str, object] = field(default_factory=dict)


@dataclass
class Result:
    """``summary`` as written to ``summary.json``; ``error`` is what ended the run early, or what does not add up.

    ``more_errors`` tell what else went wrong.  ``stopped`` is the number of the signal that ended it (Ctrl-C
    is one), or 0.  ``missing`` names the files that were asked for and are not there, ``notes`` says what else is to be
    told.  When the card is gone, and its counters with it, ``summary`` is empty, and neither it nor the report is
    written.
    """

    summary: dict[str, Any]
    error: Exception | None
    stopped: int
    missing: list[str]
    notes: list[str] = field(default_factory=list)
    more_errors: list[Exception] = field(default_factory=list)


def replay(request: Replay, progress: Callable[[Outcome, float | None], None] | None = None) -> Result:
    """Run captures through a card.

    ``progress`` gets the outcome so far, and the fraction of the captures read where that is known.  What is wrong
    before the first frame is sent raises a :class:`SentinicError`; what goes wrong later ends the run, and is in the
    result, after all outputs were written with what was delivered until then.
    """
    _check_outputs(request)
    if request.interfaces is not None:
        port_map.check_files(request.captures, request.interfaces)
    prepare_folder(request.folder)
    refuse_overwriting(request.captures, [request.folder / OUTPUTS[name] for name in request.write])
    links = LinkTable()
    readers = _open_captures(request, links)
    try:
        with Device.open(request.backend, request.profile, **request.backend_options) as device:
            ports = device.capabilities.ports
            for port in (*request.ports, *(request.interfaces or {}).values()):
                if not 0 <= port < ports:
                    raise ConfigError(f"--port-map: ports must be 0..{ports - 1} on this card, not {port}")
            rings = _decided(request).apply(device, pause=True)
            counted = {"summary", "report"} & set(request.write) and not _bare(request)
            traffic = Traffic() if counted else None
            losses = TagLosses(len(rings))
            monitor = _monitor(request)
            statistics = _statistics(request, device)
            notes = statistics.notes if statistics else []
            offload = _syn_offload(request, device, notes)
            outputs = _outputs(request, links, traffic, losses, monitor)
            for name in _WRITTEN_LAST:
                if name in request.write:
                    remove(request.folder / OUTPUTS[name])  # another run's, which must not pass for this one's
            if statistics is None and "stats" in request.write:
                remove(request.folder / OUTPUTS["stats"])
            device.enable()
            pipeline = Pipeline(device, outputs, _with_fraction(progress, readers), statistics, offload)
            outcome = pipeline.run(_batches(readers, request), request.limit)
            try:
                summary = _summary(request, device, outcome, readers, traffic, losses, statistics, offload)
            except TransportError as failure:
                missing = [OUTPUTS[name] for name in _WRITTEN_LAST if name in request.write]
                return Result({}, outcome.error or failure, outcome.stopped, missing, notes, outcome.more_errors)
    finally:
        for reader in readers:
            reader.close()
    error = outcome.error
    try:
        check_conservation(summary["counters"])
    except ConservationError as failure:
        error = error or failure
    error, missing = _write_results(request, summary, monitor, error)
    return Result(summary, error, outcome.stopped, missing, notes, outcome.more_errors)


def _written(request: Replay) -> list[str]:
    """What is asked for and has something to tell."""
    return [name for name in request.write if name != "stats" or request.config.statistics]


def _decided(request: Replay) -> Config:
    """The config, with what it leaves to the command.

    Plain segments of a ring 0 that nobody else can know come as descriptors, if what reads it needs no more of them.
    """
    first, *rest = request.config.rings
    if first.bare_plain is None and first.name is None and not request.config.statistics:
        first = replace(first, bare_plain=not {"packets", "jsonl"} & set(request.write))
    return replace(request.config, rings=(first, *rest))


def _bare(request: Replay) -> bool:
    """Whether ring 0, of which most outputs tell, gets descriptors only."""
    return not request.config.rings[0].snap_length


def _check_outputs(request: Replay) -> None:
    needy = [name for name in ("conn", "report") if name in request.write]
    if needy and _bare(request):
        raise ConfigError(
            f"{request.config.where}: [[ring]] 0: snap_length must be at least 1 for {' and '.join(needy)}, which "
            "need bytes of packets, not 0 (descriptors only): name other outputs with --write"
        )


def _open_captures(request: Replay, links: LinkTable) -> list[CaptureReader]:
    readers: list[CaptureReader] = []
    try:
        for number, capture in enumerate(request.captures):
            port: int | dict[int, int] = request.ports[min(number, len(request.ports) - 1)]
            if request.interfaces is not None:
                port = request.interfaces
            readers.append(CaptureReader(capture, port=port, links=links))
    except BaseException:
        for reader in readers:
            reader.close()
        raise
    return readers


def _batches(readers: Sequence[CaptureReader], request: Replay) -> Iterable[Any]:
    ports = request.ports
    batches = interleave((ports[min(number, len(ports) - 1)], reader) for number, reader in enumerate(readers))
    return batches if request.interfaces is None else port_map.checked(batches, readers, request.interfaces)


def _with_fraction(
    progress: Callable[[Outcome, float | None], None] | None, readers: Sequence[CaptureReader]
) -> Progress | None:
    if progress is None:
        return None
    told = progress

    def tell(outcome: Outcome) -> None:
        fractions = [reader.fraction for reader in readers]
        known = [fraction for fraction in fractions if fraction is not None]
        told(outcome, sum(known) / len(known) if len(known) == len(fractions) else None)

    return tell


def _monitor(request: Replay) -> "Monitor | None":
    if not {"conn", "report"} & set(request.write):
        return None
    from sentinic.run.monitoring import Monitor  # slow to load, and not always wanted

    path = request.folder / OUTPUTS["conn"] if "conn" in request.write else None
    offload = request.config.syn_offload
    return Monitor(path, ignore_checksums=request.ignore_checksums, held=offload.timeout if offload.enabled else 0)


def _statistics(request: Replay, device: Device) -> "StatisticsOutput | None":
    rules = request.config.statistics
    # Connections alone say nothing of rules; whoever reads a ring of crossings wants them whatever is written.
    if not rules or (set(request.write) == {"conn"} and not any(ring.crossings for ring in request.config.rings)):
        return None
    from sentinic.run.statistics import StatisticsOutput  # slow to load, and not always wanted

    path = request.folder / OUTPUTS["stats"] if "stats" in request.write else None
    return StatisticsOutput(
        device, rules, path, where=request.config.where, syn_offload=request.config.syn_offload.enabled
    )


def _syn_offload(request: Replay, device: Device, notes: list[str]) -> SynOffload | None:
    """The card's stage, switched on when the config says so; a note when the card has none."""
    config = request.config.syn_offload
    if not config.enabled:
        return None
    try:
        offload = SynOffload(device)
    except StageMissingError as error:
        notes.append(f"SYN offload: every SYN is delivered as it comes: {error}")
        return None
    told = "their SYNs"
    if config.mode is Mode.COMPACT:
        told = "records"
        for number in _rings_of_records(request):
            offload.to_ring(device.rings[number])
    offload.enable(config.timeout, config.mode)
    notes.append(
        f"SYN offload: up to {offload.shape.attempts} attempts wait on the card; {told} tell of those nobody answers"
    )
    return offload


def _rings_of_records(request: Replay) -> list[int]:
    """Rings that records of attempts go to: as the config says, else ring 0, unless it gets raw SYNs."""
    rings = request.config.rings
    if rings[0].attempts and rings[0].raw_syns:
        raise ConfigError(
            f"{request.config.where}: [[ring]] 0: attempts must be false where raw_syns is true: connections would be "
            "logged once for the SYN and once for the record; another [[ring]] may have attempts"
        )
    found = [
        number
        for number, ring in enumerate(rings)
        if (ring.attempts if ring.attempts is not None else not (number or ring.raw_syns))
    ]
    if not found or any(not rings[number].snap_length for number in found):
        raise ConfigError(
            f"{request.config.where}: [syn_offload] mode compact needs a [[ring]] with attempts (by default ring 0, "
            "unless that has raw_syns), each of whose snap_length is at least 1, not 0 (descriptors only)"
        )
    return found


def _outputs(
    request: Replay, links: LinkTable, traffic: Traffic | None, losses: TagLosses, monitor: "Monitor | None"
) -> list[Output]:
    outputs: list[Output] = [losses]
    if traffic is not None:
        outputs.append(traffic)
    try:
        if "packets" in request.write:
            path = request.folder / OUTPUTS["packets"]
            outputs.append(Packets(path, links=links, keep_tags=request.keep_tags))
        if "jsonl" in request.write:
            outputs.append(Lines(request.folder / OUTPUTS["jsonl"]))
    except SentinicError:
        for output in outputs:
            output.finish()
        raise
    if monitor is not None:
        outputs.append(monitor)
    return outputs


def _summary(
    request: Replay,
    device: Device,
    outcome: Outcome,
    readers: Sequence[CaptureReader],
    traffic: Traffic | None,
    losses: TagLosses,
    statistics: "StatisticsOutput | None",
    offload: SynOffload | None,
) -> dict[str, Any]:
    counters = device.snapshot()
    if outcome.error is None and counters["received"] < outcome.frames:
        outcome.error = DeviceError(f"the card took in {counters['received']} of {outcome.frames} frames sent")
    profile, wall, cycles = device.profile, outcome.wall_seconds, outcome.cycles
    at_clock = cycles / profile.clock_hz
    return {
        "profile": profile.name,
        "backend": request.backend,
        "abi_version": version_text(device.capabilities.abi_version),
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "captures": [
            {
                "name": reader.name,
                "format": reader.format,
                "frames": reader.frames,
                "bytes": reader.bytes,
                "backwards": reader.backwards,
                "first_backwards": reader.first_backwards,
                "outside": reader.outside,
                "first_outside": reader.first_outside,
                "clamped": reader.clamped,
            }
            for reader in readers
        ],
        "ended": "interrupted" if outcome.stopped else "error" if outcome.error else "complete",
        "error": str(outcome.error) if outcome.error else None,
        "frames": outcome.frames,
        "frames_empty": outcome.empty,
        "frames_snapped": outcome.snapped,
        "bytes": outcome.bytes,
        "delivered": outcome.delivered,
        "cycles": cycles,
        "wall_seconds": wall,
        "compile_seconds": outcome.compile_seconds,
        "step_seconds": outcome.step_seconds,
        "speeds": {
            "frames_per_second": _ratio(outcome.frames, wall),
            "bits_per_second": _ratio(8 * outcome.bytes, wall),
            "cycles_per_second": _ratio(cycles, outcome.step_seconds),
            "cycles_per_frame": _ratio(cycles, outcome.frames),
            "clock_hz": profile.clock_hz,
            "frames_per_second_at_clock": _ratio(outcome.frames, at_clock),
            "bits_per_second_at_clock": _ratio(8 * outcome.bytes, at_clock),
        },
        "conservation": {
            "holds": counters["received"] == sum(counters[name] for name in FATES),
            "received": counters["received"],
            "fates": {name: counters[name] for name in FATES},
        },
        "drops": {name: counters[name] for name in DROP_REASONS if counters[name]},
        "rings": [
            {
                "number": ring.number,
                "name": ring.name,
                "delivered": counters[f"ring{ring.number}.delivered"],
                "delivered_bytes": counters[f"ring{ring.number}.delivered_bytes"],
                "sampled_out": counters[f"ring{ring.number}.sampled_out"],
                "lost": counters[f"ring{ring.number}.lost"],
                "lost_by_tags": losses.lost[ring.number],
                "errors": counters[f"ring{ring.number}.errors"],
                "faulted": ring.faulted,
            }
            for ring in list(device.rings.values())[: len(request.config.rings)]
        ],
        "counters": counters,
        "traffic": traffic.summary.as_dict() if traffic else None,
        "statistics": statistics.summary() if statistics else None,
        "syn_offload": _attempts(request, attempts_of(counters, profile)) if offload else None,
        "outputs": [OUTPUTS[name] for name in OUTPUTS if name in _written(request)],
    }


def _attempts(request: Replay, told: dict[str, int]) -> dict[str, int]:
    """What became of attempts, and what the reader of ring 0 was spared."""
    spared = not request.config.rings[0].raw_syns
    return {
        **told,
        "state_avoided": spared * (told["expired"] + told["superseded"]),
        "packets_avoided": spared * (told["again"] + told["recorded"]),
    }


def _ratio(amount: float, of: float) -> float | None:
    return amount / of if of else None


def _write_results(
    request: Replay, summary: dict[str, Any], monitor: "Monitor | None", error: Exception | None
) -> tuple[Exception | None, list[str]]:
    """Write what is written at the end; the first error there was stays the one that is told.  And what is missing."""
    missing = []
    for name in _WRITTEN_LAST:
        path = request.folder / OUTPUTS[name]
        try:
            if name in request.write and name == "summary":
                write_whole(path, json.dumps(summary, indent=2) + "\n")
            elif name in request.write and monitor is not None:
                monitor.write_report(path, summary)
        except (SentinicError, OSError) as failure:
            error = error or failure
            missing.append(path.name)
    return error, missing
