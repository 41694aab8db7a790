# When certificates begin and end: the part that the calendar and the doctor share. Read by dated.certificate.
# shellcheck shell=bash

dates() { openssl x509 -noout -startdate -enddate "$@" 2>/dev/null | cut -d= -f2 | tr '\n' '|'; }
certificates() { # those of the control plane and of the kubelet, as `path begin|end|`
  local f
  for f in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt /var/lib/kubelet/pki/kubelet-client-current.pem; do
    [ -e "$f" ] && echo "$f $(dates -in "$f")"
  done
}
