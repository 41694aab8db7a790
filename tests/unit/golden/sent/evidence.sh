# kubefab: evidence
main() {
rm -f -- "$0"
each=10
enough=70
limit=4096
folder=/run

export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
d=$(mktemp -d "$folder/kubefab-evidence.XXXXXX" 2>/dev/null || mktemp -d) || exit
trap 'rm -f -- "$d/o"; rmdir -- "$d"' EXIT
ulimit -f "$limit"
section() { # name, shell line
  echo "@@ $1"
  if [ $SECONDS -ge $enough ]; then echo "(skipped: the sections before it took $SECONDS s)"; return; fi
  # to a file: a program that outlives its time would hold our output open, and so the SSH channel;
  # KILL goes to the section's whole process group, also to what TERM does not move
  { timeout -s KILL $each bash -c "$2" </dev/null >"$d/o" 2>&1; } 2>/dev/null
  local code=$?
  cat "$d/o"
  case $code in 0) ;; 137) echo "(cut off after $each s)" ;; *) echo "(exit code $code)" ;; esac
}
section machine 'uname -a; cat /etc/os-release; uptime; nproc; free -m; swapon --show; timedatectl 2>/dev/null; stat -fc %T /sys/fs/cgroup'
section disks 'df -h; df -i; findmnt -t ext4,xfs,btrfs,overlay 2>/dev/null | head -n 40'
section processes 'ps -eo pid,ppid,user,stat,etime,rss,comm --sort=-rss | head -n 60'
section packages '(dpkg -l || rpm -qa) 2>/dev/null | grep -E '\''kube|containerd|docker|cri-'\'''
section units 'systemctl status kubelet containerd docker --no-pager -l -n 0 2>&1; systemctl --failed --no-pager'
section kubelet.log 'journalctl -u kubelet -n 400 --no-pager 2>&1'
section containerd.log 'journalctl -u containerd -n 400 --no-pager 2>&1'
section kernel.log 'dmesg -T 2>/dev/null | tail -n 200'
section kubelet-config.yaml 'cat /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env 2>&1'
section containers 'crictl ps -a 2>&1; crictl pods 2>&1; crictl images 2>&1'
section container-logs 'for c in $(crictl ps -a --name '\''kube-apiserver|etcd|kube-flannel|kube-proxy|coredns'\'' -q 2>/dev/null | head -n 12); do echo "== $c"; crictl inspect -o go-template --template "{{.status.metadata.name}} {{.status.state}}" "$c" 2>&1; crictl logs --tail 60 "$c" 2>&1; done'
section interfaces 'ip -d addr 2>&1; ip -s link 2>&1 | head -n 120'
section routes 'ip route show table all 2>&1 | head -n 200; ip rule 2>&1; ip neigh 2>&1 | head -n 60; bridge fdb show dev flannel.1 2>&1'
section sockets 'ss -lntup 2>&1'
section firewall 'iptables-save 2>&1 | head -n 600; nft list ruleset 2>&1 | head -n 600'
section cni 'ls -l /etc/cni/net.d /opt/cni/bin 2>&1; cat /etc/cni/net.d/*.conflist /run/flannel/subnet.env 2>&1'
section dns 'cat /etc/resolv.conf /etc/hosts; resolvectl status 2>/dev/null | head -n 60'
section sysctls 'sysctl net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables net.ipv4.conf.all.rp_filter 2>&1; lsmod | grep -E '\''overlay|br_netfilter|vxlan|nf_conntrack'\'''
section certificates 'for f in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt /var/lib/kubelet/pki/*.crt; do echo "$f"; openssl x509 -noout -subject -dates -in "$f" 2>&1 || sed -n "/^-----BEGIN CERT/,/^-----END CERT/p" "$f"; done'
section api 'kubectl get --raw='\''/readyz?verbose'\'' 2>&1; kubectl version 2>&1'
section nodes 'kubectl get nodes -o wide 2>&1; kubectl describe nodes 2>&1 | tail -n 600'
section pods 'kubectl get pods -A -o wide 2>&1; kubectl get daemonsets,deployments,services -A -o wide 2>&1'
section events 'kubectl get events -A --sort-by=.lastTimestamp 2>&1 | tail -n 400'
section static-pods 'ls -l /etc/kubernetes/manifests /etc/kubernetes/pki 2>&1; du -sh /var/lib/etcd 2>&1'
echo "@@ end"
}
main
