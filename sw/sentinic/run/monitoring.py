"""The connection monitor as an output of a run: ``conn.log`` and ``report.html``."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.monitor.connections import ConnectionTracker
from sentinic.monitor.connlog import conn_log_lines
from sentinic.run.files import LineFile
from sentinic.run.outputs import Bytes, Descriptors


class Monitor:
    """Follows connections of ring 0; writes them, as Zeek's JSON log, when the run has finished."""

    takes_records = True

    def __init__(self, path: Path | None, *, ignore_checksums: bool, held: int) -> None:
        """``path`` of the log; ``None`` writes none, the connections are wanted for the report only.

        ``held``: ns that SYN offload holds a SYN at most, 0 without it.
        """
        self._tracker = ConnectionTracker(ignore_checksums=ignore_checksums, held=held)
        self._log = None if path is None else LineFile(path)
        self._rows: npt.NDArray[np.void] | None = None

    def take(self, ring: int, descriptors: Descriptors, data: Bytes) -> None:
        if not ring:
            self._tracker.update(descriptors, data)

    def finish(self) -> None:
        self._rows = self._tracker.finish()
        if self._log is not None:
            try:
                for lines in conn_log_lines(self._rows):
                    self._log.append(lines)
            finally:
                self._log.close()

    def write_report(self, path: Path, summary: dict[str, Any]) -> None:
        """``report.html``; ``summary`` is the run's, with its traffic."""
        from sentinic.monitor.report import write_report

        write_report(path, summary, self._rows)
