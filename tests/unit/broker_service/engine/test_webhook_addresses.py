"""Which addresses strangers may have the broker call."""

import ipaddress

import pytest

from broker_service.domain.errors import InvalidField
from broker_service.engine.webhook_addresses import AddressRefusedError, WebhookAddresses, is_public

PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
NOT_PUBLIC = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.2.1",
    "192.168.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "2001:db8::1",
    "2001:0:a00:1::",
    "2002:a00:1::1",
    "2002:7f00:1::1",
    "fc00::1",
    "fdff::1",
    "fe80::1",
    "fe80::1%1",
    "fec0::1",
    "ff02::1",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_on_the_internet_may_be_called(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))
    WebhookAddresses(allow_loopback=False, allow_private=False).refuse_address("example.com", address)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_of_private_networks_may_not(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(AddressRefusedError):
        WebhookAddresses(allow_loopback=False, allow_private=False).refuse_address("example.com", address)
    WebhookAddresses(allow_loopback=False, allow_private=True).refuse_address("example.com", address)


def test_loopback_may_be_called_only_where_it_is_named_plainly_and_allowed() -> None:
    local = WebhookAddresses(allow_loopback=True, allow_private=False)
    for host in ("localhost", "127.0.0.1"):
        local.refuse_address(host, "127.0.0.1")
    local.refuse_address("::1", "::1")
    for host in ("example.com", "localhost.example.com", "127.0.0.1.example.com"):
        with pytest.raises(AddressRefusedError):
            local.refuse_address(host, "127.0.0.1")
    # A name that is plainly this machine's must not lead anywhere else.
    with pytest.raises(AddressRefusedError):
        local.refuse_address("localhost", "10.0.0.1")


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080/", "https://localhost/", "http://[::1]/"])
async def test_a_broker_that_others_reach_does_not_call_its_own_machine(url: str) -> None:
    with pytest.raises(InvalidField) as raised:
        await WebhookAddresses(allow_loopback=False, allow_private=False).check(url, "url")
    assert raised.value.field == "url"
    await WebhookAddresses(allow_loopback=True, allow_private=False).check(url, "url")
    await WebhookAddresses(allow_loopback=False, allow_private=True).check(url, "url")


async def test_a_name_that_is_looked_up_and_leads_to_this_machine_is_refused() -> None:
    addresses = WebhookAddresses(allow_loopback=True, allow_private=False)
    for url in ("https://2130706433/", "https://0x7f000001/", "https://127.1/"):
        with pytest.raises(InvalidField):
            await addresses.check(url, "url")
