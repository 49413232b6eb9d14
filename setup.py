"""Builds the compiled module; everything else about the package is in pyproject.toml.

`_panodeeplab_cpu` is a top-level module, so that it is also found where a checkout's `panodeeplab` shadows
the installed one.
"""

import os
import shlex
import shutil
import sys
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

NO_COMPILER = (
    "panodeeplab needs a C++17 compiler ({found}): install one with `apt install g++` (Debian, Ubuntu), "
    "`dnf install gcc-c++` (Fedora), `xcode-select --install` (macOS) or "
    "the Visual Studio Build Tools (Windows)."
)


class BuildExtensions(build_ext):
    """Adds the flags of the compiler at hand, after asking whether there is one and what it can do."""

    def build_extensions(self) -> None:
        if self.compiler.compiler_type == "msvc":
            compile_flags, link_flags = ["/std:c++17", "/O2", "/fp:precise", "/openmp"], []
        else:
            command = shlex.split(os.environ.get("CXX", "")) or list(self.compiler.compiler_cxx)
            if shutil.which(command[0]) is None:
                sys.exit(NO_COMPILER.format(found=f"{command[0]} was not found"))
            if not self.accepts(["-std=c++17"], []):
                sys.exit(NO_COMPILER.format(found=f"{command[0]} cannot compile C++17"))
            # Equal bits everywhere: no fused multiply-add. No -march: it may run on another machine.
            compile_flags = [
                "-std=c++17",
                "-O3",
                "-ffp-contract=off",
                "-fno-trapping-math",
                "-Wall",
                "-Wextra",
            ]
            link_flags = []
            if self.accepts(["-fopenmp"], ["-fopenmp"]):
                compile_flags.append("-fopenmp")
                link_flags.append("-fopenmp")
        for extension in self.extensions:
            extension.extra_compile_args = compile_flags
            extension.extra_link_args = link_flags
        super().build_extensions()

    def accepts(self, compile_flags: list[str], link_flags: list[str]) -> bool:
        """Whether an empty program builds with these flags."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "empty.cpp"
            source.write_text("int main() { return 0; }\n")
            try:
                objects = self.compiler.compile(
                    [str(source)], output_dir=folder, extra_postargs=compile_flags
                )
                self.compiler.link_executable(
                    objects,
                    str(Path(folder) / "empty"),
                    extra_postargs=link_flags,
                    target_lang="c++",
                )
            except (CompileError, LinkError):
                return False
        return True


cpu = Extension(
    "_panodeeplab_cpu",
    sources=[
        "ext/_cpu.pyx",
        "ext/centers_cpu.cpp",
        "ext/grouping_cpu.cpp",
        "ext/logits_cpu.cpp",
        "ext/nearest_cpu.cpp",
        "ext/pair_counts_cpu.cpp",
        "ext/panoptic_cpu.cpp",
        "ext/probability_cpu.cpp",
        "ext/semantic_cpu.cpp",
        "ext/targets_cpu.cpp",
        "ext/votes_cpu.cpp",
    ],
    depends=[str(path) for path in sorted(Path("ext").glob("*.h"))],
    include_dirs=["ext"],
    define_macros=[("Py_LIMITED_API", "0x030B0000"), ("CYTHON_LIMITED_API", "1")],
    py_limited_api=True,
    language="c++",
)

setup(
    ext_modules=cythonize([cpu], build_dir="build/cython"),
    cmdclass={"build_ext": BuildExtensions},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
