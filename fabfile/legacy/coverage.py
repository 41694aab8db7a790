"""The manual's coverage: every digest ID, the command that a person types for it, the module that does it, the test that holds it.

tools/docs.py makes the table in docs/manual.md of it; tests/unit/test_coverage.py checks that modules, tests and commands exist.
"""

from __future__ import annotations

from ..records import dataclass

_MANUAL = "unit/test_manual_recipe.py"
_PHASES = "unit/test_phases.py"
_STORY = "rehearsal/test_manual_story.py"


@dataclass(frozen=True)
class Row:
    """`modules` are paths under fabfile/, `tests` are `path::function` under tests/."""

    id: str
    what: str
    types: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]


def _row(id: str, what: str, types: str, modules: str, *tests: str) -> Row:
    return Row(id, what, types, tuple(modules.split()), tests)


_PREP, _INSTALL, _REGISTRY = "fab -H all prep", "fab -H all install", "fab -H all registry"
_INIT, _NETWORK, _JOIN, _ADDONS, _RESET = (
    "fab -H master init",
    "fab -H master network",
    "fab -H slaves join",
    "fab -H all addons",
    "fab -H all reset",
)
_WORD_FOR_WORD = f"{_MANUAL}::test_each_command_of_the_digest_is_there_word_for_word"

ROWS = (
    _row("E1", "Ubuntu, later perhaps CentOS", "inv cluster.bootstrap", "recipes/packages.py",
         "unit/test_recipes.py::test_package_families", "rehearsal/test_happy_path.py::test_a_cluster_on_rocky_linux"),
    _row("E2", "info card", "inv cluster.info --reveal", "tables/card.py", "unit/test_card.py::test_the_manuals_card_of_each_environment"),
    _row("E3", "sizes of machines", "inv cluster.sizing --nodes 5", "tables/sizing.py", "unit/test_sizing.py::test_the_manuals_table"),
    _row("E4", "ports", "inv cluster.security-group", "tables/ports.py tables/security_group.py",
         "unit/test_ports.py::test_every_port_of_the_manual_is_in_the_table", "unit/test_security_group.py::test_nodes_are_named_one_by_one"),
    _row("E5", "as root", "inv cluster.bootstrap --ask-sudo-pass", "nodes/connection.py", "unit/test_connection.py::test_sudo_that_asks_for_a_password"),
    _row("P1", "look at the interfaces", _PREP, "nodes/observe.py phases/prep.py legacy/phases.py",
         "unit/test_facts.py::test_links_from_an_ip_command_without_json", f"{_MANUAL}::test_p1_the_interfaces_of_a_new_machine_are_looked_at_once",
         f"{_STORY}::test_without_ifconfig_the_interfaces_are_read_from_ip"),
    _row("P2", "what an earlier cluster left", _PREP, "phases/prep.py legacy/phases.py",
         f"{_PHASES}::test_leftovers_of_our_own_are_removed",
         f"{_MANUAL}::test_p2_an_earlier_clusters_link_means_reset_docker_stopped_and_a_reboot",
         f"{_STORY}::test_p1_p2_leftovers_are_reset_and_rebooted_away"),
    _row("I1", "the repository's key", _INSTALL, "recipes/packages.py legacy/commands.py",
         _WORD_FOR_WORD, f"{_PHASES}::test_a_repositorys_key_is_checked_unless_switched_off"),
    _row("I2", "the repository", _INSTALL, "recipes/packages.py legacy/commands.py",
         f"{_MANUAL}::test_i2_the_apt_source", "unit/test_recipes.py::test_repositories"),
    _row("I3", "fresh package lists", _INSTALL, "recipes/packages.py legacy/commands.py",
         _WORD_FOR_WORD, "unit/test_recipes.py::test_install_commands"),
    _row("I4", "a container runtime", _INSTALL, "recipes/packages.py legacy/commands.py",
         _WORD_FOR_WORD, "unit/test_recipes.py::test_containerds_configuration"),
    _row("I5", "kubelet, kubeadm, kubectl, CNI", _INSTALL, "recipes/packages.py legacy/commands.py",
         _WORD_FOR_WORD, f"{_PHASES}::test_versions_are_pinned_and_held"),
    _row("R1", "private registry", _REGISTRY, "phases/registry.py legacy/phases.py",
         _WORD_FOR_WORD, "unit/test_recipes.py::test_registry_files"),
    _row("R2", "applied, and proved", _REGISTRY, "phases/registry.py legacy/phases.py",
         _WORD_FOR_WORD, f"{_PHASES}::test_a_private_registry_is_tested_by_pulling_an_image"),
    _row("M1", "kubeadm init", _INIT, "phases/master.py legacy/phases.py",
         _WORD_FOR_WORD, "unit/test_recipes.py::test_init_of_a_control_plane_behind_nat"),
    _row("M2", "a minute, else the network", _INIT, "phases/master.py legacy/phases.py",
         f"{_MANUAL}::test_m2_a_slow_init_points_to_the_aws_console", f"{_PHASES}::test_master",
         f"{_STORY}::test_m2_a_hanging_init_points_to_the_aws_network_and_is_undone_next_time"),
    _row("N1", "flannel", _NETWORK, "phases/network.py legacy/phases.py", _WORD_FOR_WORD, f"{_PHASES}::test_network"),
    _row("N2", "all pods Running", _NETWORK, "phases/network.py legacy/phases.py",
         f"{_MANUAL}::test_n2_pending_and_containercreating_mean_wait", f"{_PHASES}::test_pods_all_run_or_the_first_few_are_named",
         f"{_STORY}::test_n2_pods_are_pending_and_creating_before_they_run"),
    _row("N3", "cni0 and flannel.1 in range, else restart the kubelet", _NETWORK, "recipes/flannel.py legacy/phases.py",
         f"{_MANUAL}::test_n3_both_links_in_the_range_then_the_kubelet_is_restarted_then_n4", "rehearsal/test_faults.py::test_a_fault",
         f"{_STORY}::test_n3_j3_after_a_minute_the_kubelet_is_restarted"),
    _row("N4", "still wrong: reset and again", _NETWORK, "recipes/flannel.py legacy/phases.py",
         f"{_MANUAL}::test_n3_both_links_in_the_range_then_the_kubelet_is_restarted_then_n4", "rehearsal/test_faults.py::test_a_fault",
         f"{_STORY}::test_n4_in_the_end_a_reset_is_advised_which_then_helps"),
    _row("J1", "kubeadm join", _JOIN, "phases/join.py legacy/phases.py",
         _WORD_FOR_WORD, f"{_PHASES}::test_the_join_token_is_created_once_and_never_shown",
         f"{_STORY}::test_j1_a_dead_worker_fails_only_itself"),
    _row("J2", "flannel.1 appears", _JOIN, "recipes/flannel.py legacy/phases.py", f"{_MANUAL}::test_j1_to_j4", f"{_PHASES}::test_join"),
    _row("J3", "after a minute restart the kubelet", _JOIN, "recipes/flannel.py legacy/phases.py",
         f"{_MANUAL}::test_j1_to_j4", "rehearsal/test_faults.py::test_a_fault",
         f"{_STORY}::test_n3_j3_after_a_minute_the_kubelet_is_restarted"),
    _row("J4", "listed and Ready", "inv cluster.status", "phases/join.py legacy/phases.py",
         f"{_MANUAL}::test_j4_the_control_plane_lists_the_node", f"{_PHASES}::test_ready_is_what_the_api_says"),
    _row("A1", "dashboard on 31447", _ADDONS, "phases/addons.py legacy/phases.py", f"{_MANUAL}::test_a1_to_a5", f"{_PHASES}::test_addons"),
    _row("A2", "monitoring with InfluxDB", _ADDONS, "phases/addons.py legacy/phases.py", f"{_MANUAL}::test_a1_to_a5", f"{_PHASES}::test_addons"),
    _row("A3", "retention policy", _ADDONS, "phases/addons.py legacy/phases.py",
         _WORD_FOR_WORD, f"{_PHASES}::test_show_retention_policies_is_read"),
    _row("A4", "until it succeeds", _ADDONS, "phases/addons.py legacy/phases.py",
         f"{_MANUAL}::test_a4_until_the_policy_is_the_default",
         f"{_PHASES}::test_the_manuals_command_is_repeated_and_then_the_pods_are_recreated_once",
         f"{_STORY}::test_a4_the_policy_is_asked_for_until_it_is_there"),
    _row("A5", "if it never succeeds: new pods, and again", _ADDONS, "phases/addons.py legacy/phases.py",
         f"{_MANUAL}::test_a1_to_a5", f"{_PHASES}::test_the_manuals_command_is_repeated_and_then_the_pods_are_recreated_once",
         f"{_STORY}::test_a5_without_a_policy_the_pods_are_deleted_and_it_is_tried_again"),
    _row("X1", "take it all back", _RESET, "phases/reset.py legacy/phases.py",
         f"{_MANUAL}::test_x1_x2_the_list_then_a_reboot_and_nothing_on_a_clean_node",
         "rehearsal/test_happy_path.py::test_reset_takes_everything_back",
         f"{_STORY}::test_x1_x2_nothing_is_left_and_the_machines_were_rebooted"),
    _row("X2", "reboot, then install again", "inv cluster.reset", "phases/reset.py legacy/phases.py",
         f"{_MANUAL}::test_x1_x2_the_list_then_a_reboot_and_nothing_on_a_clean_node",
         "rehearsal/test_happy_path.py::test_after_reset_bootstrap_works_again",
         f"{_STORY}::test_x1_x2_nothing_is_left_and_the_machines_were_rebooted"),
)  # fmt: skip


def table() -> str:
    """The table in docs/manual.md."""
    rows = ["| ID | the manual | you type | module | test |", "|---|---|---|---|---|"]
    for row in ROWS:
        modules = ", ".join(f"`{name}`" for name in row.modules)
        tests = ", ".join(f"`{test.replace('::', ' ')}`" for test in row.tests)
        rows.append(f"| {row.id} | {row.what} | `{row.types}` | {modules} | {tests} |")
    return "\n".join(rows)
