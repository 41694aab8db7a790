"""No object with a secret shows it: settings, environment, context, steps and errors, however they are printed."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Iterator
from dataclasses import asdict, replace

import pytest
from forgetting import forgetting
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from fabfile.context import Choices
from fabfile.errors import KubefabError
from fabfile.inventory import layers
from fabfile.phases import EVERY, for_release
from fabfile.run.tokens import new_token
from fabfile.text.masking import MASKED, Secret, Token, mask
from making import context, control_plane, environment, fresh, installed

# No text of ours begins like this, so a match is the secret itself.
PASSWORDS = st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), max_size=20).map("Zq7§".__add__)
TOKENS = st.from_regex(r"[a-z0-9]{6}\.zq7[a-z0-9]{13}", fullmatch=True)


def prints(value: object) -> Iterator[str]:
    yield from (repr(value), str(value), f"{value}", f"{value!s:>9}", f"{value!r}", f"{[value]}", f"{ ({'x': value}) }")


def holders(password: str, token: str) -> Iterator[object]:
    """Every object that contains a secret, or is made from one that does."""
    modern = environment(1, registry="r.example:5000", registry_user="me", registry_password=password)
    legacy = environment(1, kubernetes="1.5", token=token)
    old = replace(fresh("cp1"), packages={"docker.io": "1", "kubeadm": "1.5"}, api_ready=True)
    for env, up in ((modern, control_plane(modern)), (legacy, old)):
        yield from (env.settings, env, vars(env.settings), asdict(env.settings), copy.deepcopy(env))
        for facts in (fresh("cp1"), fresh("w1"), installed(modern, "cp1"), installed(modern, "w1")):
            ctx = context(env, facts, control=up, token=token, choices=Choices(agreed=True))
            yield ctx
            for phase in for_release(env, list(EVERY.values())):
                if ctx.node.role in phase.roles:
                    yield from phase.run(ctx)
    login = modern.settings.registry_login
    yield from (login, [login], Token(token), Secret(password))
    yield KubefabError(f"refused: {password}", f"try {login.reveal()}", f"{{'token': {token}}}")
    yield layers.Value(password, "hosts.local.env:1", layers.Path())


# each example runs both recipes for four machines
@settings(max_examples=10, phases=[Phase.explicit, Phase.generate], deadline=None)
@given(PASSWORDS, TOKENS)
def test_no_object_with_a_secret_prints_it(password: str, token: str) -> None:
    forms = [
        password,
        repr(password)[1:-1],
        base64.b64encode(f"me:{password}".encode()).decode(),
        token,
        token.split(".")[1],
    ]
    for holder in holders(password, token):
        for text in prints(holder):
            assert not [form for form in forms if form in text], f"{type(holder).__name__}: {text[:400]}"


def test_the_tested_objects_really_contain_the_secrets() -> None:
    """The property above covers steps that send each secret to a node."""
    sent = {"login": base64.b64encode(b"me:Zq7-word").decode(), "token": "abcdef.zq70123456789abc"}
    found = set()
    for holder in holders("Zq7-word", sent["token"]):
        texts = [f.content for f in getattr(holder, "files", ())] + list(getattr(holder, "commands", ()))
        found |= {name for name, secret in sent.items() if any(secret in text for text in texts)}
        if sent["token"] in str(getattr(holder, "commands", "")):
            found.add("a command of 1.5")
    assert found == {*sent, "a command of 1.5"}


@given(PASSWORDS)
def test_a_secret_shows_only_that_it_exists(text: str) -> None:
    with forgetting():
        secret = Secret(text)
        assert (str(secret), repr(secret), f"<{secret}>") == (MASKED, f"Secret('{MASKED}')", f"<{MASKED}>")
        assert secret.reveal() == text and secret and secret == Secret(text) and hash(secret) == hash(Secret(text))
        assert secret != text and secret != Secret(f"{text}x"), "a comparison with a str has forgotten to reveal"
        with pytest.raises(TypeError):
            json.dumps(secret)
        assert text not in mask(f"seen: {text}"), "the masker knows it"


def test_an_empty_secret_is_false_and_shows_nothing() -> None:
    assert (str(Secret()), repr(Secret()), bool(Secret()), mask("a b")) == ("", "Secret('')", False, "a b")


def test_a_token_is_named_by_its_first_half() -> None:
    token = Token("abcdef.0123456789abcdef")
    assert (token.id, token.half, repr(token)) == ("abcdef", "0123456789abcdef", f"Token('{MASKED}')")
    assert (
        mask("bearer 0123456789abcdef, or its half in a log: 0123456789abcdef")
        == f"bearer {MASKED}, or its half in a log: {MASKED}"
    )
    assert mask("bootstrap-token-abcdef") == "bootstrap-token-abcdef"
    made = new_token()
    assert isinstance(made, Token) and made.half not in mask(f"x {made.half}")


def test_a_plans_placeholder_for_a_token_is_shown() -> None:
    token = Token.later("<minted for each run>")
    assert (token.id, token.reveal()) == ("<minted for each run>",) * 2
    assert mask(f"secret bootstrap-token-{token.id}") == "secret bootstrap-token-<minted for each run>"
