"""Honest figures: what the parts cost, beside what they are compared with, in one run."""

from panodeeplab.bench.postprocess import PostprocessBench, bench_postprocess
from panodeeplab.bench.sweep import plot_postprocess

__all__ = ["PostprocessBench", "bench_postprocess", "plot_postprocess"]
