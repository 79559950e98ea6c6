"""A stream without bytes against a reassembler that keeps every block, written after Zeek's description of its own."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sentinic.monitor import streams
from sentinic.monitor.connections import _link_blocks
from sentinic.monitor.state import CONNECTION, ENDPOINT, ESTABLISHED
from sentinic.monitor.tcp import begin_endpoint


@dataclass
class Model:
    """All blocks not yet acknowledged, as sets of byte numbers."""

    have: set[int] = field(default_factory=set)
    delivered: int = 1
    trimmed: int = 1
    gaps: list[tuple[int, int]] = field(default_factory=list)

    def data(self, first: int, length: int) -> None:
        self.have |= {byte for byte in range(first, first + length) if byte >= self.trimmed}
        self._deliver()

    def _deliver(self) -> None:
        while self.delivered in self.have:
            self.delivered += 1

    def acknowledge(self, upto: int) -> None:
        if upto <= self.trimmed:
            return
        while self.delivered < upto:
            later = [byte for byte in self.have if self.delivered < byte < upto]
            end = min(later, default=upto)
            self.gaps.append((self.delivered, end - self.delivered))
            self.delivered = end
            if later:
                self._deliver()
        self.trimmed = upto
        self.have = {byte for byte in self.have if byte >= upto}
        self._deliver()


operation = st.one_of(
    st.tuples(st.just("data"), st.integers(1, 60), st.integers(1, 12)),
    st.tuples(st.just("ack"), st.integers(1, 72), st.just(0)),
)


@given(st.lists(operation, max_size=40))
def test_what_is_delivered_missing_and_left_is_the_same(operations: list[Any]) -> None:
    connection = np.zeros(1, CONNECTION)[0]
    ends = np.zeros(2, ENDPOINT)
    for number, end in enumerate(ends):
        begin_endpoint(end, number == 0)
        end["state"] = ESTABLISHED
    end, peer = ends
    blocks = _link_blocks(np.zeros((1, 3), np.int64), 64)
    model = Model()
    highest = 1
    for what, first, length in operations:
        if what == "data":
            highest = max(highest, first + length)
            end["last_seq"] = highest
            streams.data_sent(end, peer, blocks, first, length)
            model.data(first, length)
        else:
            end["ack_seq"] = max(int(end["ack_seq"]), first)
            streams.acknowledged(connection, end, peer, blocks, first)
            model.acknowledge(first)
        assert (end["delivered"], end["trimmed"]) == (model.delivered, model.trimmed)
        above = {byte for byte in model.have if byte >= model.delivered}
        assert end["pending"] == len(above)
        assert (end["blocks"] >= 0) == bool(above)
    assert connection["missed"] == sum(length for _, length in model.gaps)
    assert end["gap_count"] == len(model.gaps)
    streams.release(end, blocks)
    assert blocks[0, streams.END] == 64
