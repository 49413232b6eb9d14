"""The page in a real browser: Chromium without a window."""

import json
import shutil
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from uploads import encoded

from panodeeplab.data.coco_panoptic import read_panoptic_png
from panodeeplab.inference.demo import CLIP, read_clip

playwright = pytest.importorskip(
    "playwright.sync_api", reason='Playwright is not installed: pip install "panodeeplab[browser]"'
)
PATIENCE_MS = 120_000
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
if CHROMIUM is None:
    pytest.skip("there is no Chromium here", allow_module_level=True)


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.Browser"]:
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=PATIENCE_MS)
        yield browser
        browser.close()


def new_page(browser, **options) -> "playwright.Page":
    """A page in a context of its own, which `page.context.close()` ends; patient, for a busy machine."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    return context.new_page()


@pytest.fixture
def page(browser, address) -> Iterator["playwright.Page"]:
    """The page, which must come to its end without an error in its scripts or against its policy."""
    page = new_page(browser, viewport={"width": 1280, "height": 900})
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if "Policy" in message.text else None)
    page.goto(address)
    yield page
    page.context.close()
    assert errors == []


@pytest.fixture(scope="module")
def street(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("street") / "a <b>street & more.png"
    path.write_bytes(encoded(next(read_clip(CLIP))[0], "PNG"))
    return path


def opened(page, path: Path) -> None:
    page.set_input_files("#file", path)
    page.wait_for_selector("#viewer:not([hidden])")
    settle(page)


def settle(page) -> None:
    page.wait_for_function("() => document.getElementById('status').hidden")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def canvas(page, name: str = "layers-canvas") -> np.ndarray:
    """(H, W, 4) uint8 RGBA pixels of a canvas."""
    settle(page)
    url = page.evaluate("(id) => document.getElementById(id).toDataURL()", name)
    picture = cv2.imdecode(np.frombuffer(b64decode(url.partition(",")[2]), np.uint8), cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(picture, cv2.COLOR_BGRA2RGBA)


def place(page, y: float, x: float) -> tuple[float, float]:
    """Where on the screen a pixel of the picture is."""
    box = page.locator("#layers-canvas").bounding_box()
    return box["x"] + (x + 0.5) * box["width"] / 512, box["y"] + (y + 0.5) * box["height"] / 256


def test_hover_and_isolate(page, street, predictor):
    opened(page, street)
    result = predictor(str(street))
    assert page.locator("#segments tbody tr").count() == len(result.segments)
    car = max((s for s in result.segments if s.category == "car"), key=lambda s: s.area * s.score)
    # Far from the car's outline, and from the picture's: its corners are round.
    mask = np.pad((result.panoptic == car.id).astype(np.uint8), 1)
    inside = cv2.distanceTransform(mask, cv2.DIST_L2, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(inside.argmax(), inside.shape)

    page.mouse.move(*place(page, y, x))
    text = page.locator("#tip").inner_text()
    assert text.startswith("car")
    assert f"id {car.id}" in text
    assert f"score {car.score:.2f}" in text
    assert f"{car.area:,} px" in text
    settle(page)
    assert page.locator("#segments tr.marked").inner_text().split()[1] == str(car.id)

    page.mouse.click(*place(page, y, x))
    page.mouse.move(2, 2)
    dark = canvas(page, "marks-canvas")[..., 3] > 150
    assert np.array_equal(~dark, result.panoptic == car.id)
    assert page.locator("#tip").is_hidden()
    page.keyboard.press("Escape")
    assert not canvas(page, "marks-canvas").any()

    # With the keyboard alone, from the table.
    row = page.locator("#segments tbody tr").nth(1)
    row.locator("button").focus()
    page.keyboard.press("Enter")
    settle(page)
    assert row.locator("button").get_attribute("aria-pressed") == "true"
    assert "pixels" in page.locator("#seen").inner_text()


def test_layers(page, street, predictor):
    opened(page, street)
    result = predictor(str(street))
    assert np.array_equal(canvas(page)[..., :3], result.overlay())

    def only(name, opacity):
        for box in page.locator("#layers input[type=checkbox]").all():
            box.set_checked(box.get_attribute("name") == name)
        slider = page.locator(f"#layers li:has([name={name}]) input[type=range]")
        slider.fill(str(opacity))
        return canvas(page)[..., :3].astype(int)

    colors = np.array([*result.classes.colors, (0, 0, 0)])
    semantic = colors[result.semantic]
    known = result.panoptic >= 0
    assert np.array_equal(only("semantic", 100)[known], semantic[known])
    half = (semantic + result.image) / 2
    assert np.abs(only("semantic", 50) - half)[known].mean() < 3
    assert np.abs(only("semantic", 0) - result.image).mean() < 3

    things = np.isin(result.panoptic, [s.id for s in result.segments if s.is_thing])
    image = only("instances", 0)
    changed = (only("instances", 100) != image).any(-1)
    assert not changed[~things].any()
    assert changed[things].mean() > 0.99
    changed = (only("offsets", 100) != image).any(-1)
    assert changed[things].mean() > 0.9
    assert changed[~things].mean() < 0.1
    heat = only("heatmap", 100).sum(-1)
    centers = [s.center for s in result.segments if s.is_thing and s.score > 0.5]
    assert np.mean([heat[y, x] for y, x in centers]) > 8 * heat.mean()

    # The keys turn layers on and off, in the order of the list.
    page.locator("#picture").focus()
    page.keyboard.press("1")
    assert page.locator("#layers input[name=overlay]").is_checked()


def test_times_and_downloads(page, street, predictor, tmp_path):
    opened(page, street)
    result = predictor(str(street))
    rows = [row.split() for row in page.locator("#times tr").all_inner_texts()]
    assert [row[0] for row in rows] == ["decode", "preprocess", "network", "postprocess", "draw", "sum"]
    times = np.array([float(row[1]) for row in rows[:-1]])
    widths = [bar.bounding_box()["width"] for bar in page.locator("#times .bar").all()]
    assert np.abs(widths - max(widths) * times / max(times)).max() < 2

    saved = {}
    for link in page.locator("#downloads a").all():
        with page.expect_download() as download:
            link.click()
        name = download.value.suggested_filename
        assert name.startswith("a_b_street_more_")
        saved[name.rpartition("more_")[2]] = tmp_path / name
        download.value.save_as(tmp_path / name)
    assert saved.keys() == {"overlay.png", "panoptic.png", "panoptic.json"}
    assert np.array_equal(cv2.imread(str(saved["overlay.png"]))[..., ::-1], result.overlay())
    ids = read_panoptic_png(saved["panoptic.png"])
    assert np.array_equal(ids, np.where(result.panoptic < 0, 0, result.panoptic + 1000))
    content = json.loads(saved["panoptic.json"].read_text())
    assert len(content["annotations"][0]["segments_info"]) == len(result.segments)


def test_a_clip(page):
    page.set_input_files("#file", CLIP)
    page.wait_for_selector("#clip:not([hidden])")
    settle(page)
    assert page.locator("#frame-label").inner_text() == "1 of 16, 0.00 s"
    first = canvas(page)
    page.locator("#frame").fill("8")
    page.wait_for_function("() => document.getElementById('frame-label').textContent === '9 of 16, 0.80 s'")
    assert (canvas(page) != first).any()
    page.locator("#picture").focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("() => document.getElementById('frame-label').textContent === '8 of 16, 0.70 s'")
    page.keyboard.press("Space")
    page.wait_for_function("() => document.getElementById('frame').value > 9")
    assert page.locator("#play").inner_text() == "Pause"
    page.locator("#play").click()
    assert page.locator("#play").inner_text() == "Play"


def problem(page) -> str:
    page.wait_for_selector("#problem:not([hidden])")
    return page.locator("#problem").inner_text()


def test_bad_files_are_explained_and_survived(page, street, tmp_path):
    for name, content, words in (
        ("empty.png", b"", "The file is empty."),
        ("<img src=x onerror=alert(1)>.jpg", b"not a picture", "of no type that can be read"),
        ("half.png", street.read_bytes()[:9000], "The image is damaged"),
        ("large.png", bytes(2 * 2**20 + 1), "too large: 2 MiB, at most 2 MiB"),
        ("wide.png", encoded(np.zeros((6000, 6000, 3), np.uint8), "PNG"), "36.0 megapixels"),
    ):
        (tmp_path / name).write_bytes(content)
        page.set_input_files("#file", tmp_path / name)
        page.wait_for_function(
            "(words) => document.getElementById('problem').textContent.includes(words)", arg=words
        )
        assert words in problem(page)
    opened(page, street)
    assert page.locator("#problem").is_hidden()


def test_too_large_for_the_server_is_readable_too(page):
    # As a program would send it, without the page's own look at the size.
    answer = page.evaluate(
        """async () => {
            const response = await fetch("/api/jobs", { method: "POST", body: new Uint8Array(6 * 2 ** 20) });
            return [response.status, (await response.json()).error];
        }"""
    )
    assert answer == [413, "The file is too large, at most 2 MiB are taken."]


def test_dropped_files(page, street):
    transfer = page.evaluate_handle(
        """async (bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "street.png"));
            return transfer;
        }""",
        list(street.read_bytes()),
    )
    page.dispatch_event("#drop", "dragenter", {"dataTransfer": transfer})
    assert page.locator("body.dragging").count() == 1
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    page.wait_for_selector("#viewer:not([hidden])")


def test_two_at_once(browser, address, street):
    pages = [new_page(browser) for _ in range(2)]
    for page in pages:
        page.goto(address)
    pages[0].click("[data-example=clip]")
    pages[1].set_input_files("#file", street)
    for page in pages:
        page.wait_for_selector("#viewer:not([hidden])")
        settle(page)
    assert pages[0].locator("#frame").get_attribute("max") == "15"
    assert pages[1].locator("#clip").is_hidden()
    for page in pages:
        page.context.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out(browser, address, width):
    page = new_page(browser, viewport={"width": width, "height": 800}, color_scheme="dark")
    page.goto(address)
    page.click("[data-example=image]")
    page.wait_for_selector("#viewer:not([hidden])")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    background = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert background == "rgb(20, 23, 27)"
    page.context.close()


def test_another_site_cannot_read_it(browser, address):
    page = new_page(browser)
    page.route(
        "http://evil.example/", lambda route: route.fulfill(body="<p>hello</p>", content_type="text/html")
    )
    page.goto("http://evil.example/")
    ask = "(url) => fetch(url, { method: 'POST', body: 'x' }).then((r) => r.text(), () => 'refused')"
    assert page.evaluate(ask, f"{address}/api/jobs") == "refused"
    page.context.close()
