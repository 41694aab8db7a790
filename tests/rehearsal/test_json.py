"""`--json`: every command prints one document, its result or the error that ended it, of the form in docs/schema/results.json."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import jsonschema
import pytest

import tasks
from cli import Done, run
from fabfile.cli.phases import TASKS
from fabfile.inventory import PROJECT

SCHEMA = json.loads((PROJECT / "docs/schema/results.json").read_text(encoding="utf-8"))
INTERACTIVE = {"lab.shell", "cluster.shell"}  # they open a terminal
LAB = {"lab.build", "lab.down", "lab.up"}  # they change this machine
PHASES = {task.name for task in TASKS}

# One story on one rehearsal: what is typed, the exit code, and the definition where it is not the command's own.
STORY = (
    ("inv cluster.list", 0, ""),
    ("inv cluster.check", 0, ""),
    ("inv cluster.plan --commands --diff", 0, ""),
    ("inv cluster.report", 2, "failure"),
    ("inv cluster.verify", 1, "failure"),
    ("inv cluster.bootstrap --fault w2:packages-down", 1, ""),
    ("inv cluster.plan --check --diff --limit workers", 3, ""),
    ("inv cluster.bootstrap --kubeconfig", 0, ""),
    ("inv cluster.status", 0, ""),
    ("inv cluster.doctor --fault w2:wrong-mtu --fault w1:host-down", 1, ""),
    ("inv cluster.verify", 0, ""),
    ("inv cluster.history", 0, ""),
    ("inv cluster.report --run 1", 0, ""),
    ("inv cluster.evidence --out {folder}/evidence.tar.gz", 0, ""),
    ("inv cluster.digests --file {folder}/images.lock", 0, ""),
    ("inv cluster.backup", 2, "failure"),
    ("inv cluster.backup --plain --fault cp1:disk-full", 1, ""),
    ("inv cluster.backup --plain --timer", 0, ""),
    ("inv cluster.backup --plain --keep 2", 0, ""),
    ("inv cluster.backups --check", 0, ""),
    ("inv cluster.restore {folder}/none.tar", 2, "failure"),
    ("inv cluster.upgrade --to 1.37 --plan", 3, ""),
    ("inv cluster.renew --all --plan", 0, ""),
    ("inv cluster.renew --add-san api.example.org", 0, ""),
    ("inv cluster.renew --add-san a/b", 2, "failure"),
    ("inv cluster.releases --fault cp1:webhook-dead", 1, ""),
    ("inv cluster.releases --to x", 2, "failure"),
    ("inv cluster.remove --node w2 --plan", 0, ""),
    ("inv cluster.remove --node w2", 0, ""),
    ("inv cluster.remove --node w9", 2, "failure"),
    ("inv cluster.bootstrap", 0, ""),
    ("inv cluster.reboot --node w1 --plan", 0, ""),
    ("inv cluster.reboot --node w1,cp1", 0, ""),
    ("inv cluster.reboot", 2, "failure"),
    ("inv cluster.info", 0, ""),
    ("inv cluster.kubeconfig", 0, ""),
    ("inv cluster.run hostname --on all --fault w1:host-down", 255, ""),
    ("inv cluster.security-group --admin 198.51.100.7", 0, ""),
    ("inv cluster.sizing", 0, ""),
    ("inv cluster.manual --env aws", 0, ""),
    ("inv cluster.manifests --name kubeadm-init", 0, ""),
    ("inv cluster.manifests --name flanel", 2, "failure"),
    ("inv cluster.logs w1 --lines 5", 0, ""),
    ("inv cluster.completion fish", 0, ""),
    ("inv cluster.version", 0, ""),
    ("inv rehearsal.status", 0, ""),
    ("inv rehearsal.faults", 0, ""),
    ("inv lab.status", 0, ""),
    ("inv lab.up --kubernetes x", 2, "failure"),
    ("fab -H w1 prep", 0, ""),
    ("fab reset", 2, "failure"),
    ("fab -H w9 prep", 2, "failure"),
    ("inv cluster.status --env moon", 2, "failure"),
    ("inv cluster.plan --kubernetes 9", 2, "failure"),
    ("inv cluster.plan --phase x", 2, "failure"),
    ("inv cluster.plan --comands", 2, "failure"),
    ("inv cluster.sizing --nodes x", 2, "failure"),
    ("inv --dry cluster.status", 2, "failure"),
    ("inv cluster.reset --env aws", 2, "failure"),
    ("inv cluster.reset --yes rehearsal", 0, ""),
    ("inv rehearsal.down", 0, ""),
)


def command_of(line: str) -> str:
    """The command on a line: the first word with a dot in it, or the name of a phase."""
    return next(
        word for word in line.split() if word in PHASES or word.split(".")[0] in ("cluster", "lab", "rehearsal")
    )


def document(done: Done, definition: str) -> object:
    """What a command printed, held against the schema."""
    data = json.loads(done.stdout)
    # the schema itself is checked once, below
    jsonschema.Draft202012Validator({**SCHEMA, "$ref": f"#/$defs/{definition}"}).validate(data)
    return data


def test_each_command_prints_one_document_of_its_form(tmp_path: Path) -> None:
    home = {"XDG_STATE_HOME": str(tmp_path / "state"), "KUBECONFIG": str(tmp_path / "kubeconfig")}
    for line, code, other in STORY:
        done = run(*line.format(folder=tmp_path).split(), "--json", **home)
        assert done.returncode == code, (line, done.stdout, done.stderr)
        data = document(done, other or command_of(line))
        if isinstance(data, dict) and "exit" in data and isinstance(data["exit"], int):
            assert data["exit"] == code, line
        if "bootstrap" in line:  # for people, beside the document: a failed run's journal, what proves a good one
            assert isinstance(data, dict) and (f"journal: {data['journal']}" in done.stderr) == bool(code), done.stderr
            assert ("inv cluster.verify --env rehearsal" in done.stderr) == (not code), done.stderr
        if line == "inv cluster.status":  # after a failure, and one more bootstrap
            assert isinstance(data, list) and [row["ready"] for row in data] == [True, True, True]
            moved = run("inv", "cluster.plan", "--observe", "--diff", KUBEFAB_REHEARSAL_DASHBOARD_PORT="31999", **home)
            assert [text.strip() for text in moved.stdout.splitlines() if "nodePort" in text] == [
                "-    nodePort: 31447", "+    nodePort: 31999"
            ], moved.stdout  # fmt: skip


def test_every_command_has_it_and_its_form() -> None:
    names = {name.replace("_", "-") for name in tasks.ns.task_names}
    for name in names - INTERACTIVE:
        assert "json" in inspect.signature(tasks.ns[name].body).parameters, name
        assert name in SCHEMA["$defs"], name
    assert names - INTERACTIVE - LAB - PHASES == {command_of(line) for line, _, _ in STORY} - {
        "prep",
        "reset",
        "lab.up",
    }


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "wrong", [{"error": "text", "exit": 1}, {"exit": 1}, {"error": None, "exit": 1, "more": 2}], ids=str
)
def test_the_schema_refuses_other_documents(wrong: dict[str, object]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, {**SCHEMA, "$ref": "#/$defs/failure"})
