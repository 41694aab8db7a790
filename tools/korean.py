"""The generated tables of the documentation in Korean: the same tables, cell by cell, for docs/ko/."""

from __future__ import annotations

import re

_CELL = re.compile(r"(?<!\\)\|")
_SUFFIX = re.compile(r" \((?:`[A-Z_]+`|secret)\)$")
_CODE = re.compile(r"`[^`]*`")
_WORD = re.compile(r"\b[a-z]{2,}\b")

WORDS = {
    # benchmarks/report.py
    "measured": "측정",
    "with": "조건",
    "day": "날짜",
    "machine": "컴퓨터",
    "load average at the start": "시작할 때 load average",
    "versions": "버전",
    "seconds": "초",
    "seconds of CPU": "CPU 초",
    "seconds, nodes 50 ms away": "초, 노드까지 50 ms",
    "seconds, nodes 150 ms away": "초, 노드까지 150 ms",
    "× 10 nodes": "× 노드 10개",
    "OpenSSH: `true` on every node, side by side": "OpenSSH: 모든 노드에서 동시에 `true`",
    "kubefab: `inv cluster.bootstrap`, nothing to do": "kubefab: `inv cluster.bootstrap`, 할 일 없음",
    "Ansible: the same checks": "Ansible: 같은 점검",
    "Ansible: its whole playbook again, no change": "Ansible: 플레이북 전체를 다시, 변경 없음",
    "Ansible: `true` on every node, the least it needs": "Ansible: 모든 노드에서 `true`, 최소 시간",
    "pyinfra: the same checks": "pyinfra: 같은 점검",
    "pyinfra: its whole deploy again, no change": "pyinfra: deploy 전체를 다시, 변경 없음",
    "pyinfra: `true` on every node, the least it needs": "pyinfra: 모든 노드에서 `true`, 최소 시간",
    "kubefab: bare nodes to a verified cluster": "kubefab: 빈 노드에서 검증된 클러스터까지",
    "kubefab: the critical path of that run": "kubefab: 그 실행의 임계 경로",
    "Ansible: the same job": "Ansible: 같은 작업",
    "pyinfra: the same job": "pyinfra: 같은 작업",
    "kubefab: `inv cluster.reset`, with its audit": "kubefab: `inv cluster.reset`, 검증 포함",
    "kubefab: the slowest node's part of it": "kubefab: 그중 가장 느린 노드",
    "unchanged bootstrap, 10 simulated nodes": "변경이 없는 bootstrap, 시뮬레이션 노드 10개",
    "unchanged bootstrap, 200 simulated nodes": "변경이 없는 bootstrap, 시뮬레이션 노드 200개",
    "unchanged bootstrap, 1000 simulated nodes": "변경이 없는 bootstrap, 시뮬레이션 노드 1000개",
    "`inv cluster.plan` with 5000 nodes": "노드 5000개로 `inv cluster.plan`",
    "`fab -H` with a mistyped name among 5000 nodes": "노드 5000개 중 이름을 잘못 입력한 `fab -H`",
    "Invoke by itself, one task: `inv -l`": "Invoke만, 태스크 하나: `inv -l`",
    "Tab after `--env`": "`--env` 뒤의 Tab",
    "goal": "목표",
    "limit": "기준",
    "reached": "달성",
    "unchanged bootstrap beside OpenSSH": "변경이 없는 bootstrap, OpenSSH 대비",
    "unchanged bootstrap beside OpenSSH, 50 ms away": "변경이 없는 bootstrap, OpenSSH 대비, 노드까지 50 ms",
    "unchanged bootstrap beside OpenSSH, 150 ms away": "변경이 없는 bootstrap, OpenSSH 대비, 노드까지 150 ms",
    "status beside OpenSSH": "status, OpenSSH 대비",
    "plan --observe beside OpenSSH": "plan --observe, OpenSSH 대비",
    "Ansible's checks beside an unchanged bootstrap": "Ansible의 점검, 변경이 없는 bootstrap 대비",
    "Ansible's checks beside status": "Ansible의 점검, status 대비",
    "Ansible's checks beside plan --observe": "Ansible의 점검, plan --observe 대비",
    "pyinfra's checks beside an unchanged bootstrap": "pyinfra의 점검, 변경이 없는 bootstrap 대비",
    "pyinfra's checks beside status": "pyinfra의 점검, status 대비",
    "pyinfra's checks beside plan --observe": "pyinfra의 점검, plan --observe 대비",
    "Ansible from bare nodes beside kubefab": "빈 노드부터 Ansible, kubefab 대비",
    "kubefab from bare nodes beside its critical path": "빈 노드부터 kubefab, 임계 경로 대비",
    "reset of a node, side by side": "노드 하나의 초기화, 모두 동시에",
    "200 simulated nodes beside 10": "시뮬레이션 노드 200개, 10개 대비",
    "memory with 1000 simulated nodes": "시뮬레이션 노드 1000개일 때 메모리",
    "a mistyped name among 5000 nodes": "노드 5000개 중 잘못 입력한 이름",
    "plan with 5000 nodes": "노드 5000개의 plan",
    "three lab nodes": "랩 노드 3개",
    "bare machines to a verified cluster": "빈 서버에서 검증된 클러스터까지",
    "nothing to do: every check again": "할 일이 없을 때: 모든 점검을 다시",
    # headings, roles, values
    "key": "키", "meaning": "의미", "default": "기본값", "from": "출발", "to": "도착", "port": "포트", "for": "용도", "release": "버전",
    "the manual": "매뉴얼", "you type": "입력하는 명령", "module": "모듈", "test": "테스트", "why": "이유", "you": "운영자", "nodes": "노드",
    "control plane": "컨트롤 플레인", "workers": "워커", "all": "모두", "1.5, later as you need": "1.5. 이후 버전은 필요에 따라",
    "edited later": "나중에 고치면", "followed": "다음 bootstrap이 반영", "refused": "거부", "new nodes": "새 노드부터", "at once": "바로",
    "nothing": "없음", "left out": "생략",
    # ports
    "API over TLS, for kubectl": "TLS API, kubectl용", "API over TLS, for kubelets and pods": "TLS API, kubelet과 파드용",
    "API: discovery, for kubeadm join": "API: kubeadm join의 디스커버리", "kubelet: logs, exec": "kubelet: 로그, exec",
    "kubelet, read-only, for heapster": "heapster가 쓰는 kubelet 읽기 전용 포트", "flannel's VXLAN, both ways": "flannel VXLAN, 양방향",
    "flannel's udp backend, both ways": "flannel udp 백엔드, 양방향", "dashboard": "대시보드", "NodePorts": "NodePort",
    # differences from the manual
    "a person watches the minute": "사람이 1분을 지켜봅니다",
    "the step says it from its beginning, and ends after 300 seconds": "단계가 시작할 때부터 알려 주고, 300초 뒤에는 끝납니다",
    "a slow registry alone takes longer than a minute; that is no failure yet": "레지스트리가 느리기만 해도 1분을 넘지만, 아직 실패는 아닙니다",
    "restart the kubelet at once": "kubelet을 바로 재시작",
    "after FLANNEL_GRACE, 60 seconds": "FLANNEL_GRACE(60초) 뒤에",
    "on the master, too, flannel needs the minute that J3 gives the slaves": "J3이 슬레이브에 주는 1분은 마스터의 flannel에도 필요합니다",
    "reset all nodes": "모든 노드를 초기화",
    "a slave: that node; the master: all of them": "슬레이브는 그 노드만, 마스터는 모든 노드",
    "the other slaves work; the manual's way is named last": "다른 슬레이브는 동작합니다. 매뉴얼의 방법은 마지막 수단으로 알려 줍니다",
    "look at `http://MASTER:31447` in a browser": "브라우저로 `http://MASTER:31447`을 확인",
    "`curl` of it on the master, until it answers": "응답할 때까지 마스터에서 `curl`",
    "a person's look is the info card's line; from outside the security group decides":
        "사람이 볼 주소는 정보 카드에 있습니다. 바깥에서 열리는지는 보안 그룹이 정합니다",
    "the datacenter's header shows aws's token": "datacenter의 헤더에 aws의 토큰이 적혀 있습니다",
    "each environment's own": "환경마다 자신의 토큰",
    "a slip of the manual's: with it the API refuses the request": "매뉴얼의 실수입니다. 그대로 쓰면 API가 요청을 거부합니다",
    # settings
    "Kubernetes release: a minor (1.36), a patch (1.36.3), or 1.5 for the manual's own":
        "Kubernetes 버전: 마이너(1.36), 패치(1.36.3), 매뉴얼의 버전은 1.5",
    "addresses for pods; flannel gives each node a /24 of it": "파드 주소 대역. flannel이 노드마다 /24를 나누어 줍니다",
    "addresses for services": "서비스 주소 대역",
    "the nodes' private network, to check overlaps and narrow firewall rules":
        "노드의 사설 네트워크. 대역 중복을 검사하고 방화벽 규칙을 좁히는 데 씁니다",
    "let ordinary pods run on the control plane; default: yes while there is no worker, else no":
        "일반 파드를 컨트롤 플레인에서도 실행. 기본값은 워커가 없으면 yes, 있으면 no",
    "the cluster's DNS domain": "클러스터의 DNS 도메인",
    "TCP port of the API server": "API 서버의 TCP 포트",
    "login user; default: yours": "로그인 사용자. 기본값은 현재 사용자",
    "SSH port of nodes that name none": "포트를 적지 않은 노드의 SSH 포트",
    "private key file; without it, your agent and default keys": "개인 키 파일. 없으면 에이전트와 기본 키를 씁니다",
    "bastion, as user@host:port, for nodes on private addresses": "사설 주소에 있는 노드를 위한 배스천(user@host:port)",
    "seconds to wait for a connection": "접속을 기다리는 시간(초)",
    "seconds to open a connection again that broke during a run": "실행 중에 끊긴 접속을 다시 여는 데 주는 시간(초)",
    "nodes worked on at the same time": "동시에 작업하는 노드 수",
    "where kubelet, kubeadm, kubectl come from; same layout as pkgs.k8s.io": "kubelet, kubeadm, kubectl의 저장소. pkgs.k8s.io와 같은 구조",
    "fingerprint that the package repository's key must have; empty: not checked": "패키지 저장소 키의 지문. 비우면 검사하지 않습니다",
    "where containerd.io comes from; same layout as download.docker.com": "containerd.io의 저장소. download.docker.com과 같은 구조",
    "fingerprints of that repository's keys, for Debian's family and for RPMs; empty: not checked":
        "그 저장소 키의 지문(Debian 계열용, RPM용). 비우면 검사하지 않습니다",
    "HTTP proxy to the outside, http://host:port or http://user:password@host:port: containerd, packages, keys":
        "외부로 나가는 HTTP 프록시(http://host:port 또는 http://user:password@host:port). containerd, 패키지, 키에 씁니다",
    "more hosts, domains and ranges without the proxy; the cluster's own are added by themselves":
        "프록시를 거치지 않을 호스트, 도메인, 대역. 클러스터에 필요한 것은 자동으로 더합니다",
    "private registry, host:port/project; http:// before it for plain HTTP; empty: none":
        "프라이빗 레지스트리(host:port/project). 평문 HTTP이면 앞에 http://를 적습니다. 비우면 쓰지 않습니다",
    "its login": "레지스트리의 로그인 이름",
    "its password: hosts.local.env or the process environment": "레지스트리의 암호. hosts.local.env나 환경 변수에 둡니다",
    "file with the certificates of a registry with its own CA: PEM, DER or PKCS#7": "자체 CA를 쓰는 레지스트리의 인증서 파일(PEM, DER, PKCS#7)",
    "upstream registries that it mirrors, like registry.k8s.io,docker.io; ghcr.io=mirror.example/ghcr for another mirror":
        "이 레지스트리가 미러링하는 원본 레지스트리(예: registry.k8s.io,docker.io). 다른 미러는 ghcr.io=mirror.example/ghcr처럼 적습니다",
    "certificates of those other mirrors, like ghcr.io=certificates/mirror.pem": "다른 미러의 인증서 파일(예: ghcr.io=certificates/mirror.pem)",
    "file of image digests that must be what runs; `inv cluster.digests` writes it":
        "실행할 이미지의 다이제스트를 고정하는 파일. `inv cluster.digests`가 만듭니다",
    "refuse an image of this cluster that IMAGE_DIGESTS does not list": "IMAGE_DIGESTS에 없는 이미지를 이 클러스터가 쓰면 거부합니다",
    "flannel's image": "flannel 이미지",
    "its CNI plugin's image": "flannel CNI 플러그인 이미지",
    "seconds for flannel.1 and cni0 to appear before the kubelet is restarted (the manual's minute)":
        "flannel.1과 cni0를 기다리는 시간(초). 지나면 kubelet을 재시작합니다(매뉴얼의 1분)",
    "seconds more for them after the last remedy, before the run gives the node up":
        "마지막 조치 뒤에 더 기다리는 시간(초). 지나면 그 노드를 포기합니다",
    "seconds for a node's pods to leave it, and for its volumes, before a drain stops and names the ones that stay":
        "노드의 파드가 나가고 볼륨이 분리되기를 기다리는 시간(초). 지나면 비우기(drain)를 멈추고 남은 것을 알려 줍니다",
    "seconds for InfluxDB to answer, and for a node's metrics in it, before their pods are recreated; twice that before giving up":
        "InfluxDB의 응답과 노드의 메트릭을 기다리는 시간(초). 지나면 그 파드를 다시 만들고, 두 배를 더 기다린 뒤 포기합니다",
    "age recipient (public key, age1…) that backups are encrypted to; its private key belongs on another machine":
        "백업을 암호화할 age 수신자(공개 키, age1…). 개인 키는 다른 컴퓨터에 둡니다",
    "where etcdctl and etcdutl come from; same layout as etcd's releases": "etcdctl, etcdutl를 받을 곳. etcd 릴리스와 같은 구조",
    "SHA-256 that an archive from there must have; empty: as SHA256SUMS beside it says":
        "받은 파일의 SHA-256. 비우면 옆에 있는 SHA256SUMS를 따릅니다",
    "web UI: headlamp, kube-web-view or none": "웹 UI: headlamp, kube-web-view 또는 none",
    "its image; default: the recipe's for that dashboard": "웹 UI 이미지. 기본값은 레시피가 정합니다",
    "its NodePort": "NodePort 번호",
    "InfluxDB asks for a generated login; `no`: for none, as in the manual":
        "InfluxDB가 생성된 로그인을 요구합니다. `no`이면 매뉴얼처럼 로그인이 없습니다",
    "let a RETENTION that is shorter than the database's delete the older metrics":
        "RETENTION이 데이터베이스의 보존 기간보다 짧을 때 오래된 메트릭 삭제를 허용",
    "how long metrics are kept; the manual's is 0d, for ever": "메트릭 보존 기간. 매뉴얼은 0d(무기한)입니다",
    "image with a shell and busybox tools, for `inv cluster.verify`": "`inv cluster.verify`가 쓰는, 셸과 busybox 도구가 있는 이미지",
    "JSON merged into the KubeletConfiguration": "KubeletConfiguration에 병합할 JSON",
    "JSON merged into the KubeProxyConfiguration": "KubeProxyConfiguration에 병합할 JSON",
    "JSON merged into containerd's config.toml": "containerd의 config.toml에 병합할 JSON",
    "kubeadm preflight checks to pass over, by name; never `all`": "건너뛸 kubeadm 사전 검사의 이름. `all`은 쓸 수 없습니다",
    "bootstrap token; only the 1.5 recipe uses one that is written down": "부트스트랩 토큰. 적어 둔 토큰은 1.5 레시피만 씁니다",
    "where the 1.5 recipe's manifests come from": "1.5 레시피의 매니페스트 주소",
    "the 1.5 recipe's apt key": "1.5 레시피의 apt 키",
    "the 1.5 recipe's apt repository": "1.5 레시피의 apt 저장소",
    "its suite and component": "그 저장소의 suite와 component",
    "the 1.5 recipe's daemon.json for Docker; default: MANIFESTS_URL/daemon": "1.5 레시피의 Docker daemon.json. 기본값은 MANIFESTS_URL/daemon",
    "the 1.5 recipe's InfluxDB client image": "1.5 레시피의 InfluxDB 클라이언트 이미지",
    "nodes are simulated on loopback (the rehearsal)": "루프백의 시뮬레이션 노드(리허설)",
    "how many workers a rehearsal has": "리허설의 워커 수",
    # coverage
    "Ubuntu, later perhaps CentOS": "Ubuntu, 향후 CentOS 가능", "info card": "운영 기본 정보", "sizes of machines": "인스턴스 크기", "ports": "포트",
    "as root": "root 권한", "look at the interfaces": "인터페이스 확인", "what an earlier cluster left": "이전 클러스터의 흔적",
    "the repository's key": "저장소 키", "the repository": "저장소",
    "fresh package lists": "패키지 목록 갱신", "a container runtime": "컨테이너 런타임",
    "private registry": "프라이빗 레지스트리", "applied, and proved": "적용과 검증", "a minute, else the network": "약 1분, 넘으면 네트워크 확인",
    "all pods Running": "모든 파드 Running",
    "cni0 and flannel.1 in range, else restart the kubelet": "cni0와 flannel.1의 대역 확인, 아니면 kubelet 재시작",
    "still wrong: reset and again": "그래도 안 되면 초기화 후 다시 설치", "flannel.1 appears": "flannel.1 생성 확인",
    "after a minute restart the kubelet": "약 1분 뒤 kubelet 재시작", "listed and Ready": "목록에 있고 Ready",
    "dashboard on 31447": "31447 포트의 대시보드", "monitoring with InfluxDB": "InfluxDB 모니터링", "retention policy": "보존 정책",
    "until it succeeds": "성공할 때까지 반복",
    "if it never succeeds: new pods, and again": "계속 실패하면 파드를 지우고 다시", "take it all back": "모두 되돌리기",
    "reboot, then install again": "재부팅 후 다시 설치",
    # differences
    "`ifconfig`, read by a person": "사람이 `ifconfig`를 읽음",
    "the same, else `ip addr`; kubefab reads it, as part of observing the node":
        "같은 명령, 없으면 `ip addr`. kubefab이 읽으며 P1은 관찰에 포함됩니다",
    "Ubuntu after 16.04 has no `ifconfig`; names and addresses are the same in both":
        "16.04 이후의 Ubuntu에는 `ifconfig`가 없습니다. 이름과 주소는 양쪽이 같습니다",
    "stop every Docker process, then reboot": "모든 Docker 프로세스를 멈추고 재부팅",
    "`docker stop` of what runs; the reboot is handed to systemd and waited for":
        "실행 중인 것을 `docker stop`으로 멈추고, 재부팅은 systemd에 맡긴 뒤 기다립니다",
    "a reboot cuts off the SSH command that asks for it; a new boot id proves the reboot":
        "SSH 명령 안에서 재부팅하면 연결이 끊깁니다. 새 boot id로 재부팅을 확인합니다",
    "without -f an error page becomes the apt key or Docker's configuration": "-f가 없으면 오류 페이지가 apt 키나 Docker 설정이 됩니다",
    "the same content, written to a second file that is then renamed": "같은 내용을 옆에 쓴 뒤 이름을 바꿉니다",
    "a connection that breaks leaves no incomplete file": "연결이 끊겨도 일부만 기록된 파일이 남지 않습니다",
    "`cd /home/ubuntu` at the end": "마지막의 `cd /home/ubuntu`",
    "each step begins in /, and that folder need not exist": "각 단계는 /에서 시작하며, 그 폴더가 없을 수도 있습니다",
    "within `timeout`, 300 and 180 seconds": "`timeout` 300초와 180초 안에서",
    "both retry for ever, and would still run on the node after kubefab gave up":
        "둘 다 끝없이 요청하므로, kubefab이 포기한 뒤에도 노드에서 계속 실행됩니다",
    "the address in quotes": "주소를 따옴표로 감쌈",
    "a bare `?` is a pattern to the shell": "따옴표 없는 `?`는 셸의 패턴입니다",
    "create refuses objects that an interrupted run has made; only a missing object is a failure":
        "중단된 실행이 만든 것을 create가 거부합니다. 빠진 것이 있을 때만 실패입니다",
    "`kubectl run --rm -i`, any earlier influxcli pod deleted first": "`kubectl run --rm -i`. 남아 있는 influxcli 파드를 먼저 지웁니다",
    "there is no terminal, and the pod of a broken attempt would make every repetition fail (A4)":
        "터미널이 없으며, 실패한 시도가 남긴 파드가 있으면 반복(A4)할 수 없습니다",
    "`DURATION` of the setting RETENTION": "RETENTION 설정의 `DURATION`",
    "0d in aws and datacenter, as the manual has it": "aws와 datacenter에서는 매뉴얼과 같이 0d입니다",
    "delete the pods in the dashboard": "대시보드에서 파드 삭제",
    "`kubectl delete pods` of the same pods": "같은 파드를 `kubectl delete pods`로 삭제",
    "done by kubectl instead of by clicking": "대시보드를 조작할 사람이 없으므로 명령으로 지웁니다",
    "the manual's shell is in that folder; ours is in /": "매뉴얼의 셸은 그곳에 있고, kubefab은 /에 있습니다",
    "`ip link` where there is no `ifconfig`; a link that is not there is no failure":
        "`ifconfig`가 없으면 `ip link`. 없는 인터페이스는 실패가 아닙니다",
    "weave and datapath exist in no flannel cluster": "weave와 datapath는 flannel 클러스터에 없습니다",
    "only if there are any; what is in use stays": "있을 때만 실행하며, 사용 중인 것은 남깁니다",
    "with nothing to remove, docker fails for lack of an argument; it also fails for images that share layers":
        "지울 것이 없으면 docker가 인자 부족으로 실패합니다. 레이어를 공유하는 이미지에서도 실패합니다",
    "empty files under /var/lib/kubefab, removed by reset": "/var/lib/kubefab 아래의 빈 파일. 초기화할 때 지웁니다",
    "a second run goes on from where the first stopped": "다시 실행하면 멈춘 곳에서 이어집니다",
}  # fmt: skip


def _split(text: str) -> tuple[str, str]:
    """A cell's words, and what is behind them in parentheses: the setting's key, or that it is a secret."""
    bare = text.strip().replace("\\|", "|")
    suffix = _SUFFIX.search(bare)
    return (bare[: suffix.start()], suffix[0]) if suffix and bare not in WORDS else (bare, "")


def _cell(text: str) -> str:
    bare, suffix = _split(text)
    return (
        f" {(WORDS.get(bare, bare) + suffix.replace('secret', '비밀 값')).replace('|', chr(92) + '|')} "
        if text.strip()
        else text
    )


def cells(table: str) -> list[str]:
    """The words of every cell."""
    return [_split(cell)[0] for line in table.splitlines() for cell in _CELL.split(line)]


def translated(table: str) -> str:
    """The table with every cell that has a translation in Korean; the others, code and names, as they are."""
    return "\n".join("|".join(_cell(cell) for cell in _CELL.split(line)) for line in table.splitlines())


def untranslated(table: str) -> list[str]:
    """Cells with words in them, beside code and names, that have no translation."""
    return [
        cell
        for cell in cells(translated(table))
        if cell not in _NAMES and not re.search("[가-힣]", cell) and len(_WORD.findall(_CODE.sub("", cell))) > 1
    ]


_NAMES = {"kubelet, kubeadm, kubectl, CNI", "kubeadm init", "kubeadm join"}
