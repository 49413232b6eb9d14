"""OpenVINO's entry, one for the process."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import openvino


@cache
def openvino_core() -> openvino.Core:
    """The process's `openvino.Core`, whose CPU plugin is never unloaded.

    Where the CPU has AMX, the plugin gives the thread that loads it a stack for signal handlers, and unmaps
    that when it goes, in whatever thread that is. From then on, the next signal in the first thread, such as
    that of a child that ends, crashes the process or overwrites what lies there by then. So it is loaded by a
    thread that ends.
    """
    core = openvino.Core()
    with ThreadPoolExecutor(1) as thread:
        thread.submit(core.get_property, "CPU", "FULL_DEVICE_NAME").result()
    return core
