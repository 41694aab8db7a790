#### cp1 · backup.tools · etcdctl and etcdutl of the version of the etcd that runs
# kubefab: backup.tools
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
if [ -e /etc/kubefab/proxy.env ]; then set -a; . /etc/kubefab/proxy.env; set +a; fi
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
install -d -m 0700 /var/lib/kubefab /var/lib/kubefab/etcd-tools
#--8<-- command 2
K=2
p=$(pgrep -o -f '^etcd .*--data-dir=/var/lib/etcd( |$)') || { echo 'etcd does not run'; exit 1; }
#--8<-- command 3
K=3
v=$(/proc/$p/exe --version | sed -n 's/^etcd Version: //p')
#--8<-- command 4
K=4
echo "$v" | grep -qxE '[0-9]+[.][0-9]+[.][0-9]+' || { echo "etcd's version is $v"; exit 1; }
#--8<-- command 5
K=5
for t in etcdctl etcdutl; do for c in /var/lib/kubefab/etcd-tools/$t /proc/$p/root/usr/local/bin/$t /usr/local/bin/$t; do if "$c" version 2>/dev/null | grep -xF "$t version: $v" >/dev/null; then if [ "$c" != /var/lib/kubefab/etcd-tools/$t ]; then install -m 0700 "$c" /var/lib/kubefab/etcd-tools/$t; fi; break; fi; done; done
#--8<-- command 6
K=6
if ! { /var/lib/kubefab/etcd-tools/etcdctl version && /var/lib/kubefab/etcd-tools/etcdutl version; } 2>/dev/null | grep -xF "etcdutl version: $v" >/dev/null; then curl -fsSL --retry 3 --connect-timeout 10 -o /var/lib/kubefab/etcd-tools/etcd-v$v-linux-amd64.tar.gz https://github.com/etcd-io/etcd/releases/download"/v$v/etcd-v$v-linux-amd64.tar.gz"; s=$(sha256sum /var/lib/kubefab/etcd-tools/etcd-v$v-linux-amd64.tar.gz | cut -d' ' -f1); { curl -fsSL --retry 3 --connect-timeout 10 -o /var/lib/kubefab/etcd-tools/SHA256SUMS https://github.com/etcd-io/etcd/releases/download"/v$v/SHA256SUMS" && grep -qx "$s  etcd-v$v-linux-amd64.tar.gz" /var/lib/kubefab/etcd-tools/SHA256SUMS; } || { rm -f /var/lib/kubefab/etcd-tools/etcd-v$v-linux-amd64.tar.gz; echo "the digest $s of etcd-v$v-linux-amd64.tar.gz is not expected"; exit 1; }; tar -xzf /var/lib/kubefab/etcd-tools/etcd-v$v-linux-amd64.tar.gz -C /var/lib/kubefab/etcd-tools --strip-components=1 --no-same-owner etcd-v$v-linux-amd64/etcdctl etcd-v$v-linux-amd64/etcdutl; rm -f /var/lib/kubefab/etcd-tools/etcd-v$v-linux-amd64.tar.gz /var/lib/kubefab/etcd-tools/SHA256SUMS; fi
#--8<-- command 7
K=7
for t in etcdctl etcdutl; do /var/lib/kubefab/etcd-tools/$t version | grep -xF "$t version: $v" >/dev/null || { echo "there is no $t of $v"; exit 1; }; done
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · backup.snapshot · snapshot of etcd, verified, and InfluxDB's metrics, sent here
# kubefab: backup.snapshot
main() {
rm -f -- "$0"
export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export DEBIAN_FRONTEND=noninteractive KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
umask 077
exec 9>>/run/kubefab.lock
chmod 600 /run/kubefab.lock
flock -w 180 9 || { echo '##kubefab 0 75'; return 75; }
umask 077
trap 'rm -rf -- ${log:+"$log" "$log.end"} /var/lib/kubefab/backup /var/lib/kubefab/influxdb/.kubefab-backup' EXIT; trap 'exit 1' HUP INT PIPE TERM
log=$(mktemp /run/kubefab-log.XXXXXX) || { echo '##kubefab 0 1'; return 1; }
umask 022
(
set -eo pipefail
K=0
trap 'echo "##kubefab $K $?" >"$log.end"' EXIT
#--8<-- command 1
K=1
rm -rf -- /var/lib/kubefab/backup
#--8<-- command 2
K=2
install -d -m 0700 /var/lib/kubefab/backup
#--8<-- command 3
K=3
/var/lib/kubefab/etcd-tools/etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt --key=/etc/kubernetes/pki/etcd/healthcheck-client.key endpoint health
#--8<-- command 4
K=4
/var/lib/kubefab/etcd-tools/etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt --key=/etc/kubernetes/pki/etcd/healthcheck-client.key get /registry/namespaces/kube-system --print-value-only | grep -aF 11111111-2222-3333-4444-555555555555 >/dev/null || { echo 'etcd here does not hold cluster 11111111-2222-3333-4444-555555555555'; exit 1; }
#--8<-- command 5
K=5
/var/lib/kubefab/etcd-tools/etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/kubernetes/pki/etcd/ca.crt --cert=/etc/kubernetes/pki/etcd/healthcheck-client.crt --key=/etc/kubernetes/pki/etcd/healthcheck-client.key snapshot save /var/lib/kubefab/backup/etcd-snapshot.db
#--8<-- command 6
K=6
/var/lib/kubefab/etcd-tools/etcdutl snapshot status /var/lib/kubefab/backup/etcd-snapshot.db -w json >/var/lib/kubefab/backup/etcd-snapshot.json
#--8<-- command 7
K=7
install -m 0700 /var/lib/kubefab/etcd-tools/etcdutl /var/lib/kubefab/backup/etcdutl
#--8<-- command 8
K=8
/var/lib/kubefab/etcd-tools/etcdutl version | sed -n 's/^etcdutl version: /etcd=/p' >/var/lib/kubefab/backup/versions.txt
#--8<-- command 9
K=9
rm -rf -- /var/lib/kubefab/influxdb/.kubefab-backup
#--8<-- command 10
K=10
n=$(du -s -B512 /var/lib/kubefab/influxdb | cut -f1); f=$(df -Pk /var/lib/kubefab/backup | awk 'NR==2{print $4}'); [ "$f" -gt "$n" ] || { echo "no space left for the metrics: $n KiB are needed, and $f are free"; exit 1; }
#--8<-- command 11
K=11
kubectl -n monitoring exec deploy/monitoring-influxdb -c influxdb -- influxd backup -portable -db k8s /var/lib/influxdb/.kubefab-backup
#--8<-- command 12
K=12
tar --remove-files -cf /var/lib/kubefab/backup/influxdb.tar -C /var/lib/kubefab/influxdb/.kubefab-backup .
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
[ $rc = 0 ] || { tail -c 65536 -- "$log"; return $rc; }
n=0
for f in /var/lib/kubefab/backup/* /etc/kubernetes/* /etc/kubernetes/*/* /etc/kubernetes/pki/etcd/* /var/lib/kubelet/config.yaml /var/lib/kubelet/kubeadm-flags.env /var/lib/kubelet/instance-config.yaml /var/lib/kubelet/pki/kubelet-client-current.pem /var/lib/kubelet/pki/kubelet.crt /var/lib/kubelet/pki/kubelet.key /etc/default/kubelet /etc/sysconfig/kubelet /var/lib/kubefab/identity /var/lib/kubefab/init-started /var/lib/kubefab/initialised; do
[ -f "$f" ] || continue
echo "##file $(stat -Lc %s -- "$f") $(sha256sum <"$f" | cut -d' ' -f1) $f" && cat -- "$f" && echo || return 1
n=$((n + 1))
done 2>/dev/null
echo "##sent $n"
}
main

#### cp1 · metrics.room · a folder for them in InfluxDB's volume
# kubefab: metrics.room
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
rm -rf -- /var/lib/kubefab/influxdb/.kubefab-restore
#--8<-- command 2
K=2
install -d -m 0755 /var/lib/kubefab/influxdb/.kubefab-restore
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · metrics.restore · InfluxDB's metrics of the backup, added to those that it has
# kubefab: metrics.restore
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
tar -xf /var/lib/kubefab/influxdb/.kubefab-restore/influxdb.tar -C /var/lib/kubefab/influxdb/.kubefab-restore --no-same-owner && rm -f /var/lib/kubefab/influxdb/.kubefab-restore/influxdb.tar && chmod -R a+rX /var/lib/kubefab/influxdb/.kubefab-restore || { rc=$?; rm -rf -- /var/lib/kubefab/influxdb/.kubefab-restore; exit $rc; }
#--8<-- command 2
K=2
kubectl -n monitoring exec deploy/monitoring-influxdb -c influxdb -- influx -execute 'DROP DATABASE "kubefab_restored"' || { rc=$?; rm -rf -- /var/lib/kubefab/influxdb/.kubefab-restore; exit $rc; }
#--8<-- command 3
K=3
kubectl -n monitoring exec deploy/monitoring-influxdb -c influxdb -- influxd restore -portable -db k8s -newdb kubefab_restored /var/lib/influxdb/.kubefab-restore || { rc=$?; rm -rf -- /var/lib/kubefab/influxdb/.kubefab-restore; exit $rc; }
#--8<-- command 4
K=4
kubectl -n monitoring exec deploy/monitoring-influxdb -c influxdb -- influx -execute 'SELECT * INTO "k8s"."default".:MEASUREMENT FROM "kubefab_restored"."default"./.*/ GROUP BY *' || { rc=$?; rm -rf -- /var/lib/kubefab/influxdb/.kubefab-restore; exit $rc; }
#--8<-- command 5
K=5
kubectl -n monitoring exec deploy/monitoring-influxdb -c influxdb -- influx -execute 'DROP DATABASE "kubefab_restored"' || { rc=$?; rm -rf -- /var/lib/kubefab/influxdb/.kubefab-restore; exit $rc; }
#--8<-- command 6
K=6
rm -rf -- /var/lib/kubefab/influxdb/.kubefab-restore
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main

#### cp1 · metrics.done · until: InfluxDB has them in its own database, and nothing else is left
# kubefab: metrics.done
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
if [ -e /var/lib/kubefab/influxdb/.kubefab-restore ]; then echo /var/lib/kubefab/influxdb/.kubefab-restore; else kubectl -n monitoring exec deploy/monitoring-influxdb -c influxdb -- influx -format csv -execute 'SHOW DATABASES' 2>&1; fi || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 65536 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main
