# kubefab: doctor.gather
main() {
rm -f -- "$0"
folder=/run/kubefab-doctor

export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=/etc/kubernetes/admin.conf
unset all_proxy ALL_PROXY http_proxy HTTP_PROXY https_proxy HTTPS_PROXY no_proxy NO_PROXY
cd /
cat "$folder/log" 2>/dev/null
p=$(cat "$folder/pid" 2>/dev/null) && kill -TERM "-$p" 2>/dev/null
for _ in $(seq 40); do [ -d "$folder" ] || break; sleep 0.05; done
rm -rf -- "$folder"
echo "@@ end"
}
main
