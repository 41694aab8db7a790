# When certificates begin and end: a part of what the doctor asks. Read by dated.certificate.
# shellcheck shell=bash

# Their text and not their dates: a node need not have openssl. One of the files holds a key too, which stays there.
certificates() { # those of the control plane and of the kubelet, as `path BASE64`
  local f
  for f in /etc/kubernetes/pki/*.crt /etc/kubernetes/pki/etcd/*.crt /var/lib/kubelet/pki/kubelet-client-current.pem; do
    [ -e "$f" ] && echo "$f $(sed -n '/^-----BEGIN CERTIFICATE-----/,/^-----END CERTIFICATE-----/p' "$f" | head -c 16384 | base64 -w0)"
  done
}
