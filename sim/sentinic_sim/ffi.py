"""The harness's C functions for ctypes; mirrors ``harness/api.h`` field by field."""

import ctypes
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt

__all__ = [
    "BUS_TIMEOUT",
    "STOPS",
    "BatchStruct",
    "OptionsStruct",
    "ProbeStruct",
    "StatsStruct",
    "StepStruct",
    "load",
    "pointer",
]

#: What sn_read and sn_write return when the card does not answer.
BUS_TIMEOUT = 255
#: Why a step ended, by ``StepStruct.stop``.
STOPS = ("idle", "cycles", "full", "irq", "stuck")

_u64, _ptr = ctypes.c_uint64, ctypes.c_void_p


def _words(names: str) -> list[tuple[str, Any]]:
    return [(name, _u64) for name in names.split()]


class _Struct(ctypes.Structure):
    _fields_: ClassVar[list[tuple[str, Any]]] = []

    @classmethod
    def fields(cls) -> list[tuple[str, Any]]:
        return cls._fields_


class BatchStruct(_Struct):
    _fields_: ClassVar = [
        ("data", _ptr),
        ("data_bytes", _u64),
        *((name, _ptr) for name in ("offset", "length", "wire_length", "timestamp", "port", "error")),
        ("count", _u64),
    ]


class OptionsStruct(_Struct):
    _fields_: ClassVar = _words(
        "parallel latency outstanding aw_stall w_stall rx_idle seed error_begin error_end error_every cycle_picoseconds"
    )


class StatsStruct(_Struct):
    _fields_: ClassVar = _words(
        "cycles frames frames_empty rx_beats rx_stalled bursts w_beats w_busy w_first w_last w_bytes"
        " responses_error decode_errors violations interrupts pending batches_done"
    )


class StepStruct(_Struct):
    _fields_: ClassVar = _words("max_cycles idle_cycles stuck_cycles until_irq run_time rearm cycles stop")


class ProbeStruct(_Struct):
    _fields_: ClassVar = [
        ("frame_cycle", _ptr),
        *_words("frame_capacity frame_count"),
        ("descriptor_cycle", _ptr),
        *_words("descriptor_capacity descriptor_count"),
    ]


_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "sn_create": (_ptr, ()),
    "sn_destroy": (None, (_ptr,)),
    "sn_beat_bytes": (_u64, ()),
    "sn_configure": (None, (_ptr, _ptr)),
    "sn_reset": (None, (_ptr, _u64)),
    "sn_region_add": (None, (_ptr, _u64, _u64, _ptr, _u64, _u64)),
    "sn_region_remove": (None, (_ptr, _u64)),
    "sn_submit": (None, (_ptr, _ptr)),
    "sn_step": (None, (_ptr, _ptr)),
    "sn_clock": (None, (_ptr, _u64, ctypes.c_char_p, _u64)),
    "sn_read": (_u64, (_ptr, _u64, _ptr)),
    "sn_write": (_u64, (_ptr, _u64, _u64)),
    "sn_set_time": (None, (_ptr, _u64)),
    "sn_time": (_u64, (_ptr,)),
    "sn_irq": (_u64, (_ptr,)),
    "sn_stats": (None, (_ptr, _ptr)),
    "sn_probe": (None, (_ptr, _ptr)),
    "sn_trace": (_u64, (_ptr, ctypes.c_char_p)),
}


def load(path: Path) -> ctypes.CDLL:
    """The library with the types of its functions set.  Calls let go of Python's global lock."""
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _SIGNATURES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def pointer(array: npt.NDArray[Any]) -> int:
    """The address of an array's first byte; the caller keeps the array."""
    return int(array.ctypes.data)
