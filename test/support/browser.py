"""Chromium, headless, for the pages that we write. Nothing that it opens may ask a network for anything."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync")  # fmt: skip
DESKTOP, PHONE = (1280, 900), (390, 844)  # CSS pixels


def executable() -> str:
    return next(filter(None, map(shutil.which, CHROMIUM)), "")


def why_not() -> str:
    """Why there is no browser to test with; "" if there is one."""
    if not importlib.util.find_spec("playwright"):
        return "playwright is not installed (tools/requirements.txt)"
    return "" if executable() else "Chromium is not installed (apt-get install chromium)"


@contextmanager
def running() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=list(ARGUMENTS))
        yield browser
        browser.close()


class Opened:
    """A page with what it said on the console and what it asked for. A context manager."""

    def __init__(self, browser, address: str | Path, size: tuple[int, int] = DESKTOP, scheme: str = "light") -> None:
        window = dict(zip(("width", "height"), size))
        self.context = browser.new_context(viewport=window, color_scheme=scheme, reduced_motion="reduce")
        self.page = self.context.new_page()
        self.page.set_default_timeout(5000)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(address.as_uri() if isinstance(address, Path) else address)

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *error: object) -> None:
        self.context.close()

    def expect(self, selector: str):
        """What playwright waits for, at most five seconds."""
        from playwright.sync_api import expect

        return expect(self.page.locator(selector))

    def texts(self, selector: str) -> list[str]:
        return self.page.locator(selector).all_inner_texts()

    def is_wider_than_its_window(self) -> bool:
        return self.page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")

    def wait_until(self, expression: str) -> None:
        """playwright's own way evaluates a string in the page, which a strict policy forbids."""
        for _ in range(100):
            if self.page.evaluate(expression):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}")

    def tab_to(self, selector: str, most: int = 80) -> None:
        """Press Tab until the focus is on it."""
        for _ in range(most):
            self.page.keyboard.press("Tab")
            if self.page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{most} tabs do not lead to {selector}")
