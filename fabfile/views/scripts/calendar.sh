# `inv cluster.status`: when certificates and join tokens end; read by calendar.parse. It only reads.
# calendar.script puts certificates.sh before this.
# shellcheck shell=bash

certificates | sed 's/^/cert /'
if [ -e "$KUBECONFIG" ]; then
  path='{range .items[*]}{"token "}{.data.token-id}{" "}{.data.expiration}{"\n"}{end}'
  kinds=type=bootstrap.kubernetes.io/token
  timeout 8 kubectl --request-timeout=5s -n kube-system get secrets --field-selector "$kinds" -o jsonpath="$path" 2>/dev/null |
    while read -r _ id ends; do echo "token $(echo "$id" | base64 -d) $(echo "$ends" | base64 -d)"; done
fi
exit 0
