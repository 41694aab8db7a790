"""`inv`'s entry: whole clusters (cluster.*), the lab, the rehearsal, and the same phases as `fab` with `--on`."""

from __future__ import annotations

from invoke import Collection

from fabfile.cli.backup import backup
from fabfile.cli.backups import backups
from fabfile.cli.bootstrap import bootstrap
from fabfile.cli.check import check, list_
from fabfile.cli.completion import completion
from fabfile.cli.digests import digests
from fabfile.cli.doctor import doctor
from fabfile.cli.evidence import evidence
from fabfile.cli.history import history
from fabfile.cli.info import info
from fabfile.cli.kubeconfig import kubeconfig
from fabfile.cli.logs import logs
from fabfile.cli.manifests import manifests
from fabfile.cli.manual import manual
from fabfile.cli.phases import TASKS
from fabfile.cli.plan import plan
from fabfile.cli.reboot import reboot
from fabfile.cli.releases import releases
from fabfile.cli.remove import remove
from fabfile.cli.renew import renew
from fabfile.cli.report import report
from fabfile.cli.reset import cluster_reset
from fabfile.cli.restore import restore
from fabfile.cli.run import run
from fabfile.cli.security_group import security_group
from fabfile.cli.shell import shell
from fabfile.cli.sizing import sizing
from fabfile.cli.status import status
from fabfile.cli.typed import understand
from fabfile.cli.upgrade import upgrade
from fabfile.cli.verify import verify
from fabfile.cli.version import version
from lab.entry import ns as lab
from rehearsal.entry import ns as rehearsal

cluster = Collection(
    "cluster", bootstrap, cluster_reset, plan, status, run, doctor, verify, history, report, evidence, digests, backup, backups, restore, renew,
    upgrade, releases, remove, reboot, list_, check, security_group, sizing, info, manifests, manual, kubeconfig, shell, logs, completion,
    version,
)  # fmt: skip
ns = Collection(*TASKS, cluster, lab=lab, rehearsal=rehearsal)
understand("invoke.main")
