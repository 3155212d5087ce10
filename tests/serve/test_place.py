"""Where the page may be, and links to it."""

import socket

import pytest

from genq_export.core.errors import UserError
from genq_export.serve import certificate, qr_code
from genq_export.serve.access import Access
from genq_export.serve.place import Place, in_link, place_of


def test_this_machine_alone_is_the_default() -> None:
    place = place_of(None)
    assert (place.address, place.shown) == ("127.0.0.1", "127.0.0.1")
    assert not place.answers_to(socket.gethostname())


def test_every_address_is_shown_as_one_that_others_reach() -> None:
    place = place_of("0.0.0.0")
    assert place.address == "0.0.0.0"
    assert place.shown not in ("0.0.0.0", "")
    assert place.answers_to(f"{socket.gethostname()}:8800")


@pytest.mark.parametrize("host", ["no.such.name.invalid", "a b", "x" * 300, ""])
def test_what_is_no_address_is_told(host: str) -> None:
    with pytest.raises(UserError, match=r"is no name of a machine.*0\.0\.0\.0"):
        place_of(host)


def test_addresses_of_six_groups_stand_in_brackets() -> None:
    assert in_link("::1") == "[::1]" and in_link("10.0.0.1") == "10.0.0.1"
    assert Place("::1", "::1").answers_to("[::1]") and Place("::1", "::1").answers_to("[::1]:80")


def test_only_the_newest_keys_and_links_are_good() -> None:
    access = Access()
    keys = [access.open(access.link) for _ in range(70)]
    assert access.open("") is None and not access.knows("")
    assert [access.knows(str(key)) for key in keys] == [False] * 6 + [True] * 64


def test_a_qr_code_of_text_has_the_modules_of_the_code() -> None:
    segno = pytest.importorskip("segno")
    link = "http://192.168.1.7:8800/#abcdefghijklmnopqrstuv"
    text = qr_code.qr_text(link)
    assert text is not None
    lines = text.splitlines()
    modules = [list(row) for row in segno.make(link, error="l", micro=False).matrix_iter(1, 2)]
    for number, row in enumerate(modules):
        found = [sign in "█▀" if number % 2 == 0 else sign in "█▄" for sign in lines[number // 2]]
        assert found == [bool(module) for module in row]


def test_a_certificate_is_of_the_names_that_it_is_for() -> None:
    x509 = pytest.importorskip("cryptography.x509")
    encryption = certificate.self_signed(["127.0.0.1", "phone.test"])
    assert len(encryption.fingerprint.split(":")) == 32
    with socket.create_server(("127.0.0.1", 0)) as listening:
        import ssl
        from threading import Thread

        served = encryption.context.wrap_socket(listening, server_side=True)
        Thread(target=lambda: _accept(served), daemon=True).start()
        pem = ssl.get_server_certificate(("127.0.0.1", served.getsockname()[1]))
    names = x509.load_pem_x509_certificate(pem.encode()).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["phone.test"]
    assert [str(name) for name in names.value.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def _accept(served: socket.socket) -> None:
    try:
        served.accept()[0].close()
    except OSError:
        return
