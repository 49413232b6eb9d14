"""The page and what it asks for: files in, states and pictures out.

    POST   /api/jobs                    a file as the body → 202, the state of its job
    POST   /api/examples/{name}         the same for a bundled file: image or clip
    GET    /api/jobs/{id}               state: waiting, running, done or failed
    DELETE /api/jobs/{id}               forget it
    GET    /api/jobs/{id}/{k}           frame k: size, stage times, segments
    GET    /api/jobs/{id}/{k}/{file}    image.jpg, overlay.png, heatmap.png, offsets.png, segments.bin,
                                        panoptic.png and panoptic.json (COCO panoptic format)
    GET    /api/info                    the model and the limits

Whatever is refused is answered with {"error": "a sentence"}.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import cv2
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from panodeeplab.inference.demo import CLIP
from panodeeplab.inference.predictor import Predictor
from panodeeplab.serve.guard import Guard
from panodeeplab.serve.jobs import Job, Worker
from panodeeplab.serve.media import WANTED, Clip, Limits, Refused, kind_of
from panodeeplab.serve.rendering import Frame

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "jpg": "image/jpeg",
    "bin": "application/octet-stream",
    "json": "application/json",
}
# Seconds without a byte of an upload, and seconds that all of it may take.
_STALL_S = 20.0
_UPLOAD_S = 300.0
# A refused upload is read on for a while: many clients look at the answer only when they have sent it all.
_DRAIN_S = 10.0


def create_app(
    predictor: Predictor,
    *,
    limits: Limits | None = None,
    names: Iterable[str] = (),
    stall_s: float = _STALL_S,
) -> FastAPI:
    """The web application.

    Args:
        predictor: made with `keep_predictions`; only the application's worker thread calls it.
        limits: of uploads and of what is kept.
        names: host names by which it may be called, besides localhost and addresses as numbers.
        stall_s: seconds without a byte after which an upload is given up.
    """
    limits = limits or Limits()
    worker = Worker(predictor, limits)
    static = {
        item.name: item.read_bytes() for item in files("panodeeplab.serve").joinpath("static").iterdir()
    }
    info = {
        "model": {
            "classes": predictor.classes.name,
            "number_of_classes": len(predictor.classes),
            "device": str(predictor.device),
            "size": predictor.size,
        },
        "limits": {"bytes": limits.upload_bytes, "pixels": limits.pixels, "frames": limits.frames},
        "wanted": WANTED,
    }

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker.start()
        yield
        await run_in_threadpool(worker.stop)

    # No pages about the interface: they would load scripts from another site.
    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, names=tuple(names))

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> JSONResponse:
        headers = {"Retry-After": "2"} if error.status == 503 else None
        return JSONResponse({"error": str(error)}, status_code=error.status, headers=headers)

    @app.exception_handler(HTTPException)
    async def no_such(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": f"{error.detail}."}, status_code=error.status_code)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": "There is no such frame."}, status_code=404)

    @app.get("/")
    def page() -> Response:
        return Response(static["index.html"], media_type=_TYPES["html"])

    @app.get("/static/{name}")
    def asset(name: str) -> Response:
        if name not in static:
            raise Refused(404, "There is no such file.")
        return Response(static[name], media_type=_TYPES[name.rpartition(".")[2]])

    @app.get("/api/info")
    def about() -> dict[str, Any]:
        return info

    @app.post("/api/jobs", status_code=202)
    async def upload(request: Request) -> dict[str, Any]:
        try:
            worker.take_place()
        except Refused:
            await _drain(request, limits.upload_bytes)
            raise
        try:
            data = await _body(request, limits.upload_bytes, stall_s)
            job = Job(await run_in_threadpool(kind_of, data, limits), data)
        except BaseException:
            worker.give_back()
            raise
        worker.submit(job)
        return job.status()

    @app.post("/api/examples/{name}", status_code=202)
    def example(name: str) -> dict[str, Any]:
        if name not in ("image", "clip"):
            raise Refused(404, "There is no such example.")
        worker.take_place()
        try:
            data = CLIP.read_bytes()
            job = Job("clip", data) if name == "clip" else Job("image", _first_frame(data))
        except BaseException:
            worker.give_back()
            raise
        worker.submit(job)
        return job.status()

    @app.get("/api/jobs/{job_id}")
    def status(job_id: str) -> dict[str, Any]:
        return worker.find(job_id).status()

    @app.delete("/api/jobs/{job_id}", status_code=204)
    def forget(job_id: str) -> None:
        worker.forget(job_id)

    def frame_of(job_id: str, k: int) -> Frame:
        frames = worker.find(job_id).frames
        if not 0 <= k < len(frames):
            raise Refused(404, "There is no such frame.")
        return frames[k]

    @app.get("/api/jobs/{job_id}/{k}")
    def detail(job_id: str, k: int) -> dict[str, Any]:
        return frame_of(job_id, k).detail

    @app.get("/api/jobs/{job_id}/{k}/{name}")
    def file(job_id: str, k: int, name: str) -> Response:
        frame = frame_of(job_id, k)
        made = {"panoptic.png": frame.panoptic_png, "panoptic.json": frame.panoptic_json}
        if name in made:
            data = made[name]()
        elif name in frame.files:
            data = frame.files[name]
        else:
            raise Refused(404, "There is no such file.")
        suffix = name.rpartition(".")[2]
        headers = {"Content-Encoding": "gzip"} if suffix == "bin" else None
        return Response(data, media_type=_TYPES[suffix], headers=headers)

    return app


async def _body(request: Request, limit: int, stall_s: float) -> bytes:
    """The body of an upload, as long as it is neither too large nor too slow."""
    too_large = Refused(413, f"The file is too large, at most {limit / 2**20:.3g} MiB are taken.")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        await _drain(request, limit)
        raise too_large
    data = bytearray()
    chunks = request.stream()
    try:
        async with asyncio.timeout(_UPLOAD_S):
            while True:
                async with asyncio.timeout(stall_s):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    return bytes(data)
                data += chunk
                if len(data) > limit:
                    break
    except TimeoutError as error:
        raise Refused(408, "The upload was too slow and was given up.") from error
    except ClientDisconnect as error:
        raise Refused(400, "The upload broke off.") from error
    data.clear()
    await _drain(request, limit, chunks)
    raise too_large


async def _drain(request: Request, limit: int, chunks: AsyncIterator[bytes] | None = None) -> None:
    """Read on, keeping nothing, for some seconds or a few times the limit."""
    left = 4 * limit
    try:
        async with asyncio.timeout(_DRAIN_S):
            async for chunk in chunks or request.stream():
                left -= len(chunk)
                if left < 0:
                    return
    except (TimeoutError, ClientDisconnect):
        return


def _first_frame(clip: bytes) -> bytes:
    """The first frame of a clip as a PNG."""
    frame = next(iter(Clip(clip, Limits(frames=1))))
    return cv2.imencode(".png", cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))[1].tobytes()
