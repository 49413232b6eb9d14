"""Builds the compiled modules; everything else about the package is in pyproject.toml.

`_panodeeplab_cpu` and `_panodeeplab_cuda` are top-level modules, so that they are also found where a
checkout's `panodeeplab` shadows the installed one. The second is built where nvcc is found in CUDA_HOME or
PATH, no GPU needed; PANODEEPLAB_CUDA=0 leaves it out, PANODEEPLAB_CUDA=1 stops if it cannot be built.
"""

import os
import re
import shlex
import shutil
import subprocess
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

NO_NVCC = (
    "PANODEEPLAB_CUDA=1, but nvcc was not found in CUDA_HOME/bin or PATH: install the CUDA toolkit "
    "(12.0 or newer) or set CUDA_HOME to its folder."
)
# Machine code for each, and PTX of the last for what comes after it.
ARCHITECTURES = ("75", "80", "86", "89", "90")


def find_nvcc() -> str | None:
    """The nvcc to build the CUDA module with; None if there is to be no CUDA module."""
    wanted = os.environ.get("PANODEEPLAB_CUDA", "auto")
    if wanted not in ("auto", "1", "0"):
        sys.exit(f"PANODEEPLAB_CUDA is {wanted!r}, wanted auto, 1 or 0")
    if wanted == "0" or (wanted == "auto" and os.name == "nt"):
        return None
    home = os.environ.get("CUDA_HOME")
    nvcc = shutil.which("nvcc", path=str(Path(home, "bin")) if home else None)
    if nvcc is None and wanted == "1":
        sys.exit(NO_NVCC)
    return nvcc


class BuildExtensions(build_ext):
    """Adds the flags of the compiler at hand, after asking whether there is one and what it can do."""

    def get_export_symbols(self, extension: Extension) -> list[str]:
        """What Windows is to export: of the library of operators not a module's entry."""
        if extension.name == "_panodeeplab_onnxruntime":
            return ["RegisterCustomOps"]
        return super().get_export_symbols(extension)

    def build_extension(self, extension: Extension) -> None:
        if extension.name == "_panodeeplab_cuda":
            extension.extra_objects = [self.compile_kernels()]
            extension.library_dirs = self.cuda_library_folders()
        super().build_extension(extension)

    def compile_kernels(self) -> str:
        """The object file of the CUDA kernels."""
        target = Path(self.build_temp) / "panoptic_cuda.o"
        newest = max(path.stat().st_mtime for path in map(Path, KERNELS))
        if not self.force and target.exists() and target.stat().st_mtime > newest:
            return str(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Equal bits everywhere: no fused multiply-add. IEEE division and denormals are the default.
        command = [NVCC, "-std=c++17", "-O3", "--fmad=false", "-Iext", "-c", "ext/panoptic_cuda.cu"]
        command += ["-Xcompiler", "-fPIC,-Wall,-Wextra,-ffp-contract=off", f"--threads={os.cpu_count()}"]
        for number in ARCHITECTURES:
            command.append(f"-gencode=arch=compute_{number},code=sm_{number}")
        command.append(f"-gencode=arch=compute_{number},code=compute_{number}")
        self.spawn([*command, "-o", str(target)])
        return str(target)

    def cuda_library_folders(self) -> list[str]:
        """Where this nvcc finds the CUDA runtime, which is linked statically."""
        dry = [NVCC, "--dryrun", "-c", "ext/panoptic_cuda.cu", "-o", os.devnull]
        printed = subprocess.run(dry, capture_output=True, text=True, check=False).stderr
        line = re.search("LIBRARIES=(.*)", printed)
        return re.findall('-L([^" ]+)', line[1]) if line else []

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
                "-pthread",
                "-Wall",
                "-Wextra",
            ]
            link_flags = ["-pthread"]
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


HEADERS = [str(path) for path in sorted(Path("ext").glob("*.h"))]
CORE = [str(path) for path in sorted(Path("ext").glob("*_cpu.cpp"))]

cpu = Extension(
    "_panodeeplab_cpu",
    sources=["ext/_cpu.pyx", *CORE],
    depends=HEADERS,
    include_dirs=["ext"],
    define_macros=[("Py_LIMITED_API", "0x030B0000"), ("CYTHON_LIMITED_API", "1")],
    py_limited_api=True,
    language="c++",
)

# No module of Python: a library of operators that ONNX Runtime loads, named like one to be found like one.
onnxruntime = Extension(
    "_panodeeplab_onnxruntime",
    sources=["ext/onnxruntime/panoptic_op.cpp", *CORE],
    depends=[*HEADERS, "ext/onnxruntime/abi.h"],
    include_dirs=["ext"],
    py_limited_api=True,
    language="c++",
)

NVCC = find_nvcc()
KERNELS = [str(path) for path in (*sorted(Path("ext").glob("cuda/*.h")), Path("ext/panoptic_cuda.cu"))]
KERNELS += ["ext/arithmetic.h", "ext/panoptic_cuda.h"]

cuda = Extension(
    "_panodeeplab_cuda",
    sources=["ext/_cuda.pyx"],
    depends=KERNELS,
    include_dirs=["ext"],
    define_macros=[("Py_LIMITED_API", "0x030B0000"), ("CYTHON_LIMITED_API", "1")],
    libraries=["cudart_static", "rt", "dl", "pthread"],
    py_limited_api=True,
    language="c++",
    # A toolkit that does not work, such as one too old for the compiler, must not cost a user the CPU module.
    optional=os.environ.get("PANODEEPLAB_CUDA") != "1",
)

setup(
    ext_modules=cythonize([cpu, onnxruntime, *([] if NVCC is None else [cuda])], build_dir="build/cython"),
    cmdclass={"build_ext": BuildExtensions},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
