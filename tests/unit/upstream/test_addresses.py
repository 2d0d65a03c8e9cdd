import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nexus_hub.errors import ForbiddenAddress, InvalidConfig
from nexus_hub.upstream.addresses import check_url, is_public, split_url


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.31.255.255",
        "192.0.0.8",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
        "2001:db8::1",
        "2001::1",
        "2002:7f00:1::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "not an address",
        "",
    ],
)
def test_all_other_addresses_are_not(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_inside_ipv6_is_as_public_as_outside(address: ipaddress.IPv4Address) -> None:
    assert is_public(f"::ffff:{address}") == is_public(f"64:ff9b::{address}") == is_public(str(address))


@given(st.sampled_from(["10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]), st.data())
def test_no_address_of_a_private_network_is_public(network: str, data: st.DataObject) -> None:
    assert not is_public(str(data.draw(st.ip_addresses(network=network))))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://tools.example/mcp", ("tools.example", 443)),
        ("http://tools.example", ("tools.example", 80)),
        ("HTTPS://Tools.example:8443/mcp?a=b", ("tools.example", 8443)),
        ("http://[::1]:80/", ("::1", 80)),
    ],
)
def test_host_and_port_are_found(url: str, expected: tuple[str, int]) -> None:
    assert split_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "",
        "tools.example",
        "//tools.example",
        "ftp://tools.example",
        "file:///etc/passwd",
        "https://",
        "https:///mcp",
        "http://user:secret@tools.example",
        "http://secret@tools.example",
        "http://[::1",
        "http://tools.example:secret/",
        "http://tools.example:99999/",
        "http://tools.example/a secret",
        "http://tools.example/\nsecret",
    ],
)
def test_a_url_that_can_not_be_used_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        split_url(url)
    assert "secret" not in repr(caught.value)
    assert caught.value.__cause__ is None


async def answers(host: str, port: int) -> list[str]:
    del port
    known = {"public.example": ["8.8.8.8"], "mixed.example": ["8.8.8.8", "10.0.0.1"]}
    if host not in known:
        raise socket.gaierror
    return known[host]


async def test_a_url_is_checked_by_all_addresses_of_its_host() -> None:
    await check_url("https://public.example/", allow_private=False, resolve=answers)
    with pytest.raises(ForbiddenAddress, match=r"mixed\.example"):
        await check_url("https://mixed.example/", allow_private=False, resolve=answers)
    await check_url("https://mixed.example/", allow_private=True, resolve=answers)


async def test_a_host_without_an_address_passes_until_it_is_connected_to() -> None:
    await check_url("https://unknown.example/", allow_private=False, resolve=answers)


async def test_a_bad_url_is_refused_even_where_private_addresses_are_allowed() -> None:
    with pytest.raises(InvalidConfig):
        await check_url("ftp://public.example/", allow_private=True, resolve=answers)


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
async def test_a_host_that_is_no_host_name_is_refused(host: str) -> None:
    with pytest.raises(InvalidConfig, match="no host name"):
        await check_url(f"http://{host}/mcp", allow_private=False)
