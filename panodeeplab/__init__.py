"""Panoptic-DeepLab with a compiled post-processing."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from panodeeplab.inference.predictor import Predictor
    from panodeeplab.model import PanopticDeepLab

__all__ = ["PanopticDeepLab", "Predictor"]


def __getattr__(name: str) -> Any:
    # Not at import: `panodeeplab --help` need not wait for torch.
    if name == "Predictor":
        from panodeeplab.inference.predictor import Predictor

        return Predictor
    if name == "PanopticDeepLab":
        from panodeeplab.model import PanopticDeepLab

        return PanopticDeepLab
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
