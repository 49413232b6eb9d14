"""A local web page that shows what a model sees in an image or a clip.

It needs FastAPI, uvicorn and PyAV (`pip install 'panodeeplab[serve]'`).
"""
