"""What the server answers, to the page and to those who mean it no good."""

import asyncio
import io
import json
import threading

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from uploads import encoded, finished

from panodeeplab.data.coco_panoptic import rgb2id
from panodeeplab.inference.demo import CLIP, read_clip
from panodeeplab.inference.predictor import Predictor
from panodeeplab.model import load_checkpoint
from panodeeplab.serve.app import create_app
from panodeeplab.serve.media import Limits


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    return next(read_clip(CLIP))[0]


def test_an_image_from_upload_to_download(client, predictor, street):
    answer = client.post("/api/jobs", content=encoded(street, "PNG"))
    assert answer.status_code == 202
    job = finished(client, answer.json())
    assert (job["state"], job["kind"], job["frames"]) == ("done", "image", 1)
    base = f"/api/jobs/{job['id']}/0"

    expected = predictor(street)
    detail = client.get(base).json()
    assert (detail["height"], detail["width"]) == street.shape[:2]
    assert list(detail["timings_ms"]) == ["decode", "preprocess", "network", "postprocess", "draw"]
    assert [(s["id"], s["category"], s["area"]) for s in detail["segments"]] == [
        (s.id, s.category, s.area) for s in expected.segments
    ]
    index = np.frombuffer(client.get(f"{base}/segments.bin").content, "<u2").reshape(street.shape[:2])
    ids = np.array([-1, *(s["id"] for s in detail["segments"])])
    assert np.array_equal(ids[index], expected.panoptic)

    def picture(name):
        answer = client.get(f"{base}/{name}")
        assert answer.headers["content-type"] == ("image/jpeg" if name.endswith("jpg") else "image/png")
        return np.array(Image.open(io.BytesIO(answer.content)))

    assert np.array_equal(picture("overlay.png"), expected.overlay())
    assert np.abs(picture("image.jpg").astype(int) - street).mean() < 3
    assert picture("heatmap.png").shape == (64, 128, 3)
    # Offsets are drawn on things and nowhere else.
    offsets = picture("offsets.png")
    things = np.isin(expected.panoptic, [s.id for s in expected.segments if s.is_thing])
    assert np.array_equal(offsets[..., 3] > 0, things[2::4, 2::4])

    content = client.get(f"{base}/panoptic.json").json()
    segments = content["annotations"][0]["segments_info"]
    coco = rgb2id(picture("panoptic.png"))
    assert {s["id"]: s["area"] for s in segments} == {
        int(i): int(n) for i, n in zip(*np.unique(coco[coco > 0], return_counts=True), strict=True)
    }
    assert all(0 <= s["score"] <= 1 for s in segments)

    assert client.delete(f"/api/jobs/{job['id']}").status_code == 204
    assert client.get(base).status_code == 404


def test_the_heatmap_peaks_where_the_things_are(client):
    job = finished(client, client.post("/api/examples/image").json())
    base = f"/api/jobs/{job['id']}/0"
    detail = client.get(base).json()
    heat = np.array(Image.open(io.BytesIO(client.get(f"{base}/heatmap.png").content)).convert("L")).astype(
        float
    )
    best = max((s for s in detail["segments"] if s["is_thing"]), key=lambda s: s["score"])
    y, x = (place // detail["stride"] for place in best["center"])
    assert heat[y - 1 : y + 2, x - 1 : x + 2].max() > 8 * heat.mean()


def test_a_clip(client):
    job = finished(client, client.post("/api/examples/clip").json())
    assert (job["state"], job["frames"], job["expected"]) == ("done", 4, 4)
    times = [client.get(f"/api/jobs/{job['id']}/{k}").json()["time_s"] for k in range(4)]
    assert times == pytest.approx([0.0, 0.4, 0.8, 1.2])
    for k in ("4", "-1", "first"):
        answer = client.get(f"/api/jobs/{job['id']}/{k}")
        assert (answer.status_code, answer.json()) == (404, {"error": "There is no such frame."})


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"", 422, "empty"),
        (b"no image" * 10, 415, "of no type"),
        (encoded(np.zeros((600, 600, 3), np.uint8), "PNG"), 413, "0.4 megapixels"),
        (bytes(1_000_001), 413, "at most 0.954 MiB"),
    ],
)
def test_what_cannot_be_taken_is_said_at_once(client, data, status, words):
    answer = client.post("/api/jobs", content=data)
    assert answer.status_code == status
    assert words in answer.json()["error"]
    # Without a length beforehand as well.
    answer = client.post("/api/jobs", content=iter([data[:100], data[100:]]))
    assert answer.status_code == status


def test_places_are_given_back(client, street):
    for _ in range(5):
        assert client.post("/api/jobs", content=b"no image").status_code == 415
        assert client.post("/api/jobs", content=bytes(1_000_001)).status_code == 413
    assert client.post("/api/jobs", content=encoded(street, "JPEG")).status_code == 202


def test_damage_is_found_later_and_said(client, street):
    data = encoded(street, "PNG")
    job = finished(client, client.post("/api/jobs", content=data[: len(data) // 2]).json())
    assert job["state"] == "failed"
    assert "damaged" in job["error"]
    job = finished(client, client.post("/api/jobs", content=CLIP.read_bytes()[:5000]).json())
    assert job["state"] == "failed"
    assert "clip" in job["error"]


class Held(Predictor):
    """Waits for `go` before every image but the first, which is the worker's own."""

    def __init__(self, predictor):
        super().__init__(
            load_checkpoint("street-tiny").model,
            predictor.classes,
            config=predictor.config,
            keep_predictions=True,
            backend="eager",
        )
        self.go = threading.Event()
        self.count = 0

    def __call__(self, images):
        self.count += 1
        if self.count > 1:
            assert self.go.wait(60)
            if images.shape[0] == 33:
                raise RuntimeError("the network broke")
        return super().__call__(images)


def test_the_queue_is_bounded(predictor, street):
    held = Held(predictor)
    small = encoded(street[:64, :128], "PNG")
    with TestClient(create_app(held, limits=Limits(requests=3)), base_url="http://127.0.0.1") as client:
        jobs = [client.post("/api/jobs", content=small).json() for _ in range(3)]
        for refused in (client.post("/api/jobs", content=small), client.post("/api/examples/image")):
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "2"
            assert "Busy" in refused.json()["error"]
        # The page is still there.
        assert client.get("/").status_code == 200
        held.go.set()
        assert [finished(client, job)["state"] for job in jobs] == ["done"] * 3
        assert client.post("/api/jobs", content=small).status_code == 202


def test_a_failing_network_ends_only_its_job(predictor, street, caplog):
    held = Held(predictor)
    held.go.set()
    with TestClient(create_app(held), base_url="http://127.0.0.1") as client:
        jobs = [client.post("/api/jobs", content=encoded(street[:n, :64], "PNG")).json() for n in (33, 64)]
        failed, done = (finished(client, job) for job in jobs)
    assert (failed["state"], done["state"]) == ("failed", "done")
    assert "the network broke" not in failed["error"]
    assert "the network broke" in caplog.text


def test_old_results_are_forgotten(predictor, street):
    limits = Limits(kept_bytes=100_000)
    with TestClient(create_app(predictor, limits=limits), base_url="http://127.0.0.1") as client:
        first = finished(client, client.post("/api/jobs", content=encoded(street, "PNG")).json())
        second = finished(client, client.post("/api/jobs", content=encoded(street, "PNG")).json())
        answer = client.get(f"/api/jobs/{first['id']}")
        assert (answer.status_code, answer.json()["error"][:11]) == (404, "This result")
        assert client.get(f"/api/jobs/{second['id']}/0/overlay.png").status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost", "LOCALHOST:1", "[::1]:8765", "10.0.0.7"])
def test_addresses_and_localhost_are_answered(client, host):
    assert client.get("/api/info", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8765"},
        {"Host": "localhost@evil.example"},
        {"Host": ""},
        {"Host": "[::1"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_other_sites_are_not_answered(client, headers):
    for answer in (
        client.get("/api/info", headers=headers),
        client.post("/api/examples/image", headers=headers),
    ):
        assert answer.status_code == 403
        assert "error" in answer.json()
        assert "access-control-allow-origin" not in answer.headers


def test_every_answer_keeps_the_page_to_itself(client):
    for path in ("/", "/static/page.js", "/api/info", "/nothing", "/api/jobs/none"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    assert client.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200  # a link


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static/nothing.js",
        "/docs",
        "/openapi.json",
        "/api/jobs/x/0",
    ],
)
def test_nothing_else_is_served(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]


def test_the_page_takes_nothing_from_elsewhere(client):
    for name in ("/", "/static/page.js", "/static/panel.js", "/static/picture.js", "/static/server.js"):
        text = client.get(name).text
        assert "innerHTML" not in text
        assert "http:" not in text.replace("http://www.w3.org", "")
        assert "https:" not in text


def asgi(app, headers, messages):
    """The answer's status to an upload whose messages come as `messages()` gives them."""
    sent = []

    async def call():
        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/api/jobs",
            "raw_path": b"/api/jobs",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"127.0.0.1"), *headers],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        await app(scope, messages(), send)

    asyncio.run(call())
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(body)["error"]


def test_a_stalled_or_broken_upload_is_given_up(predictor):
    app = create_app(predictor, limits=Limits(requests=1), stall_s=0.05)

    def stalled():
        first = iter([{"type": "http.request", "body": b"abc", "more_body": True}])

        async def receive():
            if (message := next(first, None)) is not None:
                return message
            await asyncio.Event().wait()

        return receive

    def broken():
        async def receive():
            return {"type": "http.disconnect"}

        return receive

    # Each leaves the one place to the next.
    for messages, status, words in (
        (stalled, 408, "too slow"),
        (broken, 400, "broke off"),
        (stalled, 408, "slow"),
    ):
        got, error = asgi(app, [], messages)
        assert got == status
        assert words in error


def test_a_predictor_without_maps_is_refused():
    plain = Predictor.from_checkpoint("street-tiny", backend="eager")
    with pytest.raises(ValueError, match="keep_predictions=True"):
        create_app(plain)
