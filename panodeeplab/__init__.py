"""Panoptic-DeepLab with a compiled post-processing."""
