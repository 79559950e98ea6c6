"""Connections from ring records alone, with the meaning of Zeek's conn.log."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from sentinic.abi.verdicts import Kind
from sentinic.driver.records import status_bits
from sentinic.monitor import state, table, tracking, words
from sentinic.monitor.attempts import rows_of
from sentinic.monitor.fragments import F_BEGAN, F_CELLS, PLACE_BYTES
from sentinic.monitor.jit import I64, U8, frozen
from sentinic.monitor.ports import TCP_SERVERS, UDP_SERVERS, port_bits
from sentinic.monitor.state import ROW, STATES

__all__ = ["ROW", "STATES", "ConnectionTracker", "connection_states"]

_ROW = state.ROW_WORDS
_FREE = (state.T_FREE, state.T_FREE_ENDS)


class ConnectionTracker:
    """Follows TCP, UDP and ICMP over IPv4 and IPv6, and through tunnels, as Zeek does; see ``docs/conn-log.md``.

    Feed it the records of one ring with :meth:`update`, in their order, and end with :meth:`finish`.
    """

    def __init__(
        self,
        *,
        ignore_checksums: bool = False,
        vlan_key: bool = False,
        tcp_servers: Iterable[int] = TCP_SERVERS,
        udp_servers: Iterable[int] = UDP_SERVERS,
        datagrams: int = 256,
        held: int = 0,
        room: int = 1 << 16,
    ) -> None:
        """``ignore_checksums``: as Zeek's ``-C``.  ``vlan_key``: VLAN ids tell connections apart.  ``tcp_servers``,
        ``udp_servers``: Zeek's ``likely_server_ports``.  ``datagrams``: fragmented ones put together at once.
        ``held``: how long, ns, a card with SYN offload holds a SYN at most, which may come when its connection is over.
        ``room``: connections held before memory must grow, which means copying; rounded up to a power of two, at least
        64.
        """
        self._room = 1 << max(room - 1, 63).bit_length()
        self._ports = port_bits(tcp_servers, udp_servers)
        self._tracker = np.zeros(state.T_CELLS, np.int64)
        self._tracker[state.T_IGNORE] = ignore_checksums
        self._tracker[state.T_VLANS] = vlan_key
        self._tracker[state.T_HELD] = min(held, state.NEVER // 2)  # no sum of it and a time overflows
        self._tracker[list(_FREE)] = -1
        self._tracker[state.T_NOW] = np.iinfo(np.int64).min
        self._packet = np.zeros(state.P_CELLS, np.int64)
        # None of these is memory until it is touched.
        self._table = np.zeros(2 * self._room, np.int64)
        self._connections: npt.NDArray[Any] = np.zeros(self._room, state.CONNECTION)
        self._ends: npt.NDArray[Any] = np.zeros(2 * self._room, state.ENDPOINT)
        self._blocks = _link_blocks(np.zeros((1, 3), np.int64), min(self._room, 1 << 12))
        self._rows: npt.NDArray[Any] = np.zeros(self._room, ROW)
        self._tracker[state.T_DUE] = state.NEVER
        self._queues = [np.zeros((1 + 2 * self._room, 3), np.int64) for _ in range(4)]
        self._places = np.zeros((max(int(datagrams), 1), F_CELLS), np.int64)
        self._places[:, F_BEGAN] = -1
        self._store = np.zeros(len(self._places) * PLACE_BYTES, np.uint8)
        self._mask = np.zeros(len(self._places) * PLACE_BYTES, np.uint8)

    def update(self, descriptors: npt.NDArray[Any], data_ring: U8) -> None:
        """Take records: ``descriptors`` of ``DESCRIPTOR_DTYPE``, ``data_ring`` the whole data ring, ``uint8[...]``.

        Of reports, those of attempts (SYN offload) count.  Nothing of either is kept.  Raises ValueError when a slot
        lies beyond the data ring, or when there is none.
        """
        if not len(descriptors):
            return
        plain = status_bits(descriptors["status"], "plain") != 0
        if not (plain | (descriptors["captured_length"] != 0)).all():
            raise ValueError("every packet must have a slot: connections cannot be followed by descriptors only")
        last = np.where(plain, 0, descriptors["offset"].astype(np.int64) + descriptors["captured_length"] + 64)
        if int(last.max()) > len(data_ring):
            raise ValueError(f"slots must lie within the data ring of {len(data_ring)} bytes, not end at {last.max()}")
        data = frozen(np.ascontiguousarray(data_ring))
        batch = frozen(rows_of(descriptors, data))
        if self._tracker[state.T_VLANS] and np.any(batch[:, words.LAST] >> words.KIND & 3 == Kind.REPORT):
            raise ValueError("records of attempts do not say VLAN ids: with vlan_key, SYN offload must be in mode syn")
        at = 0
        while True:
            short, long, names, idle = self._queues
            at = tracking.run(
                batch, data, at, self._table, self._connections, self._ends, self._blocks, self._rows.view(_ROW),
                self._tracker, self._packet, self._ports, short, long, names, idle, self._places, self._store,
                self._mask,
            )  # fmt: skip
            if at >= len(batch):
                return
            self._grow()

    def _grow(self) -> None:
        """Four times the room wherever less than a quarter is left; memory that is not touched costs nothing."""
        cells = self._tracker
        self._connections = _grown(self._connections, int(cells[state.T_TOP]))
        self._ends = _grown(self._ends, int(cells[state.T_TOP_ENDS]))
        self._rows = _grown(self._rows, int(cells[state.T_ROWS]))
        if 8 * cells[state.T_LIVE] > 3 * len(self._table):
            new = np.zeros(4 * len(self._table), np.int64)
            table.rehash(self._table, new)
            self._table = new
        if 4 * self._blocks[0, 1] < len(self._blocks):
            self._blocks = _link_blocks(self._blocks, len(self._blocks))
        self._queues = [_grown_queue(queue) for queue in self._queues]

    @property
    def live(self) -> int:
        """Connections that have not ended yet."""
        return int(self._tracker[state.T_LIVE])

    def rows(self) -> npt.NDArray[Any]:
        """The connections that have ended so far, a copy as ``ROW``, in the order of their ends."""
        return self._rows[: self._tracker[state.T_ROWS]].copy()

    def drain(self) -> npt.NDArray[Any]:
        """The connections that have ended since the last call, and forget them: for a monitor that runs on."""
        rows = self._rows[: self._tracker[state.T_ROWS]]
        self._rows = np.zeros(self._room, ROW)
        self._tracker[state.T_ROWS] = 0
        return rows

    def finish(self) -> npt.NDArray[Any]:
        """End all connections; all rows not drained, in the order of their first packets.  Read them only."""
        ended = int(self._tracker[state.T_ROWS])
        if len(self._rows) < ended + self.live:
            rows = np.zeros(ended + self.live, ROW)
            rows[:ended] = self._rows[:ended]
            self._rows = rows
        table.remove_all(self._table, self._connections, self._ends, self._blocks, self._rows.view(_ROW), self._tracker)
        rows = self._rows[: self._tracker[state.T_ROWS]]
        # Those that never ended are in that order already, and are most rows of a short capture.
        later, same = rows["ts"][1:] > rows["ts"][:-1], rows["ts"][1:] == rows["ts"][:-1]
        if np.all(later | same & (rows["serial"][1:] > rows["serial"][:-1])):
            return rows
        return rows.take(np.lexsort((rows["serial"], rows["ts"])))


def connection_states(rows: npt.NDArray[Any]) -> npt.NDArray[np.str_]:
    """``conn_state`` of each row, as text."""
    names: npt.NDArray[np.str_] = np.array(STATES)[rows["state"]]
    return names


def _grown(array: npt.NDArray[Any], used: int) -> npt.NDArray[Any]:
    if 4 * used <= 3 * len(array):
        return array
    new: npt.NDArray[Any] = np.zeros(4 * len(array), array.dtype)
    new[:used] = array[:used]
    return new


def _link_blocks(blocks: I64, more: int) -> I64:
    """Add ``more`` free blocks to a pool; see ``streams``."""
    old = len(blocks)
    new = np.zeros((old + more, 3), np.int64)
    new[:old] = blocks
    new[old:, 2] = np.arange(old + 1, old + more + 1)
    new[-1, 2] = blocks[0, 2] if blocks[0, 1] else -1
    new[0, 2] = old
    new[0, 1] = blocks[0, 1] + more
    return new


def _grown_queue(queue: I64) -> I64:
    size, taken, put = len(queue) - 1, int(queue[0, 0]), int(queue[0, 1])
    if 4 * (put - taken) < 3 * size:
        return queue
    new = np.zeros((1 + 4 * size, 3), np.int64)
    new[1 : 1 + put - taken] = queue[1 + np.arange(taken, put) % size]
    new[0, 1] = put - taken
    return new
