"""The picture of docs/serve.md: the page of `panodeeplab serve` in Chromium, with the bundled example.

    python benchmarks/page.py [--output docs/serve.png]

Needs the extras `serve` and `browser`, and Chromium. Times on it are those of this machine at this moment.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from panodeeplab.files import replacing

POINT = (0.32, 0.68)  # where the mouse is, in widths and heights of the picture: on the nearest car


def photograph(page: Page, address: str, path: Path) -> None:
    page.goto(address)
    for _ in range(2):  # the first frame of a size takes longer
        page.click("[data-example=clip]")
        page.wait_for_selector("#viewer:not([hidden])")
        page.wait_for_function("() => document.getElementById('status').hidden")
    box = page.locator("#layers-canvas").bounding_box()
    page.mouse.move(box["x"] + POINT[0] * box["width"], box["y"] + POINT[1] * box["height"])
    page.wait_for_selector("#tip:not([hidden])")
    with replacing(path) as temporary:
        temporary.write_bytes(page.screenshot())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=Path("docs/serve.png"), help="(default: %(default)s)")
    arguments = parser.parse_args()
    command = [sys.executable, "-u", "-m", "panodeeplab", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            line = next(line for line in server.stdout if "http://" in line)
            address = next(word for word in line.split() if word.startswith("http://"))
            with sync_playwright() as p:
                browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
                photograph(
                    browser.new_page(viewport={"width": 1280, "height": 800}), address, arguments.output
                )
                browser.close()
        finally:
            server.terminate()
    print(f"wrote {arguments.output}")


if __name__ == "__main__":
    main()
