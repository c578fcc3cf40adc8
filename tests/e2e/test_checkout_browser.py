"""The checkout page in a real browser, on a narrow screen, without JavaScript."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp import web
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.databases import DatabaseKind, DatabaseMaker
from tests.e2e.http_brokers import HttpBroker, http_broker

BROWSER, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
REQUIRED_VARIABLE = "IAP_REQUIRE_BROWSER"
WAIT_SECONDS = 10.0
PHONE = (360, 740)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A browser without JavaScript in a phone's size."""
    missing = [path for path in (BROWSER, DRIVER) if shutil.which(path) is None]
    if missing:
        reason = f"{' and '.join(missing)} missing: apt-get install chromium chromium-driver"
        assert not os.environ.get(REQUIRED_VARIABLE), reason
        pytest.skip(reason)
    options = ChromeOptions()
    options.binary_location = BROWSER
    for argument in (
        "--headless=new",
        # It runs as whoever runs the tests, root included, and opens pages of this machine's only.
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(DRIVER))
    try:
        driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": PHONE[0], "height": PHONE[1], "deviceScaleFactor": 2, "mobile": True},
        )
        yield driver
    finally:
        driver.quit()


@pytest.fixture
async def shop() -> AsyncIterator[str]:
    """The address of a shop's page; as shops do, it leads on to another one."""

    async def moved(_request: web.Request) -> web.Response:
        raise web.HTTPFound(home.replace("127.0.0.1", "localhost"))

    async def welcome(_request: web.Request) -> web.Response:
        return web.Response(text="<title>Shop</title><p>Welcome back", content_type="text/html")

    app = web.Application()
    app.router.add_get("/back", moved)
    app.router.add_get("/home", welcome)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        home = f"http://127.0.0.1:{port}/home"
        yield f"http://127.0.0.1:{port}/back?order=1&name=%C3%BC"
    finally:
        await runner.cleanup()


@pytest.fixture(scope="module")
async def serving(
    database_kind: DatabaseKind, session_databases: DatabaseMaker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[HttpBroker]:
    directory = tmp_path_factory.mktemp("checkout")
    async with http_broker(session_databases.make(database_kind), directory) as running:
        yield running


@pytest.fixture
async def broker(serving: HttpBroker) -> HttpBroker:
    """A broker, with an account of the test's own."""
    await serving.open_account()
    return serving


async def seen(browser: Chrome, words: str) -> str:
    """Waits until the page says something, and returns where that is."""

    def page() -> str:
        try:
            return browser.find_element(By.TAG_NAME, "body").text
        except (NoSuchElementException, StaleElementReferenceException):
            # Another page has just taken its place.
            return ""

    async with asyncio.timeout(WAIT_SECONDS):
        while words not in await asyncio.to_thread(page):  # noqa: ASYNC110 - only asking tells
            await asyncio.sleep(0.05)
    return await asyncio.to_thread(lambda: browser.current_url)


async def press(browser: Chrome, words: str) -> None:
    def press_now() -> None:
        (button,) = (it for it in browser.find_elements(By.TAG_NAME, "button") if words in it.text)
        button.click()

    await asyncio.to_thread(press_now)


def complaints(browser: Chrome) -> list[str]:
    """What the browser held against the pages, such as a breach of their policy."""
    found = browser.get_log("browser")  # type: ignore[no-untyped-call]  # as selenium declares it
    return [str(entry["message"]) for entry in found if "favicon" not in str(entry["message"])]


async def test_a_customer_pays_and_arrives_at_the_shop(browser: Chrome, broker: HttpBroker, shop: str) -> None:
    made = await broker.create_purchase(return_url=shop)
    await asyncio.to_thread(browser.get, made.checkout_url)
    await seen(browser, "24.90 EUR")
    assert await asyncio.to_thread(lambda: browser.find_element(By.TAG_NAME, "h1").text) == "Your purchase"
    await press(browser, "Pay 24.90 EUR")
    assert (await seen(browser, "Welcome back")).endswith("/home")
    assert await broker.credits() == 1_000
    assert complaints(browser) == []


async def test_a_customer_declines_and_stays(browser: Chrome, broker: HttpBroker) -> None:
    made = await broker.create_purchase()
    await asyncio.to_thread(browser.get, made.checkout_url)
    await press(browser, "Decline")
    assert (await seen(browser, "did not go through")).startswith(made.checkout_url)
    assert await broker.credits() == 0
    assert complaints(browser) == []


async def test_the_page_can_be_used_with_the_keyboard_on_a_phone(
    browser: Chrome, broker: HttpBroker, tmp_path: Path
) -> None:
    made = await broker.create_purchase()

    def look_and_press() -> tuple[str, int, float]:
        browser.get(made.checkout_url)
        (tmp_path / "checkout.png").write_bytes(browser.get_screenshot_as_png())
        page_width = browser.find_element(By.TAG_NAME, "main").size["width"]
        heights = [button.size["height"] for button in browser.find_elements(By.TAG_NAME, "button")]
        browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
        focused = browser.switch_to.active_element
        words = focused.text
        outline = focused.value_of_css_property("outline-style")
        assert outline == "solid"
        (tmp_path / "focused.png").write_bytes(browser.get_screenshot_as_png())
        with contextlib.suppress(StaleElementReferenceException):
            # The key may come up again when the page is gone.
            focused.send_keys(Keys.ENTER)
        return words, page_width, min(heights)

    words, width, height = await asyncio.to_thread(look_and_press)
    assert words == "Pay 24.90 EUR"
    assert width <= PHONE[0]
    # A finger needs 44 pixels (WCAG 2.2, criterion 2.5.5).
    assert height >= 44
    await seen(browser, "Paid. Thank you!")
    assert await broker.credits() == 1_000
    (tmp_path / "paid.png").write_bytes(await asyncio.to_thread(browser.get_screenshot_as_png))
