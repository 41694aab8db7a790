#### cp1 · restore.stop · kubelet and control plane stopped, etcd's manifest held back
# kubefab: restore.stop
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/restore
#--8<-- command 2
K=2
rm -f /var/lib/kubefab/restoring-* /var/lib/kubefab/restored-*
#--8<-- command 3
K=3
touch /var/lib/kubefab/restoring-aaaaaaaaaaaa
#--8<-- command 4
K=4
if [ -e /etc/kubernetes/manifests/etcd.yaml ]; then touch /var/lib/kubefab/etcd; mv -f /etc/kubernetes/manifests/etcd.yaml /var/lib/kubefab/etcd.yaml; fi
#--8<-- command 5
K=5
systemctl stop kubelet
#--8<-- command 6
K=6
ids=$(crictl --runtime-endpoint unix:///run/containerd/containerd.sock pods -q --namespace kube-system --label tier=control-plane); if [ -n "$ids" ]; then crictl --runtime-endpoint unix:///run/containerd/containerd.sock rmp -f $ids; fi
#--8<-- command 7
K=7
if pgrep -f '^etcd .*--data-dir=/var/lib/etcd( |$)' >/dev/null; then echo 'etcd still runs'; exit 1; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · restore.send · the snapshot and its etcdutl, sent and verified there
# kubefab: restore.send
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
/var/lib/kubefab/restore/etcdutl snapshot status /var/lib/kubefab/restore/etcd-snapshot.db -w json
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · restore.etcd · etcd's data of the snapshot; those of before are kept in /var/lib/etcd.before-aaaaaaaaaaaa
# kubefab: restore.etcd
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
install -d -m 0700 /var/lib/etcd
#--8<-- command 2
K=2
if [ -e /var/lib/etcd/member ]; then install -d -m 0700 /var/lib/etcd.before-aaaaaaaaaaaa; mv /var/lib/etcd/member "/var/lib/etcd.before-aaaaaaaaaaaa/member-$(date +%s)"; fi
#--8<-- command 3
K=3
rm -rf --one-file-system /var/lib/etcd/.kubefab-restore
#--8<-- command 4
K=4
/var/lib/kubefab/restore/etcdutl snapshot restore /var/lib/kubefab/restore/etcd-snapshot.db --name cp1 --initial-cluster cp1=https://10.2.0.1:2380 --initial-cluster-token restored-1795929612 --initial-advertise-peer-urls https://10.2.0.1:2380 --data-dir /var/lib/etcd/.kubefab-restore --bump-revision "$(date +%s)000" --mark-compacted
#--8<-- command 5
K=5
mv /var/lib/etcd/.kubefab-restore/member /var/lib/etcd/member
#--8<-- command 6
K=6
rm -rf --one-file-system /var/lib/etcd/.kubefab-restore
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · restore.files · keys and configuration that are missing
# kubefab: restore.files
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- file 0600 /var/lib/kubefab/restore/files/etc/kubernetes/pki/ca.crt
mkdir -p /var/lib/kubefab/restore/files/etc/kubernetes/pki
(umask 077; cat > /var/lib/kubefab/restore/files/etc/kubernetes/pki/.ca.crt.kubefab <<'KUBEFAB-END'
content of /etc/kubernetes/pki/ca.crt
KUBEFAB-END
)
chmod 0600 /var/lib/kubefab/restore/files/etc/kubernetes/pki/.ca.crt.kubefab
mv -f /var/lib/kubefab/restore/files/etc/kubernetes/pki/.ca.crt.kubefab /var/lib/kubefab/restore/files/etc/kubernetes/pki/ca.crt
#--8<-- file 0600 /var/lib/kubefab/restore/files/etc/kubernetes/pki/sa.key
mkdir -p /var/lib/kubefab/restore/files/etc/kubernetes/pki
(umask 077; cat > /var/lib/kubefab/restore/files/etc/kubernetes/pki/.sa.key.kubefab <<'KUBEFAB-END'
content of /etc/kubernetes/pki/sa.key
KUBEFAB-END
)
chmod 0600 /var/lib/kubefab/restore/files/etc/kubernetes/pki/.sa.key.kubefab
mv -f /var/lib/kubefab/restore/files/etc/kubernetes/pki/.sa.key.kubefab /var/lib/kubefab/restore/files/etc/kubernetes/pki/sa.key
#--8<-- file 0600 /var/lib/kubefab/restore/files/var/lib/kubelet/config.yaml
mkdir -p /var/lib/kubefab/restore/files/var/lib/kubelet
(umask 077; cat > /var/lib/kubefab/restore/files/var/lib/kubelet/.config.yaml.kubefab <<'KUBEFAB-END'
content of /var/lib/kubelet/config.yaml
KUBEFAB-END
)
chmod 0600 /var/lib/kubefab/restore/files/var/lib/kubelet/.config.yaml.kubefab
mv -f /var/lib/kubefab/restore/files/var/lib/kubelet/.config.yaml.kubefab /var/lib/kubefab/restore/files/var/lib/kubelet/config.yaml
#--8<-- file 0600 /var/lib/kubefab/restore/etcd.yaml
mkdir -p /var/lib/kubefab/restore
(umask 077; cat > /var/lib/kubefab/restore/.etcd.yaml.kubefab <<'KUBEFAB-END'
content of /etc/kubernetes/manifests/etcd.yaml
KUBEFAB-END
)
chmod 0600 /var/lib/kubefab/restore/.etcd.yaml.kubefab
mv -f /var/lib/kubefab/restore/.etcd.yaml.kubefab /var/lib/kubefab/restore/etcd.yaml
#--8<-- file 0600 /var/lib/kubefab/identity
mkdir -p /var/lib/kubefab
(umask 077; cat > /var/lib/kubefab/.identity.kubefab <<'KUBEFAB-END'
{"environment": "test", "endpoint": "10.2.0.1:6443", "node": "cp1", "role": "control-plane", "hostname": "cp1", "uid": "11111111-2222-3333-4444-555555555555", "ca": "sha256:abababababababababababababababababababababababababababababababab"}
KUBEFAB-END
)
chmod 0600 /var/lib/kubefab/.identity.kubefab
mv -f /var/lib/kubefab/.identity.kubefab /var/lib/kubefab/identity
#--8<-- command 1
K=1
[ -e /etc/kubernetes/pki/ca.crt ] || install -D -m 0644 /var/lib/kubefab/restore/files/etc/kubernetes/pki/ca.crt /etc/kubernetes/pki/ca.crt
#--8<-- command 2
K=2
if [ -e /etc/kubernetes/pki/sa.key ] && ! cmp -s /var/lib/kubefab/restore/files/etc/kubernetes/pki/sa.key /etc/kubernetes/pki/sa.key; then install -d -m 0700 /etc/kubernetes.before-aaaaaaaaaaaa; mv /etc/kubernetes/pki/sa.key "/etc/kubernetes.before-aaaaaaaaaaaa/sa.key-$(date +%s)"; fi
#--8<-- command 3
K=3
[ -e /etc/kubernetes/pki/sa.key ] || install -D -m 0600 /var/lib/kubefab/restore/files/etc/kubernetes/pki/sa.key /etc/kubernetes/pki/sa.key
#--8<-- command 4
K=4
[ -e /var/lib/kubelet/config.yaml ] || install -D -m 0644 /var/lib/kubefab/restore/files/var/lib/kubelet/config.yaml /var/lib/kubelet/config.yaml
#--8<-- command 5
K=5
[ -e /var/lib/kubelet/pki/kubelet-client-current.pem ] || ln -s kubelet-client-restored.pem /var/lib/kubelet/pki/kubelet-client-current.pem
#--8<-- command 6
K=6
touch /var/lib/kubefab/init-started /var/lib/kubefab/initialised
#--8<-- command 7
K=7
chmod 0700 /var/lib/kubefab
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · restore.ready · etcd's manifest is back
# kubefab: restore.ready
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
if [ -e /var/lib/kubefab/etcd.yaml ]; then mv -f /var/lib/kubefab/etcd.yaml /etc/kubernetes/manifests/etcd.yaml; elif [ ! -e /etc/kubernetes/manifests/etcd.yaml ]; then install -D -m 0600 /var/lib/kubefab/restore/etcd.yaml /etc/kubernetes/manifests/etcd.yaml; fi
#--8<-- command 2
K=2
mv -f /var/lib/kubefab/restoring-aaaaaaaaaaaa /var/lib/kubefab/restored-aaaaaaaaaaaa
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · restore.start · the kubelet starts etcd and the control plane
# kubefab: restore.start
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
rm -rf --one-file-system /var/lib/kubefab/restore
#--8<-- command 2
K=2
rm -f /var/lib/kubefab/etcd
#--8<-- command 3
K=3
systemctl enable kubelet
#--8<-- command 4
K=4
systemctl restart kubelet
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · restore.api · until: the API answers
# kubefab: restore.api
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl --request-timeout=5s get --raw=/readyz 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · restore.node · until: the node is Ready
# kubefab: restore.node
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
kubectl get node cp1 --no-headers 2>&1 || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · restore.node · after 60 s: restart containerd and flannel's pod, if no CNI file has been read
# kubefab: restore.node
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
if crictl info 2>/dev/null | grep -q 'cni plugin not initialized'; then systemctl restart containerd; crictl pods -q --namespace kube-flannel | xargs -r crictl rmp -f; fi
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · restore.done · until: noted as restored
# kubefab: restore.done
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 900 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
rm -f /var/lib/kubefab/restored-aaaaaaaaaaaa && echo noted || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main
