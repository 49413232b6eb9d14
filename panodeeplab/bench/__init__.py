"""Honest figures: what the parts cost, beside what they are compared with, in one run."""

from panodeeplab.bench.postprocess import PostprocessBench, bench_postprocess
from panodeeplab.bench.run import Outputs, bench_models, bench_peers, bench_sweep
from panodeeplab.bench.stages import Setting
from panodeeplab.bench.sweep import plot_postprocess

__all__ = [
    "Outputs",
    "PostprocessBench",
    "Setting",
    "bench_models",
    "bench_peers",
    "bench_postprocess",
    "bench_sweep",
    "plot_postprocess",
]
