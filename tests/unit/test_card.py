"""`inv cluster.info`: the manual's card (digest E2) for each environment; secrets are shown only on request."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fabfile import inventory
from fabfile.errors import UsageError
from fabfile.inventory import Environment
from fabfile.tables.card import Line, card, login_command, token_command
from fabfile.text.masking import MASKED, mask
from making import environment

HALVES = {"aws": "5fcddc13c9193dd1", "datacenter": "8679e4553a1e7426"}
MASTERS = {"aws": "13.124.31.81", "datacenter": "13.124.11.58"}


def of(name: str, kubernetes: str = "1.5") -> Environment:
    env = inventory.load(name)
    return replace(env, settings=replace(env.settings, kubernetes=kubernetes))


def rows(env: Environment, *, reveal: bool = False) -> dict[str, Line]:
    return {line.name: line for line in card(env, reveal=reveal)}


@pytest.mark.parametrize("name", HALVES)
def test_the_manuals_card_of_each_environment(name: str) -> None:
    found, master, half = rows(of(name), reveal=True), MASTERS[name], HALVES[name]
    assert found["Bearer token"].value == half
    assert found["Header"].value == f"Authorization: Bearer {half}"
    assert found["API server"].value == f"https://{master}:6443"
    assert found["Dashboard"].value == f"http://{master}:31447"
    assert found["InfluxDB"].value.startswith(f"http://{master}:30315")
    assert {name for name, line in found.items() if "Cocktail" in line.about} == {
        "API server",
        "Bearer token",
        "InfluxDB",
    }
    assert "Application.yaml" in found["InfluxDB"].about and "Kubernetes works" in found["Dashboard"].about


def test_the_datacenters_card_does_not_show_the_other_environments_token() -> None:
    """The manual has this mistake: its table for the datacenter repeats aws's token in one description."""
    for name, other in (("datacenter", "aws"), ("aws", "datacenter")):
        text = str(card(of(name), reveal=True))
        assert HALVES[name] in text and HALVES[other] not in text
        assert MASTERS[other] not in text


@pytest.mark.parametrize("name", HALVES)
def test_secrets_are_hidden_until_asked_for(name: str) -> None:
    text = str(card(of(name)))
    assert HALVES[name] not in text and MASKED in text and "--reveal" in text
    assert HALVES[name] not in mask(f"a log line with {HALVES[name]}")


@pytest.mark.parametrize("name", HALVES)
def test_todays_release_shows_no_published_token_even_when_asked(name: str) -> None:
    assert HALVES[name] not in str(card(of(name, "1.36"), reveal=True))


@pytest.mark.parametrize("dashboard", ["headlamp", "kube-web-view"])
def test_todays_token_belongs_to_a_service_account_and_expires(dashboard: str) -> None:
    token = rows(environment(dashboard=dashboard))["Token"]
    assert token.proof == f"kubectl --context test -n kube-system create token {dashboard} --duration 1h"
    assert "$(kubectl" in rows(environment(dashboard=dashboard))["Header"].proof


def test_a_new_token_is_shown_with_its_header() -> None:
    found = {line.name: line for line in card(environment(), token="eyJ.a.b")}
    assert found["Token"].value == "eyJ.a.b" and found["Header"].value == "Authorization: Bearer eyJ.a.b"
    assert found["Header"].proof.endswith("https://192.0.2.1:6443/api -H @- <<< 'Authorization: Bearer eyJ.a.b'"), (
        "not an argument of curl"
    )


def test_no_secret_is_sent_to_an_unverified_server() -> None:
    for env in (environment(), environment(kubernetes="1.5", token="abcdef.0123456789abcdef"), of("aws")):
        for line in (*card(env, reveal=True, login="hunter22"), *card(env, reveal=True, token="eyJ.a.b")):
            if "Bearer" in line.proof or "eyJ" in line.proof:
                assert (
                    re.search(r"curl -s --cacert <\(kubectl config view --raw .* base64 -d\)", line.proof)
                    and " -sk" not in line.proof
                )
                assert "-H '" not in line.proof and '-H "' not in line.proof, "nor on a command line"
    assert not any(" -sk" in line.proof for line in card(environment()))


def test_the_proof_lines_are_shell(tmp_path: Path) -> None:
    """Bash runs the lines with stand-ins that print what reaches curl: the CA's text, the header, and no token among the arguments."""
    (tmp_path / "kubectl").write_text(
        "#!/bin/sh\ncase \"$*\" in *'create token'*) echo TOKEN;; *) printf Q0EK;; esac\n"
    )
    (tmp_path / "curl").write_text(
        '#!/bin/bash\nargs="$*"\nwhile [ $# -gt 0 ]; do [ "$1" != --cacert ] || cat "$2"; [ "$1" != @- ] || cat; shift; done\necho "$args"\n'
    )
    for name in ("kubectl", "curl"):
        (tmp_path / name).chmod(0o755)
    for env, token in (
        (environment(), ""),
        (environment(), "eyJ.a.b"),
        (environment(kubernetes="1.5", token="abcdef.0123456789abcdef"), ""),
    ):
        header = next(line for line in card(env, reveal=True, token=token) if line.name == "Header").proof
        done = subprocess.run(
            ["bash", "-c", header],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        ca, sent, arguments = done.stdout.splitlines()
        wanted = token or ("0123456789abcdef" if env.settings.release.token_in_inventory else "TOKEN")
        assert (ca, sent) == ("CA", f"Authorization: Bearer {wanted}") and wanted not in arguments


def test_influxdbs_login_is_shown_only_with_reveal() -> None:
    found = rows(environment())
    assert MASKED in found["Login"].value and "--reveal" in found["Login"].value
    assert " -u kubefab http" in found["InfluxDB"].proof, "curl asks for the password"
    shown = {line.name: line for line in card(environment(), reveal=True, login="5e1f")}
    assert shown["Login"].value == "user kubefab, password 5e1f"
    assert "5e1f" not in shown["InfluxDB"].proof
    for env in (environment(influxdb_login="no"), of("aws")):
        assert "Login" not in rows(env) and "-u " not in rows(env)["InfluxDB"].proof and login_command(env) == ""
    assert (
        login_command(environment()) == "kubectl -n monitoring get secret influxdb-login -o jsonpath='{.data.kubefab}'"
    )


def test_a_token_is_created_on_a_control_plane_that_answers() -> None:
    assert token_command(environment()) == "kubectl -n kube-system create token headlamp --duration 1h"
    for env in (environment(dashboard="none"), environment(kubernetes="1.5")):
        with pytest.raises(UsageError):
            token_command(env)


def test_every_address_has_the_line_that_proves_it() -> None:
    for env in (environment(), of("aws")):
        for line in card(env):
            if "://" in line.value:
                assert line.proof.startswith("curl ") and line.value.split()[0] in line.proof


def test_without_a_dashboard_its_line_and_token_are_left_out() -> None:
    assert {"Dashboard", "Token"}.isdisjoint(rows(environment(dashboard="none")))


def test_release_1_5_without_a_token_says_where_to_set_it() -> None:
    assert "TEST_TOKEN" in rows(environment(kubernetes="1.5"))["Bearer token"].value


def test_ports_come_from_the_settings() -> None:
    found = rows(environment(api_port="8443", dashboard_port="31000", influxdb_port="31001"))
    assert found["API server"].value.endswith(":8443")
    assert found["Dashboard"].value.endswith(":31000") and ":31001" in found["InfluxDB"].value
