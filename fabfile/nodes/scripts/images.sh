# Asks for images' manifests where containerd would ask, in a section headed `@@ images`, read by upgrading.parse_images. It only reads.
# Variables come from upgrading.images_script; @asking@ is asking.sh, @proxied@ the proxy's variables.
# shellcheck shell=bash disable=SC2154

has() { command -v "$1" >/dev/null 2>&1; }
umask 077
d=$(mktemp -d) && trap 'rm -rf -- "$d"' EXIT
@proxied@
@asking@
accept="Accept: application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json"
set -f
n=0
for u in $images; do
  case $u in
  "${registry:-none}"*) login "image.$n" "$u" & ;;
  *) ask "image.$n" "$u" -L -I -H "$accept" & ;;
  esac
  n=$((n + 1))
done
set +f
wait
echo '@@ images'; cat "$d"/http.image.* 2>/dev/null
echo '@@ end'
