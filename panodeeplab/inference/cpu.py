"""What the CPU has instructions for."""

import torch


def has_amx() -> bool:
    """Whether it multiplies matrices of int8 in tiles (Intel's AMX)."""
    return bool(_capabilities().get("amx_int8"))


def has_fast_bfloat16() -> bool:
    """Whether it multiplies matrices of bfloat16 by instructions of their own."""
    return bool(_capabilities().get("amx_bf16") or _capabilities().get("avx512_bf16"))


def _capabilities() -> dict:
    try:
        return torch.cpu.get_capabilities()
    except (AttributeError, RuntimeError):
        return {}
