"""The operator's own manifests beside hosts.env: which files, their templates and mistakes, and what is done on the cluster."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fabfile import inventory
from fabfile.errors import UsageError
from fabfile.inventory import Environment, load
from fabfile.inventory.beside import rendered
from fabfile.inventory.find import NAME
from fabfile.inventory.model import Source
from fabfile.manifests.own import own
from fabfile.nodes.applied import ADDON, COLUMNS, STAMP, rows
from fabfile.nodes.facts import Applied
from fabfile.steps import Action, Step, Wait
from fabfile.text import yamls
from fabfile.text.masking import MASKED, mask
from fabfile.views.plan import Planned, as_text
from making import context, control_plane, environment, ids

HOSTS = "A_CONTROL_PLANE=192.0.2.1\nA_WORKER_1=192.0.2.2\nB_CONTROL_PLANE=192.0.2.3\n"
MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {}\ndata: {{a: b}}\n"
WEB = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop, labels: &l {app: web}}
spec: {replicas: 2, selector: {matchLabels: *l}, template: {metadata: {labels: *l}, spec: {containers: [{name: web, image: nginx}]}}}
"""


@pytest.fixture
def beside(tmp_path: Path) -> Callable[..., Environment]:
    def make(name: str = "a", **files: str) -> Environment:
        (tmp_path / NAME).write_text(f"{HOSTS}A_REGISTRY_USER=me\nA_REGISTRY_PASSWORD=of-a-template-91\n")
        (tmp_path / NAME).chmod(0o600)
        for path, text in files.items():
            place = tmp_path / "addons" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)
        return load(name, hosts_file=tmp_path / NAME, variables={})

    return make


def complaint(beside: Callable[..., Environment], **files: str) -> str:
    with pytest.raises(UsageError) as caught:
        beside(**files)
    return caught.value.message


# --- which files


def test_files_are_taken_by_name_and_an_environments_own_take_the_place_of_common_ones(
    beside: Callable[..., Environment],
) -> None:
    files = {
        "20-b.yaml": MAP.format("b"),
        "10-a.yml": MAP.format("a"),
        "a/20-b.yaml.j2": MAP.format("b2"),
        "b/30.yaml": MAP.format("c"),
        "README.md": "x",
        ".x": "",
    }
    found = beside(**files)
    names = {addon.name: addon.documents[0]["metadata"]["name"] for addon in rendered(found, [])}
    assert list(names.items()) == [("10-a", "a"), ("20-b", "b2")]
    assert [addon.name for addon in rendered(beside("b"), [])] == ["10-a", "20-b", "30"]
    assert found.remarks == ()
    remarks = beside(**{"notes.txt": "", "old/x.yaml": ""}).remarks
    assert (
        len(remarks) == 2
        and "notes.txt is not taken: a name ends in .yaml" in remarks[0]
        and "old/ is not taken" in remarks[1]
    )


def test_without_the_folder_there_is_nothing(beside: Callable[..., Environment]) -> None:
    assert beside().addons == ()
    assert load("rehearsal", variables={}).addons == ()
    assert not (inventory.PROJECT / "addons").exists()


WRONG = [
    ("x.yaml", "a: b\nb: c: d\n", "x.yaml:2: is not YAML"),
    ("x.yaml", f"{MAP.format('x')}---\nkind: ConfigMap\n", "x.yaml: document 2 has no apiVersion"),
    ("x.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {generateName: x}\n", "document 1 has no metadata.name"),
    ("x.yaml", "- a\n", "document 1 is not an object"),
    ("x.yaml", f"{MAP.format('x')}---\n{MAP.format('x')}", "ConfigMap x is defined twice"),
    ("x.yaml.j2", "a: 1\nb: {{ nodes[7].name }}\n", "x.yaml.j2:2: "),
    ("x.yaml.j2", "a: 1\n\nb: {{ setings.forks }}\n", "x.yaml.j2:3: 'setings' is undefined"),
    ("x.yaml.j2", "{% for n in nodes %}\n", "x.yaml.j2:1: "),
    ("x.yaml.j2", "a: 1\nb: {{ settings.registry_password }}\n", "x.yaml.j2: gives [secret] instead of a secret (line 2 of what"),
    ("x.yaml.j2", "a: {{ 1 // 0 }}\n", "x.yaml.j2:1: integer division or modulo by zero"),
    ("My_App.yaml", MAP.format("x"), "My_App.yaml: cannot be used by this name\n    → call it my-app.yaml"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "text", "said"), WRONG, ids=[f"{n}" for n in range(len(WRONG))])
def test_a_mistake_is_named_with_file_and_line_before_anything_is_connected_to(
    beside: Callable[..., Environment], file: str, text: str, said: str
) -> None:
    assert said in complaint(beside, **{file: text})


def test_files_that_others_can_write_are_refused(beside: Callable[..., Environment], tmp_path: Path) -> None:
    beside(**{"x.yaml": MAP.format("x")})
    (tmp_path / "addons/x.yaml").chmod(0o666)
    assert "x.yaml: everyone may write it\n    → `chmod o-w " in complaint(beside)
    (tmp_path / "addons/x.yaml").chmod(0o644)
    os.truncate(tmp_path / "addons/x.yaml", 2 << 20)
    assert "has 2048 KiB: at most 1024" in complaint(beside)


def test_a_template_has_the_settings_and_the_nodes(beside: Callable[..., Environment]) -> None:
    text = (
        MAP.format("x")
        + "  # {{ environment.name }} {{ settings.pod_cidr }}\n{% for node in nodes %}  # {{ node.address }}\n{% endfor %}"
    )
    (addon,) = rendered(
        beside(
            **{
                "x.yaml.j2": text.replace(
                    "a: b",
                    "a: '{{ nodes | length }} {{ settings.dns_domain }} {{ settings.registry_password.reveal() }}'",
                )
            }
        ),
        [],
    )
    assert addon.documents[0]["data"] == {"a": "2 cluster.local of-a-template-91"}


def test_values_are_what_kubectl_makes_of_them(beside: Callable[..., Environment]) -> None:
    values = "{ports: [22:22, 1_0, 089], day: 2026-01-01, mode: 0644, sure: y, hex: 0x1F, big: 1e3, half: .5, v: 1.20, on: yes, none: null, text: '7'}"
    (addon,) = rendered(beside(**{"x.yaml": MAP.format("x").replace("{a: b}", values)}), [])
    assert addon.documents[0]["data"] == {
        "ports": ["22:22", 10, 89.0], "day": "2026-01-01", "mode": 420, "sure": True, "hex": 31, "big": 1000.0, "half": 0.5, "v": 1.2, True: True, "none": None, "text": "7",
    }  # fmt: skip


# as Go's YAML has it (and `kubectl create --dry-run=server` of 1.36.3): text that it takes for something else unless it is quoted
AMBIGUOUS = [
    "y",
    "N",
    "yes",
    "on",
    "089",
    "1e3",
    "0x1F",
    "1_000",
    "0o17",
    "0b1",
    "12",
    "1.",
    ".5",
    "-1",
    "+1.5e-3",
    ".inf",
    "null",
    "~",
    "2026-01-01",
    "22:22",
    "true",
    "",
    "<<",
    "=",
]


@given(
    st.one_of(
        st.sampled_from(AMBIGUOUS),
        st.text("0123456789xobeEyYnN_.+-", max_size=6),
        st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8),
    )
)
def test_text_that_is_written_is_text_to_both_readers(text: str) -> None:
    written = yamls.dumped({"kind": text, text: [text]})
    assert list(yamls.documents(written)) == yamls.as_kubectl_reads(written) == [{"kind": text, text: [text]}]


def test_secrets_are_masked_and_their_file_is_not_shown(beside: Callable[..., Environment]) -> None:
    encoded = base64.b64encode(b"tru5tno1-really").decode()
    text = (
        f"apiVersion: v1\nkind: Secret\nmetadata: {{name: s}}\nstringData: {{p: 0penSes4me}}\ndata: {{q: {encoded}}}\n"
    )
    env = beside(**{"s.yaml": text, "t.yaml": MAP.format("t")})
    first, second = (a for a in actions(env, ()) if isinstance(a, Step))
    assert mask(f"0penSes4me tru5tno1-really {encoded}") == f"{MASKED} {MASKED} {MASKED}"
    assert (first.files[0].secret, first.files[0].mode, second.files[0].secret) == (True, "0600", False)
    assert "0penSes4me" not in "\n".join(as_text(Planned("cp1", "addons", (first,)), env, commands=True)) + repr(first)


# --- what is done


def actions(env: Environment, seen: tuple[Applied, ...]) -> list[Action]:
    base = environment(workers=1)
    base = replace(base, addons=env.addons)
    facts = replace(control_plane(base), addons=seen)
    return list(own(context(base, facts)))


def given_files(**texts: str) -> Environment:
    return replace(
        environment(),
        addons=tuple(Source(name, Path(f"/x/addons/{name}.yaml"), text) for name, text in sorted(texts.items())),
    )


def as_applied(env: Environment, **changes: str) -> tuple[Applied, ...]:
    """What the API has after the files were applied."""
    found = []
    for step in (a for a in actions(env, ()) if isinstance(a, Step)):
        for document in yaml.safe_load_all(step.files[0].content):
            metadata = document["metadata"]
            group = document["apiVersion"].rpartition("/")[0]
            found.append(
                Applied(
                    metadata["labels"][ADDON],
                    metadata["annotations"][STAMP],
                    group,
                    document["kind"],
                    metadata.get("namespace", ""),
                    metadata["name"],
                )
            )
    return tuple(replace(row, **changes) for row in found)


def test_each_file_is_applied_and_waited_for_and_then_nothing_is_to_do() -> None:
    env = given_files(a=MAP.format("one"), b=WEB)
    found = actions(env, ())
    assert ids(found) == ["addons.a", "addons.b", "…addons.b-ready"]
    step = found[1]
    assert isinstance(step, Step)
    assert [line.split("=")[0] if line.startswith("others") else line for line in step.commands] == [
        "others", "kubectl apply --server-side --force-conflicts -f /var/lib/kubefab/addons/new/b.yaml",
        "mv -f /var/lib/kubefab/addons/new/b.yaml /var/lib/kubefab/addons/b.yaml",
    ]  # fmt: skip
    (document,) = yaml.safe_load_all(step.files[0].content)
    assert document["metadata"]["labels"] == {"app": "web", ADDON: "b"}
    assert document["spec"]["selector"]["matchLabels"] == {"app": "web"}, (
        "an anchor of the file's does not take our label along"
    )
    assert actions(env, as_applied(env)) == []
    assert ids(actions(env, as_applied(env, fault="0 of 2 pods available"))) == ["…addons.b-ready"]


CHANGES: list[tuple[dict[str, str], dict[str, str], list[str]]] = [
    # before, after, the ids and what is deleted
    ({"a": MAP.format("one")}, {"a": MAP.format("one").replace("a: b", "a: c")}, ["addons.a"]),
    ({"a": f"{MAP.format('one')}---\n{WEB}"}, {"a": MAP.format("one")}, ["addons.a", "delete -n shop deployment.apps web"]),
    ({"a": MAP.format("one"), "b": WEB}, {"a": MAP.format("one")}, ["addons.without-b", "delete -n shop deployment.apps web"]),
    ({"a": MAP.format("one")}, {"a": "# nothing any more\n"}, ["addons.a", "delete -n default configmap one"]),
    ({"a": MAP.format("one")}, {"b": MAP.format("one")}, ["addons.b", "addons.without-a", "delete -n default configmap one"]),
    ({"a": "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n"}, {}, ["addons.without-a"]),
    ({"a": "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: disk}\n"}, {}, ["addons.without-a"]),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "wanted"), CHANGES, ids=[f"{n}" for n in range(len(CHANGES))])
def test_what_a_file_loses_is_deleted_unless_it_holds_data(
    before: dict[str, str], after: dict[str, str], wanted: list[str]
) -> None:
    seen = tuple(
        replace(row, namespace=row.namespace or "default" * (row.kind != "Namespace"))
        for row in as_applied(given_files(**before))
    )
    found = [a for a in actions(given_files(**after), seen) if isinstance(a, Step)]
    deleted = [line for step in found for line in step.commands if " delete " in line]
    words = [
        f"delete {line.split('; then kubectl ')[1].replace(' delete', '').partition(' --ignore')[0]}"
        for line in deleted
    ]
    assert [*(step.id for step in found), *words] == wanted
    for line in deleted:
        assert r"{.metadata.labels.kubefab\.dev/addon}" in line and line.startswith("if "), (
            "the label is asked for once more, before it goes"
        )
    if not deleted and not after:
        assert "; left, as it may hold what is not ours: " in found[0].title


def test_an_object_of_others_is_never_deleted() -> None:
    env = given_files(a=WEB)
    foreign = as_applied(env, addon="")
    assert actions(given_files(), foreign) == []
    assert ids(actions(env, foreign)) == ["addons.a", "…addons.a-ready"], (
        "its step refuses, by the line that looks for objects without the label"
    )


# --- the rows of kubectl

ROW = "b 0123456789abcdef apps/v1 Deployment shop web 3 3 2 2 2 <none> <none>"
ROWS = [
    (ROW, ""),
    (ROW.replace("3 3 2", "3 2 2"), "not seen by its controller yet"),
    (ROW.replace("3 3 2 2 2", "3 3 2 1 2"), "1 of 2 pods are new"),
    (ROW.replace("3 3 2 2 2", "3 3 2 2 <none>"), "0 of 2 pods available"),
    (ROW.replace("Deployment", "StatefulSet").replace("3 3 2 2 2", "3 3 2 0 2"), ""),
    (ROW.replace("Deployment", "DaemonSet").replace("<none> <none>", "3 1"), ""),
    (ROW.replace("Deployment", "DaemonSet").replace("<none> <none>", "3 0"), "no pod available"),
    (ROW.replace("Deployment", "DaemonSet").replace("<none> <none>", "0 0"), ""),
    ("b 0123456789abcdef v1 ConfigMap shop web" + " <none>" * 7, ""),
]  # fmt: skip


@pytest.mark.parametrize(("row", "fault"), ROWS)
def test_a_workload_is_rolled_out_or_has_the_reason(row: str, fault: str) -> None:
    assert len(row.split()) == len(COLUMNS.split(","))
    (found,) = rows([row])
    assert (found.fault, found.addon, found.name) == (fault, "b", "web")


@pytest.mark.parametrize(
    "row",
    [
        ROW + " x",
        ROW.replace("shop", "$(reboot)"),
        ROW.replace("web", "a;b"),
        ROW.replace("b 0", "B 0"),
        ROW.replace("3 3", "3 x"),
        "Error from server",
    ],
)
def test_a_row_without_its_form_is_as_if_it_were_not_there(row: str) -> None:
    assert rows([row]) == ()


@given(st.text(max_size=80))
def test_any_output_is_read(text: str) -> None:
    assert isinstance(rows(text.splitlines()), tuple)


def test_the_wait_names_what_is_not_there_yet() -> None:
    wait = actions(given_files(b=WEB), ())[-1]
    assert isinstance(wait, Wait)
    assert wait.until("error: the server is away") == "error: the server is away"
    assert wait.until(ROW.replace("3 3 2 2 2", "3 3 2 2 1")) == "Deployment web: 1 of 2 pods available"
    assert wait.until(ROW.replace("web", "other")) == "Deployment web: not there"
    assert wait.until(ROW) is None
