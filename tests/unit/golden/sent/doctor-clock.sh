# kubefab: doctor.clock
main() {
rm -f -- "$0"

export LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin KUBECONFIG=/etc/kubernetes/admin.conf
cd /
date +%s.%N
}
main
