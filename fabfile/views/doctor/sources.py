"""Checks of what a node fetches: names resolved, package repositories, registries and their login, signing keys.

Sources: kubernetes/release 3818 and 3840 (the pkgs.k8s.io key lapsed, and dnf keeps the old copy); distribution's API
(`GET /v2/` answers 200 with a good login, 401 without); containerd docs/hosts.md.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from ...nodes.facts import OLD_REPOSITORIES
from ...recipes.packages import switched_off
from .chart import Chart, Patient
from .finding import ERROR, NOTE, WARNING, Finding
from .questions import Answer, Questions

DAY = 86400.0
KEY_WARNING = 45 * DAY


def sources(chart: Chart, patient: Patient, asked: Questions) -> Iterator[Finding]:
    """All checks of this topic on one node."""
    yield from _old(chart, patient)
    answers = patient.answers
    if answers is None:
        return
    if "curl" not in answers.tools:
        yield Finding(
            "KF-SRC-CURL",
            ERROR,
            (patient.name,),
            "curl is not installed: install, join and this doctor need it",
            "`apt-get install curl`, or `dnf install curl`",
        )
        return
    dead = {host for host, address in answers.names.items() if not address or address == "FAILED"}
    for host in sorted(dead):
        yield Finding(
            "KF-DNS-RESOLVE",
            ERROR,
            (patient.name,),
            f"the name {host} does not resolve there",
            "look at /etc/resolv.conf, and at UDP and TCP 53 to the resolver",
        )
    for label, url in asked.sources.items():
        yield from _fetched(chart, patient, f"source {label}", url, "KF-SRC-PACKAGES", dead)
    for host, url in asked.registries.items():
        yield from _fetched(chart, patient, f"registry {host}", url, "KF-REG-UPSTREAM", dead)
    yield from _registry(chart, patient)
    yield from _keys(chart, patient)


def _old(chart: Chart, patient: Patient) -> Iterator[Finding]:
    """Lists of Kubernetes' old repositories; for 1.5 they may be a mirror's, or its own."""
    found = [one for one in patient.facts.sources if any(old in one.uri for old in OLD_REPOSITORIES)]
    if found and chart.environment.settings.release.signed_packages:
        yield Finding(
            "KF-SRC-OLD",
            WARNING,
            (patient.name,),
            f"{', '.join(one.where for one in found)}: Kubernetes' old package repository, which was removed in March 2024",
            f"`{switched_off(found)}` there: kubefab adds a list of its own",
        )


def _fetched(chart: Chart, patient: Patient, name: str, url: str, code: str, dead: set[str]) -> Iterator[Finding]:
    answer = patient.answers.http.get(name) if patient.answers else None
    host = url.split("/")[2]
    fine = (200, 301, 302, 307, 308, 401, 403, 405) if code == "KF-REG-UPSTREAM" else (200,)
    if answer is None or answer.code in fine or host.rsplit(":", 1)[0] in dead:
        return
    remedy = {
        404: f"is this release there? `curl -I {url}`; KUBERNETES, PACKAGES_URL and CONTAINERD_URL make this address",
        0: f"`curl -ILv {url}` on the node; a proxy, a firewall towards the outside, or no route",
    }.get(0 if answer.error else answer.code, f"`curl -IL {url}` on the node")
    yield Finding(code, ERROR, (patient.name,), f"{url}: {_said(answer)}", remedy)


def _said(answer: Answer) -> str:
    """curl's error without its duration: texts that differ by milliseconds would be reported once per node."""
    error = re.sub(r" after \d+ (ms|milliseconds)", "", answer.error.removeprefix("curl: ")).strip()
    if answer.code == 0:
        return error or "no answer"
    if error.startswith("at "):  # a server of tokens
        return f"HTTP {answer.code} {error.removesuffix(':')}"
    # a redirect, to a place that is not reached
    return f"HTTP {answer.code}" + (f", then {error}" if error and answer.code < 400 else "")


def _registry(chart: Chart, patient: Patient) -> Iterator[Finding]:
    settings, answers, name = chart.environment.settings, patient.answers, (patient.name,)
    private = settings.registry
    answer = answers.http.get("private") if answers else None
    if private is None or answers is None or answer is None:
        return
    canary = answers.http.get("canary")
    if answer.code == 200 and canary and canary.code in (401, 403):
        answer = canary  # some registries let anybody ask whether they are there
    if answer.code == 401 and not settings.registry_user:
        seen = f"{private} asks for a login or a token (HTTP 401); it may still allow pulls without one"
        remedy = f"`{chart.fab(patient, 'registry')}` proves it by a pull; if that is refused, set REGISTRY_USER and REGISTRY_PASSWORD"
        yield Finding("KF-REG-LOGIN", NOTE, name, seen, remedy)
    elif answer.code in (401, 403):
        who = f"as {settings.registry_user} " if settings.registry_user else "without a login "
        seen = f"{private} refuses the login {who}({_said(answer)})"
        remedy = "set REGISTRY_USER in hosts.env and REGISTRY_PASSWORD in hosts.local.env"
        yield Finding("KF-REG-LOGIN", ERROR, name, seen, remedy)
    elif answer.code == 0 and re.search(_PLAIN, answer.error):
        remedy = f"if that is meant: REGISTRY=http://{private} in hosts.env; if not, give the registry a certificate"
        yield Finding("KF-REG-TLS", ERROR, name, f"{private} speaks plain HTTP where HTTPS is expected", remedy)
    elif answer.code == 0 and ("certificate" in answer.error or "SSL" in answer.error):
        remedy = (
            f"REGISTRY_CA names the CA's certificate file; `curl -vI {private.api}/` on the node shows what it presents"
        )
        yield Finding("KF-REG-TLS", ERROR, name, f"{private}: {_said(answer)}", remedy)
    elif answer.code != 200:
        https = "; where it wants HTTPS, take http:// out of REGISTRY" if private.scheme == "http" else ""
        yield Finding(
            "KF-REG-DOWN", ERROR, name, f"{private}: {_said(answer)}", f"`curl -v {private.api}/` on the node{https}"
        )
    elif canary and canary.code == 404:
        seen, remedy = f"the registry has no {chart.recipe.canary}", "mirror `kubeadm config images list` into it first"
        yield Finding("KF-REG-IMAGE", ERROR, name, seen, remedy)


# What OpenSSL and GnuTLS say of a server that does not answer in TLS.
_PLAIN = r"wrong version number|packet length too long|record layer failure|unexpected TLS packet"


def _keys(chart: Chart, patient: Patient) -> Iterator[Finding]:
    answers = patient.answers
    now = chart.now or time.time()
    for key in answers.keys if answers else ():
        left = key.ends - now
        if key.ends == 0 or left > KEY_WARNING:
            continue
        offered = key.where.startswith("http")
        when = time.strftime("%Y-%m-%d", time.gmtime(key.ends))
        what = "the key that the repository offers" if offered else f"the key in {key.where}"
        if left <= 0:
            yield Finding(
                "KF-KEY-EXPIRED",
                ERROR if offered else WARNING,
                (patient.name,),
                f"{what} ({key.id}) expired on {when}",
                "a newer minor's repository may offer an extended key (kubernetes/release 3818)"
                if offered
                else f"`{chart.fab(patient, 'install')}` fetches it again; on EL first `rpm -e --allmatches gpg-pubkey-9a296436`",
            )
        else:
            yield Finding(
                "KF-KEY-EXPIRES",
                NOTE,
                (patient.name,),
                f"{what} ({key.id}) expires on {when}, in {left / DAY:.0f} days",
                "install fetches it again each time; nothing to do until then",
            )
