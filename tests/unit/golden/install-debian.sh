# install.tools
for t in curl gpg; do command -v $t >/dev/null || { apt-get -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-confold -qy update && apt-get -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-confold -qy install ca-certificates curl gnupg; break; }; done
# install.repository
install -d -m 0755 /etc/apt/keyrings
home=$(mktemp -d) && key=$home/key
curl -fsSL --retry 3 --connect-timeout 10 -o "$key" https://pkgs.k8s.io/core:/stable:/v1.36/deb/Release.key || { echo 'cannot fetch https://pkgs.k8s.io/core:/stable:/v1.36/deb/Release.key'; exit 22; }
gpg --homedir "$home" --quiet --batch --no-autostart --import "$key" 2>/dev/null || true
own=$(gpg --homedir "$home" --quiet --batch --no-autostart --with-colons --list-keys 2>/dev/null | sed -n '/^pub:/,/^fpr:/p' | sed -n 's/^fpr:.*:\([0-9A-F]*\):$/\1/p' | grep -xE 'DE15B14486CD377B9E876E1A234654DA9A296436') || { echo 'the key at https://pkgs.k8s.io/core:/stable:/v1.36/deb/Release.key has not the fingerprint DE15B14486CD377B9E876E1A234654DA9A296436'; exit 65; }
gpg --homedir "$home" --quiet --batch --no-autostart -o "$home/trusted" --export $own
install -m 0644 "$home/trusted" /etc/apt/keyrings/kubefab-kubernetes.gpg
rm -rf "$home"
home=$(mktemp -d) && key=$home/key
curl -fsSL --retry 3 --connect-timeout 10 -o "$key" https://download.docker.com/linux/debian/gpg || { echo 'cannot fetch https://download.docker.com/linux/debian/gpg'; exit 22; }
gpg --homedir "$home" --quiet --batch --no-autostart --import "$key" 2>/dev/null || true
own=$(gpg --homedir "$home" --quiet --batch --no-autostart --with-colons --list-keys 2>/dev/null | sed -n '/^pub:/,/^fpr:/p' | sed -n 's/^fpr:.*:\([0-9A-F]*\):$/\1/p' | grep -xE '9DC858229FC7DD38854AE2D88D81803C0EBFCD88|060A61C51B558A7F742B77AAC52FEB6B621E9F35') || { echo 'the key at https://download.docker.com/linux/debian/gpg has not the fingerprint 9DC858229FC7DD38854AE2D88D81803C0EBFCD88 or 060A61C51B558A7F742B77AAC52FEB6B621E9F35'; exit 65; }
gpg --homedir "$home" --quiet --batch --no-autostart -o "$home/trusted" --export $own
install -m 0644 "$home/trusted" /etc/apt/keyrings/kubefab-containerd.gpg
rm -rf "$home"
# install.packages
apt-get -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-confold -qy update
apt-get -o DPkg::Lock::Timeout=60 -o Dpkg::Options::=--force-confold -qy install --no-install-recommends --allow-change-held-packages --allow-downgrades containerd.io kubelet=1.36.4-* kubeadm=1.36.4-* kubectl=1.36.4-* kubernetes-cni cri-tools iptables
apt-mark hold containerd.io kubelet kubeadm kubectl kubernetes-cni cri-tools
