"""`inv cluster.bootstrap`: bring a cluster up."""

from __future__ import annotations

from .common import CHANGING, Options, command, described, exit_with, limited, print_json
from .draining import HELP, forced


@command(
    "env",
    "workers",
    *CHANGING,
    optional=["kubeconfig", "yes"],
    help={
        "limit": "only these nodes: a group, names, addresses; several with commas",
        "only-failed": "only nodes that earlier runs left unfinished",
        "from": "begin with this phase",
        "yes": "1.5 only: the environment's name, if what an earlier cluster left may be stopped and the node rebooted (P2)",
        **HELP,
        "adopt": "the uid of a cluster that is to be this environment's, though it had another when it was last worked on from here",
    },
)
def bootstrap(
    *,
    limit: str = "",
    only_failed: bool = False,
    from_: str = "",
    options: Options,
    kubeconfig: str | bool = "",
    yes: str | bool = "",
    adopt: str = "",
    force_pods: str = "",
    delete_emptydir_data: bool = False,
) -> None:
    """Bring the cluster up, or on from where it stopped."""
    from .confirm import agreed
    from .session import opened

    environment = described(options)
    agrees, pods = agreed(environment, yes), forced(force_pods)
    # what else is typed can still be refused
    with opened(options, environment, ahead=not (limit or only_failed or from_)) as session:
        from ..context import Choices
        from ..phases import BOOTSTRAP
        from ..views.history import chosen_nodes, phases_from

        phases = phases_from(BOOTSTRAP, from_)
        choices = Choices(agreed=agrees, adopt=adopt, force_pods=pods, delete_emptydir=delete_emptydir_data)
        nodes = chosen_nodes(session.environment, limited(session.environment, limit), only_failed)
        if not nodes:
            from ..run.result import RunResult
            from ..text.screen import verdict

            session.console.print(verdict(True, f"{session.environment.name}: earlier runs left no node unfinished"))
            if options.json:
                from ..views import results

                print_json(results.of_run(session.environment.name, RunResult({})))
            return
        result = session.run(phases, nodes, choices, without_done="" if only_failed else "--only-failed")
        if not result.failed:
            from ..phases.certificates import unnamed
            from ..recipes.kubeadm import recipe_for
            from .kubeconfig import merge_into

            session.summary(result, phases)
            central = result.nodes.get(session.environment.control_plane.name)
            lacking = unnamed(recipe_for(session.environment), central.facts) if central and central.facts else None
            if lacking and not kubeconfig:
                session.console.print(f"! {lacking[0]}: {lacking[1]}", soft_wrap=True)
            if kubeconfig:
                file = kubeconfig if isinstance(kubeconfig, str) else ""
                merge_into(session, file, facts=central.facts if central else None)
            if result.steps and not options.quiet:
                from .info import print_card

                print_card(session.console, session.environment)
                if session.environment.settings.release.apps_api:  # verify's own condition
                    session.console.print(
                        f"\nto prove it from end to end: inv cluster.verify {session.environment.option}",
                        soft_wrap=True,
                    )
        if options.json:
            from ..views import results

            print_json(results.of_run(session.environment.name, result))
        exit_code = result.exit_code
    exit_with(exit_code)
