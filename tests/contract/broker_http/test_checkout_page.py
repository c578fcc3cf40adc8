"""The sandbox's checkout page: what it shows, what its buttons do, and what strangers can make of it."""

import asyncio
from datetime import timedelta

import pytest
from google.type.money_pb2 import Money
from iap.broker.v1 import purchase_pb2

from tests.contract.broker_http.shops import ANY_PORT
from tests.contract.broker_http.web import Web
from tests.contract.broker_world.running_broker import running_broker
from tests.contract.broker_world.world import Account, World, call, new_id, new_world
from tests.databases import unreadable

RETURN_URL = "https://shop.example/back?order=1&x=%22"


async def start(
    world: World,
    account: Account,
    *,
    return_url: str = "",
    title: str = "A hundred",
    price: Money | None = None,
    pack_credits: int = 100,
    validity: timedelta | None = None,
) -> str:
    """Starts a purchase and returns the path of its page."""
    pack = await world.new_pack(account.service, title=title, price=price, pack_credits=pack_credits, validity=validity)
    request = purchase_pb2.CreatePurchaseRequest(
        request_id=new_id(), pack_id=pack.pack_id, account_token=account.token, return_url=return_url
    )
    made = await call(world.stubs.purchases.CreatePurchase, request)
    assert made.checkout_url == f"{world.running.http_url}/checkout/{made.purchase.purchase_id}"
    return f"/checkout/{made.purchase.purchase_id}"


async def test_the_page_says_what_is_bought(sandbox_world: World, web: Web) -> None:
    account = await sandbox_world.new_account()
    price = Money(currency_code="EUR", units=1_234, nanos=500_000_000)
    page = await web.get(await start(sandbox_world, account, price=price, pack_credits=10_000))
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    goods = ("A hundred", "10,000", "Service Service", "Sold by Provider")
    for words in (*goods, "1,234.50 EUR", "no money moves", "Pay 1,234.50 EUR"):
        assert words in page.words
    assert "Valid" not in page.words


@pytest.mark.parametrize(
    ("validity", "shown"),
    [
        (timedelta(days=30), "30 days"),
        (timedelta(days=1), "1 day"),
        (timedelta(hours=36), "36 hours"),
        (timedelta(minutes=90), "90 minutes"),
        (timedelta(seconds=61), "61 seconds"),
    ],
)
async def test_the_page_says_how_long_credits_last(
    sandbox_world: World, web: Web, validity: timedelta, shown: str
) -> None:
    account = await sandbox_world.new_account()
    page = await web.get(await start(sandbox_world, account, validity=validity))
    assert f"Valid for {shown} " in page.words


@pytest.mark.parametrize(
    ("price", "shown"),
    [
        (Money(currency_code="JPY", units=1_500), "1,500 JPY"),
        (Money(currency_code="KWD", units=1, nanos=5_000_000), "1.005 KWD"),
        (Money(currency_code="USD", nanos=10_000_000), "0.01 USD"),
    ],
)
async def test_prices_have_their_currency_s_decimals(sandbox_world: World, web: Web, price: Money, shown: str) -> None:
    account = await sandbox_world.new_account()
    assert shown in (await web.get(await start(sandbox_world, account, price=price))).words


async def test_pay_puts_the_credits_on_the_account_and_leads_back(sandbox_world: World, web: Web) -> None:
    account = await sandbox_world.new_account()
    path = await start(sandbox_world, account, return_url=RETURN_URL)
    pressed = await web.press(path, await web.get(path), "pay")
    assert pressed.status == 200
    assert await sandbox_world.balance(account) == (200, 0, 200)
    escaped = "https://shop.example/back?order=1&amp;x=%22"
    assert f'<meta http-equiv="refresh" content="0; url={escaped}">' in pressed.text
    assert f'href="{escaped}"' in pressed.text
    assert "Paid. Thank you!" in pressed.words


@pytest.mark.parametrize("outcome", ["pay", "decline"])
@pytest.mark.parametrize("query", ["", "?done=1", "?done=1&outcome=decline"])
async def test_the_page_s_address_sends_nobody_to_the_shop_but_names_it(
    sandbox_world: World, web: Web, outcome: str, query: str
) -> None:
    account = await sandbox_world.new_account()
    path = await start(sandbox_world, account, return_url="https://shop.example@Evil.example:8443/x")
    page = await web.get(path)
    assert "refresh" in (await web.press(path, page, outcome)).text
    visited = await web.get(path + query)
    assert visited.status == 200
    assert "refresh" not in visited.headers
    assert "refresh" not in visited.text
    assert "Back to evil.example" in visited.words
    # Another site cannot make a visitor press the button again, which would lead on.
    assert (await web.press(path, page, outcome, sec_fetch_site="cross-site")).status == 403


async def test_decline_fails_the_purchase(sandbox_world: World, web: Web) -> None:
    account = await sandbox_world.new_account()
    path = await start(sandbox_world, account)
    result = await web.get((await web.press(path, await web.get(path), "decline")).headers["location"])
    assert "did not go through" in result.words
    assert "Nothing was charged" in result.words
    assert "<form" not in result.text
    assert "refresh" not in result.text
    assert await sandbox_world.balance(account) == (100, 0, 100)


async def test_a_button_pressed_twice_pays_once(sandbox_world: World, web: Web) -> None:
    account = await sandbox_world.new_account()
    path = await start(sandbox_world, account)
    page = await web.get(path)
    presses = await asyncio.gather(*(web.press(path, page, "pay") for _ in range(5)))
    assert {press.status for press in presses} == {303}
    assert await sandbox_world.balance(account) == (200, 0, 200)


async def test_a_second_window_that_declines_after_the_first_has_paid_changes_nothing(
    sandbox_world: World, web: Web
) -> None:
    account = await sandbox_world.new_account()
    path = await start(sandbox_world, account)
    first, second = await web.get(path), await web.get(path)
    assert first.field("request_id") != second.field("request_id")
    await web.press(path, first, "pay")
    for page in (first, second):
        late = await web.press(path, page, "decline")
        assert (late.status, late.headers["location"]) == (303, path)
    assert "Paid" in (await web.get(path)).words
    assert await sandbox_world.balance(account) == (200, 0, 200)


async def test_the_page_of_an_expired_purchase_has_no_buttons(sandbox_world: World, web: Web) -> None:
    account = await sandbox_world.new_account()
    path = await start(sandbox_world, account)
    page = await web.get(path)
    sandbox_world.clock.move(timedelta(hours=24) - timedelta(microseconds=1))
    assert "<form" in (await web.get(path)).text
    sandbox_world.clock.move(timedelta(microseconds=1))
    late = await web.press(path, page, "pay")
    assert (late.status, late.headers["location"]) == (303, path)
    expired = await web.get(path)
    assert "The time to pay has run out" in expired.words
    assert "<form" not in expired.text
    assert await sandbox_world.balance(account) == (100, 0, 100)


async def test_a_refunded_purchase_says_so(sandbox_world: World, web: Web) -> None:
    account = await sandbox_world.new_account()
    path = await start(sandbox_world, account)
    await web.press(path, await web.get(path), "pay")
    request = purchase_pb2.RefundPurchaseRequest(request_id=new_id(), purchase_id=path.rpartition("/")[2])
    await call(sandbox_world.stubs.purchases.RefundPurchase, request, account.customer.key)
    assert "refunded" in (await web.get(path)).words


@pytest.mark.parametrize(
    "identity",
    [
        "pur_000000000000000000000000_000000000000000000000000",
        "nothing",
        "%00",
        "pur_%00",
        "%F0%9F%92%B3",
        "%ff%fe",
        "..%2f..%2fetc%2fpasswd",
        "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
        "'%20OR%201=1--",
        "a" * 5_000,
        "",
        "a/b",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_purchase_is_a_404_page(web: Web, identity: str, method: str) -> None:
    form = {"request_id": new_id(), "outcome": "pay"} if method == "POST" else None
    answer = await web.ask(method, f"/checkout/{identity}", body=form)
    assert (answer.status, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is nothing here" in answer.words
    assert "<script" not in answer.text


@pytest.mark.parametrize("title", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "{{ 7 * 7 }}", "\u202eabc"])
async def test_a_title_is_text_and_nothing_else(sandbox_world: World, web: Web, title: str) -> None:
    account = await sandbox_world.new_account()
    page = await web.get(await start(sandbox_world, account, title=title))
    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "49" not in page.words.replace(account.service, "")
    shown = title.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;")
    assert f"<bdi>{shown}</bdi>" in page.text


@pytest.mark.parametrize(
    "return_url",
    [
        'https://shop.example/"><script>alert(1)</script>',
        "https://shop.example/'onmouseover='x",
        "https://shop.example/;url=https://evil.example",
    ],
)
async def test_a_return_url_cannot_break_out_of_its_place(sandbox_world: World, web: Web, return_url: str) -> None:
    account = await sandbox_world.new_account()
    path = await start(sandbox_world, account, return_url=return_url)
    result = await web.press(path, await web.get(path), "pay")
    assert "<script" not in result.text
    escaped = return_url.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    escaped = escaped.replace('"', "&#34;").replace("'", "&#39;")
    assert f'content="0; url={escaped}">' in result.text


@pytest.mark.parametrize("return_url", ["https:///nowhere", "http://[::1", "https://a\\b", "https://:80/"])
async def test_a_return_url_without_a_host_is_not_followed(sandbox_world: World, web: Web, return_url: str) -> None:
    account = await sandbox_world.new_account()
    path = await start(sandbox_world, account, return_url=return_url)
    result = await web.get((await web.press(path, await web.get(path), "pay")).headers["location"])
    assert "Paid" in result.words
    assert "refresh" not in result.text
    assert "<a " not in result.text


async def test_nothing_in_a_request_says_where_it_leads(sandbox_world: World, web: Web) -> None:
    account = await sandbox_world.new_account()
    path = await start(sandbox_world, account)
    page = await web.get(f"{path}?return_url=https://evil.example&done=https://evil.example")
    form = {
        "request_id": new_id(),
        "outcome": "pay",
        "return_url": "https://evil.example",
    }
    answer = await web.ask("POST", path, body=form, headers={"host": "evil.example"})
    assert answer.headers["location"] == f"{path}?done=1"
    assert "evil" not in page.text + (await web.get(path)).text
    for other in ("//evil.example", "/%5cevil.example", "/checkout//evil.example"):
        assert (await web.get(other)).status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec_fetch_site": "same-origin"}, 303),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"sec_fetch_site": "none"}, 403),
        ({"origin": "OWN"}, 303),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": ""}, 403),
        ({"sec_fetch_site": "same-origin", "origin": "https://a-proxy-changed-it.example"}, 303),
        ({}, 303),
    ],
)
async def test_a_form_of_another_site_pays_nothing(
    sandbox_world: World, web: Web, headers: dict[str, str], status: int
) -> None:
    account = await sandbox_world.new_account()
    path = await start(sandbox_world, account)
    own = {name: value.replace("OWN", web.url) for name, value in headers.items()}
    answer = await web.press(path, await web.get(path), "pay", **own)
    assert answer.status == status
    assert await sandbox_world.balance(account) == ((200, 0, 200) if status == 303 else (100, 0, 100))


@pytest.mark.parametrize(
    ("body", "content_type", "status", "words"),
    [
        (b"request_id=x&outcome=pay", None, 400, "request_id"),
        (b"outcome=pay", None, 400, "request_id"),
        (b"request_id=%(id)s&outcome=perhaps", None, 400, "outcome"),
        (b"request_id=%(id)s", None, 400, "outcome"),
        (b"", None, 400, "request_id"),
        (b"request_id=%(id)s&outcome=pay&outcome=decline", None, 400, "twice"),
        (b"request_id=%(id)s&outcome=%%ff", None, 400, "form"),
        (b"request_id=%(id)s&outcome=\xff", None, 400, "form"),
        (b"a=&" * 50, None, 400, "form"),
        (b"a" * 5_000, None, 413, "4096"),
        (b'{"outcome": "pay"}', "application/json", 415, "x-www-form-urlencoded"),
        (b"request_id=%(id)s&outcome=pay", "text/plain", 415, "x-www-form-urlencoded"),
        (b"request_id=%(id)s&outcome=pay", "multipart/form-data; boundary=x", 415, "x-www-form-urlencoded"),
    ],
)
async def test_a_form_that_cannot_be_read_names_what_is_wrong(
    sandbox_world: World, web: Web, body: bytes, content_type: str | None, status: int, words: str
) -> None:
    account = await sandbox_world.new_account()
    path = await start(sandbox_world, account)
    if b"%(id)s" in body:
        body = body % {b"id": new_id().encode()}
    headers = {"content-type": content_type or "application/x-www-form-urlencoded"}
    answer = await web.ask("POST", path, body=body, headers=headers)
    assert answer.status == status
    assert words in answer.words
    assert "<form" in (await web.get(path)).text
    assert await sandbox_world.balance(account) == (100, 0, 100)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"])
async def test_other_methods_are_not_allowed(web: Web, method: str) -> None:
    answer = await web.ask(method, "/checkout/x")
    assert answer.status == 405
    assert set(answer.headers["allow"].replace(" ", "").split(",")) >= {"GET"}


async def test_head_answers_as_get_without_a_body(web: Web) -> None:
    answer = await web.ask("HEAD", "/healthz")
    assert (answer.status, answer.text) == (200, "")


@pytest.mark.parametrize("path", ["/checkout/x", "/nothing", "/healthz", "/notices/x", "/style.css"])
async def test_every_answer_has_the_security_headers(web: Web, path: str) -> None:
    answer = await web.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == ("public, max-age=3600" if path == "/style.css" else "no-store")
    assert "server" not in answer.headers


async def test_pages_need_nothing_that_the_policy_forbids(sandbox_world: World, web: Web) -> None:
    account = await sandbox_world.new_account()
    page = await web.get(await start(sandbox_world, account))
    assert "<script" not in page.text
    assert " style=" not in page.text
    assert "<style" not in page.text
    sheet = await web.get("/style.css")
    assert (sheet.status, sheet.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "url(" not in sheet.text


async def test_who_asks_for_json_gets_errors_as_json(web: Web) -> None:
    answer = await web.get("/checkout/x", accept="application/json")
    assert (answer.status, answer.headers["content-type"]) == (404, "application/json")
    assert "no such purchase" in answer.text


async def test_healthz_says_that_it_serves(web: Web) -> None:
    answer = await web.get("/healthz")
    assert (answer.status, answer.text) == (200, '{"status":"SERVING"}')


async def test_a_proxy_may_put_the_pages_under_a_path_of_its_own(database_url: str) -> None:
    public_url = "https://example.com/iap"
    async with running_broker(database_url, http_listen=ANY_PORT, http_url=f"{public_url}/") as running:
        world = await new_world(running)
        account = await world.new_account()
        pack = await world.new_pack(account.service)
        request = purchase_pb2.CreatePurchaseRequest(
            request_id=new_id(), pack_id=pack.pack_id, account_token=account.token
        )
        made = await call(world.stubs.purchases.CreatePurchase, request)
        path = f"/checkout/{made.purchase.purchase_id}"
        assert made.checkout_url == public_url + path
        async with Web(running.http_url) as web:
            page = await web.get(path)
            assert 'href="/iap/style.css"' in page.text
            assert (await web.press(path, page, "pay", origin="https://evil.example")).status == 403
            pressed = await web.press(path, page, "pay", origin="https://example.com")
            assert (pressed.status, pressed.headers["location"]) == (303, f"/iap{path}?done=1")


async def test_a_database_that_does_not_answer_is_a_503_that_changes_nothing(database_url: str) -> None:
    async with running_broker(database_url, http_listen=ANY_PORT) as running:
        world = await new_world(running)
        account = await world.new_account()
        path = await start(world, account)
        async with Web(running.http_url) as web:
            page = await web.get(path)
            with unreadable(database_url, "purchases"):
                for answer in (await web.get(path), await web.press(path, page, "pay")):
                    assert answer.status == 503
                    assert answer.headers["retry-after"] == "1"
                    assert "Please try again" in answer.words
                    assert "purchases" not in answer.text
            assert (await web.press(path, page, "pay")).status == 303
            assert await world.balance(account) == (200, 0, 200)
