"""Settings: read whole, overridden by the environment, every mistake named with file, key, value and what is
allowed.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from ocs.compose import diameter_config, ledger_settings, worker_count
from ocs.settings.loading import NO_PEER, SettingsError, load_settings, unknown_sections
from ocs.settings.start_warnings import start_warnings
from tests.ocs.diameter.certificates import Certificates

SHIPPED = Path(__file__).parents[3] / "config" / "ocs.toml"
PEER = '[[peer]]\norigin_host = "pgw.example.net"\nrealm = "example.net"\n'


def write(folder: Path, text: str) -> Path:
    path = folder / "ocs.toml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environment or {})
    return [str(mistake) for mistake in caught.value.mistakes]


def test_the_shipped_file_has_safe_defaults() -> None:
    settings = load_settings(SHIPPED, {})
    assert settings.diameter.listen == ["127.0.0.1:3868"]
    assert settings.diameter.accept_unknown_peers is False
    assert settings.ledger.durability == "fsync"
    assert settings.redis.url == ""
    assert settings.peer
    assert Path(settings.server.catalogue) == SHIPPED.parent / "catalogue.toml"
    assert settings.data_dir == SHIPPED.parents[1] / "data"


def test_the_shipped_file_shows_the_defaults(tmp_path: Path) -> None:
    shipped = load_settings(SHIPPED, {})
    smallest = load_settings(write(tmp_path, PEER), {})
    for section in ("diameter", "redis", "ledger", "api", "metrics", "log", "records"):
        assert getattr(shipped, section) == getattr(smallest, section)


def test_the_environment_overrides(tmp_path: Path) -> None:
    settings = load_settings(
        write(tmp_path, PEER),
        {
            "OCS_REDIS_URL": "redis://redis:6379/0",
            "OCS_DIAMETER_LISTEN": "0.0.0.0:3868, [::1]:3869",
            "OCS_DIAMETER_ACCEPT_UNKNOWN_PEERS": "true",
            "OCS_SERVER_WORKERS": "3",
            "OCS_SERVER_CATALOGUE": "other.toml",
            "OCS_LEDGER_DURABILITY": "everysec",
            "PATH": "/bin",
        },
    )
    assert settings.redis.url == "redis://redis:6379/0"
    assert settings.diameter.listen == ["0.0.0.0:3868", "[::1]:3869"]
    assert settings.diameter.accept_unknown_peers is True
    assert worker_count(settings) == 3
    assert settings.server.catalogue == "other.toml"
    assert diameter_config(settings).listen == (("0.0.0.0", 3868), ("::1", 3869))
    assert diameter_config(settings).peers[0].origin_host == "pgw.example.net"
    assert ledger_settings(settings).durability == "everysec"


def as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ",".join(f"{key}={each}" for key, each in value.items())
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def test_every_setting_can_be_given_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its default, as text, is what it is."""
    monkeypatch.chdir(tmp_path)  # paths of the environment are relative to it, those of the file to the file
    path = write(tmp_path, PEER)
    settings = load_settings(path, {})
    environment = {}
    for section, model in settings:
        for key, value in model if isinstance(model, BaseModel) else ():
            if value is not None:
                environment[f"OCS_{section.upper()}_{key.upper()}"] = as_text(value)
    assert "OCS_TRACING_RATIO" in environment and len(environment) > 80
    assert load_settings(path, environment) == settings
    assert load_settings(path, {"OCS_TRACING_RATIO": "0.25"}).tracing.ratio == 0.25


def test_all_errors_are_reported_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
        [diameter]
        listen = ["nonsense", "127.0.0.1:99999"]
        colour = "red"
        [ledger]
        durability = "never"
        partitions = 0
        timeout_ms = "2000"
        [nonsense]
        [[peer]]
        origin_host = "not a name"
        addresses = ["10.0.0.0/99"]
        """,
    )
    found = mistakes(path, {"OCS_SERVER_WORKERS": "many", "OCS_REDIS_URI": "x"})
    for words in (
        (str(path), "diameter.listen[0]", "'nonsense'", "host:port"),
        (str(path), "diameter.listen[1]", "'127.0.0.1:99999'", "host:port"),
        (str(path), "diameter.colour", "there are identity, realm"),
        (str(path), "ledger.durability", "'never'", '"fsync", "everysec" or "replicated"'),
        (str(path), "ledger.partitions", "0", "1 to 16384"),
        (str(path), "ledger.timeout_ms", "'2000'", "10 to 9000"),
        (str(path), "nonsense", "there are diameter, peer"),
        (str(path), "peer[0].origin_host", "'not a name'", "domain name"),
        (str(path), "peer[0].realm", "is missing", "domain name"),
        (str(path), "peer[0].addresses[0]", "10.0.0.0/99", "networks"),
        ("environment", "OCS_SERVER_WORKERS", "'many'", "1 to 256"),
        ("environment", "OCS_REDIS_URI", "OCS_REDIS_URL"),
    ):
        assert any(all(word in line for word in words) for line in found), (words, found)
    assert len(found) == 12


def test_what_does_not_fit_together_is_a_mistake(tmp_path: Path) -> None:
    path = write(tmp_path, "")
    assert mistakes(path) == [f"{path}: {NO_PEER}"]
    load_settings(path, {}, serves=False)
    (line,) = mistakes(write(tmp_path, "[broken"))
    assert line.startswith(f"{path}: is not TOML: ")
    assert "occurs twice" in mistakes(write(tmp_path, PEER + PEER))[0]
    assert "answer_timeout_ms" in mistakes(write(tmp_path, PEER + "[ledger]\ntimeout_ms = 5000\n"))[0]
    for more, words in (
        ('profile = "nope"', ("peer[0].profile", "'nope'", "standard")),
        ('realms = ["example.org"]', ("peer[0].realms", "relay")),
    ):
        (line,) = mistakes(write(tmp_path, PEER + more + "\n"))
        assert all(word in line for word in words), line
    ours = mistakes(write(tmp_path, '[diameter]\nidentity = "pgw.example.net"\n' + PEER))
    assert "peer[0].origin_host" in ours[0] and "our own identity" in ours[0]
    for kind, address in (("url", "not a url"), ("sip", "https://hot.example.net")):
        profile = f'[profile.x]\nredirect_address = "{address}"\nredirect_address_type = "{kind}"\n'
        assert f"no {kind} address" in mistakes(write(tmp_path, PEER + profile))[0]


def test_a_mistake_in_a_peers_entry_names_the_peer(tmp_path: Path) -> None:
    """Nobody counts which of a hundred is peer[57]."""
    second = PEER.replace("pgw.", "smsc.") + 'profile = "nope"\n'
    third = PEER.replace("pgw.", "msc.") + 'tls = "perhaps"\nconnect = "nowhere"\n'
    (line,) = mistakes(write(tmp_path, PEER + second))
    assert "peer[1].profile" in line and line.endswith(" (peer smsc.example.net)")
    found = mistakes(write(tmp_path, PEER + third))
    assert len(found) == 2 and all(each.endswith(" (peer msc.example.net)") for each in found)
    (line,) = mistakes(write(tmp_path, PEER + PEER))
    assert "occurs twice" in line and "(peer" not in line


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    assert "cannot be read" in mistakes(tmp_path / "none.toml")[0]
    assert "is not TOML" in mistakes(write(tmp_path, "[diameter\n"))[0]
    (tmp_path / "latin.toml").write_bytes(b'[diameter]\nidentity = "\xe9"\n')
    assert "is not UTF-8" in mistakes(tmp_path / "latin.toml")[0]


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    found = mistakes(write(tmp_path, PEER), {"OCS_REDIS_URL": "http://user:secret@redis"})
    assert "secret" not in found[0]


@pytest.mark.parametrize("url", ["unix://redis.sock", "unix:redis.sock", "unix://run/redis.sock"])
def test_a_unix_socket_is_named_by_its_whole_path(tmp_path: Path, url: str) -> None:
    """Else it is another one from another folder, or none: the client would take the loopback's port."""
    (found,) = mistakes(write(tmp_path, PEER + f'[redis]\nurl = "{url}"\n'))
    assert "redis.url" in found and "absolute path" in found
    load_settings(write(tmp_path, PEER + '[redis]\nurl = "unix:///run/redis.sock"\n'), {})


def test_a_platforms_own_variables_are_no_mistake(tmp_path: Path) -> None:
    environment = {
        "OCS_SERVICE_HOST": "10.0.0.1",
        "OCS_PORT": "tcp://10.0.0.1:3868",
        "OCS_REDIS_URL": "",
        "OCS_CONFIG": "ocs.toml",
        "OCS_PEER_REALM": "x",
    }
    load_settings(write(tmp_path, PEER), environment)
    assert unknown_sections(environment) == ["OCS_PEER_REALM", "OCS_PORT", "OCS_SERVICE_HOST"]


def test_peers_need_tls_where_somebody_could_listen_in(tmp_path: Path) -> None:
    """RFC 6733 §13: plain TCP only where the configuration says so."""

    def tls(listen: str, more: str = "") -> bool | None:
        text = f'[diameter]\nlisten = ["{listen}"]\n{PEER}{more}'
        return diameter_config(load_settings(write(tmp_path, text), {})).peers[0].tls

    assert tls("127.0.0.1:3868") is None and tls("[::1]:3868") is None
    assert tls("0.0.0.0:3868") is True
    assert tls("0.0.0.0:3868", 'addresses = ["127.0.0.0/8"]') is None
    assert tls("0.0.0.0:3868", 'addresses = ["192.0.2.0/24"]') is True
    assert tls("0.0.0.0:3868", 'tls = "forbidden"') is False


def test_a_peer_that_we_call_needs_tls_where_somebody_could_listen_in(tmp_path: Path) -> None:
    """Where it meets us says nothing of where we meet it."""

    def tls(listen: str, more: str) -> bool | None:
        text = f'[diameter]\nlisten = ["{listen}"]\n{PEER}{more}'
        (peer,) = load_settings(write(tmp_path, text), {}).peer
        return peer.needs_tls([listen])

    local, remote = "127.0.0.1:3868", "0.0.0.0:3868"
    assert tls(local, 'connect = "127.0.0.1:3869"') is None and tls(local, 'connect = "localhost:3869"') is None
    assert tls(local, 'connect = "192.0.2.7:5868"\ntls = "forbidden"') is False
    assert tls(remote, 'connect = "127.0.0.1:3869"\naddresses = ["127.0.0.1"]') is None
    for listen, more in (
        (remote, 'connect = "192.0.2.7:5868"'),
        (local, 'connect = "192.0.2.7:5868"'),
        (local, 'connect = "[2001:db8::1]:5868"'),
        (local, 'connect = "pgw.example.net:5868"'),
        (remote, 'connect = "192.0.2.7:5868"\naddresses = ["127.0.0.1"]'),
        (local, 'connect = "127.0.0.1:3869"\ntls = "required"'),
    ):
        path = write(tmp_path, f'[diameter]\nlisten = ["{listen}"]\n{PEER}{more}')
        (found,) = mistakes(path)
        assert found.startswith(f"{path}: peer[0].connect = '") and "needs the table [tls]" in found, found


@pytest.mark.parametrize("with_certificates", [False, True])
@pytest.mark.parametrize("where", ["loopback", "beyond"])
@pytest.mark.parametrize("tls", ["", "required", "forbidden", "either"])
def test_how_a_peer_is_called(tmp_path: Path, tls: str, where: str, with_certificates: bool) -> None:
    """What `tls` means for a call of ours. Absent: TLS, but plain TCP where all is loopback, whether [tls] is there or
    not. "either": TLS where we have certificates. What needs TLS and has none is refused at start.
    """
    text = '[diameter]\nlisten = ["127.0.0.1:3868"]\n' + PEER
    text += f'connect = "{"127.0.0.1" if where == "loopback" else "192.0.2.7"}:3869"\n' + (
        f'tls = "{tls}"\n' if tls else ""
    )
    if with_certificates:
        certificate, key = (Path(name).name for name in Certificates(tmp_path).server)
        text += f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\nca = "ca.pem"\n'
    path = write(tmp_path, text)
    over_tls = {
        "": where == "beyond",
        "required": True,
        "forbidden": False,
        "either": with_certificates,
    }[tls]
    if over_tls and not with_certificates:
        (found,) = mistakes(path)
        assert "needs the table [tls]" in found
        return
    (peer,) = diameter_config(load_settings(path, {})).peers
    assert (peer.tls is True or peer.call_tls) == over_tls


def test_somewhere_we_must_listen(tmp_path: Path) -> None:
    path = write(tmp_path, "[diameter]\nlisten = []\n" + PEER)
    (found,) = mistakes(path)
    assert found.startswith(f"{path}: diameter.listen = []: ") and "diameter.listen_tls" in found
    (found,) = mistakes(write(tmp_path, PEER), {"OCS_DIAMETER_LISTEN": ""})
    assert found.startswith("environment: OCS_DIAMETER_LISTEN = []: ")


def test_a_server_of_tls_only(tmp_path: Path) -> None:
    certificates = Certificates(tmp_path)
    certificate, key = (Path(name).name for name in certificates.server)
    tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\nca = "ca.pem"\n'
    path = write(tmp_path, '[diameter]\nlisten = []\nlisten_tls = ["0.0.0.0:5868"]\n' + PEER + tls)
    config = diameter_config(load_settings(path, {}))
    assert (config.listen, config.listen_tls) == ((), (("0.0.0.0", 5868),))
    assert config.tls is not None


def test_what_profiles_and_peers_may_not_say(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        f"""
        [diameter]
        listen_tls = ["127.0.0.1:5868"]
        [profile.a]
        final_unit = "redirect"
        [profile.b]
        filters = "filter_id"
        [profile.c]
        redirect_address = "192.0.2.1"
        redirect_address_type = "ipv6"
        [profile.d]
        filters = "rules"
        filter_rules = ["anything"]
        {PEER}
        subscribers = ["+386"]
        connect = "192.0.2.1"
        [tls]
        certificate = "missing.pem"
        """,
    )
    found = "\n".join(mistakes(path))
    for words in (
        "profile.a: redirect needs a redirect_address",
        'profile.b: filters = "filter_id" needs filter_ids',
        "profile.c: redirect_address is of another type",
        "profile.d.filter_rules[0] = 'anything'",
        "peer[0].subscribers[0] = '+386': is no prefix of a number",
        "peer[0].connect = '192.0.2.1': is not host:port",
        "tls: certificate, key and ca are needed together",
    ):
        assert words in found, found
    unknown = mistakes(write(tmp_path, PEER + 'profile = "nobody"'))
    assert any("peer[0].profile = 'nobody': there is no such profile; there are pgw, scscf" in each for each in unknown)
    no_tls = mistakes(write(tmp_path, '[diameter]\nlisten_tls = ["127.0.0.1:5868"]\n' + PEER))
    assert any("TLS needs the table [tls]" in each for each in no_tls)


def test_a_profile_reaches_its_peers(tmp_path: Path) -> None:
    text = """
        [profile.pgw]
        final_unit = "redirect"
        redirect_address = "https://top-up.example.net"
        final_unit_of = { voice = "terminate" }
        failure_handling = "retry_and_terminate"
        session_failover = true
    """
    peer_of_it = PEER + 'profile = "pgw"\nsubscribers = ["386", "imsi:29340"]'
    shared = {"OCS_REDIS_URL": "redis://redis", "OCS_DIAMETER_HOSTS": "ocs2.example.net"}
    settings = load_settings(write(tmp_path, text + peer_of_it), shared)
    peer = diameter_config(settings).peers[0]
    assert (peer.profile.name, peer.profile.final_unit, peer.profile.failure_handling) == ("pgw", "redirect", 2)
    assert (peer.profile.final_unit_of["voice"], peer.profile.session_failover) == ("terminate", 1)
    assert peer.subscribers == ("m386", "i29340")


def test_how_long_a_beginning_of_a_number_may_be(tmp_path: Path) -> None:
    for text in ("3" * 15, "imsi:" + "2" * 16):
        load_settings(write(tmp_path, PEER + f'subscribers = ["{text}"]'), {})
    for text in ("3" * 16, "imsi:" + "2" * 17, "imsi:", "", "386x"):
        assert "no prefix of a number" in str(mistakes(write(tmp_path, PEER + f'subscribers = ["{text}"]')))


HOSTS = {"OCS_DIAMETER_HOSTS": "ocs.example.net, ocs2.example.net"}
REDIS = {"OCS_REDIS_URL": "redis://redis:6379/0"}


@pytest.mark.parametrize("name", ["standard", "pgw", "mine"])
@pytest.mark.parametrize(
    ("environment", "needs"),
    [
        (HOSTS | REDIS, ""),
        (HOSTS, "a Redis that other nodes can reach (redis.url)"),
        (REDIS, "the identities of the other nodes in diameter.hosts"),
        ({"OCS_DIAMETER_HOSTS": "OCS.example.NET"} | REDIS, "the identities of the other nodes in diameter.hosts"),
        ({}, "a Redis that other nodes can reach (redis.url) and the identities of the other nodes"),
    ],
)
def test_failover_is_promised_only_where_another_node_can_keep_it(
    tmp_path: Path, environment: dict[str, str], needs: str, name: str
) -> None:
    """CC-Session-Failover = 1 (RFC 8506 §8.4); 0, and not to send it, promise nothing."""
    path = write(tmp_path, PEER + f"[profile.{name}]\nsession_failover = true\n")
    if needs:
        (found,) = mistakes(path, environment)
        assert found.startswith(f"{path}: profile.{name}.session_failover = True: ") and needs in found
    else:
        assert load_settings(path, environment).other_hosts == ["ocs2.example.net"]
    for promise in ("session_failover = false", ""):
        load_settings(write(tmp_path, PEER + f"[profile.{name}]\n{promise}\n"), environment)


def test_the_housekeeper_is_left_to_another_node_only_where_there_can_be_one(tmp_path: Path) -> None:
    path = write(tmp_path, PEER + "[server]\nhousekeeper = false\n")
    (found,) = mistakes(path)
    assert found.startswith(f"{path}: server.housekeeper = False: ") and "private Redis" in found
    assert load_settings(path, REDIS).server.housekeeper is False


def test_a_node_of_ours_is_no_peer(tmp_path: Path) -> None:
    (found,) = mistakes(write(tmp_path, '[diameter]\nhosts = ["PGW.example.net"]\n' + PEER))
    assert "peer[0].origin_host = 'pgw.example.net': is one of diameter.hosts" in found


def test_a_peer_that_cannot_connect_is_warned_of_and_the_start_goes_on(tmp_path: Path) -> None:
    def found(text: str) -> list[str]:
        return [
            each for each in start_warnings(load_settings(write(tmp_path, text), {}), {}) if "catalogue" not in each
        ]

    assert found(PEER) == []
    (line,) = found('[diameter]\nlisten = ["0.0.0.0:3868"]\n' + PEER)
    assert line.startswith("pgw.example.net must connect over TLS") and "diameter.listen_tls" in line
    (line,) = found(PEER + 'tls = "required"')
    assert "must connect over TLS" in line
    assert found(PEER + 'tls = "forbidden"') == []
    certificates = Certificates(tmp_path)
    certificate, key = (Path(name).name for name in certificates.server)
    tls = f'[tls]\ncertificate = "{certificate}"\nkey = "{key}"\nca = "ca.pem"\n'
    only_tls = '[diameter]\nlisten = []\nlisten_tls = ["0.0.0.0:5868"]\n'
    assert found(only_tls + PEER + tls) == []
    (line,) = found(only_tls + PEER + 'tls = "forbidden"\n' + tls)
    assert "must connect over plain TCP" in line and "set diameter.listen" in line
    assert found(PEER + 'tls = "required"\nconnect = "127.0.0.1:3869"\n' + tls) == [], "we go to it"


def test_the_example_catalogue_and_unknown_variables_are_warned_of(tmp_path: Path) -> None:
    path = write(tmp_path, PEER)
    (line, other) = start_warnings(load_settings(path, {}), {"OCS_NONSENSE": "x"})
    assert "OCS_NONSENSE" in line and other.startswith("server.catalogue is not set")
    (tmp_path / "catalogue.toml").write_text("", encoding="utf-8")
    assert start_warnings(load_settings(path, {}), {}) == []
    assert start_warnings(load_settings(SHIPPED, {}), {}) == []


def test_certificates_must_be_usable(tmp_path: Path) -> None:
    for name in ("cert.pem", "key.pem", "ca.pem"):
        (tmp_path / name).write_text("nonsense", encoding="ascii")
    text = PEER + '[tls]\ncertificate = "cert.pem"\nkey = "key.pem"\nca = "ca.pem"\n'
    (found,) = mistakes(write(tmp_path, text))
    assert f"tls: {tmp_path}/cert.pem with {tmp_path}/key.pem cannot be used" in found
    text = PEER + '[tls]\ncertificate = "{}"\nkey = "{}"\nca = "ca.pem"\n'
    certificate, key = (Path(name).name for name in Certificates(tmp_path).server)
    (tmp_path / "ca.pem").write_text("nonsense", encoding="ascii")
    (found,) = mistakes(write(tmp_path, text.format(certificate, key)))
    assert f"tls: {tmp_path}/ca.pem cannot be used" in found


ONE_PEER = '[[peer]]\norigin_host = "pgw.example.net"\nrealm = "example.net"\n'


@pytest.mark.parametrize(
    ("notices", "warned"),
    [
        ('port = "log"', []),
        ('port = "webhook"\nurl = "https://sms.example.net/x"\nsecret = "s"', []),
        ('port = "webhook"\nurl = "http://127.0.0.1:8000/x"\nsecret = "s"', []),
        ('port = "webhook"\nurl = "https://sms.example.net/x"', ["notices.secret is not set"]),
        ('port = "webhook"\nurl = "http://sms.example.net/x"\nsecret = "s"', ["notices.url is http"]),
    ],
)
def test_notices_that_leave_unsigned_or_in_clear_are_warned_of(tmp_path: Path, notices: str, warned: list[str]) -> None:
    found = start_warnings(load_settings(write(tmp_path, f"{ONE_PEER}[notices]\n{notices}\n"), {}), {})
    assert [each.partition(":")[0] for each in found if each.startswith("notices.")] == warned


@pytest.mark.parametrize(
    ("notices", "said"),
    [
        ('port = "webhook"', "notices.url"),
        ('port = "webhook"\nurl = "sms.example.net"', "notices.url"),
        ('port = "smpp"', "notices.port"),
        ("attempts = 0", "notices.attempts"),
    ],
)
def test_notices_that_cannot_be_sent_are_a_mistake(tmp_path: Path, notices: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(write(tmp_path, f"{ONE_PEER}[notices]\n{notices}\n"), {})


def test_values_of_a_table_that_contradict_each_other_are_named_with_their_table(tmp_path: Path) -> None:
    for table, line, key in (
        ("top_up_file.petrol", 'columns = { msisdn = "N" }', "top_up_file.petrol.columns"),
        ("payments", 'automatic = "http"', "payments.url"),
        ("tracing", "max_batch_spans = 4096", "tracing.max_batch_spans"),
    ):
        path = tmp_path / "ocs.toml"
        path.write_text(f"[{table}]\n{line}\n", encoding="utf-8")
        with pytest.raises(SettingsError) as error:
            load_settings(path, serves=True)
        assert f"{path}: {key}" in str(error.value), error.value
