"""Profiles: the parameters of a build.  The card tells its profile by number and its parameters by registers."""

from dataclasses import dataclass

#: Of a sender that keeps to IEEE 802.3, without the check sequence; the card takes shorter ones too.
SMALLEST_FRAME_BYTES = 60


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Parameters of a build of the card.

    Parameters
    ----------
    number: what the ``profile`` register reads
    data_width: bits of the AXI-Stream, store and DMA paths
    clock_hz: the clock the profile is meant to meet
    ports: ingress ports
    rings: receive rings
    store_cells, cell_bytes: the packet store; SYN offload adds a cell for each attempt that it holds
    metas: packets that may wait between the last stage and dispatch
    queue_parts: in how many cycles a packet's record goes into a queue, and comes out of it
    port_fifo_bytes, port_frames: frame buffer of each ingress port, and how many frames it may hold, however small
    folded_parser: one header step a cycle, reused over time, instead of one pipeline stage a header
    stages: what packets meet between parser and dispatch, in that order
    statistics_rules, statistics_rules_a_table: rules, and how many of them share a table, one after another
    statistics_groups, statistics_ways: records of all tables, and records a set
    folded_statistics: one packet and rule at a time, in beats, instead of a rule a cycle
    report_frames: reports that may wait for dispatch
    syn_attempts, syn_ways: attempts that SYN offload holds, and records a set
    folded_syn_offload: one packet at a time, and headers of SYNs are read in the packet store, not kept a second time
    """

    name: str
    number: int
    data_width: int
    clock_hz: int
    ports: int = 2
    rings: int = 4
    store_cells: int
    cell_bytes: int
    metas: int
    queue_parts: int = 1
    port_fifo_bytes: int
    port_frames: int
    folded_parser: bool
    stages: tuple[str, ...] = ("passthrough",)
    statistics_rules: int = 0
    statistics_rules_a_table: int = 1
    statistics_groups: int = 0
    statistics_ways: int = 2
    folded_statistics: bool = False
    report_frames: int = 4
    syn_attempts: int = 0
    syn_ways: int = 4
    folded_syn_offload: bool = False

    @property
    def smallest_frame_beats(self) -> int:
        """Beats of Ethernet's smallest frame, without its check sequence: a block has as many cycles for a frame."""
        return -(-SMALLEST_FRAME_BYTES // self.beat_bytes)

    @property
    def beat_bytes(self) -> int:
        return self.data_width // 8

    @property
    def attempts(self) -> int:
        """SYNs that a build holds back: those of the stage, if it is there."""
        return self.syn_attempts if "syn_offload" in self.stages else 0

    @property
    def cells(self) -> int:
        """Cells of the packet store, those of SYNs that are held included."""
        return self.store_cells + self.attempts


#: Shortest and longest frame the card takes, without FCS, in bytes.
MIN_FRAME_BYTES = 14
MAX_FRAME_BYTES = 9600
#: Headers must end within this many bytes of the frame; the transport's options need not.
PARSE_WINDOW_BYTES = 192
#: IPv6 extension headers (and IPv4 AH) that the parser follows.
MAX_EXTENSION_HEADERS = 6
MAX_VLAN_TAGS = 2

WIDE = Profile(
    name="wide",
    number=1,
    data_width=512,
    clock_hz=250_000_000,
    store_cells=2048,
    cell_bytes=256,
    metas=64,
    port_fifo_bytes=32768,
    port_frames=256,
    folded_parser=False,
    stages=("statistics", "syn_offload", "passthrough"),
    statistics_rules=16,
    statistics_rules_a_table=1,
    statistics_groups=65_536,
    statistics_ways=4,
    syn_attempts=65_536,
)
BOARD = Profile(
    name="board",
    number=2,
    data_width=64,
    clock_hz=62_500_000,
    store_cells=256,
    cell_bytes=128,
    metas=64,
    queue_parts=8,
    port_fifo_bytes=16384,
    port_frames=512,
    folded_parser=True,
    stages=("statistics", "syn_offload"),
    statistics_rules=4,
    statistics_rules_a_table=4,
    statistics_groups=1024,
    statistics_ways=2,
    folded_statistics=True,
    syn_attempts=1024,
    folded_syn_offload=True,
)
PROFILES: dict[str, Profile] = {profile.name: profile for profile in (WIDE, BOARD)}
