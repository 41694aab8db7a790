"""`inv cluster.manifests`: the YAML that is applied. It connects to nothing."""

from __future__ import annotations

from ..errors import UsageError
from .common import Options, command, described, print_json, print_text


@command(
    "env",
    "kubernetes",
    "recipe",
    "json",
    help={"name": "only this one: flannel, headlamp, monitoring …, kubeadm-init, kubeadm-join"},
)
def manifests(*, name: str = "", options: Options) -> None:
    """The YAML that is applied, for `kubectl diff -f -`."""
    from ..text.nearest import did_you_mean
    from ..views.manifests import applied, rendered
    from .notices import warn
    from .plan import with_simulated_nodes

    environment = with_simulated_nodes(described(options))
    warn(environment)
    texts = rendered(environment)
    if not texts:
        raise UsageError("1.5 is made with the manual's own files", f"`inv cluster.manual {environment.option}`")
    if name and name not in texts:
        hint = f"{did_you_mean(name, texts, '--name {}')}one of {', '.join(texts)}"
        raise UsageError(f"--name {name} is no manifest of {environment.name}", hint)
    chosen = [name] if name else applied(texts)
    if options.json:
        print_json({"environment": environment.name, "manifests": {one: texts[one] for one in chosen}})
        return
    for one in chosen:
        text = texts[one]
        print_text(f"--- # {one}\n{text.removeprefix(f'---{chr(10)}')}")
