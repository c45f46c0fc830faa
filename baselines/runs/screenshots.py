"""Pictures of a report's first screen, on a desk's and on a phone's width.

    python -m baselines.runs.screenshots RUN/report/index.html FOLDER

Writes FOLDER/report-1280.png and report-390.png with Chromium (the `dev` extra, and Debian's package chromium).
"""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

SCREENS = ((1280, 1000), (390, 844))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width, height in SCREENS:
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto(given.page.resolve().as_uri())
            page.screenshot(path=given.folder / f"report-{width}.png")
        browser.close()


if __name__ == "__main__":
    main()
