"""pyinfra's inventory, from cluster.json (given.py) in the working folder."""

import json
from pathlib import Path

CLUSTER = json.loads(Path("cluster.json").read_text())
hosts = [
    (
        name,
        {
            "ssh_hostname": node["host"],
            "ssh_port": node["port"],
            "ssh_user": node["user"],
            "ssh_key": node["key"],
            "ssh_known_hosts_file": "known_hosts",
            "me": node,
            "cluster": CLUSTER,
        },
    )
    for name, node in CLUSTER["nodes"].items()
]
