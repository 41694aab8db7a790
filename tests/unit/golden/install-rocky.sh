# install.repository
install -d -m 0755 /etc/pki/rpm-gpg
home=$(mktemp -d) && key=$home/key
curl -fsSL --retry 3 --connect-timeout 10 -o "$key" https://pkgs.k8s.io/core:/stable:/v1.36/rpm/repodata/repomd.xml.key || { echo 'cannot fetch https://pkgs.k8s.io/core:/stable:/v1.36/rpm/repodata/repomd.xml.key'; exit 22; }
gpg --homedir "$home" --quiet --batch --no-autostart --import "$key" 2>/dev/null || true
own=$(gpg --homedir "$home" --quiet --batch --no-autostart --with-colons --list-keys 2>/dev/null | sed -n '/^pub:/,/^fpr:/p' | sed -n 's/^fpr:.*:\([0-9A-F]*\):$/\1/p' | grep -xE 'DE15B14486CD377B9E876E1A234654DA9A296436') || { echo 'the key at https://pkgs.k8s.io/core:/stable:/v1.36/rpm/repodata/repomd.xml.key has not the fingerprint DE15B14486CD377B9E876E1A234654DA9A296436'; exit 65; }
gpg --homedir "$home" --quiet --batch --no-autostart --armor -o "$home/trusted" --export $own
install -m 0644 "$home/trusted" /etc/pki/rpm-gpg/kubefab-kubernetes
rm -rf "$home"
home=$(mktemp -d) && key=$home/key
curl -fsSL --retry 3 --connect-timeout 10 -o "$key" https://download.docker.com/linux/centos/gpg || { echo 'cannot fetch https://download.docker.com/linux/centos/gpg'; exit 22; }
gpg --homedir "$home" --quiet --batch --no-autostart --import "$key" 2>/dev/null || true
own=$(gpg --homedir "$home" --quiet --batch --no-autostart --with-colons --list-keys 2>/dev/null | sed -n '/^pub:/,/^fpr:/p' | sed -n 's/^fpr:.*:\([0-9A-F]*\):$/\1/p' | grep -xE '9DC858229FC7DD38854AE2D88D81803C0EBFCD88|060A61C51B558A7F742B77AAC52FEB6B621E9F35') || { echo 'the key at https://download.docker.com/linux/centos/gpg has not the fingerprint 9DC858229FC7DD38854AE2D88D81803C0EBFCD88 or 060A61C51B558A7F742B77AAC52FEB6B621E9F35'; exit 65; }
gpg --homedir "$home" --quiet --batch --no-autostart --armor -o "$home/trusted" --export $own
install -m 0644 "$home/trusted" /etc/pki/rpm-gpg/kubefab-containerd
rm -rf "$home"
rpm -e --allmatches gpg-pubkey-9a296436 2>/dev/null || true
# install.selinux
if command -v getenforce >/dev/null && [ "$(getenforce)" = Enforcing ]; then setenforce 0; sed -i 's/^SELINUX=enforcing$/SELINUX=permissive/' /etc/selinux/config; fi
# install.packages
dnf -y --setopt=exit_on_lock=False --disableexcludes=kubefab-kubernetes,kubefab-containerd install containerd.io kubelet-1.36.4 kubeadm-1.36.4 kubectl-1.36.4 kubernetes-cni cri-tools iproute-tc iptables
