"""The drawn frames for a browser on this machine: a page and a stream of JPEG pictures."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

_BOUNDARY = "frame"
_MOST_VIEWERS = 8
_QUALITY = 85
_PAGE = b"""<!doctype html><title>panodeeplab</title>
<style>body{margin:0;background:#111}img{display:block;margin:auto;max-width:100vw;max-height:100vh}</style>
<img src="/stream.mjpg" alt="panoptic video">
"""


class MjpegServer:
    """Serves the newest picture at http://127.0.0.1:PORT/, to this machine only; slow viewers miss pictures.

    Args:
        port: 0 takes any that is free; `url` says which.

    Raises:
        ValueError: the port is taken or out of range.
    """

    def __init__(self, port: int = 0) -> None:
        self._newest: tuple[int, bytes] = (0, b"")
        self._changed = threading.Condition()
        self._viewers = 0
        self._closed = False
        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        except (OSError, OverflowError) as error:
            raise ValueError(f"--serve: cannot listen on port {port}: {error}") from error
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def show(self, picture: np.ndarray, time_s: float) -> bool:
        # Without a viewer there is nothing to encode but the first picture, which one who comes late gets.
        if self._viewers == 0 and self._newest[0]:
            return True
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        with self._changed:
            self._newest = (self._newest[0] + 1, encoded.tobytes())
            self._changed.notify_all()
        return True

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _pictures(self):
        """Newest pictures, each once."""
        seen = 0
        while True:
            with self._changed:
                while not self._closed and self._newest[0] <= seen:
                    self._changed.wait()
                if self._closed:
                    return
                seen, data = self._newest
            yield data

    def _enter(self) -> bool:
        with self._changed:
            if self._viewers >= _MOST_VIEWERS:
                return False
            self._viewers += 1
            return True

    def _leave(self) -> None:
        with self._changed:
            self._viewers -= 1

    def _handler(server) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            timeout = 30

            def do_GET(self) -> None:
                # A page of another site must not read what is seen here under a name of its own.
                host = self.headers.get("Host", "").rpartition(":")[0]
                if host not in ("127.0.0.1", "localhost"):
                    self.send_error(403, "wanted 127.0.0.1 or localhost")
                elif self.path == "/":
                    self.send_response(200)
                    self.send_header("Content-Type", "text/html; charset=utf-8")
                    self.send_header("Content-Length", str(len(_PAGE)))
                    self.end_headers()
                    self.wfile.write(_PAGE)
                elif self.path != "/stream.mjpg":
                    self.send_error(404)
                elif not server._enter():
                    self.send_error(503, f"{_MOST_VIEWERS} viewers already")
                else:
                    try:
                        self._stream()
                    except OSError:
                        pass  # the viewer has gone
                    finally:
                        server._leave()

            def _stream(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
                self.send_header("Cache-Control", "no-store")
                self.end_headers()
                for data in server._pictures():
                    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                    self.wfile.write(head.encode() + data + b"\r\n")

            def log_message(self, *arguments: object) -> None:
                pass  # it would tear the progress line

        return Handler
