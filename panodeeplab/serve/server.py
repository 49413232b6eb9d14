"""The application on a port of this machine."""

import ipaddress
import socket
from pathlib import Path

import uvicorn

from panodeeplab.inference.backends import Backend, Precision
from panodeeplab.inference.predictor import Predictor
from panodeeplab.serve.app import create_app
from panodeeplab.serve.media import Limits

# More connections than this are answered with 503 by uvicorn.
_CONNECTIONS = 64


def serve(
    checkpoint: str | Path = "street-tiny",
    *,
    device: str = "cpu",
    backend: Backend = "auto",
    precision: Precision = "auto",
    host: str = "127.0.0.1",
    port: int = 8765,
    limits: Limits | None = None,
) -> int:
    """Serve the page until it is interrupted.

    Args:
        checkpoint: see `Predictor.from_checkpoint`.
        device: see `Predictor`.
        backend: likewise.
        precision: likewise.
        host: address or name to listen on; by default only this machine can connect.
        port: to listen on; 0 takes a free one.
        limits: of uploads and of what is kept.

    Returns:
        Exit status 0.

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: the address cannot be listened on, or another argument is wrong.
    """
    with _listening(host, port) as listener:
        address = ipaddress.ip_address(listener.getsockname()[0].partition("%")[0])
        predictor = Predictor.from_checkpoint(
            checkpoint, device=device, backend=backend, precision=precision, keep_predictions=True
        )
        names = [host] if address.is_loopback else [host, socket.gethostname()]
        app = create_app(predictor, limits=limits, names=names)
        shown = f"[{address}]" if address.version == 6 else str(address)
        print(
            f"http://{shown}:{listener.getsockname()[1]}/ shows what the model sees; Ctrl+C ends it",
            flush=True,
        )
        if not address.is_loopback:
            print("Every machine that reaches this address can use it: there is no password.", flush=True)
        config = uvicorn.Config(
            app,
            log_level="warning",
            server_header=False,
            limit_concurrency=_CONNECTIONS,
            timeout_graceful_shutdown=5,
        )
        uvicorn.Server(config).run(sockets=[listener])
    return 0


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens, before the model is loaded."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ValueError(
            f"host must be an address of this machine, got {host!r}: {error.strerror}"
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ValueError(f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener
