"""Who may use an endpoint."""

import pytest

from tpdeploy.errors import InputError
from tpdeploy.launcher.access import check_host, client_key


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_this_machines_addresses_need_no_key(host: str) -> None:
    """Others do not reach them."""
    check_host(host, insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "gpu-7.example.org", ""])  # noqa: S104
def test_other_addresses_need_one_or_the_users_insistence(host: str) -> None:
    """The refusal is one line that names both."""
    with pytest.raises(InputError, match="set TPDEPLOY_API_KEY, or insist with --insecure"):
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
