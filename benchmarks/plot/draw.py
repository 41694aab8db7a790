"""Draws docs/measured.svg from docs/measured.json; runs in an environment of its own, with matplotlib (requirements.txt beside it).

python draw.py measured.json measured.svg
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams.update({"svg.hashsalt": "kubefab", "svg.fonttype": "path", "font.size": 9})
from matplotlib import pyplot  # noqa: E402

COLOURS = {"ssh": "#8a8a8a", "kubefab": "#1f6feb", "ansible": "#c0392b", "pyinfra": "#d68910"}
PANELS = {
    "nothing to do: every check again": {
        "ssh true": "ssh true",
        "kubefab unchanged": "kubefab bootstrap",
        "kubefab status": "kubefab status",
        "pyinfra checks": "pyinfra checks",
        "pyinfra again": "pyinfra deploy",
        "ansible checks": "Ansible checks",
        "ansible again": "Ansible playbook",
    },
    "bare nodes to a verified cluster": {
        "kubefab from bare": "kubefab",
        "pyinfra from bare": "pyinfra",
        "ansible from bare": "Ansible",
    },
}


def main(source: str, target: str) -> None:
    data = json.loads(Path(source).read_text())
    found = data["found"]
    panels = {title: [key for key in keys if key in found] for title, keys in PANELS.items()}
    panels = {title: keys for title, keys in panels.items() if keys}
    figure, axes = pyplot.subplots(
        len(panels), 1, figsize=(7.5, 0.9 + 0.55 * len(panels) + 0.27 * sum(map(len, panels.values()))), squeeze=False,
        gridspec_kw={"height_ratios": [len(keys) + 1 for keys in panels.values()]},
    )  # fmt: skip
    for axis, (title, keys) in zip(axes[:, 0], panels.items(), strict=True):
        spreads = [found[key]["wall"] for key in keys]
        medians = [one["median"] for one in spreads]
        beyond = [[one["median"] - one["least"] for one in spreads], [one["most"] - one["median"] for one in spreads]]
        colours = [COLOURS[key.split()[0]] for key in keys]
        axis.barh(
            [PANELS[title][key] for key in keys],
            medians,
            xerr=beyond,
            color=colours,
            ecolor="#444444",
            capsize=2,
            height=0.7,
        )
        for place, one in enumerate(spreads):
            text = f"{one['median']:.2f} s" if one["median"] < 2 else f"{one['median']:.1f} s"
            axis.annotate(text, (one["most"], place), xytext=(5, 0), textcoords="offset points", va="center")
        axis.invert_yaxis()
        axis.set_xlim(0, max(one["most"] for one in spreads) * 1.15)
        axis.set_title(title, loc="left", fontsize=10)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1, 0].set_xlabel(
        f"seconds, whole processes, three lab nodes on {data['machine']['cores']} cores, {data['machine']['date']}; less is better"
    )
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
