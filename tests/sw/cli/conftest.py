"""The command line over the fake card, installed as a backend for these tests only."""

import os
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture
def fake_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that, on PYTHONPATH, offers the backends ``fake`` and ``slow``."""
    site = tmp_path_factory.mktemp("site")
    info = site / "sentinic_fake-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sentinic-fake\nVersion: 0\n")
    (info / "entry_points.txt").write_text(
        "[sentinic.transports]\n"
        "fake = tests.sw.driver.fake:open_fake\n"
        "slow = tests.sw.driver.fake:open_slow\n"
        "miscounting = tests.sw.driver.fake:open_miscounting\n"
        "hanging = tests.sw.driver.fake:open_hanging\n"
        "counting = tests.sw.driver.fake_statistics:open_statistics\n"
        "evicting = tests.sw.driver.fake_statistics:open_small\n"
        "deaf = tests.sw.driver.fake:open_deaf\n"
        "broken = sentinic_not_there.at_all:open\n"
    )
    return site


@pytest.fixture
def environment(fake_site: Path) -> dict[str, str]:
    """For subprocesses that use the fake backends."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(fake_site), str(ROOT)])}


@pytest.fixture(autouse=True)
def _installed(fake_site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(fake_site))
    assert "fake" in {entry.name for entry in metadata.entry_points(group="sentinic.transports")}
