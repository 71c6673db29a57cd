"""A headless Chromium that writes down what its console says."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.conftest import missing

FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--window-size=1280,900"),
)
DROP = """
const carried = new DataTransfer();
for (const [name, bytes] of arguments[0]) carried.items.add(new File([new Uint8Array(bytes)], name));
document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));
"""


@contextmanager
def chromium(profile: Path) -> Iterator[Chrome]:
    """A browser with its profile in an empty folder; where none is installed, skips here and fails in CI."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    binary, driver = next((path for path in found if path), None), shutil.which("chromedriver")
    if not binary or not driver:
        missing("a browser (Debian: apt-get install chromium chromium-driver)")
    options = ChromeOptions()
    options.binary_location = str(binary)
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = Chrome(options, ChromeService(str(driver)))
    try:
        yield browser
    finally:
        browser.quit()


def drop(browser: Chrome, files: dict[str, bytes]) -> None:
    """Drop files on the page that is open."""
    browser.execute_script(DROP, [[name, list(data)] for name, data in files.items()])


def complaints(browser: Chrome) -> list[str]:
    """What the console said since it was last asked: errors, warnings, violations of the Content-Security-Policy."""
    return [f"{entry['level']}: {entry['message']}" for entry in browser.get_log("browser")]
