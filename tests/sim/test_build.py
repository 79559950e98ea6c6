"""Building models: the cache, and the Verilog in between."""

import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from sentinic.errors import BuildError
from sentinic_sim import build
from sentinic_sim.build import build_model, find_compiler
from sentinic_sim.verilog import inline_next_states

from .conftest import STUB


def test_an_unknown_profile_is_named_with_those_there_are() -> None:
    with pytest.raises(BuildError, match="profile must be one of wide, board, not 'narrow'"):
        build_model("narrow")


def test_a_missing_compiler_is_an_error_that_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match="CXX must name an installed C"):
        find_compiler()
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(BuildError, match=r"needs a C\+\+ compiler: install"):
        find_compiler()


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENTINIC_BUILD", str(tmp_path / "models"))
    compiler = tmp_path / "broken-c++"
    compiler.write_text("#!/bin/sh\necho 'error: out of ink' >&2\nexit 3\n")
    compiler.chmod(0o755)
    with pytest.raises(BuildError, match="failed with status 3:\nerror: out of ink"):
        build_model("board", design=STUB, compiler=str(compiler), progress=lambda step, done, total: None)
    assert not [path for path in (tmp_path / "models").iterdir() if path.is_dir()]


def test_a_cache_that_cannot_be_made_is_an_error_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("SENTINIC_BUILD", str(tmp_path / "file" / "models"))
    with pytest.raises(BuildError, match="file/models, which cannot be made: Not a directory"):
        build_model("board", design=STUB)


def test_a_changed_source_is_another_model(tmp_path: Path) -> None:
    source = tmp_path / "design.py"
    source.write_text("a")
    design = replace(STUB, sources=(source,))

    def fingerprint(**changed: object) -> str:
        options = {"trace": False, "compiler": find_compiler()} | changed
        return build.fingerprint(design, build.PROFILES["wide"], **options)  # type: ignore[arg-type]

    first = fingerprint()
    assert fingerprint() == first
    assert fingerprint(trace=True) != first
    assert fingerprint(compiler=sys.executable) != first
    source.write_text("b")
    assert fingerprint() != first


def test_a_cached_model_is_found_without_importing_tools() -> None:
    build_model("wide", design=STUB)
    code = textwrap.dedent("""
        import sys
        from tests.sim.conftest import STUB
        from sentinic_sim.build import build_model
        assert "amaranth" not in sys.modules
        model = build_model("wide", design=STUB)
        assert model.cached and "amaranth" not in sys.modules and "rich" not in sys.modules
        print(model.seconds)
    """)
    root = Path(__file__).parents[2]
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert float(result.stdout) < 0.5, "50 ms on an idle machine"


def test_the_models_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "KEPT_MODELS", 2)
    for n in range(4):
        (tmp_path / f"m{n}").mkdir()
        (tmp_path / f"m{n}" / build.LIBRARY).touch()
        build.os.utime(tmp_path / f"m{n}", (n, n))
    build._prune(tmp_path, keep=tmp_path / "m0")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m0", "m2", "m3"]


MODULE = r"""module m(clk, rst, d, en);
  reg [3:0] \$2 ;
  reg [3:0] \q$1  = 4'h3;
  always @(posedge clk)
    \q$1  <= \$2 ;
{more}  always @* begin
    if (\$auto$verilog_backend.cc:1:dump_module$1 ) begin end
    \$2  = \q$1 ;
    if (en) begin
      \$2 [1:0] = d;
    end
    if (rst) begin
      \$2  = 4'h3;
    end
  end
endmodule
"""


def test_a_register_s_next_state_moves_into_its_clocked_block() -> None:
    assert inline_next_states(MODULE.replace("{more}", "")) == (
        "module m(clk, rst, d, en);\n  reg [3:0] \\$2 ;\n  reg [3:0] \\q$1  = 4'h3;\n"
        "  always @(posedge clk) begin\n"
        "    if (rst) \\q$1  <= 4'h3;\n"
        "    else begin\n"
        "    if (en) begin\n"
        "      \\q$1 [1:0] <= d;\n"
        "    end\n"
        "    end\n"
        "  end\n"
        "endmodule\n"
    )


def test_a_next_state_that_others_read_stays() -> None:
    text = MODULE.replace("{more}", "  assign o = \\$2 ;\n")
    assert inline_next_states(text) == text
