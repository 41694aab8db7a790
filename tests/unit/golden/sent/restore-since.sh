# kubefab: restore.since
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
kinds=$(kubectl --request-timeout=15s api-resources --verbs=list -o name | grep -vxE 'pods|events|events[.]events[.]k8s[.]io|leases[.]coordination[.]k8s[.]io|endpoints|endpointslices[.]discovery[.]k8s[.]io|componentstatuses|controllerrevisions[.]apps|csinodes[.]storage[.]k8s[.]io|ipaddresses[.]networking[.]k8s[.]io|.*[.]metrics[.]k8s[.]io' | tr '\n' ',') || true
#--8<-- command 2
K=2
kubectl --request-timeout=15s get "${kinds}pods" -A -o 'jsonpath={range .items[*]}{.kind}{"|"}{.metadata.namespace}{"|"}{.metadata.name}{"|"}{.metadata.resourceVersion}{"|"}{.metadata.creationTimestamp}{"\n"}{end}' || true
#--8<-- end
) </dev/null >"$log" 2>&1
rc=$?
cat -- "$log.end" 2>/dev/null
tail -c 8388608 -- "$log"
rm -f -- "$log" "$log.end"
return $rc
}
main
