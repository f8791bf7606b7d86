"""Which addresses are public, and host names in one spelling."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from answer.addresses import host_name, is_public


@pytest.mark.parametrize("address", [
    "8.8.8.8", "1.1.1.1", "172.15.255.255", "172.32.0.1", "100.63.255.255", "223.1.2.3", "2606:4700::1111",
    "2a00:1450:4001:82f::200e", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public(address):
    assert is_public(address)


@pytest.mark.parametrize("address", [
    "0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
    "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255", "192.0.0.170", "192.0.2.1", "192.88.99.1",
    "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255", "168.63.129.16",
    "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "64:ff9b:1::808:808", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1", "2002:7f00:1::", "2002:808:808::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fe80::1",
    "fe80::1%eth0", "2606:4700::1111%eth0", "fec0::1", "ff02::1", "ff0e::1",
    "", "localhost", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "[::1]", "8.8.8.8 ", "８.8.8.8"])
def test_not_public(address):
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_ways_to_wrap_an_address_open_nothing(inner):
    for wrapped in (f"::ffff:{inner}", str(ipaddress.IPv6Address((0x64FF9B << 96) + int(inner)))):
        assert is_public(wrapped) == is_public(str(inner))
    for wrapped in ((0x2002 << 112) + (int(inner) << 80), int(inner), (0x20010000 << 96) + int(inner)):
        assert not is_public(str(ipaddress.IPv6Address(wrapped)))


@given(st.ip_addresses())
def test_nothing_is_public_that_python_calls_private(address):
    if address.version == 6 and (address.ipv4_mapped or address in ipaddress.ip_network("64:ff9b::/96")):
        return
    assert address.is_global or not is_public(str(address))


@pytest.mark.parametrize(("text", "name"), [
    ("Host.Example", "host.example"), ("host.example.", "host.example"), (" host.example ", "host.example"),
    ("bücher.example", "xn--bcher-kva.example"), ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
    ("[2606:4700::1111]", "2606:4700::1111"), ("2606:4700:0::1111", "2606:4700::1111"), ("8.8.8.8", "8.8.8.8")])
def test_host_names_in_one_spelling(text, name):
    assert host_name(text) == name
