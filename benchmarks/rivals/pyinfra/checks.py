"""Is the cluster as it should be?  Fails on the node where it is not."""

import asking
from pyinfra import host
from pyinfra.api.exceptions import DeployError

cluster, leads = host.data.cluster, host.data.me["control_plane"]
wrong = [f"packages: {names}" for names in [asking.packages(cluster)] if names]
wrong += [
    name
    for name, right in {
        "kernel": asking.kernel(cluster),
        "files": asking.files(cluster),
        "services": asking.services(),
        "kubeadm's files and certificates": asking.member(leads),
        "links": asking.links(),
    }.items()
    if not right
]
wrong += asking.whole(cluster) if leads else []
if wrong:
    raise DeployError(f"{host.name}: {'; '.join(wrong)}")
