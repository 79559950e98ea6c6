"""The smallest card: what is proved of it holds for larger ones wherever sizes are but sizes."""

from sentinic.abi.profiles import Profile

SMALL = Profile(
    name="proof",
    number=0,
    data_width=64,
    clock_hz=1,
    rings=2,
    store_cells=4,
    cell_bytes=16,
    metas=4,
    port_fifo_bytes=64,
    port_frames=4,
    folded_parser=True,
)
