"""OpenVINO's CPU plugin and signal handlers, see `panodeeplab.openvino_core`."""

import ctypes
import gc
import threading

import numpy as np
import pytest

from panodeeplab.inference.predictor import Predictor

module = pytest.importorskip("panodeeplab.openvino_core")


class SignalStack(ctypes.Structure):
    _fields_ = [("pointer", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t)]


def signal_stack() -> tuple:
    """Where this thread's signal handlers run."""
    stack = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.pointer, stack.flags, stack.size


def test_the_plugin_is_loaded_once_by_a_thread_that_ends(monkeypatch):
    loaded = []

    class Core:
        def get_property(self, device, name):
            loaded.append((device, threading.current_thread()))

    monkeypatch.setattr(module.openvino, "Core", Core)
    module.openvino_core.cache_clear()
    try:
        assert module.openvino_core() is module.openvino_core()
    finally:
        module.openvino_core.cache_clear()
    [(device, thread)] = loaded
    assert device == "CPU"
    assert thread is not threading.main_thread()
    assert not thread.is_alive()


def test_a_predictor_that_ends_in_another_thread_leaves_the_signal_stack():
    """Only with AMX does the plugin touch it."""
    before = signal_stack()
    box = [Predictor.from_checkpoint("street-tiny", backend="openvino", size="native")]
    box[0](np.zeros((64, 128, 3), np.uint8))
    assert signal_stack() == before

    def end():
        box.clear()
        gc.collect()

    thread = threading.Thread(target=end)
    thread.start()
    thread.join()
    assert signal_stack() == before
