"""Secrets are always masked: registered ones in clear and base64, and any text that has the form of a secret."""

from __future__ import annotations

import base64
import json
import re
import shlex
import string
import time
from itertools import pairwise
from threading import Thread
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabfile.errors import KubefabError
from fabfile.text.masking import LONGEST_LINE, MASKED, SHORTEST, Lines, Masker, Secret, mask

SECRETS = st.text(
    alphabet=string.ascii_letters + string.digits + "!$%&/()=?+*'\"\\ -_.:;<>|^", min_size=SHORTEST, max_size=40
)


@given(st.lists(SECRETS, min_size=1, max_size=5), st.lists(st.text(max_size=20), min_size=1, max_size=6), st.randoms())
def test_a_registered_secret_is_always_masked(secrets: list[str], texts: list[str], random) -> None:
    masker = Masker()
    for secret in secrets:
        masker.add(secret)
    pieces = [*texts, *secrets]
    random.shuffle(pieces)
    seen = masker.mask("".join(pieces))
    # the text between masks contains no secret (a mask itself may: a secret can be "[sec")
    for part in seen.split(MASKED):
        assert not any(secret in part for secret in secrets)


@given(SECRETS)
def test_the_base64_form_of_a_secret_is_masked(secret: str) -> None:
    masker = Masker()
    masker.add(secret)
    encoded = base64.b64encode(secret.encode()).decode()
    assert encoded not in masker.mask(f"data: {encoded}\n").replace(MASKED, "")


@given(SECRETS, st.text(max_size=30))
def test_masking_twice_changes_nothing_more(secret: str, text: str) -> None:
    masker = Masker()
    once = masker.mask(text + secret)
    assert masker.mask(once) == once


def test_the_longest_secret_wins_where_one_holds_another() -> None:
    masker = Masker()
    masker.add("correct")
    masker.add("correct horse battery")
    assert masker.mask("pass correct horse battery!") == f"pass {MASKED}!"


def test_a_long_line_of_a_secret_is_masked_too() -> None:
    masker = Masker()
    masker.add("-----\nMIIEowIBAAKCAQEAxyz0123456789\n-----")
    assert "MIIE" not in masker.mask("got MIIEowIBAAKCAQEAxyz0123456789")


def test_a_very_short_secret_does_not_mask_words() -> None:
    masker = Masker()
    masker.add("a")
    assert masker.mask("a banana") == "a banana"


@given(SECRETS)
def test_every_encoding_of_a_secret_is_masked(secret: str) -> None:
    masker = Masker()
    masker.add(secret)
    data = secret.encode()
    forms = [
        base64.b64encode(data), base64.urlsafe_b64encode(data), data.hex(), data.hex().upper(), json.dumps(secret), json.dumps([secret]), shlex.quote(secret),
        f"'{secret}'".replace(secret, secret.replace("'", "'\\''")), quote(secret), quote(secret, safe=""), quote_plus(secret), re.sub("%..", lambda code: code[0].lower(), quote(secret, safe="")),
    ]  # fmt: skip
    for form in (f if isinstance(f, str) else f.decode() for f in forms):
        inner = form.strip("\"'[]=")
        assert len(inner) < SHORTEST or inner not in masker.mask(f"<{form}>").replace(MASKED, ""), form


def test_a_form_that_printf_q_makes_is_masked() -> None:
    masker = Masker()
    masker.add("a b$c'd")
    assert masker.mask("password=a\\ b\\$c\\'d ok") == f"password={MASKED} ok"


def test_a_secret_is_masked_before_its_end_is_cut_off() -> None:
    text = "the connection was refused: token abcdef.0123456789abcdef"
    for limit in range(1, len(text)):
        assert "0123456789abcdef"[-limit:] not in Masker().tail(text, limit) or limit < 8
    assert Masker().tail(f"  {text}\n", 20).endswith(MASKED)


# A hostile machine may print these over and over: the beginnings of everything that the patterns match.
SEEDS = ["eyJ-", "eyJ.", "a.", "a", "-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "-----END ", "authorization: basic ", "authorization  ", 'client-key-data"":  ',
         "://", "://a@", "://a:b", "--certificate-key ", "abcdef.", "aaaaaa.0123456789abcde", "kubefab:correct horse", " ", "\n", "%2"]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_masking_is_linear_in_what_a_machine_sends(seed: str) -> None:
    """Four times the text takes about four times the CPU time, not sixteen; Ctrl-C cannot interrupt Python's re."""
    masker = Masker()
    masker.add("kubefab:correct horse/battery 'staple'")

    def work(size: int) -> float:
        text, spent = seed * (size // len(seed)), []
        for _ in range(3):
            begin = time.process_time()
            masker.mask(text)
            spent.append(time.process_time() - begin)
        return min(spent)

    assert work(4 << 15) < 10 * max(work(1 << 15), 1e-4)


FORMS = [
    ("kubeadm join 10.2.0.1:6443 --token abcdef.0123456789abcdef", "abcdef.0123456789abcdef"),
    ("token: eyJhbGciOi.eyJzdWIi.SflKxwRJSM", "eyJhbGciOi"),
    ("--certificate-key 9f8e7d6c5b4a", "9f8e7d6c5b4a"),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "MIIE"),
    ("-----BEGIN PRIVATE KEY-----\nMIIE cut short", "MIIE"),
    ("    client-key-data: LS0tLS1CRUdJTg==", "LS0tLS1CRUdJTg"),
    ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
    ("authorization: bearer hunter2", "hunter2"),
    ("kubeadm join --certificate-key=9f8e7d6c5b4a", "9f8e7d6c5b4a"),
    ('{"user":{"client-key-data":"LS0tLS1CRUdJTg=="}}', "LS0tLS1CRUdJTg"),
    ('{"client-key-data" : "LS0tLS1CRUdJTg=="}', "LS0tLS1CRUdJTg"),
    ('  Authorization = ["Basic a3ViZWZhYjpjb3JyZWN0"]', "a3ViZWZhYjpjb3JyZWN0"),
    ('{"Authorization":"Bearer hunter2"}', "hunter2"),
    ("cannot fetch https://bob:s3cretpw@mirror.example/k8s", "s3cretpw"),
    ("https://bob:s3c@retpw@mirror.example", "retpw"),
    ("https://ghp_token@mirror.example/x", "ghp_token"),
    ("x_eyJhbGciOi.eyJzdWIi.SflKxwRJSM", "eyJzdWIi"),
    ("a.b.eyJhbGciOi.eyJzdWIi.SflKxwRJSM", "eyJzdWIi"),
]


@pytest.mark.parametrize(("text", "secret"), FORMS)
def test_text_that_looks_like_a_secret_is_masked(text: str, secret: str) -> None:
    assert secret not in Masker().mask(text)


@pytest.mark.parametrize(
    "text",
    [
        "registry.k8s.io/pause:3.10.2",
        "w1  install   3 steps",
        "sha256:" + "a" * 64,
        "10.44.0.0/16",
        "v1.36.4",
        "https://m.example/a@b",
        "a.b.c.d",
        "eyJ.is.no",
        "monkeyJar.a.b",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    masker = Masker()
    masker.add("hunter2")
    assert masker.mask(text) == text


def test_an_error_is_masked_in_all_its_parts() -> None:
    from fabfile.text.masking import register

    register("s3cr3t-of-this-test")
    error = KubefabError("m s3cr3t-of-this-test", "r s3cr3t-of-this-test", "o s3cr3t-of-this-test")
    assert (str(error), error.message, error.remedy, error.output) == (
        f"m {MASKED}",
        f"m {MASKED}",
        f"r {MASKED}",
        f"o {MASKED}",
    )


@given(SECRETS, st.text(max_size=20))
def test_a_value_is_masked_before_json_changes_it(secret: str, text: str) -> None:
    masker = Masker()
    masker.add(secret)
    value = {"seen": f"{text}{secret}", "more": [1, None, True, {f"k {secret}": (secret, 2.5)}]}
    seen = json.loads(json.dumps(masker.masked(value)))
    assert seen == {
        "seen": masker.mask(text + secret),
        "more": [1, None, True, {masker.mask(f"k {secret}"): [masker.mask(secret), 2.5]}],
    }


def test_adding_from_many_threads_loses_none() -> None:
    masker = Masker()
    names = [f"secret-number-{n:03d}" for n in range(40)]
    threads = [Thread(target=masker.add, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert masker.mask(" ".join(names)) == " ".join([MASKED] * 40)


# --- what arrives in pieces


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(places)]


def _shown(pieces: list[bytes], mark: str = "") -> list[str]:
    lines = Lines(mark)
    return [line for piece in pieces for line in lines.feed(piece)] + [*lines.feed(b"", last=True)]


@given(
    st.lists(
        st.sampled_from(
            ["word ", "\n", "\r\n", "\r", "비밀", "hunter2-is-secret", "\x1b[31m", " abcdef.0123456789abcdef "]
        ),
        max_size=25,
    ).map("".join),
    st.lists(st.integers(0, 10_000), max_size=12),
)
def test_however_output_is_cut_its_lines_are_those_of_the_whole_text_masked(text: str, cuts: list[int]) -> None:
    Secret("hunter2-is-secret")
    shown = _shown(_pieces(text.encode(), cuts))
    whole = text.replace("\r\n", "\n").replace("\r", "\n")
    assert shown == [mask(line) for line in (whole[:-1] if whole.endswith("\n") else whole).split("\n") if whole]
    assert not any("hunter2" in line or "0123456789abcdef" in line or "\x1b" in line for line in shown)


@given(st.lists(st.integers(0, 10_000), max_size=12), st.sampled_from(["", " RSA", " OPENSSH"]))
def test_no_line_of_a_private_key_is_shown(cuts: list[int], kind: str) -> None:
    key = f"-----BEGIN{kind} PRIVATE KEY-----\nMIIEow\nIBAAK=\n-----END{kind} PRIVATE KEY-----\n"
    shown = _shown(_pieces(f"before\n{key}between\ncat: {key}after\n".encode(), cuts))
    assert [line for line in shown if MASKED not in line] == ["before", "between", "after"]
    assert "MIIEow" not in str(shown) and "IBAAK" not in str(shown)


def test_only_marked_lines_are_shown_and_of_a_line_too_long_nothing() -> None:
    assert _shown([b"greeting\n##live a\n##kubefab 1 0\n##li", b"ve b"], "##live ") == ["a", "b"]
    long = b"x" * (LONGEST_LINE + 1)
    expected = ["a", f"[a line of more than {LONGEST_LINE} characters]", "b"]
    for pieces in (
        [b"##live a\n##live " + long + b"\n##live b\n"],
        [b"##live a\n##live ", long, long, b"y\n##live b\n"],
    ):
        assert _shown(pieces, "##live ") == expected
    assert _shown([b"other ", long, long, b"\n##live b\n"], "##live ") == ["b"]
