"""The parser alone, Verilated: fast enough for whole captures."""

import ctypes
import os
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from amaranth.lib import data

from sentinic.abi.profiles import Profile
from sentinic_hdl.emit import to_verilog
from sentinic_hdl.meta import Quote, frame_beat
from sentinic_hdl.parser import ParsedFrame, Parser
from sentinic_sim.build import find_compiler
from sentinic_sim.compile import verilator
from sentinic_sim.verilog import inline_next_states
from tests.hdl.parser.bench import KEY, beats_of
from tests.hdl.parser.frames import Stimulus

FLAGS = ("--cc", "-O3", "--x-initial", "fast", "--no-timing", "-Wno-fatal", "-Wno-lint", "--top-module", "parser")


def words(shape: object) -> int:
    return -(-data.Layout.cast(shape).size // 32)


def _numbers(rows: np.ndarray) -> list[int]:
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


class NativeParser:
    """A parser of ``profile``, built below ``folder``."""

    def __init__(self, profile: Profile, folder: Path, key: int = KEY):
        self.profile = profile
        self.library = ctypes.CDLL(str(self._build(folder)))
        self.library.run.restype = ctypes.c_int64
        self.library.reset(np.frombuffer(key.to_bytes(44, "little"), dtype=np.uint32).ctypes)

    def run(
        self, frames: Sequence[Stimulus], *, idle: float = 0, busy: float = 0, seed: int = 1
    ) -> tuple[list[int], list[int]]:
        """The record of each frame, and the quotes.  ``idle`` and ``busy`` as for ``simulate``."""
        r = random.Random(seed)
        size = 4 * words(frame_beat(self.profile))
        beats = [beat.to_bytes(size, "little") for frame in frames for beat in beats_of(self.profile, frame, r)]
        stimulus = np.frombuffer(b"".join(beats), dtype=np.uint32)
        records = np.zeros((len(frames), words(ParsedFrame)), dtype=np.uint32)
        quotes = np.zeros((len(frames), words(Quote)), dtype=np.uint32)
        quoted = ctypes.c_int64()
        came = self.library.run(
            ctypes.c_int64(len(beats)),
            stimulus.ctypes,
            ctypes.c_int64(size // 4),
            ctypes.c_int64(len(frames)),
            records.ctypes,
            ctypes.c_int64(records.shape[1]),
            quotes.ctypes,
            ctypes.c_int64(quotes.shape[1]),
            ctypes.byref(quoted),
            ctypes.c_int64(int(256 * idle)),
            ctypes.c_int64(int(256 * busy)),
            ctypes.c_uint64(seed),
            ctypes.c_int64(1000 + 400 * (len(beats) + len(frames))),
        )
        assert came == len(frames), f"{came} of {len(frames)} records came"
        return _numbers(records), _numbers(quotes[: quoted.value])

    def _build(self, folder: Path) -> Path:
        program, root = verilator()
        source, generated, library = folder / "parser.v", folder / "cpp", folder / "parser.so"
        source.write_text(inline_next_states(to_verilog(Parser(self.profile), "parser")))
        environment = {**os.environ, "VERILATOR_ROOT": str(root)}
        subprocess.run(
            [program, *FLAGS, "--prefix", "Vparser", "--Mdir", generated, source], check=True, env=environment
        )
        include = root / "include"
        sources = [*generated.glob("*.cpp"), include / "verilated.cpp", include / "verilated_threads.cpp"]
        flags = [
            "-O1",
            "-w",
            "-fPIC",
            "-shared",
            "-std=gnu++20",
            f"-I{generated}",
            f"-I{include}",
            f"-I{include}/vltstd",
        ]
        command = [find_compiler(), *flags, *sources, Path(__file__).with_suffix(".cpp"), "-o", library, "-latomic"]
        subprocess.run(command, check=True)
        return library
