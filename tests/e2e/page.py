"""The page as a visitor sees it, in a real browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

PATIENCE_S = 90


class Page:
    """What a visitor can see and do."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser = browser
        self.url = url
        self.expected: list[str] = []

    def open(self) -> None:
        self.browser.get(self.url)
        self.until(lambda: self.one("#draw").is_enabled(), "the page takes no prompts")

    def one(self, selector: str) -> WebElement:
        found = self.browser.find_element(By.CSS_SELECTOR, selector)
        # As a person scrolls: with many adapters a part of the form lies behind its sticky row of buttons
        self.run("arguments[0].scrollIntoView({block: 'center'})", found)
        return found

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.browser.execute_script(script, *arguments)

    def until(self, true: Callable[[], Any], otherwise: str, patience_s: float = PATIENCE_S) -> Any:
        # A sheet is made anew when a sister joins it
        wait = WebDriverWait(self.browser, patience_s, 0.1, ignored_exceptions=[StaleElementReferenceException])
        return wait.until(lambda _: true(), otherwise)

    def set(self, name: str, value: object) -> None:
        if not self.one("#more").get_attribute("open"):
            self.one("#more summary").click()
        self.type(f"#{name}", str(value))

    def type(self, selector: str, text: str) -> None:
        field = self.one(selector)
        field.clear()
        field.send_keys(text)

    def choose(self, selector: str, value: str) -> None:
        """Choose of a menu as a visitor does; the browser tells the page of it a little later."""
        menu = self.one(selector)
        self.run("window.chosen = 0; arguments[0].addEventListener('change', () => (window.chosen += 1))", menu)
        Select(menu).select_by_value(value)
        self.until(lambda: self.run("return window.chosen"), "nothing was chosen")

    def draw(self, prompt: str, **settings: object) -> None:
        for name, value in settings.items():
            self.set(name, value)
        self.type("#prompt", prompt)
        self.one("#draw").click()

    def newest(self, prompt: str, pictures: int = 1) -> WebElement:
        """The newest sheet, once it is of this prompt and shows so many pictures."""
        loaded = (
            "return [...arguments[0].querySelectorAll('.picture img')].filter((img) => img.naturalWidth > 0).length"
        )

        def complete() -> WebElement | None:
            sheets = self.all(".sheet")
            if not sheets or sheets[0].find_element(By.CLASS_NAME, "prompt").text != prompt:
                return None
            return sheets[0] if self.run(loaded, sheets[0]) == pictures else None

        return self.until(complete, f"no sheet of {prompt!r} with {pictures} pictures")

    def choose_file(self, path: Path, **fields: str) -> None:
        """Choose a file as the button does, fill the dialog in and send it."""
        self.one("#adapters-file").send_keys(str(path))
        for name, value in fields.items():
            self.type(f"#upload-{name}", value)
        self.one("#upload button.primary").click()

    def close_dialog(self) -> None:
        self.one("dialog[open] [data-close]").click()
