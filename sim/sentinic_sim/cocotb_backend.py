"""The cocotb transport: the driver's seam over the verification bench, some thousand times slower than the native one.

The simulator is a process of its own, in which :mod:`sentinic_sim.cocotb_server` drives the card with cocotbext-axi.
Requests go to it over a socket; DMA lands in shared memory that both map.
"""

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any

from sentinic.abi.profiles import Profile
from sentinic.driver.frames import FrameBatch
from sentinic.driver.memory import DmaRegion, unique_name
from sentinic.errors import TransportError
from sentinic_sim import gtkwave
from sentinic_sim.build import Model, Progress
from sentinic_sim.cocotb_build import cocotb_model
from sentinic_sim.native import FIRST_BUS_ADDRESS, GUARD_BYTES, IDLE_CYCLES, STUCK_CYCLES

__all__ = ["CocotbTransport", "open_cocotb"]

#: The module that runs inside the simulator.
SERVER = "sentinic_sim.cocotb_server"
#: Its environment: the socket's file descriptor, ports of the card, and its clock in ps.
SOCKET, PORTS, PERIOD = "SENTINIC_COCOTB_SOCKET", "SENTINIC_COCOTB_PORTS", "SENTINIC_COCOTB_PERIOD"
#: Seconds in which the simulator answers any request; a step answers in slices far shorter.
ANSWER_SECONDS = 120.0
#: Seconds in which it starts, on a busy machine.
START_SECONDS = 120.0
#: Seconds in which it ends when told to, writing out its waveforms.
CLOSE_SECONDS = 60.0
#: Frames sent in one message.
SEND_FRAMES = 4096
#: Lines of the simulator's log in an error.
LOG_LINES = 12
_RESPONSES = {1: "EXOKAY", 2: "SLVERR", 3: "DECERR"}


class CocotbTransport:
    """The card in a cocotb simulation.  Implements :class:`sentinic.driver.transport.Transport`.

    Frames are presented as by the native transport without ``parallel``: one after the other, in the order of the
    batches.  Not to be used from several threads at once, except that others may read the regions.

    Parameters
    ----------
    model: from :func:`sentinic_sim.cocotb_build.cocotb_model`
    idle_cycles: quiet cycles after which :meth:`step` takes the card for idle
    timeout: seconds after which a simulator that does not answer counts as hung
    wave: write waveforms (FST) into this file, and a GTKWave save file ``*.gtkw`` beside it; needs a model built with
        ``waves``
    """

    def __init__(
        self,
        model: Model,
        *,
        idle_cycles: int = IDLE_CYCLES,
        timeout: float = ANSWER_SECONDS,
        wave: Path | str | None = None,
    ) -> None:
        if idle_cycles < 1:
            raise ValueError(f"idle_cycles must be at least 1, not {idle_cycles}")
        if wave is not None and not model.trace:
            raise ValueError("wave must be None for a model built without waves")
        self.model = model
        self.idle_cycles = idle_cycles
        self.stop_reason = "idle"  #: why the last step ended: one of "idle", "cycles", "irq", "stuck"
        self._timeout = START_SECONDS
        self._numbers = itertools.count()
        self._regions: dict[str, DmaRegion] = {}
        self._next_bus = FIRST_BUS_ADDRESS
        if wave is not None:
            wave = gtkwave.prepare(wave)
            gtkwave.save_file(wave, model.verilog, scope="card")
        self._work = Path(tempfile.mkdtemp(prefix="sentinic-cocotb-"))
        self._log = self._work / "simulator.log"
        try:
            self._process, self._socket = _start(model, self._work, self._log, wave)
        except BaseException:
            shutil.rmtree(self._work, ignore_errors=True)
            raise
        # Also at interpreter exit, so that neither process nor shared memory stays behind.
        self._finalizer = weakref.finalize(
            self, _release, self._process, self._socket, self._regions, self._work, os.getpid()
        )
        try:
            self._ask("status")  # it runs, or this says why not
        except BaseException:
            self.close()
            raise
        self._timeout = timeout

    # --- The driver's seam ---

    @property
    def profile(self) -> Profile:
        return self.model.profile

    @property
    def cycles(self) -> int:
        return int(self._ask("status")["cycles"])

    @property
    def pending(self) -> int:
        return int(self._ask("status")["pending"])

    def read(self, address: int) -> int:
        """The register at byte ``address``; takes some cycles.  Raises :class:`TransportError` unless answered OKAY."""
        _check_address(address)
        response, value = self._ask("read", address, what=f"read of register {address:#06x}")
        self._check("read", address, response)
        return int(value)

    def write(self, address: int, value: int) -> None:
        """Write ``value`` to the register at byte ``address``.  Raises :class:`TransportError` unless answered OKAY."""
        _check_address(address)
        if not 0 <= value < 1 << 32:
            raise ValueError(f"value of a register must fit 32 bits, not {value:#x}")
        self._check("write", address, self._ask("write", address, value, what=f"write of register {address:#06x}"))

    def alloc(self, name: str, size: int) -> DmaRegion:
        """A zeroed region of shared memory of at least ``size`` bytes, called ``sentinic-<pid>-<random>-<name>``."""
        self._open()
        region = DmaRegion.create(f"{unique_name('sentinic')}-{name}", size, self._next_bus)
        self._regions[region.name] = region
        self._next_bus += -(-(len(region.array) + GUARD_BYTES) // GUARD_BYTES) * GUARD_BYTES
        self._ask("map", region.name, region.bus_address)
        return region

    def send(self, batch: FrameBatch) -> None:
        """Queue ``batch``, copied.

        Raises :class:`ValueError` when a frame lies outside of the buffer or a port is not there.
        """
        self._open()
        if not len(batch):
            return
        batch.validate()
        port = int(batch.port.max())
        if port >= self.profile.ports:
            raise ValueError(f"port must be below {self.profile.ports}, not {port}")
        for first in range(0, len(batch), SEND_FRAMES):
            part = batch[first : first + SEND_FRAMES]
            columns = (part.port, part.wire_length, part.timestamp, part.error)
            rows = zip(*(column.tolist() for column in columns), strict=True)
            self._ask(
                "send",
                [(port, part.frame(n).tobytes(), *rest) for n, (port, *rest) in enumerate(rows)],
            )

    def step(self, max_cycles: int | None = None) -> int:
        """Run until every frame is taken in and the card has been quiet for ``idle_cycles``, or for ``max_cycles``.

        Ends early when nothing has moved for ``STUCK_CYCLES`` while frames wait.  :attr:`stop_reason` tells.
        """
        return self._step(max_cycles)

    def wait(self, timeout: float) -> bool:
        """Run until the interrupt line is up, wire time passing with the clock; whether it is up.

        Gives up after ``timeout`` seconds of wire time, or of the host's time, whichever are over first.
        """
        if self.irq:
            return True
        cycles = int(timeout * self.profile.clock_hz)
        self._step(cycles, until_irq=True, deadline=time.monotonic() + timeout)
        return self.irq

    def now(self) -> int:
        return int(self._ask("status")["time"])

    def close(self) -> None:
        """End the simulator and give the regions back.  Safe to call twice."""
        self._finalizer()

    # --- For benches and tests ---

    @property
    def irq(self) -> bool:
        return bool(self._ask("status")["irq"])

    @property
    def decode_errors(self) -> int:
        """Writes outside of every region, answered with an error."""
        return int(self._ask("status")["decode_errors"])

    def reset(self, cycles: int = 4) -> None:
        """Pull the reset line.  Frames that wait, and one under way, are forgotten; regions stay."""
        self._ask("reset", cycles)

    def release(self, region: DmaRegion) -> None:
        """Take a region off the bus and close it: later writes to it are answered with an error."""
        self._ask("unmap", region.bus_address)
        self._regions.pop(region.name, None)
        region.close()

    @property
    def process_id(self) -> int:
        """Of the simulator."""
        return self._process.pid

    # --- Inside ---

    def _step(self, max_cycles: int | None, *, until_irq: bool = False, deadline: float | None = None) -> int:
        total, begin = 0, True
        while True:
            left = None if max_cycles is None else max_cycles - total
            # Wire time passes with the clock while somebody waits for the interrupt.
            ran, reason = self._ask("step", left, self.idle_cycles, STUCK_CYCLES, until_irq, until_irq, begin)
            total += ran
            begin = False
            if reason != "slice" or (deadline is not None and time.monotonic() > deadline):
                self.stop_reason = "cycles" if reason == "slice" else reason
                return total

    def _ask(self, name: str, *arguments: object, what: str | None = None) -> Any:
        self._open()
        number = next(self._numbers)
        whole = False
        try:
            self._socket.send((number, name, arguments))
            while True:
                whole = True
                self._await(name)
                whole = False
                answered, error, result = self._socket.recv()
                if answered == number:  # others are answers that Ctrl-C kept from being read
                    break
        except (EOFError, ConnectionError, BrokenPipeError):
            raise self._dead() from None
        except BaseException:
            if not whole:
                self.close()  # a message was torn
            raise
        if error is not None:
            raise TransportError(f"{what or name}: {error}")
        return result

    def _await(self, name: str) -> None:
        """Until there is something to read."""
        deadline = time.monotonic() + self._timeout
        while not self._socket.poll(min(1.0, self._timeout)):
            if self._process.poll() is not None and not self._socket.poll(0):
                raise EOFError
            if time.monotonic() > deadline:
                self._process.kill()
                tail = self._tail()
                self.close()
                raise TransportError(f"the simulator did not answer {name!r} within {self._timeout:g} s{tail}")

    def _dead(self) -> TransportError:
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        tail = self._tail()
        self.close()
        return TransportError(f"the simulator ended ({how}){tail}")

    def _tail(self) -> str:
        try:
            lines = self._log.read_text(errors="replace").rstrip().splitlines()[-LOG_LINES:]
        except OSError:
            lines = []
        return "; its last words:\n" + "\n".join(lines) if lines else ""

    def _open(self) -> None:
        if not self._finalizer.alive:
            raise TransportError("the transport is closed")

    def _check(self, what: str, address: int, response: int) -> None:
        if response:
            raise TransportError(f"{what} of register {address:#06x} was answered {_RESPONSES[response]}")

    def __enter__(self) -> "CocotbTransport":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_cocotb(
    profile_name: str, *, wave: Path | str | None = None, progress: Progress | None = None, **options: Any
) -> CocotbTransport:
    """Build the cocotb model of ``profile_name`` if need be, start it and open it.

    ``wave``, ``options``: see :class:`CocotbTransport`.  Raises :class:`sentinic.errors.BuildError` when it does not
    build, :class:`sentinic.errors.OutputError` when the waveforms cannot be written, and :class:`TransportError` when
    it does not start.
    """
    if wave is not None:
        wave = gtkwave.prepare(wave)  # before the model is built
    model = cocotb_model(profile_name, waves=wave is not None, progress=progress)
    return CocotbTransport(model, wave=wave, **options)


def _check_address(address: int) -> None:
    if address < 0 or address % 4:
        raise ValueError(f"address of a register must be a multiple of 4, not {address:#x}")


def _start(model: Model, work: Path, log: Path, wave: Path | None) -> tuple[subprocess.Popen[bytes], Connection]:
    ours, theirs = Pipe()
    command = [str(model.program)]
    if wave is not None:
        command += ["--trace", "--trace-file", str(wave)]
    try:
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=work,
                env=_environment(model.profile, theirs.fileno(), work),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=[theirs.fileno()],
                # Ctrl-C at the terminal is for us; the simulator is told when we go.
                start_new_session=True,
            )
    except OSError as error:
        ours.close()
        raise TransportError(f"the simulator {model.program} cannot be started: {error.strerror}") from error
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return process, ours


def _environment(profile: Profile, socket: int, work: Path) -> dict[str, str]:
    """What cocotb wants to know; as its own runner sets it, which cannot leave a simulator running."""
    try:
        import cocotb_tools.config as config
        from find_libpython import find_libpython
    except ImportError as error:
        raise TransportError(f"the cocotb backend needs {error.name}: pip install 'sentinic[sim]'") from error
    library = find_libpython()
    if library is None:
        raise TransportError("the cocotb backend needs Python's shared library, and none is found (libpython3)")
    return {
        **os.environ,
        "PATH": os.pathsep.join((os.environ.get("PATH", os.defpath), str(config.libs_dir))),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "PYGPI_PYTHON_BIN": sys.executable,
        "GPI_USERS": f"{library};{config.pygpi_entry_point()}",
        "COCOTB_TOPLEVEL": "card",
        "COCOTB_TEST_MODULES": SERVER,
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "COCOTB_LOG_LEVEL": "WARNING",
        "COCOTB_RESULTS_FILE": str(work / "results.xml"),
        "COCOTB_RANDOM_SEED": "1",
        "PYTHONUNBUFFERED": "1",
        SOCKET: str(socket),
        PORTS: str(profile.ports),
        # Even, for the two halves of a cycle.
        PERIOD: str(2 * round(0.5e12 / profile.clock_hz)),
    }


def _release(
    process: "subprocess.Popen[bytes]", socket: Connection, regions: dict[str, DmaRegion], work: Path, owner: int
) -> None:
    if os.getpid() != owner:
        return  # a forked child: the simulator is not its to end
    with contextlib.suppress(OSError):
        socket.send((-1, "close", ()))
    with contextlib.suppress(OSError):
        socket.close()
    try:
        process.wait(CLOSE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    except BaseException:  # Ctrl-C again
        process.kill()
        process.wait()
        raise
    finally:
        for region in regions.values():
            with contextlib.suppress(OSError):
                region.close()
        shutil.rmtree(work, ignore_errors=True)
