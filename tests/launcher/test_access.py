"""Who may use an endpoint."""

from pathlib import Path

import pytest

from tpdeploy.errors import InputError
from tpdeploy.files import write_whole
from tpdeploy.launcher.access import check_certificate, check_host, client_key, read_keys

TLS = Path(__file__).parent / "tls"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_this_machines_addresses_need_no_key(host: str) -> None:
    """Others do not reach them."""
    check_host(host, insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "gpu-7.example.org", ""])  # noqa: S104
def test_other_addresses_need_one_or_the_users_insistence(host: str) -> None:
    """The refusal is one line that names both."""
    with pytest.raises(InputError, match=r"set TPDEPLOY_API_KEY, .* or insist with --insecure"):
        check_host(host, insecure=False)
    check_host(host, insecure=True)


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None if it is not set."""
    monkeypatch.delenv("TPDEPLOY_API_KEY", raising=False)
    assert client_key() is None
    monkeypatch.setenv("TPDEPLOY_API_KEY", "sk-Az09._~+/==")
    assert client_key() == "sk-Az09._~+/=="


@pytest.mark.parametrize("key", ["", " ", "a b", "a=b", "{env.HOME}", "a\nb", "*", "x" * 600])
def test_what_can_be_no_key_is_refused(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty one too; the key itself is not repeated."""
    monkeypatch.setenv("TPDEPLOY_API_KEY", key)
    with pytest.raises(InputError) as refused:
        client_key()
    assert not key.strip() or key.strip() not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("good\n# a comment\n", "key 2: keys consist of"),
        ("good\r\n", "key 1: keys consist of"),
    ],
)
def test_a_file_that_holds_what_can_be_no_key_is_refused(
    tmp_path: Path, text: str, words: str
) -> None:
    """The front would take any line for a key: a comment would be one."""
    write_whole(tmp_path / "keys", text)
    with pytest.raises(InputError, match=words):
        read_keys(tmp_path / "keys")


def test_a_file_of_keys_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """With the remedy; so is the key of a certificate."""
    keys, key = tmp_path / "keys", tmp_path / "key.pem"
    write_whole(keys, "one\ntwo\n")
    assert read_keys(keys) == ("one", "two")
    keys.chmod(0o640)
    with pytest.raises(InputError, match="others can read it; chmod 600"):
        read_keys(keys)
    key.write_text((TLS / "key.pem").read_text())
    key.chmod(0o644)
    with pytest.raises(InputError, match="others can read it; chmod 600"):
        check_certificate(TLS / "certificate.pem", key)


def test_a_certificate_and_a_key_must_be_a_pair(tmp_path: Path) -> None:
    """What is missing or broken is refused before anything starts, without a question."""
    key = tmp_path / "key.pem"
    write_whole(key, (TLS / "key.pem").read_text())
    check_certificate(TLS / "certificate.pem", key)
    write_whole(tmp_path / "broken.pem", "-----BEGIN NOTHING-----")
    for certificate, other in ((tmp_path / "broken.pem", key), (tmp_path / "none.pem", key)):
        with pytest.raises(InputError, match="with --tls-key"):
            check_certificate(certificate, other)
    with pytest.raises(InputError, match="with --tls-key"):
        check_certificate(TLS / "certificate.pem", tmp_path / "broken.pem")
